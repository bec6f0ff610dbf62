"""What a file holds, judged by its first bytes: a container of tensors, or something to refuse."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from pytest_occlusion.encoders.files import AGAIN, WEIGHT_NAMES
from pytest_occlusion.errors import OcclusionError

TORCHSCRIPT, TORCH_ZIP, TORCH_LEGACY, SAFETENSORS, BUNDLE = (
    "TorchScript archive",
    "torch.save zip",
    "torch.save legacy file",
    "safetensors",
    "zip of a model directory",
)


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
    if not head:
        raise OcclusionError(f"{path}: the file is empty", remedy=AGAIN)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise OcclusionError(
            f"{path}: this is a Git LFS pointer of {size} bytes, not the weights themselves",
            remedy="run `git lfs pull` in its repository, or download the file itself.",
        )
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|head|body)", head, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>\s*([^<]{1,80})", head, re.IGNORECASE)
        said = f" titled {title[1].decode(errors='replace').strip()!r}" if title else ""
        raise OcclusionError(
            f"{path}: this is a web page{said}, not a weights file; a login form or an error page "
            "was probably saved in its place",
            remedy="open the download address in a browser, and save the file that it leads to.",
        )
    if head[257:262] == b"ustar":
        raise OcclusionError(
            f"{path}: this is a tar archive", remedy="unpack it and give the file inside."
        )
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")):
        raise OcclusionError(
            f"{path}: this is a compressed file", remedy="unpack it and give the file inside."
        )
    if _is_safetensors(head, size, path):
        return SAFETENSORS
    if re.match(rb"\x80[\x02-\x05]", head):
        return TORCH_LEGACY
    raise OcclusionError(
        f"{path}: neither a torch file nor safetensors (it begins with {head[:8]!r})",
        remedy="give the checkpoint as its authors publish it: a .pt/.pth/.bin/.tar written by "
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
    if any(Path(name).name in WEIGHT_NAMES for name in names):
        return BUNDLE
    shown = ", ".join(names[:5]) or "nothing"
    raise OcclusionError(
        f"{path}: a zip file, but not one that torch wrote (it holds {shown})",
        remedy="unpack it and give the weights file inside.",
    )


def _is_safetensors(head: bytes, size: int, path: Path) -> bool:
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{":
        return False
    if 8 + length > size:
        raise OcclusionError(
            f"{path}: a truncated safetensors file: its header alone is {length:,} bytes, and the "
            f"file has {size:,}",
            remedy=AGAIN,
        )
    return True
