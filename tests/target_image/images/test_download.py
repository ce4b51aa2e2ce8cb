"""Downloads against a real HTTP server that breaks, lies, redirects and is slow."""

from __future__ import annotations

import hashlib
import random
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from target_image.agent.errors import ImageFailed
from target_image.agent.images import download
from target_image.agent.images.allowlist import AllowList, Everywhere
from tests.target_image import image_server
from tests.target_image.image_server import ImageServer

BODY = random.Random(1).randbytes(3_000_000)  # noqa: S311 - any bytes will do
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
LIMITS = download.Limits(max_bytes=10_000_000, silence_s=5.0, policy=Everywhere())


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with image_server.running() as running:
        yield running


def fetch(
    urls: list[str], partial: Path, digest: str = DIGEST, limits: download.Limits = LIMITS
) -> list[tuple[int, int]]:
    progress: list[tuple[int, int]] = []
    download.fetch(urls, digest, partial, limits, lambda done, total: progress.append((done, total)), lambda: False)
    return progress


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_fetches_and_verifies(server: ImageServer, tmp_path: Path, algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest()}"
    progress = fetch([server.add("/a", BODY)], tmp_path / "a", digest)
    assert (tmp_path / "a").read_bytes() == BODY
    assert progress[0] == (0, len(BODY))
    assert progress[-1] == (len(BODY), len(BODY))


def test_goes_on_where_a_connection_broke(server: ImageServer, tmp_path: Path) -> None:
    fetch([server.add("/a", BODY, breaks_after=[1_000_000, 500_000])], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for _, asked in server.requests]
    assert len(starts) == 3
    assert starts[0] == 0
    assert 0 < starts[1] < starts[2]


def test_goes_on_where_an_earlier_process_was_killed(server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY[:2_000_000])
    fetch([server.add("/a", BODY)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.requests == [("/a", "bytes=2000000-")]


def test_a_whole_file_that_was_not_yet_verified_is_not_fetched_again(server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    fetch([server.add("/a", BODY)], tmp_path / "a")
    assert server.requests == []


def test_begins_anew_at_a_server_that_ignores_ranges(server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000)
    fetch([server.add("/a", BODY, ranges=False)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_begins_anew_when_the_older_bytes_were_wrong(server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000)
    fetch([server.add("/a", BODY)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert [asked for _, asked in server.requests] == ["bytes=1000-", ""]


def test_begins_anew_when_more_is_there_than_the_server_has(server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY + b"more")
    fetch([server.add("/a", BODY)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_mirror_takes_over(server: ImageServer, tmp_path: Path) -> None:
    broken = server.add("/broken", BODY, breaks_after=[1_000_000] * 9)
    whole = server.add("/whole", BODY)
    fetch([server.url("/missing"), broken, whole], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.requests[-1][0] == "/whole"
    assert server.requests[-1][1] != ""


def test_a_wrong_digest_is_refused_and_nothing_is_left(server: ImageServer, tmp_path: Path) -> None:
    url = server.add("/a", BODY[:-1] + b"!")
    with pytest.raises(ImageFailed, match="digest") as raised:
        fetch([url], tmp_path / "a")
    assert url in raised.value.detail
    assert not (tmp_path / "a").exists()
    assert len(server.requests) == 1


def test_every_url_says_why_it_failed(server: ImageServer, tmp_path: Path) -> None:
    gone = server.url("/gone")
    short = server.add("/short", BODY[:100], told_length=len(BODY), breaks_after=[100] * 99)
    with pytest.raises(ImageFailed) as raised:
        fetch([gone, short, "http://127.0.0.1:1/closed"], tmp_path / "a")
    for text in (f"{gone}: it answered 404", f"{short}: ", "http://127.0.0.1:1/closed: "):
        assert text in raised.value.detail


def test_silence_ends_the_wait(server: ImageServer, tmp_path: Path) -> None:
    limits = download.Limits(max_bytes=10_000_000, silence_s=0.2, policy=Everywhere())
    url = server.add("/slow", BODY, wait_s=20, ranges=False)
    with pytest.raises(ImageFailed, match="timed out"):
        fetch([url], tmp_path / "a", limits=limits)


def test_slow_but_never_silent_is_fine(server: ImageServer, tmp_path: Path) -> None:
    fetch([server.add("/slow", BODY, wait_s=0.5)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("told", [True, False])
def test_too_long_is_refused(server: ImageServer, tmp_path: Path, told: bool) -> None:
    limits = download.Limits(max_bytes=1_000, silence_s=5, policy=Everywhere())
    url = server.add("/a", BODY, told_length=None if told else 999)
    with pytest.raises(ImageFailed, match=r"--image-max-bytes|digest"):
        fetch([url], tmp_path / "a", limits=limits)
    assert not (tmp_path / "a").exists() or (tmp_path / "a").stat().st_size <= 1_000


def test_without_room_nothing_is_fetched(server: ImageServer, tmp_path: Path) -> None:
    limits = replace(LIMITS, room=lambda: len(BODY) - 1)
    with pytest.raises(ImageFailed, match="no room"):
        fetch([server.add("/a", BODY)], tmp_path / "a", limits=limits)
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").write_bytes(BODY[:1000])  # what is there already needs no room
    fetch([server.url("/a")], tmp_path / "a", limits=limits)


def test_a_server_that_only_drips_gives_way_to_the_next(
    server: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SLOW_WINDOW_S", 0.2)
    dripping = server.add("/drips", BODY, drip_s=0.01)
    fetch([dripping, server.add("/a", BODY)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/drips", "/a"]
    (tmp_path / "a").unlink()
    with pytest.raises(ImageFailed, match="too slow"):
        fetch([dripping], tmp_path / "a")


@pytest.mark.parametrize("redirect", ["http://[127.0.0.1/", "http://127.0.0.1:port/", "http://127.0.0.1/\x7f"])
def test_a_redirect_to_nonsense_is_that_mirrors_failure(server: ImageServer, tmp_path: Path, redirect: str) -> None:
    server.add("/odd", redirect=redirect)
    fetch([server.url("/odd"), server.add("/a", BODY)], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_failure_does_not_tell_the_query(server: ImageServer, tmp_path: Path) -> None:
    """It may be a signature, and the reason is shown on the page."""
    with pytest.raises(ImageFailed, match="answered 404") as raised:
        fetch([server.url("/gone?signature=open-sesame")], tmp_path / "a")
    assert "sesame" not in raised.value.detail


def test_stops_in_the_middle_and_keeps_what_is_there(server: ImageServer, tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(download.Stopped):
        download.fetch(
            [server.add("/a", BODY)],
            DIGEST,
            tmp_path / "a",
            LIMITS,
            lambda done, _total: seen.append(done),
            lambda: bool(seen) and seen[-1] > 0,
        )
    fetch([server.url("/a")], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.requests[1][1] != ""


def test_follows_redirects(server: ImageServer, tmp_path: Path) -> None:
    server.add("/b", BODY)
    fetch([server.add("/a", redirect="/b")], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_ends_a_circle_of_redirects(server: ImageServer, tmp_path: Path) -> None:
    with pytest.raises(ImageFailed, match="redirected more than"):
        fetch([server.add("/a", redirect="/a")], tmp_path / "a")


def strict(*entries: str, leads_to: str = "127.0.0.1") -> download.Limits:
    return download.Limits(
        max_bytes=10_000_000,
        silence_s=5,
        policy=AllowList.parse(entries),
        resolver=lambda _host, _port: [ip_address(leads_to)],
    )


def test_an_allowed_name_in_an_allowed_network(server: ImageServer, tmp_path: Path) -> None:
    server.add("/a", BODY)
    fetch([server.url("/a", "images.example.org")], tmp_path / "a", limits=strict("images.example.org", "127.0.0.0/8"))
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize(
    ("redirect", "reason"),
    [
        ("http://elsewhere.example.org/", "is not among the hosts"),
        ("http://169.254.169.254/latest/meta-data/", "is not among the hosts"),
        ("file:///etc/passwd", "is not an http or https URL"),
        ("http://user:secret@images.example.org/", "carries credentials"),
    ],
)
def test_a_redirect_is_held_to_the_list(server: ImageServer, tmp_path: Path, redirect: str, reason: str) -> None:
    server.add("/a", redirect=redirect)
    limits = strict("images.example.org", "127.0.0.0/8")
    with pytest.raises(ImageFailed, match=reason) as raised:
        fetch([server.url("/a", "images.example.org")], tmp_path / "a", limits=limits)
    assert "secret" not in raised.value.detail


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "10.0.0.1", "127.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1", "::"]
)
def test_an_allowed_name_may_not_lead_inside(server: ImageServer, tmp_path: Path, address: str) -> None:
    server.add("/a", BODY)
    with pytest.raises(ImageFailed, match="leads to"):
        fetch(
            [server.url("/a", "images.example.org")],
            tmp_path / "a",
            limits=strict("images.example.org", leads_to=address),
        )
    assert server.requests == []


def test_the_address_that_was_checked_is_the_one_connected_to(server: ImageServer, tmp_path: Path) -> None:
    """A name server that answers differently the second time (DNS rebinding) changes nothing."""
    answers = iter(["127.0.0.1"])
    limits = download.Limits(
        max_bytes=10_000_000,
        silence_s=5,
        policy=AllowList.parse(["images.example.org", "127.0.0.0/8"]),
        resolver=lambda _host, _port: [ip_address(next(answers))],
    )
    server.add("/a", BODY)
    fetch([server.url("/a", "images.example.org")], tmp_path / "a", limits=limits)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("name", ["images.example.org", "other.example.org"])
def test_over_tls_the_name_is_sent_and_verified_at_the_checked_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The connection goes to 127.0.0.1, and the certificate is for images.example.org alone."""
    cert, key = certificate(tmp_path, "images.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    names_sent: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _socket, sent, _context: names_sent.append(sent)
    limits = strict("*.example.org", "127.0.0.0/8")
    with image_server.running(context) as server:
        server.add("/a", BODY)
        url = f"https://{name}:{server.port}/a"
        if name == "images.example.org":
            fetch([url], tmp_path / "a", limits=limits)
            assert (tmp_path / "a").read_bytes() == BODY
        else:
            with pytest.raises(ImageFailed, match="CERTIFICATE_VERIFY_FAILED"):
                fetch([url], tmp_path / "a", limits=limits)
            assert server.requests == []
    assert names_sent == [name]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate of a name, and its key."""
    cert, key = folder / "tls.crt", folder / "tls.key"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    options += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *options], check=True, capture_output=True, timeout=60)
    return cert, key
