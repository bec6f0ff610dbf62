"""Tensors on their way into a model: do they fit, are they numbers, which ones are they."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    from pathlib import Path

    import torch

INDICES = ("position_ids", "relative_position_index")
"""Endings of tables that files of some ages carry and every module counts for itself."""

NEWER = "install a version of transformers that this package was tested with."
PUBLISHED = "give the state_dict as its authors publish it."


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the sorted names, shapes, dtypes and little-endian bytes of the tensors.

    The same weights in another container, order or memory layout give the same 64 hexadecimal
    digits. Tensors, on the CPU, are hashed without a copy when they are contiguous.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach()
        kind = str(tensor.dtype).removeprefix("torch.")
        # The header gives the length of the bytes that follow, so no two states share a stream.
        digest.update(json.dumps([name, kind, list(tensor.shape)]).encode() + b"\n")
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        if sys.byteorder == "big":
            raw = raw.reshape(-1, tensor.element_size())[:, ::-1].copy()
        digest.update(raw.data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Plan:
    """How a state_dict fills a model of its family.

    Attributes:
        what: The model in words, e.g. ``"MedCLIP"``.
        variant: Its architecture, short: ``"ViT-B/32"``, ``"Swin-T"``, ``"ResNet50"``.
        state: The tensors that are loaded, by their published names.
        ignored: Names of the file's other entries, which carry no weights.
        modules: Prefix in the file -> the library's module of it, on the meta device.
        settled: What shapes do not tell and the modules were built with.
        assumed: The part of it that nothing told: upstream's own.
    """

    what: str
    variant: str
    state: Mapping[str, torch.Tensor]
    ignored: tuple[str, ...]
    modules: Mapping[str, torch.nn.Module]
    settled: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    assumed: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @cached_property
    def parts(self) -> dict[str, dict[str, list[int]]]:
        """Prefix -> published name behind it -> shape of each tensor that the module has."""
        return {prefix: _published(module) for prefix, module in self.modules.items()}


def _published(module: torch.nn.Module) -> dict[str, list[int]]:
    """A module's shapes by the names that files have, whatever transformers calls them now."""
    state: dict[str, torch.Tensor] = module.state_dict()
    if hasattr(module, "from_pretrained"):
        with contextlib.suppress(ImportError):  # before version 5 it had not renamed anything
            from transformers.core_model_loading import revert_weight_conversion

            state = revert_weight_conversion(module, state)
    return {name: list(t.shape) for name, t in state.items() if not name.endswith(INDICES)}


def misfits(plan: Plan) -> list[str]:
    """One line for each tensor that is missing, unexpected or misshapen."""
    wanted = {f"{prefix}{n}": s for prefix, part in plan.parts.items() for n, s in part.items()}
    found = {name: list(tensor.shape) for name, tensor in plan.state.items()}
    return [
        *(f"{n}: missing, shape {s}" for n, s in wanted.items() if n not in found),
        *(f"{n}: unexpected, shape {s}" for n, s in found.items() if n not in wanted),
        *(
            f"{name}: shape {shape}, expected {wanted[name]}"
            for name, shape in found.items()
            if wanted.get(name, shape) != shape
        ),
    ]


def not_numbers(state: Mapping[str, torch.Tensor]) -> list[str]:
    """One line for each tensor with NaN or infinite values."""
    import torch

    counts = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in state.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    }
    return [
        f"{name}: {count} of {state[name].numel()} values are NaN or infinite"
        for name, count in counts.items()
    ]


def check_numbers(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights that are not finite; the OcclusionError lists up to 20 tensors."""
    if faults := not_numbers(state):
        raise OcclusionError(
            f"{path}: {len(faults)} tensors hold values that are not numbers:\n{listed(faults)}",
            remedy="the training run diverged or the file is damaged; use an earlier checkpoint.",
        )


def check_plan(plan: Plan, path: Path) -> None:
    """Refuse weights that do not fill their model exactly, or are not finite; lists up to 20."""
    if faults := misfits(plan):
        raise OcclusionError(
            f"{path}: {len(faults)} of its tensors do not fit {plan.what} {plan.variant}:\n"
            f"{listed(faults)}",
            remedy="give the file as its authors publish it, and the family that it belongs to; "
            "`python -m pytest_occlusion inspect FILE` shows what it holds.",
        )
    check_numbers(plan.state, path)


def fill(plan: Plan, path: Path, device: torch.device) -> tuple[dict[str, torch.nn.Module], str]:
    """Put a plan's tensors into its modules: all of them, and nothing else.

    The digest is taken here, where it is certain that the modules hold exactly these tensors.
    Values are copied, so that a later change of the file cannot reach a loaded model, and floating
    ones become float32.

    Returns:
        Prefix -> module on ``device``, in evaluation mode and without gradients; and the digest of
        the tensors as the file has them.

    Raises:
        OcclusionError: As :func:`check_plan`; ``path`` is the file, for messages.
    """
    check_plan(plan, path)
    filled = {}
    for prefix, module in plan.modules.items():
        own = {name: plan.state[f"{prefix}{name}"] for name in plan.parts[prefix]}
        if hasattr(module, "from_pretrained"):
            kind, config, copied = type(module), module.config, _copied(own, "cpu")
            built = {} if getattr(module, "pooler", True) else {"add_pooling_layer": False}
            module = from_pretrained(kind, config, copied, path, NEWER, **built).to(device)
        else:
            module.load_state_dict(_copied(own, device), strict=True, assign=True)
        filled[prefix] = module.eval().requires_grad_(False)
    return filled, weights_digest(plan.state)


def _copied(
    state: Mapping[str, torch.Tensor], device: torch.device | str
) -> dict[str, torch.Tensor]:
    import torch

    return {
        name: t.detach().to(device, torch.float32 if t.is_floating_point() else None, copy=True)
        for name, t in state.items()
    }


def from_pretrained(
    kind: Any, config: Any, state: Mapping[str, torch.Tensor], path: Path, remedy: str, **built: Any
) -> Any:
    """A model of transformers in float32, filled with these tensors: all of them, nothing else.

    It may keep the tensors themselves; ``built`` are the kind's own arguments. The library would
    fill what does not fit with random numbers, or pass over it, and carry on: here that is an
    OcclusionError with this remedy.
    """
    import torch

    with quiet_transformers():
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(state),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are all named
            **built,
        )
    wrong = [
        f"{name if isinstance(name, str) else name[0]}: {what.removesuffix('_keys')}"
        for what, names in info.items()
        for name in names
        if not str(name).endswith(INDICES)
    ]
    if wrong:
        raise OcclusionError(
            f"{path}: {len(wrong)} tensors do not fit the {kind.__name__} of transformers:\n"
            f"{listed(wrong)}",
            remedy=remedy,
        )
    return model


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without its progress bars, and what it says to its own developers."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    with warnings.catch_warnings(action="ignore"):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


@contextlib.contextmanager
def built_from(path: Path) -> Iterator[None]:
    """Build modules that take no memory; sizes that no module can have are the file's fault."""
    import torch

    try:
        with torch.device("meta"):
            yield
    except (ValueError, AssertionError, ArithmeticError, RuntimeError) as fault:
        problem = f"{path}: the sizes of its tensors make no model ({fault})"
        raise OcclusionError(problem, remedy=PUBLISHED) from fault


def shape_of(
    state: Mapping[str, torch.Tensor], name: str, axes: int, path: Path
) -> tuple[int, ...]:
    """Shape of a tensor that decides a size; OcclusionError where it has not that many axes."""
    if name in state and state[name].dim() == axes:
        return tuple(state[name].shape)
    found = f"has {state[name].dim()} axes, not {axes}" if name in state else "is missing"
    problem = f"{path}: {name} {found}, so the architecture cannot be told"
    raise OcclusionError(problem, remedy=PUBLISHED)


def block_count(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many different numbers follow ``prefix`` in the names."""
    found = {name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)}
    return sum(number.isdigit() for number in found)
