"""What MedCLIP and CXR-CLIP share: BERT beside a Swin or a ResNet, a linear head behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble, by_length
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.tokens import load_word_pieces, padded_rows
from pytest_occlusion.encoders.vision import check_tiling, quickened, resnet_of, see_grey, swin_of
from pytest_occlusion.encoders.weights import (
    INDICES,
    Plan,
    block_count,
    built_from,
    fill,
    shape_of,
)

if TYPE_CHECKING:
    import torch

HEAD_WIDTH = 64
"""Channels of BERT's attention heads: 12 heads for 768 channels in every BERT-base."""


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its parts in a file, and how it reads the towers' output.

    Attributes:
        family: Its name.
        what: The same in words.
        text: Prefixes of BERT and of its head.
        swin: Prefixes of a Swin and of its head.
        resnet: The same of a ResNet.
        bias: Whether the heads have one.
        pool: What Swin gives -> ``[N, channels]``.
        grey: Whether pictures have one channel, which upstream repeats.
    """

    family: str
    what: str
    text: tuple[str, str]
    swin: tuple[str, str]
    resnet: tuple[str, str]
    bias: bool
    pool: Callable[[Any], torch.Tensor]
    grey: bool

    def read(self, checkpoint: str | Path, options: Mapping[str, Any]) -> Checkpoint:
        """Read a file that is no other family's."""
        read = read_checkpoint(checkpoint, options["weights"])
        refuse_other_families(read.state, self.family, read.weights)
        return read

    def has_resnet(self, state: Mapping[str, Any]) -> bool:
        """Whether the vision tower is a ResNet, told from the names of the tensors."""
        return f"{self.resnet[0]}conv1.weight" in state

    def plan(self, read: Checkpoint) -> Plan:
        """How a checkpoint fills a model of the family."""
        import torch

        ignored = tuple(name for name in read.state if name.endswith(INDICES))
        state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
        text, text_head = self.text
        bert = bert_of(state, text, read.weights)
        joint = shape_of(state, f"{text_head}weight", 2, read.weights)[0]
        resnet = self.has_resnet(state)
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

    def encoder(
        self,
        read: Checkpoint,
        plan: Plan,
        tokenizer: str | Path | None,
        device: torch.device,
        precision: str,
        *,
        canvas: CanvasRecipe,
        pixels: Callable[[torch.Tensor], torch.Tensor],
        texts: Callable[[Any, Any], Callable[[Sequence[Sequence[int]]], torch.Tensor]],
        limit: int,
        lower_case: bool,
        settings: Mapping[str, str | int | float | bool],
    ) -> Encoder:
        """Fill a model and put its preprocessing around it; ``texts`` gets BERT and its head."""
        modules, digest = fill(plan, read.weights, device)
        bert, text_head = (modules[prefix] for prefix in self.text)
        config: Any = bert.config
        words = load_word_pieces(
            tokenizer,
            beside=read.path,
            limit=limit,
            lower_case=lower_case,
            positions=config.max_position_embeddings,
            vocabulary_size=config.vocab_size,
        )
        return assemble(
            Towers(
                pixels=pixels,
                images=self._images(
                    modules, self.has_resnet(plan.state), canvas.width, read.weights
                ),
                texts=by_length(texts(bert, text_head)),
                device=device,
            ),
            words,
            family=self.family,
            variant=plan.variant,
            digest=digest,
            canvas=canvas,
            settings={**settings, "lower-case": lower_case, "vocabulary": words.digest},
            precision=precision,
        )

    def _images(
        self, modules: Mapping[str, Any], resnet: bool, side: int, path: Path
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        tower, head = (modules[prefix] for prefix in (self.resnet if resnet else self.swin))
        if not resnet:
            check_tiling(tower, side, path)
        if self.grey:
            see_grey(tower.conv1 if resnet else tower.embeddings.patch_embeddings.projection)
        if resnet:
            pooled = quickened(tower)
            return lambda pixels: head(pooled(pixels))
        return lambda pixels: head(self.pool(tower(pixels)))


def bert_of(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> Any:
    """A BERT of the sizes that the tensors under ``prefix`` tell, on the meta device."""
    from transformers import BertConfig, BertModel

    def rows(table: str) -> int:
        return shape_of(state, f"{prefix}embeddings.{table}_embeddings.weight", 2, path)[0]

    width = shape_of(state, f"{prefix}embeddings.word_embeddings.weight", 2, path)[1]
    inner = f"{prefix}encoder.layer.0.intermediate.dense.weight"
    config = BertConfig(
        vocab_size=rows("word"),
        hidden_size=width,
        num_hidden_layers=block_count(state, f"{prefix}encoder.layer."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        intermediate_size=shape_of(state, inner, 2, path)[0],
        max_position_embeddings=rows("position"),
        type_vocab_size=rows("token_type"),
    )
    with built_from(path):
        return BertModel(config)


def bert_states(bert: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All hidden states ``[N, L, width]`` of token ids ``[N, L]``, the embeddings' first.

    The bool mask is False on padding, which is never attended to, but attends itself. Every token
    is of type 0: upstream passes zeros (CXR-CLIP) or nothing (MedCLIP).
    """
    found = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    states: tuple[torch.Tensor, ...] = found.hidden_states
    return states


def text_tower(
    bert: Any,
    head: Any,
    *,
    pool: Callable[[tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor],
    length: int = 0,
) -> Callable[[Sequence[Sequence[int]]], torch.Tensor]:
    """Rows of token ids -> raw features.

    Args:
        bert: The text tower.
        head: What is behind it.
        pool: Hidden states and bool mask of the positions that count -> ``[N, width]``.
        length: Pad every row to so many tokens, which then all count; 0 to the longest of the call.
    """

    def embed(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, mask = padded_rows(rows, head.weight.device, length=length)
        states = bert_states(bert, ids, mask)
        features: torch.Tensor = head(pool(states, mask.new_ones(mask.shape) if length else mask))
        return features

    return embed
