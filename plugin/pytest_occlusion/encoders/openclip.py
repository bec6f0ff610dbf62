"""Family ``open-clip``: any model that open_clip builds, with its own preprocessing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.checkpoints import CONFIG_NAME, read_checkpoint
from pytest_occlusion.encoders.files import find_weights, short_digest
from pytest_occlusion.encoders.hub import HUB, local_directory
from pytest_occlusion.encoders.weights import not_numbers, weights_digest
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

TAG = "tag:"
"""What a checkpoint begins with that open_clip knows: ``tag:ViT-B-32/laion2b_s34b_b79k``."""

WEIGHTS = (("open_clip_model.safetensors",), ("open_clip_pytorch_model.bin",))
"""What open_clip calls the weights of a hub repository, best first."""


@dataclass(frozen=True)
class OpenClipTokens:
    """open_clip's own tokenizer of a model, which pads every row to the context length."""

    tokenizer: Any
    limit: int

    def batch(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 token ids ``[N, limit]``."""
        ids: torch.Tensor = self.tokenizer(list(texts), context_length=self.limit)
        return ids

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut."""
        if hasattr(self.tokenizer, "encode"):
            return [len(self.tokenizer.encode(text)) + 2 for text in texts]
        cleaned = [self.tokenizer.clean_fn(text) for text in texts]
        return [len(row) for row in self.tokenizer.tokenizer(cleaned)["input_ids"]]


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    import open_clip

    revision = options["revision"]
    if str(checkpoint).startswith(TAG):
        name, pretrained, weights = _tagged(str(checkpoint))
    else:
        place = local_directory(checkpoint, revision, WEIGHTS)
        name, pretrained, weights = f"local-dir:{place}", None, find_weights(place)
        if not (place / CONFIG_NAME).is_file():
            raise OcclusionError(
                f"{place}: a directory without {CONFIG_NAME}",
                remedy="give a directory that open_clip saved, or use the family that the weights "
                "belong to.",
            )
    # Read before open_clip does: names damage, refuses code, and gives the digest of the file.
    state = read_checkpoint(weights).state
    if faults := not_numbers(state):
        raise OcclusionError(
            f"{weights}: {len(faults)} tensors hold values that are not numbers:\n{listed(faults)}",
            remedy="the training run diverged or the file is damaged; use an earlier checkpoint.",
        )
    try:
        with warnings.catch_warnings():
            # What the libraries below say to their own developers is not the user's to act on,
            warnings.simplefilter("ignore")
            # except that weights of one activation are being put into a model of the other.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model = open_clip.create_model(name, pretrained=pretrained, device=device)
            words = open_clip.get_tokenizer(name, **_vocabulary(weights.parent, tokenizer))
    except Exception as fault:  # open_clip, timm, transformers and the hub raise many kinds
        raise OcclusionError(
            f"{checkpoint}: open_clip cannot build it ({type(fault).__name__}: {str(fault)[:300]})",
            remedy="check that open_clip, timm and transformers are new enough for it, and that "
            "the towers it names can be had (its configuration may need the hub).",
        ) from fault
    model = model.eval().requires_grad_(False)
    canvas, pixels = _preprocessing(model)
    towers = Towers(
        pixels=pixels,
        images=model.encode_image,
        texts=lambda ids: model.encode_text(ids.to(device)),
        device=device,
    )
    known = str(checkpoint) if str(checkpoint).startswith((HUB, TAG)) else "directory"
    return assemble(
        towers,
        OpenClipTokens(words, int(words.context_length)),
        family="open-clip",
        variant=str(checkpoint).removeprefix(HUB).removeprefix(TAG)
        if known != "directory"
        else type(model.visual).__name__,
        digest=weights_digest(state),
        canvas=canvas,
        settings={
            "source": known,
            "revision": revision,
            "open-clip": open_clip.__version__,
            "config": short_digest(json.dumps(open_clip.get_model_config(name)).encode()),
            "vocabulary": vocabulary_digest(getattr(words, "tokenizer", words)),
        },
        precision=precision,
    )


def vocabulary_digest(tokenizer: Any) -> str:
    """Digest of all that a tokenizer does, as far as its kind can be asked."""
    if hasattr(tokenizer, "backend_tokenizer"):
        return short_digest(tokenizer.backend_tokenizer.to_str().encode())
    table = tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.get_vocab()
    return short_digest(json.dumps(table).encode())


def _tagged(checkpoint: str) -> tuple[str, str, Path]:
    """(open_clip name, its tag, the weights in open_clip's own cache) of ``tag:NAME/TAG``."""
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained

    name, _, pretrained = checkpoint.removeprefix(TAG).rpartition("/")
    known = get_pretrained_cfg(name, pretrained) if name else None
    if not known:
        tags = [tag for model, tag in list_pretrained() if model == name]
        raise OcclusionError(
            f"{checkpoint}: open_clip knows no such "
            + (f"tag; it has {', '.join(tags[:12])}" if tags else "model"),
            remedy="write tag:NAME/TAG as open_clip.list_pretrained() gives them.",
        )
    try:
        return name, pretrained, Path(download_pretrained(known))
    except Exception as fault:  # the hub's client and urllib raise many kinds
        raise OcclusionError(
            f"{checkpoint}: its weights cannot be downloaded ({type(fault).__name__})",
            remedy="check the network; or download the model elsewhere and give its directory.",
        ) from fault


def _vocabulary(place: Path, tokenizer: str | Path | None) -> dict[str, str]:
    """The byte-pair file that replaces CLIP's own, where the user or the directory has one."""
    if tokenizer is not None:
        return {"bpe_path": str(Path(tokenizer).expanduser())}
    found = sorted(place.glob("*bpe*.txt.gz"))
    return {"bpe_path": str(found[0])} if found else {}


def _preprocessing(model: Any) -> tuple[CanvasRecipe, Any]:
    """Split open_clip's transform where floats begin: the canvas, and what follows it."""
    from open_clip.model import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(**get_model_preprocess_cfg(model))
    steps = image_transform_v2(cfg, is_train=False).transforms
    cut = next(i for i, step in enumerate(steps) if "ToTensor" in type(step).__name__)
    height, width = cfg.size if isinstance(cfg.size, tuple | list) else (cfg.size, cfg.size)
    name = f"open-clip-{cfg.resize_mode}-{cfg.interpolation}-{height}x{width}-{cfg.fill_color}"
    recipe = CanvasRecipe(name, 3, height, width, partial(_draw, steps=tuple(steps[:cut])))
    return recipe, partial(normalised, mean=tuple(cfg.mean), std=tuple(cfg.std), factor=1 / 255)


def _draw(image: Image.Image, *, steps: Sequence[Any]) -> NDArray[np.uint8]:
    import numpy as np

    for step in steps:
        image = step(image)
    return np.array(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1).copy()


def normalised(
    canvases: torch.Tensor, *, mean: Sequence[float], std: Sequence[float], factor: float
) -> torch.Tensor:
    """uint8 ``[N, 3, H, W]`` -> float32, scaled by ``factor`` and normalised per channel."""
    import torch

    centre = torch.tensor(mean, device=canvases.device).view(-1, 1, 1)
    scale = torch.tensor(std, device=canvases.device).view(-1, 1, 1)
    return canvases.to(torch.float32).mul_(factor).sub_(centre).div_(scale)


OPEN_CLIP = Family("open-clip", _load, {"revision": ""})
