"""What a file holds, judged by its first bytes: a container of tensors, or something to refuse."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from pytest_occlusion.encoders.files import AGAIN, is_weights
from pytest_occlusion.errors import OcclusionError

TORCHSCRIPT, TORCH_ZIP, TORCH_LEGACY, SAFETENSORS, BUNDLE = (
    "TorchScript archive",
    "torch.save zip",
    "torch.save legacy file",
    "safetensors",
    "zip of a model directory",
)

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, bzip2, xz, 7z and zstandard."""


def container_of(path: Path) -> str:
    """Name the container of a weights file without importing torch.

    Args:
        path: An existing regular file.

    Returns:
        One of the constants of this module.

    Raises:
        OcclusionError: The file is empty, truncated, or no container of weights at all (a web page,
            a Git LFS pointer, a tar or gzip file, ...); names what it is instead.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if head[8:9] == b"{" and (length := int.from_bytes(head[:8], "little")) < 1 << 40:
        if 8 + length <= size:
            return SAFETENSORS
        problem = (
            f"a truncated safetensors file: its header alone is {length:,} bytes, and the file "
            f"has {size:,}"
        )
        raise OcclusionError(f"{path}: {problem}", remedy=AGAIN)
    if re.match(rb"\x80[\x02-\x05]", head):
        return TORCH_LEGACY
    problem, remedy = _other(head, size)
    raise OcclusionError(f"{path}: {problem}", remedy=remedy)


def _other(head: bytes, size: int) -> tuple[str, str]:
    """What a file is that holds no weights, and what to do about it."""
    if not head:
        return "the file is empty", AGAIN
    if head.startswith(b"version https://git-lfs.github.com/"):
        return (
            f"this is a Git LFS pointer of {size} bytes, not the weights themselves",
            "run `git lfs pull` in its repository, or download the file itself.",
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|body)", head, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
        said = f" titled {title[1].decode(errors='replace').strip()!r}" if title else ""
        return (
            f"this is a web page{said}, not a weights file; a login form or an error page was "
            "probably saved in its place",
            "open the download address in a browser, and save the file that it leads to.",
        )
    if head[257:262] == b"ustar":
        return "this is a tar archive", "unpack it and give the file inside."
    if head.startswith(COMPRESSED):
        return "this is a compressed file", "unpack it and give the file inside."
    return (
        f"neither a torch file nor safetensors (it begins with {head[:8]!r})",
        "give the checkpoint as its authors publish it: a .pt/.pth/.bin/.tar written by "
        "torch.save, a TorchScript archive, .safetensors, or a directory that holds one.",
    )


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as fault:
        raise OcclusionError(
            f"{path}: a truncated or damaged zip: it begins as one, but its table of contents at "
            f"the end is missing ({path.stat().st_size:,} bytes are here)",
            remedy=AGAIN,
        ) from fault
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return TORCHSCRIPT
    if any(name.endswith("/data.pkl") for name in names):
        return TORCH_ZIP
    if any(map(is_weights, names)):
        return BUNDLE
    raise OcclusionError(
        f"{path}: a zip file, but not one that torch wrote (it holds "
        f"{', '.join(names[:5]) or 'nothing'})",
        remedy="unpack it and give the weights file inside.",
    )
