"""What MedCLIP and CXR-CLIP share: BERT beside a Swin or a ResNet, a linear head behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Modules, Options, planned_family
from pytest_occlusion.encoders.base import Family
from pytest_occlusion.encoders.bert import Pool, bert_of, text_tower, words_of
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.tokens import by_length
from pytest_occlusion.encoders.vision import check_tiling, quickened, resnet_of, see_grey, swin_of
from pytest_occlusion.encoders.weights import INDICES, Plan, built_from, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its parts in a file, and what it does before and behind the towers.

    Attributes:
        family: Its name.
        what: The same in words.
        text: Prefixes of BERT and of its head.
        swin: Prefixes of a Swin and of its head.
        resnet: The same of a ResNet.
        bias: Whether the heads have one.
        image_pool: What Swin gives -> ``[N, channels]``.
        text_pool: BERT's hidden states and mask of the positions that count -> ``[N, width]``.
        grey: Whether pictures have one channel, which upstream repeats.
        inputs: Checkpoint, options and whether it has a ResNet -> canvas, pixels, most tokens,
            length that every text is padded to (0: none), settings.
        released: Keys in the configuration that a trainer saved -> the value in the released files,
            the only one that is implemented.
    """

    family: str
    what: str
    text: tuple[str, str]
    swin: tuple[str, str]
    resnet: tuple[str, str]
    bias: bool
    image_pool: Callable[[Any], torch.Tensor]
    text_pool: Pool
    grey: bool
    inputs: Callable[..., dict[str, Any]]
    released: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def as_family(self, **told: Any) -> Family:
        """The family of this layout."""
        return planned_family(self.family, self.plan, self._around, **told)

    def _resnet_in(self, state: Mapping[str, Any]) -> bool:
        return f"{self.resnet[0]}conv1.weight" in state

    def plan(self, read: Checkpoint, _: Mapping[str, Any] | None = None) -> Plan:
        """How a checkpoint fills a model of the family."""
        import torch

        for keys, known in self.released.items():
            if (found := setting(read, *keys)) not in (None, known):
                raise OcclusionError(
                    f"{read.weights}: its configuration has {'.'.join(keys)} = {found!r}; only "
                    f"{known!r}, as in the released files, is known",
                    remedy="write a family for it; see docs/checkpoints.md.",
                )
        ignored = tuple(name for name in read.state if name.endswith(INDICES))
        state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
        text, text_head = self.text
        bert = bert_of(state, text, read.weights)
        joint = shape_of(state, f"{text_head}weight", 2, read.weights)[0]
        resnet = self._resnet_in(state)
        image, image_head = self.resnet if resnet else self.swin
        build = resnet_of if resnet else swin_of
        tower, variant, channels = build(state, image, read.weights)
        with built_from(read.weights):
            modules = {
                "": torch.nn.ParameterDict({"logit_scale": torch.empty(())}),
                text: bert,
                text_head: torch.nn.Linear(bert.config.hidden_size, joint, bias=self.bias),
                image: tower,
                image_head: torch.nn.Linear(channels, joint, bias=self.bias),
            }
        return Plan(self.what, variant, state, ignored, modules)

    def _around(
        self, read: Checkpoint, plan: Plan, modules: Modules, tokenizer: Any, options: Options
    ) -> dict[str, Any]:
        resnet = self._resnet_in(plan.state)
        parts = self.inputs(read, options, resnet=resnet)
        bert, text_head = (modules[prefix] for prefix in self.text)
        tower, head = (modules[prefix] for prefix in (self.resnet if resnet else self.swin))
        tokens = words_of(
            bert, tokenizer, beside=read.path, limit=parts.pop("limit"), options=options
        )
        if not resnet:
            check_tiling(tower, parts["canvas"].width, read.weights)
        if self.grey:
            see_grey(tower.conv1 if resnet else tower.embeddings.patch_embeddings.projection)
        seen = quickened(tower) if resnet else lambda pixels: self.image_pool(tower(pixels))
        texts = text_tower(bert, text_head, pool=self.text_pool, length=parts.pop("length"))
        parts["settings"]["lower-case"] = options["lower-case"]
        return parts | {
            "tokens": tokens,
            "images": lambda pixels: head(seen(pixels)),
            "texts": by_length(texts, bert.device),
        }


def setting(read: Checkpoint, *keys: str) -> Any:
    """A value from the configuration that a trainer saved beside the weights, or None."""
    value = read.extras.get("config")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
