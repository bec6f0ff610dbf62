"""Which family a state_dict belongs to, told from its names alone."""

from __future__ import annotations

from collections.abc import Collection

from pytest_occlusion.errors import OcclusionError

_SIGNATURES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # what it is, names or beginnings of names that must all be there, the family to ask for
    ("a CLIP ViT state_dict", ("visual.class_embedding", "token_embedding.weight"), "clip"),
    ("a CLIP ResNet state_dict", ("visual.layer1.", "token_embedding.weight"), "clip"),
    (
        "a MedCLIP Swin state_dict",
        ("vision_model.model.embeddings.", "text_model.model."),
        "medclip",
    ),
    (
        "a MedCLIP ResNet50 state_dict",
        ("vision_model.model.layer1.", "text_model.model."),
        "medclip",
    ),
    ("a CXR-CLIP Swin state_dict", ("image_encoder.image_encoder.", "text_encoder."), "cxr-clip"),
    ("a CXR-CLIP ResNet50 state_dict", ("image_encoder.resnet.", "text_encoder."), "cxr-clip"),
    ("an open_clip state_dict", ("visual.", "text.", "logit_scale"), "open-clip"),
    ("an open_clip state_dict", ("visual.", "token_embedding.weight", "logit_scale"), "open-clip"),
    ("a Hugging Face dual encoder", ("vision_model.", "text_model.", "logit_scale"), "hf"),
)

SHARED = {"cxr-repair": "clip"}
"""Family -> the one whose format its files have."""


def identify(names: Collection[str]) -> tuple[str, str]:
    """Say what a state_dict is: in words, and the family that loads it (empty when unknown)."""
    for what, marks, family in _SIGNATURES:
        if all(any(name.startswith(mark) for name in names) for mark in marks):
            return what, family
    shown = ", ".join(sorted(names)[:4])
    return f"a state_dict of no known family ({len(names)} tensors: {shown}, ...)", ""


def refuse_other_families(names: Collection[str], asked: str, path: object) -> None:
    """Raise OcclusionError when the names in ``path`` are not of the family that was asked for."""
    what, family = identify(names)
    if family == SHARED.get(asked, asked):
        return
    remedy = "give a checkpoint in the format that its authors publish."
    if family:
        remedy = f"set family = {family!r} for this model."
    raise OcclusionError(f"{path}: this is {what}; family {asked!r} was asked for", remedy=remedy)
