"""Bring a published checkpoint into the user's cache: resumed, verified, whole or not at all.

The finished file appears under its name in one step. Until then the bytes are in ``NAME.part``,
with ``NAME.part.json`` saying which version of the remote file they belong to. A checksum that the
authors do not publish is written down at the first download, in ``NAME.json``, and enforced after.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.containers import container_of
from pytest_occlusion.encoders.published import Published
from pytest_occlusion.errors import OcclusionError

CHUNK = 1 << 20
"""Most bytes that are read and written at a time."""

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption."""


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes:
        stall: Seconds without a byte after which a connection is given up.
        attempts: Connections in a row that may bring nothing new.
        pause: Seconds before the second of them; doubles from one to the next.
    """

    stall: float = 30.0
    attempts: int = 5
    pause: float = 1.0


def default_folder() -> Path:
    """Where fetched checkpoints are kept: beside the plugin's store, in the user's cache."""
    from platformdirs import user_cache_path

    return user_cache_path("pytest-occlusion") / "checkpoints"


def fetch(
    entry: Published,
    folder: Path | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    patience: Patience | None = None,
) -> Path:
    """Download a checkpoint, or find it in the cache, and verify it.

    Args:
        entry: What to fetch.
        folder: Where to keep it; :func:`default_folder` without one.
        progress: Called with bytes on disk and bytes in all (0 when the server does not say).
        patience: How long to put up with the server.

    Returns:
        The complete file.

    Raises:
        OcclusionError: The server cannot be reached, sends something else, or sends bytes that do
            not have the size or the checksum they should have. Nothing is left under the name of
            the file; what is worth resuming stays in ``NAME.part``.
    """
    from filelock import FileLock

    if entry.how == "by hand":
        raise OcclusionError(
            f"{entry.name}: its authors publish it on a page that only a browser can use",
            remedy=f"open {entry.url}, save the file, and give its path as the checkpoint.",
        )
    place = (folder or default_folder()) / entry.family / entry.file
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if place.is_file():
            _verify(place, place, entry)
            return place
        part = place.with_name(f"{place.name}.part")
        _download(entry, part, progress, patience or Patience())
        _check_content(part, entry)
        record = _verify(part, place, entry)
        _write_json(_record_path(place), record)
        part.replace(place)
        _note_path(part).unlink(missing_ok=True)
        return place


def _download(
    entry: Published, part: Path, progress: Callable[[int, int], None], patience: Patience
) -> None:
    """Connect until the file is whole; connections that bring something new cost no attempt."""
    failures, furthest = 0, _length(part)
    while True:
        try:
            if _one_connection(entry, part, progress, patience):
                return
            fault = "the connection was closed early"
        except (OSError, http.client.HTTPException) as error:
            # HTTPError, URLError, timeouts and resets are all OSErrors.
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if _is_final(error.code):
                    raise _refused(entry, error) from error
            fault = str(getattr(error, "reason", error)) or type(error).__name__
        # A server that makes us start again and again brings nothing new either.
        have = _length(part)
        failures = 0 if have > furthest else failures + 1
        furthest = max(furthest, have)
        if failures >= patience.attempts:
            raise OcclusionError(
                f"{entry.name}: {entry.url}: gave up after {failures} connections that brought "
                f"nothing ({fault})",
                remedy=f"check the network and run the same command again; it goes on from the "
                f"{have:,} bytes in {part}.",
            )
        time.sleep(patience.pause * 2 ** max(0, failures - 1))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_final(code: int) -> bool:
    """Whether an HTTP status will be the same when asked again."""
    # 3xx: a redirect to something that urllib does not follow, such as a local file.
    return 300 <= code < 500 and code not in (408, 416, 425, 429)


def _refused(entry: Published, error: urllib.error.HTTPError) -> OcclusionError:
    return OcclusionError(
        f"{entry.name}: {entry.url}: the server answers {error.code} {error.reason}",
        remedy="the authors may have moved the file: look on their page "
        f"({entry.licence.rsplit(' ', 1)[-1]}), and give the path of what you download there.",
    )


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted address to a plain one."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
        except OcclusionError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL):
        return
    raise OcclusionError(
        f"{url}: not an encrypted address", remedy="download the file yourself if you trust it."
    )


def _one_connection(
    entry: Published, part: Path, progress: Callable[[int, int], None], patience: Patience
) -> bool:
    """Ask once, from where the part ends; True when the file is whole afterwards."""
    _check_address(entry.url)
    note = _read_json(_note_path(part))
    have = _length(part)
    if have and note.get("url") != entry.url:
        part.unlink()
        have = 0
    if have and have == note.get("size"):
        return True
    headers = {"User-Agent": "pytest-occlusion", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if note.get("version"):
            # A server whose file has changed since answers with the whole new one.
            headers["If-Range"] = note["version"]
    request = urllib.request.Request(entry.url, headers=headers)  # noqa: S310 checked above
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        response = opener.open(request, timeout=patience.stall)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: it is not a part of it
            part.unlink(missing_ok=True)
        raise
    with response:
        if response.status == 206 and not have:
            raise OSError("the server sent a part of the file without being asked")
        if "html" in (response.headers.get("Content-Type") or "").lower():
            raise _web_page(entry, response.geturl())
        try:
            start = _start_of(response, have, note.get("size", 0))
        except _OtherFileError:
            _discard(part)
            raise
        if start == 0 and have:
            part.unlink()
        length = response.headers.get("Content-Length")
        size = start + int(length) if length is not None else 0
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        weak = version.startswith("W/")
        _write_json(
            _note_path(part), {"url": entry.url, "size": size, "version": "" if weak else version}
        )
        with part.open("ab", buffering=0) as stream:
            # read1 hands over what has arrived; read would lose it when the rest never comes.
            while block := response.read1(CHUNK):
                _append(stream, block, part)
                start += len(block)
                progress(start, size)
            os.fsync(stream.fileno())
    return start == size if size else True


def _append(stream: Any, block: bytes, part: Path) -> None:
    left = memoryview(block)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError as fault:
        raise OcclusionError(
            f"{part}: cannot be written ({fault.strerror})",
            remedy="make room there, or choose another folder with --folder.",
        ) from fault


def _start_of(response: Any, have: int, size: int) -> int:
    """Where the body belongs: at ``have`` when the server continues there, else at 0.

    Raises:
        OSError: The server continues somewhere else, or in a file of another size.
    """
    if response.status != 206:
        return 0
    found = str(response.headers.get("Content-Range") or "")
    total = found.rpartition("/")[2]
    same = not size or not total.isdigit() or int(total) == size
    if found.startswith(f"bytes {have}-") and same:
        return have
    raise _OtherFileError(f"the server continued at {found or 'an unknown place'}, not at {have}")


class _OtherFileError(OSError):
    """What the server continues is not what the part began."""


def _web_page(entry: Published, url: str) -> OcclusionError:
    return OcclusionError(
        f"{entry.name}: {url} is a web page, not the file; a login form or an error page is "
        "probably in its place",
        remedy=f"open {entry.url} in a browser, and give the path of the file that you save.",
    )


def _check_content(part: Path, entry: Published) -> None:
    """Refuse what is no checkpoint at all, before its checksum is written down for good."""
    try:
        container_of(part)
    except OcclusionError as fault:
        _discard(part)
        raise OcclusionError(
            f"{entry.name}: what {entry.url} sent is no checkpoint: "
            + fault.problem.removeprefix(f"{part}: "),
            remedy=fault.remedy,
        ) from fault


def _verify(file: Path, place: Path, entry: Published) -> dict[str, Any]:
    """Check the file's bytes against the published checksum, or the one written down."""
    found = {"url": entry.url, "size": file.stat().st_size, "sha256": _sha256(file)}
    first = _read_json(_record_path(place))
    wanted = entry.sha256 or first.get("sha256")
    if wanted and found["sha256"] != wanted:
        source = "its authors publish" if entry.sha256 else "was written down at the first download"
        damaged = file == place
        if not damaged:
            _discard(file)
        raise OcclusionError(
            f"{entry.name}: {place if damaged else entry.url}: SHA-256 {found['sha256']} where "
            f"{source} {wanted}",
            remedy=f"delete {place} and fetch it again."
            if damaged
            else "the download was damaged, or the file has been replaced at its source; try once "
            f"more, and if the new file is meant, delete {_record_path(place)}.",
        )
    return found


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _record_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _read_json(path: Path) -> dict[str, Any]:
    """A note of ours; an unreadable one is as good as none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)
