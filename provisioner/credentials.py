"""CHAP credentials: derived from the master key, written to Secrets, replaced there, and never read."""

from __future__ import annotations

from dataclasses import dataclass

from lundock_common.kubernetes_api import AlreadyExists, NotFound, secret_path, secrets_path
from provisioner.context import Context
from provisioner.errors import Permanent
from provisioner.planning import volumes
from provisioner.planning.claims import ClaimName, ClaimRequest
from provisioner.planning.volumes import SecretName
from target_image.api import requests


@dataclass(frozen=True)
class Login:
    """What opens a volume, and where its Secret is."""

    chap: requests.Chap
    secret: SecretName


class Credentials:
    """Thread-safe. `master_key` None: no class may use CHAP."""

    def __init__(self, context: Context, master_key: bytes | None) -> None:
        self._context = context
        self._master_key = master_key

    def of(self, request: ClaimRequest) -> Login | None:
        """The login of a new volume; None where its class wants no CHAP.

        Raises:
            Permanent: NoMasterKey.
        """
        parameters = request.storage_class.parameters
        if parameters.chap == "off":
            return None
        chap = self.derive(request.volume_id, request.generation, mutual=parameters.chap == "mutual")
        return Login(chap, volumes.secret_of(request, self._context.settings.chap))

    def derive(self, volume_id: str, generation: str, *, mutual: bool) -> requests.Chap:
        """The same credentials whenever they are asked for.

        Raises:
            Permanent: NoMasterKey.
        """
        if self._master_key is None:
            raise Permanent(
                "NoMasterKey",
                "CHAP needs chap.masterKeyFile in the provisioner's configuration; set it, or use a StorageClass with "
                "the parameter chap: off.",
            )
        return volumes.chap(self._master_key, volume_id, generation, mutual=mutual)

    def write(self, login: Login, volume_id: str, claim: ClaimName | None) -> None:
        """Create the Secret, or replace the one that is there: which of the two is found out without reading it."""
        body = volumes.secret(login.secret, volume_id, login.chap, self._context.identity, claim)
        try:
            self._context.kube.create(secrets_path(login.secret.namespace), body)
        except AlreadyExists:
            self._context.kube.replace(secret_path(login.secret.namespace, login.secret.name), body)

    def replace(self, login: Login, volume_id: str, claim: ClaimName | None) -> bool:
        """Replace the Secret, or create it where it is missing.

        Returns:
            Whether it was missing.
        """
        body = volumes.secret(login.secret, volume_id, login.chap, self._context.identity, claim)
        try:
            self._context.kube.replace(secret_path(login.secret.namespace, login.secret.name), body)
        except NotFound:
            self._context.kube.create(secrets_path(login.secret.namespace), body)
            return True
        return False

    def delete(self, name: SecretName) -> None:
        """Delete the Secret. Succeeds if it does not exist."""
        self._context.kube.delete(secret_path(name.namespace, name.name))
