"""How the models of the register get onto this machine: direct files, and hub repositories.

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
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from pytest_occlusion.encoders.register import Known, by_hand, unpinned
from pytest_occlusion.encoders.signatures import container_of
from pytest_occlusion.errors import OcclusionError

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption."""

PASSING = (408, 416, 425, 429)
"""HTTP statuses below 500 that may be another one when asked again."""

STALL, ATTEMPTS, PAUSE = 30.0, 5, 1.0
"""Seconds without a byte after which a connection is given up; connections in a row that may bring
nothing new; seconds before the second of them, doubled from one to the next."""


def fetch(entry: Known, folder: Path | None = None, revision: str = "") -> Path:
    """Download a model, or find it in the cache, and verify it; progress is shown on stderr.

    Args:
        entry: What to fetch.
        folder: Where a direct file is kept instead of the user's cache. Hub models are always kept
            in the hub's own cache, where their loaders look.
        revision: Commit or tag of a hub model, in place of the register's.

    Returns:
        The file, or the folder of the hub's snapshot.

    Raises:
        OcclusionError: The server cannot be reached, or sends something else or other bytes than it
            should; the disk cannot hold them. Nothing is left under the name of the file; what is
            worth resuming stays in ``NAME.part``.
    """
    from filelock import FileLock

    if entry.hub:
        return _from_hub(entry, folder, revision)
    if entry.how == "by hand":
        raise by_hand(entry)
    if revision:
        raise OcclusionError(f"{entry.name}: not on the hub", remedy="leave --revision out.")
    place = folder / entry.family / entry.file if folder else entry.place
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


def _from_hub(entry: Known, folder: Path | None, revision: str) -> Path:
    """The snapshot that the model's loader will look for, with the configuration it names."""
    from pytest_occlusion.encoders.hub import BRANCHES, snapshot

    revision = revision or entry.revision
    if folder:
        raise OcclusionError(
            f"{entry.name}: hub models are kept in the hub's own cache, where loaders look",
            remedy="leave --folder out; the environment variable HF_HOME moves that cache.",
        )
    if not revision or re.fullmatch(BRANCHES, revision):
        raise unpinned(entry)
    for name in entry.files:
        place, _ = snapshot(entry.hub, revision, [[pattern] for pattern in name.split("|")])
    for other in entry.beside:
        snapshot(other, "", [["config.json"]], key=f"the configuration of {entry.name}")
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


def _download(entry: Known, part: Path) -> None:
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
                        f"({entry.page}), and give the path of what you "
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


def _one_connection(entry: Known, part: Path) -> bool:
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


def _check_content(entry: Known, part: Path) -> None:
    """Refuse what is no checkpoint at all, before its checksum is written down for good."""
    try:
        container_of(part)
    except OcclusionError as fault:
        _discard(part)
        problem = fault.problem.removeprefix(f"{part}: ")
        raise OcclusionError(
            f"{entry.name}: what {entry.url} sent is no checkpoint: {problem}", remedy=fault.remedy
        ) from fault


def _verify(file: Path, place: Path, entry: Known) -> dict[str, Any]:
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
