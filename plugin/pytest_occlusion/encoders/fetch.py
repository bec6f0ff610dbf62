"""Published checkpoints: what ``published.toml`` knows of them, and how they get into the cache.

A file is resumed, verified, and there whole or not at all. Until it is, its bytes are in
``NAME.part``, with ``NAME.part.json`` saying which version of the remote file they belong to. A
checksum that the authors do not publish is written down at the first download, in ``NAME.json``.

pooch would fetch a broken download from its beginning (1.9 times the bytes of a file that was cut
at 90 %), keep the login page that is sent in a file's place, and replace a user's own file; the
hub's client would join the halves of two versions.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from pytest_occlusion.encoders.signatures import container_of
from pytest_occlusion.errors import OcclusionError

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption."""

PASSING = (408, 416, 425, 429)
"""HTTP statuses below 500 that may be another one when asked again."""

STALL, ATTEMPTS, PAUSE = 30.0, 5, 1.0
"""Seconds without a byte after which a connection is given up; connections in a row that may bring
nothing new; seconds before the second of them, doubled from one to the next."""


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: ``family:variant``.
        url: Its authors' own location.
        licence: What its authors say, shown before anything is downloaded.
        sha256: The checksum that its authors publish, or empty.
        how: ``"direct"``, or ``"by hand"`` when the location is a page with a button.
    """

    name: str
    url: str
    licence: str
    sha256: str = ""
    how: str = "direct"

    @property
    def family(self) -> str:
        """The family that loads it."""
        return self.name.partition(":")[0]


def _published() -> Iterator[Published]:
    table = files("pytest_occlusion.encoders").joinpath("published.toml").read_text("utf-8")
    for family, known in tomllib.loads(table).items():
        for variant, path in known["files"].items():
            folder = path.rpartition("/")[0]
            yield Published(
                name=f"{family}:{variant}",
                url=known["base"] + path,
                licence=known["licence"],
                sha256=folder if len(folder) == 64 else "",
                how=known.get("how", "direct"),
            )


PUBLISHED = tuple(_published())
"""Every file that ``fetch`` knows; the first of a family is what the family's bare name means."""


def find_published(name: str) -> Published:
    """Look up ``family`` or ``family:variant``.

    Raises:
        OcclusionError: Nothing of that name is known; lists what is.
    """
    asked = name.strip().lower().replace("_", "-")
    for entry in PUBLISHED:
        if asked in (entry.name.replace("_", "-"), entry.family):
            return entry
    raise OcclusionError(
        f"no published checkpoint is known as {name!r}",
        remedy=f"use one of {', '.join(entry.name for entry in PUBLISHED)}.",
    )


def fetch(entry: Published, folder: Path | None = None) -> Path:
    """Download a checkpoint, or find it in the cache, and verify it; progress is shown on stderr.

    Without a folder it is kept beside the plugin's store, in the user's cache.

    Raises:
        OcclusionError: The server cannot be reached, or sends something else or other bytes than it
            should; the disk cannot hold them. Nothing is left under the name of the file; what is
            worth resuming stays in ``NAME.part``.
    """
    from filelock import FileLock
    from platformdirs import user_cache_path

    if entry.how == "by hand":
        raise OcclusionError(
            f"{entry.name}: its authors publish it on a page that only a browser can use",
            remedy=f"open {entry.url}, save the file, and give its path as the checkpoint.",
        )
    folder = folder or user_cache_path("pytest-occlusion") / "checkpoints"
    place = folder / entry.family / entry.url.rpartition("/")[2]
    part = place.with_name(f"{place.name}.part")
    with _on_disk(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if place.is_file():
                _verify(place, place, entry)
            else:
                _download(entry, part)
                _check_content(entry, part)
                _write_json(_beside(place), _verify(part, place, entry))
                part.replace(place)
                _discard(part)
    return place


@contextlib.contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise OcclusionError(
            f"{path}: cannot be written ({fault.strerror or fault})",
            remedy="make room there, or choose another folder with --folder.",
        ) from fault


def _download(entry: Published, part: Path) -> None:
    """Connect until the file is whole; connections that bring something new cost no attempt."""
    failures, furthest = 0, _length(part)
    while True:
        try:
            if _one_connection(entry, part):
                return
            fault = "the connection was closed early"
        except (OSError, http.client.HTTPException) as error:
            # HTTPError, URLError, timeouts and resets are all OSErrors.
            fault = str(getattr(error, "reason", error)) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # the part is longer than the file: it is not a part of it
                    _discard(part)
                # 3xx: a redirect to something that urllib does not follow, such as a local file.
                if error.code < 500 and error.code not in PASSING:
                    raise OcclusionError(
                        f"{entry.name}: {entry.url}: the server answers {error.code} {fault}",
                        remedy="the authors may have moved the file: look on their page "
                        f"({entry.licence.rpartition(' ')[2]}), and give the path of what you "
                        "download there.",
                    ) from error
        # A server that makes us start again and again brings nothing new either.
        have = _length(part)
        failures = 0 if have > furthest else failures + 1
        furthest = max(furthest, have)
        if failures >= ATTEMPTS:
            raise OcclusionError(
                f"{entry.name}: {entry.url}: gave up after {failures} connections that brought "
                f"nothing ({fault})",
                remedy=f"check the network and run the same command again; it goes on from the "
                f"{have:,} bytes in {part}.",
            )
        time.sleep(PAUSE * 2 ** max(0, failures - 1))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


class _OnlyEncrypted(urllib.request.BaseHandler):
    """Refuses plain addresses, also where a redirect leads to one."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if urllib.parse.urlsplit(request.full_url).hostname in LOCAL:
            return request
        raise OcclusionError(
            f"{request.full_url}: not an encrypted address",
            remedy="download the file yourself if you trust it.",
        )

    ftp_request = http_request


def _one_connection(entry: Published, part: Path) -> bool:
    """Ask once, from where the part ends; True when the file is whole afterwards."""
    note, have = _read_json(_beside(part)), _length(part)
    if note.get("url") != entry.url:
        note, have = {}, 0
    if have and have == note.get("size"):
        return True
    headers = {"User-Agent": "pytest-occlusion", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if note.get("version"):
            # A server whose file has changed since answers with the whole new one.
            headers["If-Range"] = note["version"]
    request = urllib.request.Request(entry.url, headers=headers)  # noqa: S310 _OnlyEncrypted
    opener = urllib.request.build_opener(_OnlyEncrypted)
    with opener.open(request, timeout=STALL) as response:
        if "html" in response.headers.get("Content-Type", "").lower():
            raise OcclusionError(
                f"{entry.name}: {response.geturl()} is a web page, not the file; a login form or "
                "an error page is probably in its place",
                remedy=f"open {entry.url} in a browser, and give the path of the file that you "
                "save.",
            )
        start = 0
        if response.status == 206:
            found, whole = response.headers.get("Content-Range", ""), note.get("size") or r"\d+"
            if not re.fullmatch(rf"bytes {have}-\d+/({whole}|\*)", found):
                _discard(part)
                raise OSError(f"the server continued at {found or 'an unknown place'}, not {have}")
            start = have
        length = response.headers.get("Content-Length")
        size = start + int(length) if length is not None else 0
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        strong = "" if version.startswith("W/") else version
        with _on_disk(part):  # here and below: the caller takes other OSErrors for the network's
            if not start:
                part.write_bytes(b"")
            _write_json(_beside(part), {"url": entry.url, "size": size, "version": strong})
        # Seldom where nobody looks on: each is a line in the log of a CI.
        shown = {"unit": "B", "unit_scale": True, "mininterval": 0.1 if sys.stderr.isatty() else 10}
        bar = tqdm(desc=part.stem, total=size or None, initial=start, **shown)
        # Unbuffered: closing must not try again what a full disk could not take.
        with bar, part.open("ab", buffering=0) as stream:
            # read1 hands over what has arrived; read would lose it when the rest never comes.
            while block := response.read1(1 << 20):
                start += len(block)
                bar.update(len(block))
                with _on_disk(part):
                    while block:
                        block = block[stream.write(block) :]
            os.fsync(stream.fileno())
    return start == size if size else True


def _check_content(entry: Published, part: Path) -> None:
    """Refuse what is no checkpoint at all, before its checksum is written down for good."""
    try:
        container_of(part)
    except OcclusionError as fault:
        _discard(part)
        problem = fault.problem.removeprefix(f"{part}: ")
        raise OcclusionError(
            f"{entry.name}: what {entry.url} sent is no checkpoint: {problem}", remedy=fault.remedy
        ) from fault


def _verify(file: Path, place: Path, entry: Published) -> dict[str, Any]:
    """Check the file's bytes against the published checksum, or the one written down."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    wanted = entry.sha256 or _read_json(_beside(place)).get("sha256") or found
    if found == wanted:
        return {"url": entry.url, "size": file.stat().st_size, "sha256": found}
    where, remedy = str(place), f"delete {place} and fetch it again."
    if file != place:
        _discard(file)
        where, remedy = (
            entry.url,
            (
                "the download was damaged, or the file was replaced at its source; try once more, "
                f"and if the new file is meant, delete {_beside(place)}."
            ),
        )
    source = "its authors publish" if entry.sha256 else "was written down at the first download"
    raise OcclusionError(
        f"{entry.name}: {where}: SHA-256 {found} where {source} {wanted}", remedy=remedy
    )


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_json(path: Path) -> dict[str, Any]:
    """A note of ours; an unreadable one is as good as none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)
