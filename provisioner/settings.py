"""The provisioner's configuration: one YAML file, checked when it is read.

`example.yaml` beside this module shows every field. Keys are camelCase, as in Kubernetes' own
configuration files; an unknown key is an error. Secrets are never in this file, only the paths of theirs. Why not
pydantic-settings, as in the agent: docs/decisions/0404.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from lundock_common.limits import Pace
from lundock_common.names import is_dns_label
from provisioner.errors import SettingsError


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ValueError("must look like https://host:8081, without credentials")
    return value.rstrip("/")


def _dns_label(value: str) -> str:
    if not is_dns_label(value):
        raise ValueError("must be a DNS-1123 label: at most 63 of a-z, 0-9 and '-'")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
DnsLabel = Annotated[str, AfterValidator(_dns_label)]


class Section(BaseModel):
    """A part of the file: camelCase keys, unknown ones refused, values never changed after reading."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class TargetSettings(Section):
    """One target: a target pod or container, reached through its agent's API."""

    name: DnsLabel
    """Stays for the target's life: volumes are tied to it by this name (PV annotation lundock.io/target)."""

    url: HttpUrl
    """Of the agent's API, such as https://lundock-target-0.storage.svc:8081."""

    token_file: Path | None = None
    """File with the API's bearer token; read again when it changes. None only where the API asks for none."""

    ca_file: Path | None = None
    """File with the CA certificates that the API's certificate is checked against; None for the system's."""

    portal_host: str = Field(min_length=1, max_length=253)
    """Name or address that initiators dial. A PV's portal can never change, so let it be a name that stays."""

    portal_ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    """Port of each shard as initiators see it; for shards beyond the list, the port the target itself listens on."""

    labels: dict[str, str] = {}
    """What a StorageClass may select by (parameter `target: zone=a`), beside the name."""


class LeaderElectionSettings(Section):
    """One replica acts at a time, held by a Lease (the times are client-go's defaults)."""

    enabled: bool = True
    """Off for one replica with the Recreate strategy; nothing breaks if two act, every call is idempotent."""

    namespace: str = ""
    """Of the Lease; the service account's own where empty."""

    name: DnsLabel = "lundock-provisioner"
    """Of the Lease; one per release."""

    lease_duration_seconds: float = Field(default=15, gt=0)
    """Others wait this long after the last renewal before they take over."""

    renew_deadline_seconds: float = Field(default=10, gt=0)
    """The leader ends its process when it could not renew for this long."""

    retry_period_seconds: float = Field(default=2, gt=0)
    """Between two attempts to get or to renew the Lease."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError("must be retryPeriodSeconds < renewDeadlineSeconds < leaseDurationSeconds")
        return self


class ChapSettings(Section):
    """CHAP passwords: derived from a master key, so that writing one again gives the same one."""

    master_key_file: Path | None = None
    """File with at least 32 random bytes, kept for ever; None where no class uses CHAP."""

    secret_namespace: str = Field(default="", max_length=63)
    """Where the Secrets lie for classes without chapSecretNamespace; the claim's namespace where empty."""


class KubernetesSettings(Section):
    """How the API server is used."""

    requests_per_second: float = Field(default=200, gt=0)
    """Client-side limit of all calls but watches. client-go's 5 would be what bounds the provisioning rate."""

    burst: int = Field(default=400, ge=1)
    """Calls at once before the limit counts."""

    timeout_seconds: float = Field(default=30, gt=0)
    """Of one call; after it the outcome is unknown and the call is repeated."""

    watch_seconds: float = Field(default=300, ge=5)
    """After this long a watch is ended by the server and taken up again where it was."""

    @property
    def pace(self) -> Pace:
        """The same, as the client takes it."""
        return Pace(**self.model_dump())


class QueueSettings(Section):
    """How work is done and repeated."""

    workers: int = Field(default=16, ge=1, le=256)
    """Claims and volumes worked on at the same time."""

    backoff_min_seconds: float = Field(default=0.5, gt=0)
    """Delay after a key's first failure; doubles with each, with jitter."""

    backoff_max_seconds: float = Field(default=300, gt=0)
    """Longest delay between two attempts at one key."""

    resync_seconds: float = Field(default=900, ge=10)
    """How often every claim and volume is looked at again: missing CHAP Secrets and exports come back."""


class TargetCallSettings(Section):
    """How the targets' agents are called."""

    timeout_seconds: float = Field(default=20, gt=0)
    """Of one call; after it the outcome is unknown and the call is repeated."""

    poll_seconds: float = Field(default=1, gt=0)
    """How often long work (an import, a copy) is looked at."""

    concurrency: int = Field(default=8, ge=1)
    """Calls to one target at the same time; a slow target never takes every worker."""


class ImageSettings(Section):
    """Images that a claim asks for by URL (annotation lundock.io/image: https://…#sha256:…)."""

    allow_urls: bool = False
    """Whether a class may allow it (parameter `imageUrls: allow`). The target holds them to its own list of hosts."""

    url_prefixes: list[str] = []
    """Where not empty, a URL must start with one of these, such as https://images.example.com/."""

    @model_validator(mode="after")
    def _prefixes_end(self) -> Self:
        for prefix in self.url_prefixes:
            if urlsplit(prefix).scheme not in ("http", "https") or not urlsplit(prefix).path:
                raise ValueError(f"urlPrefixes: {prefix!r} must be a URL with a path, such as https://host/")
        return self


class SweepSettings(Section):
    """Volumes on the targets that no claim and no PV names any more."""

    mode: Literal["off", "report", "remove"] = "report"
    """report: metric, log and event; remove: into the trash, and out of it after graceSeconds."""

    interval_seconds: float = Field(default=3600, ge=1)
    """Between two sweeps."""

    grace_seconds: float = Field(default=86400, ge=0)
    """How long a volume must have been an orphan before it goes to the trash, and again before it leaves it."""

    max_fraction: float = Field(default=0.1, gt=0, le=1)
    """Never more of a target's volumes at once than this (but one, where others are named), and none where nothing is
    named: a restored cluster sees everything as orphaned. 1 lifts both."""


class HttpSettings(Section):
    """/healthz, /readyz and /metrics. The two ports may be the same one."""

    address: str = ""
    """Address to listen on; every one where empty."""

    health_port: int = Field(default=8080, ge=0, le=65535)
    """Of /healthz and /readyz; 0 for none."""

    metrics_port: int = Field(default=9090, ge=0, le=65535)
    """Of /metrics; 0 for none."""


class LogSettings(Section):
    """Structured logs on stderr; each line about a claim has claim, pv and volume."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""

    format: Literal["json", "text"] = "json"
    """json for machines, text for people."""


class TracingSettings(Section):
    """OpenTelemetry, where the extra `tracing` is installed."""

    otlp_endpoint: str = ""
    """Of an OTLP/HTTP collector, such as http://collector:4318/v1/traces; empty for no tracing."""


class Settings(Section):
    """The whole file."""

    provisioner_name: str = Field(default="iscsi.lundock.io", pattern=r"^[a-z0-9]([a-z0-9./-]{0,251}[a-z0-9])?$")
    """The StorageClasses' `provisioner`. Two releases in one cluster need two names."""

    release: str = Field(min_length=1, max_length=253)
    """namespace/name of this release. Volumes and PVs record it; nothing of another release is touched."""

    iqn_prefix: str = Field(default="iqn.2026-11.io.lundock", pattern=r"^iqn\.\d{4}-\d{2}\.[a-z0-9.-]+$")
    """What the volume's id is put after, with a colon."""

    targets: list[TargetSettings] = Field(min_length=1)
    """Where volumes can be. Take one out only when no PV names it any more."""

    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    chap: ChapSettings = ChapSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    queue: QueueSettings = QueueSettings()
    target_calls: TargetCallSettings = TargetCallSettings()
    images: ImageSettings = ImageSettings()
    sweep: SweepSettings = SweepSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [target.name for target in self.targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"targets: the name {twice[0]!r} is used twice")
        return self


def parse(document: Any, origin: str) -> Settings:
    """Settings from the parsed YAML.

    Args:
        document: what the file holds; None for an empty one.
        origin: the file's name, for messages.

    Raises:
        SettingsError: lists every wrong field with its path.
    """
    try:
        return Settings.model_validate({} if document is None else document)
    except ValidationError as error:
        wrong = [f"  {'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise SettingsError("\n".join([f"{origin} is not a usable configuration:", *wrong])) from error


def load(path: Path) -> Settings:
    """Settings from a file.

    Raises:
        SettingsError: it cannot be read, or is not usable.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read the configuration {path}: {error}") from error
    return parse(document, str(path))


def master_key(settings: Settings) -> bytes | None:
    """The key CHAP passwords are derived from; None where none is configured.

    Raises:
        SettingsError: its file cannot be read, or holds too few bytes.
    """
    path = settings.chap.master_key_file
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"cannot read chap.masterKeyFile {path}: {error}") from error
    if len(key) < 32:
        raise SettingsError(f"chap.masterKeyFile {path} has {len(key)} bytes; it needs at least 32 random ones")
    return key
