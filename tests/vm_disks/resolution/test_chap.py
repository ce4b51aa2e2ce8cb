import base64

import pytest

from vm_disks.errors import CredentialsError
from vm_disks.resolution import chap

GOOD = {"node.session.auth.username": "user", "node.session.auth.password": "word"}


def encoded(values: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}


@pytest.mark.parametrize("secret", [encoded(GOOD), {"stringData": GOOD}])
def test_credentials_are_read_and_never_shown(secret: dict[str, dict[str, str]]) -> None:
    credentials = chap.read(secret, "ns/secret")
    assert (credentials.username, credentials.password) == ("user", "word")
    assert "word" not in repr(credentials)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "there is none"),
        ({}, "it has no node.session.auth.username"),
        (encoded({"node.session.auth.username": "user"}), "it has no node.session.auth.password"),
        (encoded({**GOOD, "node.session.auth.username_in": "target"}), "mutual CHAP"),
        (encoded({**GOOD, "node.session.auth.password_in": "target"}), "one-way CHAP only"),
        ({"data": {"node.session.auth.username": "%"}}, "is not base64"),
        (encoded({**GOOD, "node.session.auth.username": "user\n"}), "a line end or control characters"),
        ({"data": {"node.session.auth.username": "\x80"}}, "is not base64"),
    ],
)
def test_a_secret_that_qemu_cannot_use_is_refused(secret: dict[str, dict[str, str]] | None, reason: str) -> None:
    with pytest.raises(CredentialsError, match=reason) as refused:
        chap.read(secret, "ns/secret")
    assert "ns/secret" in str(refused.value)
    assert "word" not in str(refused.value).replace("password", "")
