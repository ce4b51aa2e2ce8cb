"""The bare control plane does what tests of API clients rely on."""

from __future__ import annotations

import json

import pytest

from cluster.components.control_plane import ControlPlane
from cluster.errors import CommandFailed

pytestmark = pytest.mark.cluster

CLAIM_AND_VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: smoke}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: smoke
  iscsi: {targetPortal: "192.0.2.1:3260", iqn: "iqn.2026-11.io.lundock:smoke", lun: 1}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: smoke, namespace: default}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: smoke
  resources: {requests: {storage: 1Gi}}
"""


def test_a_claim_binds_to_its_volume(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "-f", "-", stdin=CLAIM_AND_VOLUME)
    try:
        control_plane.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/smoke", "--timeout=60s")
    finally:
        control_plane.kubectl("delete", "--wait=false", "pvc/smoke", "pv/smoke")


def test_a_service_account_gets_a_token_and_no_rights(control_plane: ControlPlane) -> None:
    token = control_plane.kubectl("create", "token", "default").strip()
    assert token.count(".") == 2
    with pytest.raises(CommandFailed, match="forbidden"):
        control_plane.kubectl("get", "secrets", "--as=system:serviceaccount:default:default")


def test_restricted_pod_security_is_enforced(control_plane: ControlPlane) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        control_plane.kubectl("-n", "restricted", "run", "p", "--image=none", "--privileged")


def test_validating_admission_policies_are_served(control_plane: ControlPlane) -> None:
    resources = control_plane.kubectl("api-resources", "--api-group=admissionregistration.k8s.io", "-o", "name")
    assert "validatingadmissionpolicies.admissionregistration.k8s.io" in resources.split()
