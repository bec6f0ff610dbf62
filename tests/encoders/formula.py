"""Checkpoints of known weights, drawn from a formula, in the formats that upstream publishes.

Every tensor is a function of its own name (``../shared/UPSTREAM.md`` 0.1), so checkpoints whose
embeddings are known need no download: the listing in ``parity/`` gives names, shapes and rules.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

PARITY = Path(__file__).parent / "parity"
LOGIT_SCALE = math.log(1 / 0.07)


def daily(names: Iterable[str], *chosen: str) -> list[Any]:
    """Parameters of these names, all but the chosen ones slow.

    Each stands for a checkpoint of half a gigabyte and more; the paper's four families have one
    that runs every day.
    """
    return [pytest.param(name, marks=[] if name in chosen else pytest.mark.slow) for name in names]


def draw(name: str, shape: tuple[int, ...], rule: str) -> NDArray[Any]:
    """One tensor: standard normals seeded by the name, scaled by the rule, all in float32."""
    if rule == "zero_int":
        return np.zeros(shape, np.int64)
    if rule == "zero":
        return np.zeros(shape, np.float32)
    if rule.startswith("tied:"):  # the array of another entry
        return draw(rule.removeprefix("tied:"), shape, "small")
    if rule == "scalar":
        return np.full(shape, LOGIT_SCALE, np.float32)
    if rule in ("keep", "arange"):
        return kept(name, shape)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)
    normal = np.asarray(normal, np.float32)
    one, f32 = np.float32(1), np.float32
    if rule == "norm_weight":
        scaled = one + f32(0.02) * normal
    elif rule == "small":
        scaled = f32(0.02) * normal
    elif rule == "running_var":
        scaled = one + f32(0.1) * np.abs(normal)
    else:
        fan = math.prod(shape[1:]) if rule == "linear" else shape[0]
        scaled = normal * f32(1 / math.sqrt(fan))
    return np.asarray(scaled, np.float32)


def kept(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The two index buffers that architectures build for themselves."""
    if name.endswith("position_ids"):
        return np.arange(shape[1], dtype=np.int64)[None]
    side = math.isqrt(shape[0])
    rows, columns = (axis.ravel() for axis in np.mgrid[:side, :side])
    down = rows[:, None] - rows[None] + side - 1
    across = columns[:, None] - columns[None] + side - 1
    return np.asarray(down * (2 * side - 1) + across, np.int64)


def rule_of(name: str, shape: tuple[int, ...]) -> str:
    """The rule that fits a name, for listings that do not carry one."""
    tables: tuple[str, ...] = ("embedding", "embedding.weight", "bias_table", "embeddings.weight")
    tables += ("_token", "pos_embed", "missing_previous_emb", "type_embed", "prototypes")
    if name.endswith(("position_ids", "relative_position_index")):
        return "keep"
    if name.endswith(("num_batches_tracked", "step_count")):
        return "zero_int"
    if name == "logit_scale":
        return "scalar"
    if name in ("text_projection", "visual.proj"):
        return "proj"
    if name.endswith("running_var"):
        return "running_var"
    if name.endswith(("bias", "running_mean", *tables)):
        return "small"
    return "norm_weight" if len(shape) == 1 else "linear"


def listing(variant: str) -> dict[str, Any]:
    """What upstream's own code recorded about a variant, e.g. ``clip_vitb32``."""
    found: dict[str, Any] = json.loads((PARITY / f"{variant}.json").read_text(encoding="utf-8"))
    return found


def formula_state(variant: str, role: str = "") -> dict[str, NDArray[Any]]:
    """The complete state_dict of a variant in upstream's order, checked against its hashes.

    Of a model in two files the role says which: ``image`` or ``text``.
    """
    state: dict[str, NDArray[Any]] = {}
    listed = listing(variant)
    for part in [one for one in listed.get("files", ()) if one["role"] == role] or [listed]:
        state |= _drawn(part["entries"])
    return state


def _drawn(entries: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    state = {}
    for entry in entries:
        name, shape = entry["name"], tuple(entry["shape"])
        state[name] = draw(name, shape, entry["rule"])
        found = hashlib.sha256(np.ascontiguousarray(state[name]).tobytes()).hexdigest()
        assert found.startswith(entry["sha256_16"]), f"{name}: the formula gave other bytes"
    return state


def write_state(path: Path, state: dict[str, NDArray[Any]]) -> Path:
    """Save arrays in the container that the suffix of ``path`` names."""
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    elif path.suffix == ".tar":
        write_tar(path, tensors, CONFIG)
    elif path.suffix == ".ckpt":
        write_ckpt(path, tensors)
    else:
        torch.save(tensors, path)
    return path


def write_formula_biovil(path: Path, variant: str, words: Path | None) -> Path:
    """A folder as Microsoft publishes BioViL (``biovil``) or BioViL-T (``biovil_t``).

    Its vocabulary is bert-base-cased's with as many words behind it as CXR-BERT's has more; without
    a path, of other words.
    """
    path.mkdir()
    image, text = listing(variant)["files"]
    for part in (image, text):
        state = formula_state(variant, part["role"])
        if variant == "biovil_t":  # whose file is as much larger as a pooler would make it
            state |= _drawn(part.get("optional_entries", []))
        write_state(path / part["released_name"], state)
    (path / "config.json").write_text(json.dumps(text["config"]), encoding="utf-8")
    write_words(path / "vocab.txt", words, text["config"]["vocab_size"])
    return path


def write_chexficient(path: Path, state: dict[str, NDArray[Any]], words: Path | None) -> Path:
    """What CheXficient's trainer saves, and bert-base-cased's vocabulary or other words beside it.

    Returns:
        The weights.
    """
    import torch

    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    saved = {"model": tensors, "optimizer": {}, "epoch": 1, "scaler": {}, "best_acc": [0.5]}
    torch.save({**saved, "step": 7, "subset": ["p10/s5", 12]}, path / "pytorch_model.pth")
    write_words(path / "vocab.txt", words, 28996)
    return path / "pytorch_model.pth"


def write_words(path: Path, words: Path | None, size: int) -> None:
    """A vocabulary of so many words: those of a file, or BERT's marks, and fillers behind them."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    lines = words.read_text(encoding="utf-8").splitlines() if words else marks
    fillers = (f"[filler{number}]" for number in range(size - len(lines)))
    path.write_text("\n".join([*lines, *fillers]) + "\n", encoding="utf-8")


def write_formula_checkpoint(path: Path, variant: str) -> Path:
    """Write a variant's formula weights, in the container that the suffix of ``path`` names.

    Args:
        path: ``*.safetensors``, ``*.tar`` for what CXR-CLIP's trainer saves, ``*.ckpt`` for what
            MGCA's does, or anything else for a ``torch.save`` state_dict.
        variant: A listing in ``parity/`` of one file: ``clip_vitb32``, ``cxr_repair``,
            ``medclip_vit``, ``cxrclip_swin``, ``mgca_vit``, ...

    Returns:
        ``path``. 455 to 780 MB in about three seconds.
    """
    return write_state(path, formula_state(variant))


CONFIG: dict[str, Any] = {
    "base": {"image_size": 224, "text_max_length": 256},
    "model": {"text_encoder": {"pooling": "eos"}, "projection_head": {"name": "linear"}},
}
"""The part of CXR-CLIP's training configuration that its loader looks at."""


def foreign(patch: pytest.MonkeyPatch, place: str, name: str) -> Any:
    """A class of a package that is not installed; it can be pickled while the patch holds."""
    kind = type(name, (), {"__module__": place})
    parts = place.split(".")
    for depth in range(1, len(parts) + 1):
        patch.setitem(sys.modules, at := ".".join(parts[:depth]), types.ModuleType(at))
    setattr(sys.modules[place], name, kind)
    return kind


def write_tar(path: Path, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    """Save as CXR-CLIP's trainer does: with a list of the configuration left to omegaconf."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        scale = foreign(patch, "omegaconf.listconfig", "ListConfig")()
        scale._content = [0.8, 1.1]
        config = {**config, "transform": {"train": {"scale": scale}}}
        torch.save({"model": tensors, "optimizer": {}, "config": config, "epoch": 14}, path)


def write_ckpt(path: Path, tensors: dict[str, Any]) -> None:
    """Save as Lightning does for MGCA: with callbacks under classes, as before Lightning 1.5."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        best = foreign(patch, "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
        saved = {
            "epoch": 1,
            "pytorch-lightning_version": "1.4.9",
            "state_dict": tensors,
            "callbacks": {best: {"best_model_score": torch.tensor(2.5), "dirpath": "ckpts"}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
            "lr_schedulers": [],
            "hyper_parameters": {"img_encoder": "vit_base", "emb_dim": 128},
        }
        torch.save(saved, path)
