"""Where the authors of each family publish their checkpoints, and on what terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_occlusion.errors import OcclusionError


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: ``family:variant``, as ``fetch`` takes it.
        family: The family that loads it.
        file: Its name, also in the user's cache.
        url: Its authors' own location.
        licence: What its authors say, shown before anything is downloaded.
        sha256: The checksum that its authors publish; empty when they publish none.
        how: ``"direct"``, or ``"by hand"`` when the location is a page with a button.
    """

    name: str
    family: str
    file: str
    url: str
    licence: str
    sha256: str = ""
    how: Literal["direct", "by hand"] = "direct"


CLIP_LICENCE = (
    "MIT for the code; no separate licence for the weights. The model card puts any deployed use "
    "out of scope. https://github.com/openai/CLIP"
)
REPAIR_LICENCE = (
    "MIT for the repository; the weights are not mentioned separately. Trained on MIMIC-CXR, which "
    "is credentialed data. https://github.com/rajpurkarlab/CXR-RePaiR"
)
MEDCLIP_LICENCE = (
    "No licence file; the package's classifier says BSD, and nothing is said of the weights. "
    "https://github.com/RyanWangZf/MedCLIP"
)
CXR_CLIP_LICENCE = (
    "Non-commercial: the licence file is CC BY-NC-SA 4.0, the README says CC BY-NC 4.0. "
    "https://github.com/Soombit-ai/cxr-clip"
)

_CLIP = "https://openaipublic.azureedge.net/clip/models"
_MEDCLIP = "https://storage.googleapis.com/pytrial"
_CXR_CLIP = "https://twg.kakaocdn.net/brainrepo/models/cxr-clip"


def _clip(variant: str, file: str, digest: str) -> Published:
    # The checksum is part of the address, and upstream's own loader enforces it.
    address = f"{_CLIP}/{digest}/{file}"
    return Published(f"clip:{variant}", "clip", file, address, CLIP_LICENCE, digest)


def _cxr_clip(variant: str, folder: str) -> Published:
    file = f"{variant}.tar"
    address = f"{_CXR_CLIP}/{folder}/{file}"
    return Published(f"cxr-clip:{variant}", "cxr-clip", file, address, CXR_CLIP_LICENCE)


PUBLISHED: tuple[Published, ...] = (
    _clip(
        "vit-b-32",
        "ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    ),
    _clip(
        "vit-b-16",
        "ViT-B-16.pt",
        "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
    ),
    _clip(
        "vit-l-14",
        "ViT-L-14.pt",
        "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    ),
    _clip(
        "rn50",
        "RN50.pt",
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    ),
    Published(
        "cxr-repair:vit-b-32",
        "cxr-repair",
        "cxr-repair.pt",
        "https://stanfordmedicine.box.com/s/dbebk0jr5651dj8x1cu6b6kqyuuvz3ml",
        REPAIR_LICENCE,
        how="by hand",
    ),
    Published(
        "medclip:swin",
        "medclip",
        "medclip-vit-pretrained.zip",
        f"{_MEDCLIP}/medclip-vit-pretrained.zip",
        MEDCLIP_LICENCE,
    ),
    Published(
        "medclip:resnet50",
        "medclip",
        "medclip-pretrained.zip",
        f"{_MEDCLIP}/medclip-pretrained.zip",
        MEDCLIP_LICENCE,
    ),
    _cxr_clip("swint_mc", "97cbbdfb347d22ea44e95a70c7b0520a"),
    _cxr_clip("swint_m", "a21ef120894e072ae77434daf6b98b72"),
    _cxr_clip("swint_mcc", "a25ce760064591c899f67c97ed7790de"),
    _cxr_clip("r50_mc", "f7ebbe4ad815868905d0820dbbde3662"),
    _cxr_clip("r50_m", "f982386ef38aa3ecd6ce1f8f928e8aa8"),
    _cxr_clip("r50_mcc", "de4b5e4ae2047c1fb7960ddcd8d861cb"),
)
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
