"""The agent's settings: made once, from the command line and the environment, and never changed.

`lundock-target serve` offers each field as an option (`--data-dir`) and an environment variable
(`LUNDOCK_DATA_DIR`); the docstring below a field is the option's help.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from lundock_common import quantity
from lundock_common.quantity import GIB, MIB
from target_image.agent.engines import EngineName
from target_image.agent.errors import SettingsError


def _bytes(value: Any) -> Any:
    return quantity.parse_size(value) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(_bytes)]
"""A number, or a size such as 64Mi."""

Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
"""Several texts; in the environment with spaces between them."""


class Settings(BaseSettings):
    """Everything that can be chosen about one target. Sizes are bytes, times are seconds.

    What is given by keyword counts before the environment, and that before the default.
    """

    model_config = SettingsConfigDict(
        env_prefix="LUNDOCK_", env_ignore_empty=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    data_dir: Path = Path("/var/lib/lundock")
    """Folder of the ledger, the volumes and the images. Must be a file system that can lock files."""

    run_dir: Path = Path("/run/lundock")
    """Folder of the engine's management sockets; nothing in it survives a restart."""

    share_dir: Path = Path("/usr/share/lundock")
    """Folder of what the container carries: demo.img.gz, and images/ with what was fetched when it was built."""

    engine: EngineName = "tgt"
    """What serves iSCSI: tgt (user space, unprivileged) or lio (the host's kernel, privileged)."""

    shards: int = 1
    """Number of tgtd processes. Each is one event loop on one core, with its own port; a volume keeps its shard."""

    iscsi_addresses: Words = ("0.0.0.0", "::")  # noqa: S104 - an iSCSI target is there to be reached
    """Addresses that iSCSI listens on. "::" is left out where the machine has no IPv6."""

    iscsi_port: int = 3260
    """TCP port of shard 0; shard n listens on this plus n."""

    nop_interval_s: int = 5
    """Seconds between NOP-In pings to an idle initiator. A dead one is dropped after nop_count of them."""

    nop_count: int = 5
    """Unanswered pings after which a session is dropped."""

    hung_after_s: float = 60.0
    """Seconds without an answer after which a tgtd is taken for hung: it is killed and started again; 0 is never."""

    iqn_prefix: str = "iqn.2026-11.io.lundock"
    """Naming authority of derived IQNs: prefix, a colon, the export's id."""

    api_address: str = "127.0.0.1"
    """Address of the API. Anything beyond loopback needs token_file."""

    api_port: int = 8081
    """TCP port of the API; 0 takes a free one and prints it."""

    token_file: Path | None = None
    """File with the bearer token that the API asks for. Read again when it changes."""

    tls_cert_file: Path | None = None
    """PEM certificate chain of the API. Read again when it changes."""

    tls_key_file: Path | None = None
    """PEM private key that belongs to tls_cert_file."""

    page_address: str = "0.0.0.0"  # noqa: S104 - read-only, without secrets
    """Address of the landing page and the health checks."""

    page_port: int = 8080
    """TCP port of the landing page and of /healthz and /readyz."""

    page: bool = True
    """Whether the landing page is shown. The health checks are there either way."""

    metrics_address: str = "0.0.0.0"  # noqa: S104 - read-only, without secrets
    """Address of the Prometheus metrics."""

    metrics_port: int = 9090
    """TCP port of /metrics."""

    max_body_bytes: Bytes = 256 * 1024
    """Largest request body that is read; more is 413."""

    overcommit_ratio: float = 1.0
    """How much may be promised to volumes, as a multiple of the space they have or could have."""

    reserve_bytes: Bytes = 64 * MIB
    """Free space that is never promised: room for the ledger, so that a full disk can still be emptied."""

    delete_grace_s: float = 60.0
    """After a start, seconds in which no session yet does not mean unused: DELETE and CHAP changes are 409."""

    check_interval_s: float = 5.0
    """Seconds between two looks at the engine's processes and the backing files."""

    copy_workers: int = 2
    """Volumes that are filled from an image or another volume at the same time."""

    image_hosts: Words = ()
    """Hosts that an image's URL may name beside the catalogue's own; "*.example.org" matches subdomains."""

    image_timeout_s: float = 30.0
    """Longest silence of a server while an image is fetched."""

    image_max_bytes: Bytes = 64 * GIB
    """Largest virtual size of an image, and of what it unpacks to."""

    image_memory_bytes: Bytes = 1 * GIB
    """Address space that qemu-img may use while it converts; it alone fails beyond that."""

    image_convert_timeout_s: float = 3600.0
    """Longest time that qemu-img may take."""

    demo: bool = False
    """Serve the demo target (iqn.2017-01.io.kubevirt:sn.42) beside what the API makes."""

    log_format: Literal["json", "console"] = "json"
    """Log lines as JSON for machines, or as text for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log line that is written."""

    @property
    def ledger_file(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def images_dir(self) -> Path:
        return self.data_dir / "images"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (pydantic's)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """No files: a .env beside the agent must not change it."""
        return init_settings, env_settings

    @classmethod
    def load(cls, **chosen: Any) -> Settings:
        """Settings from what was chosen on the command line, the environment and the defaults.

        Raises:
            SettingsError: names each option that has no usable value, and not the value.
        """
        try:
            return cls(**chosen)
        except ValidationError as error:
            wrong = [f"--{str(item['loc'][0]).replace('_', '-')}: {item['msg']}" for item in error.errors()]
            raise SettingsError("; ".join(wrong)) from error

    def check(self) -> None:
        """Refuse settings that no agent can run with.

        Raises:
            SettingsError: they contradict each other, would open the API to everyone, or one has no usable value.
        """
        if not is_loopback(self.api_address) and self.token_file is None:
            raise SettingsError(
                f"the API may not listen on {self.api_address} without a token: give --token-file, "
                "or keep --api-address on loopback"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise SettingsError("--tls-cert-file and --tls-key-file go together: give both or neither")
        for file in (self.tls_cert_file, self.tls_key_file):
            if file is not None and not file.is_file():
                raise SettingsError(f"the TLS file {file} is not there: give the path of a PEM file")
        if self.shards < 1:
            raise SettingsError(f"--shards is {self.shards}: at least one process has to serve iSCSI")
        if not self.iscsi_addresses:
            raise SettingsError("--iscsi-addresses is empty: give at least one address to listen on")
        if self.overcommit_ratio <= 0:
            raise SettingsError(f"--overcommit-ratio is {self.overcommit_ratio}: give a number above 0")


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
