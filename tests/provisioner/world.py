"""The real reconciler between the twins of an API server and of two targets."""

from __future__ import annotations

from typing import Any, cast

from lundock_common.kubernetes_api import Kube
from lundock_common.retry import Backoff
from provisioner import settings
from provisioner.context import Caches, Context
from provisioner.credentials import Credentials
from provisioner.kube.events import Recorder
from provisioner.kube.informer import Informer
from provisioner.observing.metrics import Metrics
from provisioner.outcomes import Done
from provisioner.planning import volumes
from provisioner.planning.claims import PROVISIONER_KEYS, ClaimName, name_of
from provisioner.reconcile import Key, Reconciler, VolumeName
from provisioner.sweep import Sweeper
from provisioner.targets import Targets
from target_image.api.client import TargetClient
from tests.provisioner.agent_twin import Agent
from tests.provisioner.twins import Api, Cache, Fuse, Json, Silent

KINDS = ("persistentvolumeclaims", "persistentvolumes", "storageclasses")
PREFIX = "iqn.2026-11.io.lundock"


class World:
    """An API server, two targets and kube-controller-manager's part, with the real reconciler between them."""

    def __init__(self, targets: int = 2) -> None:
        self.fuse = Fuse()
        self.api = Api(self.fuse)
        self.agents = {f"t{number}": Agent(self.fuse) for number in range(targets)}
        self.settings = settings.parse(
            {
                "release": "ns/lundock",
                "targets": [
                    {"name": name, "url": "http://127.0.0.1:1", "portalHost": f"{name}.svc", "labels": {"disk": name}}
                    for name in self.agents
                ],
                "sweep": {"mode": "remove", "graceSeconds": 0, "maxFraction": 1},
                "images": {"allowUrls": True},
                "targetCalls": {"pollSeconds": 0.1},
            },
            "test",
        )
        self.identity = volumes.Identity(self.settings.provisioner_name, self.settings.release, "cluster", PREFIX)
        self.claims, self.pvs, self.classes = (Cache(self.api, kind) for kind in KINDS)
        self.start()

    def start(self) -> None:
        """The process starts anew and has listed everything."""
        self.metrics, self.recorder = Metrics(), Silent()
        self.targets = Targets(self.settings, self.metrics, lambda item, _: cast(TargetClient, self.agents[item.name]))
        for target in self.targets.values():
            target._backoff = Backoff(0, 0)
        caches = Caches(cast(Informer, self.claims), cast(Informer, self.classes), cast(Informer, self.pvs))
        context = Context(
            cast(Kube, self.api),
            self.targets,
            cast(Recorder, self.recorder),
            self.metrics,
            self.identity,
            self.settings,
        )
        self.reconcile = Reconciler(context, caches, Credentials(context, b"k" * 32))
        self.sweeper = Sweeper(context, lambda: {"elsewhere"})
        self.refresh()

    def refresh(self) -> None:
        for cache in (self.claims, self.pvs, self.classes):
            cache.refresh()

    def make_class(
        self, name: str, policy: str = "Delete", parameters: dict[str, str] | None = None, **fields: Any
    ) -> None:
        body = {"metadata": {"name": name}, "provisioner": self.identity.provisioner, "reclaimPolicy": policy}
        self.api._create("/apis/storage.k8s.io/v1/storageclasses", body | {"parameters": parameters or {}} | fields)

    def make_claim(
        self, name: str, class_name: str, size: str = "1Gi", notes: dict[str, str] | None = None, **spec: Any
    ) -> ClaimName:
        body = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "annotations": {PROVISIONER_KEYS[0]: self.identity.provisioner, **(notes or {})},
            },
            "spec": {
                "storageClassName": class_name,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
                **spec,
            },
        }
        return name_of(self.api._create("/api/v1/namespaces/ns/persistentvolumeclaims", body))

    def provision(self, name: str, class_name: str = "delete", **claim: Any) -> str:
        """Makes the claim and its volume; returns the PV's name."""
        made = self.make_claim(name, class_name, **claim)
        self.refresh()
        assert self.reconcile(made) == Done(), self.recorder.said
        self.settle()
        self.refresh()
        return f"pvc-{made.uid}"

    def settle(self) -> None:
        """kube-controller-manager's part: binds, and releases what lost its claim."""
        for pv in self.api.under("persistentvolumes"):
            path, reference = f"/api/v1/persistentvolumes/{pv['metadata']['name']}", pv["spec"].get("claimRef")
            phase = "Available"
            if reference:
                claim = self.api.objects.get(
                    f"/api/v1/namespaces/{reference['namespace']}/persistentvolumeclaims/{reference['name']}"
                )
                mine = claim is not None and claim["metadata"]["uid"] == reference.get("uid")
                bound_elsewhere = (
                    mine and claim and claim["spec"].get("volumeName") not in (None, pv["metadata"]["name"])
                )
                phase = "Bound" if mine and not bound_elsewhere else "Released"
                if claim is not None and phase == "Bound":
                    claim["spec"]["volumeName"] = pv["metadata"]["name"]
                    claim.setdefault("status", {}).update({"phase": "Bound"})
                    claim["status"].setdefault("capacity", pv["spec"]["capacity"])
                    self.api._store(f"/api/v1/namespaces/ns/persistentvolumeclaims/{claim['metadata']['name']}", claim)
            if (pv.get("status") or {}).get("phase") != phase:
                self.api._store(path, pv | {"status": {"phase": phase}})

    def pv(self, name: str) -> Json | None:
        return self.api.objects.get(f"/api/v1/persistentvolumes/{name}")

    def keys(self) -> list[Key]:
        """Everything that the informers would put into the queue."""
        pvs = self.api.under("persistentvolumes")
        return [
            *(name_of(claim) for claim in self.api.under("persistentvolumeclaims")),
            *(VolumeName(pv["metadata"]["name"]) for pv in pvs),
        ]

    def converge(self) -> None:
        """Nobody disturbs any more, and the process starts once again."""
        self.fuse.disarm()
        self.start()
        for _ in range(6):
            self.settle()
            self.refresh()
            for key in self.keys():
                self.reconcile(key)
        self.sweeper.sweep()
        self.sweeper.sweep()
