"""A local server that speaks as much of the hub's API as its client asks of it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c0ffee" + "0" * 34
"""The commit that a repository is at unless a test says otherwise."""


@dataclass
class Repository:
    """A model repository at one commit; of a ``gated`` one only the list is given."""

    folder: Path
    commit: str = COMMIT
    tags: tuple[str, ...] = ()
    gated: bool = False

    def files(self) -> dict[str, Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}


@dataclass
class Hub:
    """What is served, what was asked for, and which downloads are to break off half way."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    @property
    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        paths = [path for method, path in self.asked if method == "GET" and "/resolve/" in path]
        return {path.split("/resolve/")[1].partition("/")[2] for path in paths}

    def add(self, name: str, folder: Path, **told: Any) -> Repository:
        self.repositories[name] = Repository(folder, **told)
        return self.repositories[name]

    def away(self, monkeypatch: pytest.MonkeyPatch, *, offline: bool = False) -> None:
        """Let the client find nobody here, or let it not look."""
        _point("http://127.0.0.1:9", monkeypatch, offline=offline)

    def back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let it find this server again."""
        _point(self.url, monkeypatch)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        asked = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/(tree|revision)/(.+))?", path)
        wanted = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        if not (found := asked or wanted) or found[1] not in self.hub.repositories:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        repository = self.hub.repositories[found[1]]
        if repository.gated and wanted:
            message = f"Access to model {found[1]} is restricted. You must log in."
            return self._refuse(401, "GatedRepo", message)
        revision = wanted[2] if wanted else asked[3] if asked else None
        if revision not in (None, "main", repository.commit, *repository.tags):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.files()
        if wanted:
            if wanted[3] not in files:
                return self._refuse(404, "EntryNotFound", "Entry not found")
            return self._send_file(wanted[3], files[wanted[3]].read_bytes(), repository.commit)
        if asked and asked[2] == "tree":
            told: Any = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _oid(path)}
                for name, path in files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in files]
            told = {"id": found[1], "sha": repository.commit, "siblings": siblings}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def _send_file(self, name: str, content: bytes, commit: str) -> None:
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        told = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if first:
            start = int(first[1])
            told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self._send(206 if first else 200, content, told, cut=name in self.hub.cut)

    def _send(self, status: int, body: bytes, told: dict[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**told, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine, with nothing in it; gone afterwards, threads too."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = False  # so that closing waits for them
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        _forget()


def _forget() -> None:
    """Let no code of one test's folders be found by the next."""
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def _point(url: str, monkeypatch: pytest.MonkeyPatch, *, offline: bool = False) -> None:
    """Tell the client where the hub is, as its environment variables do before its import."""
    from huggingface_hub import constants, file_download

    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    for module in (constants, file_download):  # before version 1 it was in both
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


def use(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's client, imported as it is, ask this server, with caches in ``home``."""
    import transformers.dynamic_module_utils
    from huggingface_hub import constants

    _point(hub.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    _forget()
    modules = str(home / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", modules)
    # Without the caches of code that other tests of this process have used: they would be found
    # first.
    others = [one for one in sys.path if not Path(one, "transformers_modules").is_dir()]
    monkeypatch.setattr(sys, "path", others)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
