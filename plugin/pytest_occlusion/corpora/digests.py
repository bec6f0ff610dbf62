"""Digests: the one way to turn settings, files and names into keys.

A name becomes a keyed hash. Its key is made at random, lies in the user's store folder readable by
nobody else, and never leaves it: a query can be recognised from run to run, and without the key a
name cannot be tested against a list of identifiers.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from pytest_occlusion.errors import unwritable

KEY_FILE = "query-names.key"
KEY_BYTES = 32


def settings_digest(value: object) -> str:
    """SHA-256 (hex) of plain data (dicts, lists, strings, numbers); key order does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_digest(entries: Iterable[str]) -> str:
    """SHA-256 (hex) of a multiset of strings: the order in which they come does not matter."""
    digests = sorted(hashlib.sha256(entry.encode()).digest() for entry in entries)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def read_key(root: Path | None) -> bytes:
    """The key of a store folder, made at first use.

    A passing one where there is no store, or one on a read-only disk that has none.

    Raises:
        OcclusionError: The folder cannot be made.
    """
    if root is None:
        return secrets.token_bytes(KEY_BYTES)
    try:
        return _kept_key(root)
    except OSError as fault:
        if root.is_dir():
            return secrets.token_bytes(KEY_BYTES)
        raise unwritable(root, fault) from fault


def _kept_key(root: Path) -> bytes:
    path = root / KEY_FILE
    if not path.exists():  # else perhaps in a store that cannot be written
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_name(f".{KEY_FILE}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.ExitStack() as ending:
            ending.callback(new.unlink)
            ending.enter_context(contextlib.suppress(FileExistsError))  # another worker was first
            os.link(new, path)  # never a half-written key
    return path.read_bytes()


def opaque_name(identifier: str, key: bytes) -> str:
    """Ten hex digits for an identifier, the same as long as the key is."""
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:10]
