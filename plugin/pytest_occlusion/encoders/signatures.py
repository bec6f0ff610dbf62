"""What a file is, told by its first bytes, and of which family, by the names of its tensors."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from pytest_occlusion.encoders.files import AGAIN, CONFIG_NAME, is_weights
from pytest_occlusion.errors import OcclusionError

UNIMED = f"a UniMed-CLIP state_dict (an {CONFIG_NAME} belongs beside it)"

_SIGNATURES = (
    # the family to ask for, what it is, names or beginnings of names that must all be there
    ("clip", "a CLIP ViT state_dict", "visual.class_embedding token_embedding.weight"),
    ("clip", "a CLIP ResNet state_dict", "visual.layer1. token_embedding.weight"),
    ("medclip", "a MedCLIP Swin state_dict", "vision_model.model.embeddings. text_model.model."),
    ("medclip", "a MedCLIP ResNet50 state_dict", "vision_model.model.layer1. text_model.model."),
    ("cxr-clip", "a CXR-CLIP Swin state_dict", "image_encoder.image_encoder. text_encoder."),
    ("cxr-clip", "a CXR-CLIP ResNet50 state_dict", "image_encoder.resnet. text_encoder."),
    ("biovil", "a BioViL state_dict", "encoder.encoder. projector.model. cls_projection_head."),
    ("biovil", "the image half of a BioViL", "encoder.encoder. projector.model."),
    ("biovil", "the text half of a BioViL", "cls_projection_head. bert."),
    ("chexficient", "a CheXficient state_dict", "image_encoder.model.blocks. text_encoder.model."),
    ("open-clip", UNIMED, "visual. text_encoder.transformer. text_encoder.proj. logit_scale"),
    ("mgca", "an MGCA ViT state_dict", "img_encoder_q.model.blocks. text_encoder_q.model."),
    ("mgca", "an MGCA ResNet50 state_dict", "img_encoder_q.model.layer1. text_encoder_q.model."),
    ("mgca", "the image encoder of an MGCA alone", "img_encoder_q.model."),
    ("open-clip", "an open_clip state_dict", "visual. text. logit_scale"),
    ("open-clip", "an open_clip state_dict", "visual. token_embedding.weight logit_scale"),
    ("hf", "a Hugging Face dual encoder", "vision_model. text_model. logit_scale"),
)

SHARED = {"cxr-repair": "clip"}
"""Family -> the one whose format its files have."""

TORCHSCRIPT, TORCH_ZIP, TORCH_LEGACY, SAFETENSORS, BUNDLE = (
    "TorchScript archive",
    "torch.save zip",
    "torch.save legacy file",
    "safetensors",
    "zip of a model directory",
)

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, bzip2, xz, 7z and zstandard."""


ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(RuntimeError, ValueError, OverflowError, OSError),
)
"""What zipfile raises for damaged archives: names that are no text, places outside of the file,
compressions that it does not know, passwords."""


def container_of(path: Path) -> str:
    """Name the container of a weights file, as one of this module's constants.

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
        raise OcclusionError(
            f"{path}: a truncated safetensors file: its header alone is {length:,} bytes, and the "
            f"file has {size:,}",
            remedy=AGAIN,
        )
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
    except ZIP_DAMAGE as fault:
        raise OcclusionError(
            f"{path}: a truncated or damaged zip: it begins as one, but its table of contents at "
            f"the end is missing or damaged ({path.stat().st_size:,} bytes are here)",
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


def identify(names: Collection[str]) -> tuple[str, str]:
    """Say what a state_dict is: in words, and the family that loads it (empty when unknown)."""
    for family, what, marks in _SIGNATURES:
        if all(any(name.startswith(mark) for name in names) for mark in marks.split()):
            return what, family
    shown = ", ".join(sorted(names)[:4])
    return f"a state_dict of no known family ({len(names)} tensors: {shown}, ...)", ""


def refuse_other_families(names: Collection[str], asked: str, path: object) -> None:
    """Raise OcclusionError when the names in ``path`` are not of the family that was asked for.

    A family without a signature, such as one of a conftest, takes what no signature knows.
    """
    what, family = identify(names)
    own = SHARED.get(asked, asked)
    known = {one for one, *_ in _SIGNATURES}
    if family == own or (not family and own not in known):
        return
    remedy = "give a checkpoint in the format that its authors publish."
    if family:
        remedy = f"set family = {family!r} for this model."
    raise OcclusionError(f"{path}: this is {what}; family {asked!r} was asked for", remedy=remedy)
