"""Family ``biovil``: BioViL and BioViL-T, ResNet50 with CXR-BERT (microsoft/hi-ml, multimodal).

Published as two files, which ``weights = "*"`` reads as one model. Of BioViL-T what a radiograph
without a prior one needs is computed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Modules, Options, planned_family
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.encoders.bert import at_start, bert_of, text_tower, words_of
from pytest_occlusion.encoders.canvases import SIDES, central, normalised, shorter_side, stored
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.files import ALL
from pytest_occlusion.encoders.tokens import Tokens, by_length, prepared
from pytest_occlusion.encoders.vision import quickened, resnet_of, see_grey
from pytest_occlusion.encoders.weights import INDICES, Plan, built_from, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

RESIZE = 512
"""Shorter side in pixels before the crop (``image/data/transforms.py``, both models)."""

CROPS = {False: 480, True: 448}
"""Side of the input in pixels: BioViL's, and that of BioViL-T (``image/utils.py``)."""

MAX_TOKENS = 512
"""Positions of CXR-BERT. Upstream refuses longer texts, and does not cut them."""

MARKS = "!?."
"""Stripped from the end of a text (``text/inference_engine.py``)."""

REFUSED = ("[UNK]", "[SEP]", "[PAD]", "[CLS]")
"""What a text must not hold (same place); ``[MASK]`` may stand in one, as the mask token."""

EPSILON = 1e-12
"""Of the layer norm in the text head (``text/model/modelling_cxrbert.py``)."""

RESNET, PROJECTOR = "encoder.encoder.", "projector.model."
REDUCTION, BERT, HEAD = "encoder.backbone_to_vit.", "bert.", "cls_projection_head."
UNUSED = ("encoder.encoder.fc.", "encoder.vit_pooler.", "bert.pooler.", "cls.")
"""Beginnings of names that the joint embedding does not need: torchvision's head, the comparison
with a prior radiograph, and masked words."""

NO_PRIOR = "missing_previous_emb"
"""The vector that stands in for the feature map of a prior radiograph."""


def stretched(image: Image.Image) -> Image.Image:
    """From the darkest to the brightest sample of the file to 0-255, truncated, in grey.

    All channels together, transparency included, before any conversion: as upstream's
    ``image/data/io.py`` does. A picture of one value becomes black, as there.
    """
    import numpy as np
    from PIL import Image

    samples = stored(image)
    low, high = samples.min(), samples.max()
    if not np.isfinite(float(low) + float(high)):
        raise OcclusionError(
            "an image with values that are not numbers", remedy="leave it out of the corpus."
        )
    floats = samples.astype(np.float64) - float(low)
    if high > low:
        floats *= 255.0
        floats /= float(high) - float(low)
    return Image.fromarray(floats.astype(np.uint8)).convert("L")


def stretched_crop(resize: int, side: int) -> CanvasRecipe:
    """Stretched, shorter side to ``resize``, bilinear, then the central square of ``side``."""
    draw = partial(_draw, resize=resize, side=side)
    return CanvasRecipe(f"biovil-stretch-{resize}-crop-{side}", 1, side, side, draw)


def _draw(image: Image.Image, *, resize: int, side: int) -> NDArray[np.uint8]:
    import numpy as np

    resized = shorter_side(stretched(image), resize, "bilinear")
    return np.array(central(resized, side), dtype=np.uint8)[None]


biovil_pixels = partial(normalised, mean=0.0, std=1.0)
"""uint8 ``[N, 1, S, S]`` -> float32 on the 0-1 scale; upstream repeats the channel."""


def biovil_plan(read: Checkpoint, _: Mapping[str, Any] | None = None) -> Plan:
    """How the two files fill a BioViL or a BioViL-T."""
    import torch
    from torch import nn

    state, path = read.state, read.weights
    halves = {"image": f"{RESNET}conv1.weight", "text": f"{HEAD}dense_to_hidden.weight"}
    if lost := [half for half, name in halves.items() if name not in state]:
        raise OcclusionError(
            f"{path}: the {' and the '.join(lost)} half of a BioViL is not in it",
            remedy="give the folder with both files, the image model's .pt and the text model's "
            'pytorch_model.bin, and vocab.txt (weights = "FILE+FILE" where it holds others too).',
        )
    ignored = tuple(n for n in state if n.startswith(UNUSED) or n.endswith(INDICES))
    state = {name: tensor for name, tensor in state.items() if name not in ignored}
    tower, variant, channels = resnet_of(state, RESNET, path)
    seen = shape_of(state, f"{PROJECTOR}0.weight", 4, path)[0]
    joint = shape_of(state, f"{PROJECTOR}3.weight", 4, path)[0]
    hidden, width = shape_of(state, f"{HEAD}dense_to_hidden.weight", 2, path)
    output = shape_of(state, f"{HEAD}dense_to_output.weight", 2, path)[0]
    temporal = f"{REDUCTION}weight" in state
    modules: dict[str, nn.Module] = {RESNET: tower, BERT: bert_of(state, BERT, path)}
    with built_from(path):
        if temporal:
            reduced = shape_of(state, f"{REDUCTION}weight", 4, path)[0]
            modules[REDUCTION] = nn.Conv2d(channels, reduced, 1, bias=False)
            modules["encoder."] = nn.ParameterDict({NO_PRIOR: torch.empty(1, reduced, 1, 1)})
            channels = 2 * reduced
        modules[PROJECTOR] = nn.Sequential(
            nn.Conv2d(channels, seen, 1, bias=False),
            nn.BatchNorm2d(seen),
            nn.ReLU(),
            nn.Conv2d(seen, joint, 1),
        )
        modules[HEAD] = nn.Sequential(
            OrderedDict(
                dense_to_hidden=nn.Linear(width, hidden),
                activation=nn.GELU(),
                LayerNorm=nn.LayerNorm(hidden, eps=EPSILON),
                dense_to_output=nn.Linear(hidden, output),
            )
        )
    return Plan("BioViL", f"BioViL{'-T' * temporal} {variant}", state, ignored, modules)


def feature_map(modules: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Normalised pixels ``[N, 1, S, S]`` -> what the projector is given, ``[N, C, S/32, S/32]``.

    Of BioViL-T the reduced map comes first, then the vector of no prior radiograph in every cell.
    """
    import torch

    tower = modules[RESNET]
    see_grey(tower.conv1)
    cells_of = quickened(tower[: list(dict(tower.named_children())).index("avgpool")])
    if REDUCTION not in modules:
        return cells_of
    reduce, prior = modules[REDUCTION], modules["encoder."][NO_PRIOR]

    def with_no_prior(pixels: torch.Tensor) -> torch.Tensor:
        cells = reduce(cells_of(pixels))
        return torch.cat([cells, prior.to(cells.dtype).expand_as(cells)], dim=1)

    return with_no_prior


def prepared_texts(texts: Sequence[str], *, strip: bool) -> list[str]:
    """Texts without the marks at their ends; those of the tokenizer are refused, untold."""
    for mark in REFUSED:
        if count := sum(mark in text for text in texts):
            raise OcclusionError(
                f"{count} of {len(texts)} texts hold the literal {mark}, which CXR-BERT would take "
                "for a mark of its own",
                remedy="take it out of the reports; upstream refuses such texts, too.",
            )
    return [text.rstrip(MARKS) if strip else text for text in texts]


def _words(read: Checkpoint, bert: Any, tokenizer: Any, options: Mapping[str, Any]) -> Tokens:
    words = words_of(
        bert, tokenizer, beside=read.path, limit=options["max-tokens"], options=options
    )
    return prepared(words, partial(prepared_texts, strip=options["strip-marks"]))


def _around(
    read: Checkpoint, plan: Plan, modules: Modules, tokenizer: Any, options: Options
) -> dict[str, Any]:
    side = options["canvas-size"] or CROPS[REDUCTION in modules]
    if side > options["resize"]:
        raise OcclusionError(
            f"canvas-size = {side} is more than resize = {options['resize']}",
            remedy="the central square is cut from what was resized: make it no larger.",
        )
    settings = {name: options[name] for name in ("lower-case", "strip-marks")}
    cells, projector, bert = feature_map(modules), quickened(modules[PROJECTOR]), modules[BERT]
    return {
        "canvas": stretched_crop(options["resize"], side),
        "pixels": biovil_pixels,
        # Projected cell by cell, and then the mean over the grid: the projector is not linear.
        "images": lambda pixels: projector(cells(pixels)).mean(dim=(2, 3)),
        "texts": by_length(text_tower(bert, modules[HEAD], pool=at_start), bert.device),
        "tokens": _words(read, bert, tokenizer, options),
        "settings": settings,
    }


BIOVIL = planned_family(
    "biovil",
    biovil_plan,
    _around,
    options={
        "resize": RESIZE,
        "canvas-size": 0,  # by the file: see CROPS
        "max-tokens": MAX_TOKENS,
        "lower-case": True,
        "strip-marks": True,
        "weights": ALL,
    },
    choices={"canvas-size": range(SIDES.stop), "resize": SIDES},
    hub=("*.pt", "pytorch_model*.bin|model*.safetensors"),
)
