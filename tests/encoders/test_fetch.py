"""Fetching from a server that stalls, truncates, redirects and lies."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.encoders import fetch as fetch_module
from pytest_occlusion.encoders import register
from pytest_occlusion.encoders.fetch import fetch
from pytest_occlusion.encoders.register import Known, find_model
from pytest_occlusion.errors import OcclusionError

from .hub_server import COMMIT, Hub
from .tiny import state_of, vit_shapes


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STALL": 0.5, "ATTEMPTS": 3, "PAUSE": 0.01}.items():
        monkeypatch.setattr(fetch_module, name, value)


@dataclass
class Remote:
    """A file on a server and how the server misbehaves."""

    body: bytes
    kind: str = "application/octet-stream"
    etag: str = '"one"'
    ranges: bool = True
    cut: int = 0
    stall_at: int = 0
    stalls: int = 0
    errors: list[int] = field(default_factory=list)
    extra_length: int = 0
    send_length: bool = True
    location: str = ""
    seen: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    remotes: dict[str, Remote]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        remote = self.remotes[self.path.strip("/")]
        asked = self.headers.get("Range", "")
        remote.seen.append(asked)
        if remote.errors:
            self.send_error(remote.errors.pop(0))
            return
        if remote.location:
            self.send_response(302)
            self.send_header("Location", remote.location)
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and remote.ranges else 0
        if self.headers.get("If-Range", remote.etag) != remote.etag:
            start = 0
        if start >= len(remote.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", remote.kind)
        self.send_header("ETag", remote.etag)
        body = remote.body[start:]
        if start:
            whole = len(remote.body)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if remote.send_length:
            self.send_header("Content-Length", str(len(body) + remote.extra_length))
        self.end_headers()
        if remote.cut:
            body = body[: remote.cut]
        if remote.stalls:
            remote.stalls -= 1
            self.wfile.write(body[: remote.stall_at])
            self.wfile.flush()
            time.sleep(1.5)
            return
        self.wfile.write(body)


@pytest.fixture
def remotes() -> Iterator[tuple[dict[str, Remote], str]]:
    served: dict[str, Remote] = {}
    handler = type("Served", (Handler,), {"remotes": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    import torch

    path = tmp_path_factory.mktemp("remote") / "w.pt"
    state = {name: torch.from_numpy(array) for name, array in state_of(vit_shapes()).items()}
    torch.save(state, path)
    return path.read_bytes()


Served = tuple[dict[str, Remote], str]


def publish(remotes: Served, remote: Remote, name: str = "w.pt", digest: str = "") -> Known:
    served, address = remotes
    served[name] = remote
    url = f"{address}/{name}"
    page = "https://example.org"
    return Known(
        "clip-test", "clip", url=url, terms="Free.", page=page, sha256=digest, also=("clip",)
    )


def left_behind(folder: Path) -> set[str]:
    return {f.name for f in folder.rglob("*") if f.is_file()} - {"w.pt.lock"}


def test_a_whole_file(
    remotes: Served, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    entry = publish(remotes, Remote(content), digest=digest)
    place = fetch(entry, tmp_path)
    assert place == tmp_path / "clip" / "w.pt"
    assert place.read_bytes() == content
    assert "w.pt: 100%" in capsys.readouterr().err
    assert left_behind(tmp_path) == {"w.pt", "w.pt.json"}
    assert fetch(entry, tmp_path) == place
    assert len(remotes[0]["w.pt"].seen) == 1  # the second time it is in the cache


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_stalls_are_given_up_and_resumed(
    ranges: bool, remotes: Served, content: bytes, tmp_path: Path
) -> None:
    remote = Remote(content, ranges=ranges, stalls=1, stall_at=70_000)
    place = fetch(publish(remotes, remote), tmp_path)
    assert place.read_bytes() == content
    assert len(remote.seen) == 2
    assert remote.seen[1].startswith("bytes=")


def test_truncated_connections_are_put_together(
    remotes: Served, content: bytes, tmp_path: Path
) -> None:
    remote = Remote(content, cut=len(content) // 5)
    place = fetch(publish(remotes, remote), tmp_path)
    assert place.read_bytes() == content
    assert len(remote.seen) in (5, 6)


def test_giving_up_and_going_on_later(
    remotes: Served, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote(content, cut=100_000, errors=[])
    entry = publish(remotes, remote)
    with monkeypatch.context() as patched:
        patched.setattr(fetch_module, "ATTEMPTS", 1)
        patched.setattr(fetch_module, "_length", lambda part: 0)  # nothing ever counts as gained
        with pytest.raises(OcclusionError, match="gave up after 1 connections") as fault:
            fetch(entry, tmp_path)
    assert "w.pt.part" in fault.value.remedy
    assert left_behind(tmp_path) == {"w.pt.part", "w.pt.part.json"}
    remote.cut = 0
    assert fetch(entry, tmp_path).read_bytes() == content
    assert remote.seen[-1] == "bytes=100000-"


@pytest.mark.parametrize(
    ("length", "version"),
    [(5000, '"old"'), (5000, ""), (10**7, "")],
    ids=["changed-since", "of-another-size", "longer-than-the-file"],
)
def test_a_part_of_another_file_is_thrown_away(
    length: int, version: str, remotes: Served, content: bytes, tmp_path: Path
) -> None:
    entry = publish(remotes, Remote(content))
    part = tmp_path / "clip" / "w.pt.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * length)
    note = {"url": entry.url, "size": 9, "version": version}
    part.with_name("w.pt.part.json").write_text(json.dumps(note))
    assert fetch(entry, tmp_path).read_bytes() == content
    assert remotes[0]["w.pt"].seen == [f"bytes={length}-"] + [""] * (not version)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk(remotes: Served, content: bytes, tmp_path: Path) -> None:
    remote = Remote(content)
    entry = publish(remotes, remote)
    part = tmp_path / "clip" / "w.pt.part"
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    with pytest.raises(OcclusionError, match=r"cannot be written .No space left") as fault:
        fetch(entry, tmp_path)
    assert "--folder" in fault.value.remedy
    assert not part.with_name("w.pt").exists()
    assert len(remote.seen) == 1  # no matter of the network: not asked again


def test_a_folder_that_is_none(remotes: Served, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OcclusionError, match=r"cannot be written .Not a directory") as fault:
        fetch(publish(remotes, Remote(content)), tmp_path / "file")
    assert "--folder" in fault.value.remedy


@pytest.mark.parametrize(
    "remote",
    [{"errors": [503, 429]}, {"location": "/far"}, {"send_length": False}],
    ids=["passing-errors", "redirect", "no-length"],
)
def test_what_is_put_up_with(
    remote: dict[str, Any], remotes: Served, content: bytes, tmp_path: Path
) -> None:
    remotes[0]["far"] = Remote(content)
    assert fetch(publish(remotes, Remote(content, **remote)), tmp_path).read_bytes() == content


PAGE = b"<!doctype html><html><head><title>Log in</title></head></html>"

REFUSALS: dict[str, tuple[Remote, str]] = {
    "gone": (Remote(b"", errors=[404]), "the server answers 404"),
    "forbidden": (Remote(b"", errors=[403]), "the server answers 403"),
    "page": (Remote(PAGE, kind="text/html; charset=utf-8"), "is a web page, not the file"),
    "page-in-disguise": (Remote(PAGE), "a web page titled 'Log in'"),
    "to-plain-http": (Remote(b"", location="http://example.org/w.pt"), "not an encrypted address"),
    "to-a-file": (Remote(b"", location="file:///etc/hostname"), "the server answers 302"),
    "always-down": (Remote(b"", errors=[500] * 9), "gave up after 3 connections"),
    "empty": (Remote(b" "), "neither a torch file nor safetensors"),
}


@pytest.mark.parametrize(("remote", "said"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_leave_nothing(remote: Remote, said: str, remotes: Served, tmp_path: Path) -> None:
    entry = publish(remotes, replace(remote, errors=list(remote.errors), seen=[]))
    with pytest.raises(OcclusionError, match=said) as fault:
        fetch(entry, tmp_path)
    assert fault.value.remedy
    assert left_behind(tmp_path) == set()


def test_a_server_that_promises_more_than_it_has(
    remotes: Served, content: bytes, tmp_path: Path
) -> None:
    remote = Remote(content, extra_length=1000)
    with pytest.raises(OcclusionError, match="gave up after 3 connections"):
        fetch(publish(remotes, remote), tmp_path)
    assert not (tmp_path / "clip" / "w.pt").exists()
    assert len(remote.seen) < 10


def test_a_truncated_file_without_a_length(remotes: Served, content: bytes, tmp_path: Path) -> None:
    entry = publish(remotes, Remote(content[:-4000], send_length=False))
    with pytest.raises(OcclusionError, match="a truncated or damaged zip"):
        fetch(entry, tmp_path)
    assert left_behind(tmp_path) == set()


def test_bytes_that_are_not_the_published_ones(
    remotes: Served, content: bytes, tmp_path: Path
) -> None:
    entry = publish(remotes, Remote(content), digest="0" * 64)
    with pytest.raises(OcclusionError, match="where its authors publish 0000"):
        fetch(entry, tmp_path)
    assert left_behind(tmp_path) == set()


def test_the_first_checksum_is_kept_and_enforced(
    remotes: Served, content: bytes, tmp_path: Path
) -> None:
    entry = publish(remotes, Remote(content))
    place = fetch(entry, tmp_path)
    place.unlink()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    remotes[0]["w.pt"].body = bytes(changed)
    with pytest.raises(OcclusionError, match="was written down at the first download"):
        fetch(entry, tmp_path)
    assert not place.exists()
    remotes[0]["w.pt"].body = content
    fetch(entry, tmp_path)
    place.write_bytes(bytes(changed))
    with pytest.raises(OcclusionError, match=r"w\.pt: SHA-256") as fault:
        fetch(entry, tmp_path)
    assert place.exists()
    assert f"delete {place}" in fault.value.remedy


def test_by_hand(tmp_path: Path) -> None:
    for name, host in {
        "cxr-repair": "stanfordmedicine.box.com",
        "chexzero": "drive.google",
    }.items():
        with pytest.raises(OcclusionError, match="only a browser can use") as fault:
            fetch(find_model(name), tmp_path)
        assert host in fault.value.remedy


def holding(hub: Hub, folder: Path, name: str, *files: str, **told: Any) -> None:
    """Serve a repository of files that hold their own names."""
    place = folder / name.replace("/", "-")
    place.mkdir()
    for file in files:
        (place / file).write_text(file, encoding="utf-8")
    hub.add(name, place, **told)


TOWER = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"


def test_hub_models_go_to_the_hubs_own_cache(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the pinned commit, with the repositories that the loader reads; the licence first."""
    entry = find_model("biomedclip")
    weights = "open_clip_pytorch_model.bin"
    holding(hub, tmp_path, entry.hub, weights, "open_clip_config.json", "code.py",
            commit=entry.revision)  # fmt: skip
    holding(hub, tmp_path, TOWER, "config.json", "pytorch_model.bin")
    assert main(["fetch", "biomedclip"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("licence: MIT.")
    assert (Path(said[-1]) / weights).read_text() == weights
    assert Path(said[-1]).name == entry.revision
    assert hub.fetched == {weights, "open_clip_config.json", "config.json"}


def test_a_commit_of_the_users_own(hub: Hub, tmp_path: Path) -> None:
    """Where the register knows none; the first of the weights that the repository has."""
    entry = find_model("whyxrayclip")
    safe, old = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
    holding(hub, tmp_path, entry.hub, safe, old)
    assert fetch(entry, revision=COMMIT).name == COMMIT
    assert hub.fetched == {safe}


def test_what_a_hub_model_needs_is_said_before_anything_is_asked(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for revision in ([], ["--revision", "main"]):
        assert main(["fetch", "whyxrayclip", *revision]) == 2
        said = capsys.readouterr().err
        assert "no commit of hf-hub:yyupenn/whyxrayclip is known here" in said
        assert "https://huggingface.co/yyupenn/whyxrayclip/commits/main" in said
    assert main(["fetch", "biovil-t", "--folder", str(tmp_path)]) == 2
    assert "HF_HOME" in capsys.readouterr().err
    assert not hub.asked
    assert main(["fetch", "medsiglip"]) == 2
    said, fault = capsys.readouterr()
    assert "gated: accept the terms on https://huggingface.co/google/medsiglip-448, then" in said
    assert "not to be had from the hub" in fault
    entry = find_model("siglip2")
    holding(hub, tmp_path, entry.hub, "README.md", commit=entry.revision)
    assert main(["fetch", "siglip2"]) == 2
    said = capsys.readouterr().err
    assert "looked for model*.safetensors, pytorch_model*.bin; it holds README.md" in said


def test_command_line(
    remotes: Served,
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = publish(remotes, Remote(content))
    monkeypatch.setattr(register, "known_models", lambda: (entry,))
    assert main(["fetch", "clip", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("licence: Free.")
    assert lines[-1] == str(tmp_path / "clip" / "w.pt")
    assert main(["fetch"]) == 0
    assert "clip-test" in capsys.readouterr().out
    assert main(["fetch", "clip", "--revision", "abc"]) == 2
    assert "clip-test: not on the hub" in capsys.readouterr().err
    assert main(["fetch", "clop"]) == 2
    assert "no published model is known as 'clop' (near: clip" in capsys.readouterr().err
