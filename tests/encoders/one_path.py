"""Folders and files that could make a tool measure other weights than it names, and what comes.

``python -m tests.encoders.one_path`` prints one row a case: what runs, or the refusal.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import pathlib
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pytest_occlusion.encoders import load_encoder
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.errors import OcclusionError

from .formula import write_state
from .tiny import (
    cxr_clip_shapes,
    medclip_shapes,
    resnet_shapes,
    state_of,
    vit_shapes,
    write_directory,
    write_hub_model,
    write_open_clip,
    write_word_pieces,
)

State = dict[str, torch.Tensor]
BERT: dict[str, Any] = {"canvas_size": 64, "max_tokens": 40}


@dataclass(frozen=True)
class Model:
    """A family in its tiny form: a folder with one weights file, and the options it needs."""

    family: str
    write: Callable[[Path], object]
    file: str
    options: dict[str, Any] = field(default_factory=dict)


def _bert(shapes: dict[str, tuple[int, ...]], file: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        folder.mkdir()
        write_state(folder / file, state_of(shapes))
        write_word_pieces(folder / "vocab.txt")

    return write


OPEN_CLIP, HUB = "open_clip_model.safetensors", "model.safetensors"
MODELS = {
    "clip": Model("clip", lambda p: write_directory(p, vit_shapes()), OPEN_CLIP),
    "clip-resnet": Model("clip", lambda p: write_directory(p, resnet_shapes()), OPEN_CLIP),
    "cxr-repair": Model(
        "cxr-repair", lambda p: write_directory(p, vit_shapes()), OPEN_CLIP, {"canvas_size": 64}
    ),
    "medclip": Model(
        "medclip", _bert(medclip_shapes("resnet"), "pytorch_model.bin"), "pytorch_model.bin", BERT
    ),
    "cxr-clip": Model("cxr-clip", _bert(cxr_clip_shapes("resnet"), "best.tar"), "best.tar", BERT),
    "open-clip": Model("open-clip", lambda p: write_open_clip(p, "vit"), OPEN_CLIP),
    "open-clip-timm": Model("open-clip", lambda p: write_open_clip(p, "timm"), OPEN_CLIP),
    "hf": Model("hf", lambda p: write_hub_model(p, "clip"), HUB),
    "hf-siglip": Model("hf", lambda p: write_hub_model(p, "siglip"), HUB),
}


def take(folder: Path, model: Model) -> State:
    """The weights of a tiny folder, which are taken out of it."""
    path = folder / model.file
    state = {name: tensor.clone() for name, tensor in read_checkpoint(path).state.items()}
    path.unlink()
    return state


def put(folder: Path, name: str, saved: Any) -> None:
    """Save as a file of that name is saved."""
    if name.endswith(".safetensors"):
        save_file(saved, folder / name, metadata={"format": "pt"})
    else:
        torch.save(saved, folder / name)


def under(prefix: str, state: State) -> State:
    """The same tensors with something before every name."""
    return {prefix + name: tensor for name, tensor in state.items()}


def other(state: State) -> State:
    """Other weights of the same model."""
    return {n: t + 0.5 if t.is_floating_point() else t for n, t in state.items()}


def split(folder: Path, state: State, stem: str = "model") -> None:
    """Save in two files with their index."""
    names = sorted(state)
    placed: dict[str, str] = {}
    for number, held in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{number}-of-00002.safetensors"
        put(folder, file, {name: state[name] for name in held})
        placed |= dict.fromkeys(held, file)
    (folder / f"{stem}.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": placed})
    )


Change = Callable[[Path, State, str], object]


def saved(name: str, of: Callable[[State], Any] = lambda state: state) -> Change:
    """Instead of the weights file one of this name, holding what ``of`` makes of the weights."""
    return lambda folder, state, _: put(folder, name, of(state))


def also(name: str, of: Callable[[State], Any] = other, *, keep: str = "") -> Change:
    """Beside the weights file (under its own name, or ``keep``) a second one of other weights."""

    def change(folder: Path, state: State, file: str) -> None:
        put(folder, keep or file, state)
        put(folder, name, of(state))

    return change


def stale_index(folder: Path, state: State, file: str) -> None:
    """A split checkpoint of before, beside the single file of now."""
    split(folder, other(state))
    put(folder, file, state)


def zipped(folder: Path, state: State, _: str) -> None:
    """A zip of a trainer's folder."""
    with zipfile.ZipFile(folder / "w.zip", "w") as archive:
        for name, weights in (("last.pt", state), ("best.pt", other(state))):
            torch.save(weights, folder / name)
            archive.write(folder / name, f"run/{name}")
            (folder / name).unlink()


def mixed_shards(folder: Path, state: State, _: str) -> None:
    """Two files that are both there, but of which one holds what the other is listed for."""
    split(folder, state)
    first, second = sorted(folder.glob("model-*.safetensors"))
    one, two = load_file(first), load_file(second)
    name = next(iter(one))
    save_file({n: t for n, t in one.items() if n != name}, first, metadata={"format": "pt"})
    save_file({**two, name: one[name]}, second, metadata={"format": "pt"})


def lost_shard(folder: Path, state: State, _: str) -> None:
    split(folder, state)
    (folder / "model-00002-of-00002.safetensors").unlink()


def odd(dtype: torch.dtype) -> Callable[[State], State]:
    """One matrix in a dtype that no weights of such a model have."""

    def make(state: State) -> State:
        name = next(n for n, t in state.items() if t.dim() == 2)
        return {**state, name: torch.zeros(state[name].shape, dtype=dtype)}

    return make


def with_tensor(make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], State]:
    def changed(state: State) -> State:
        name = next(n for n, t in state.items() if t.dim() == 2)
        return {**state, name: make(state[name])}

    return changed


class Malice:
    """Pickles into a call: what a hostile checkpoint looks like."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


def beside(**extra: Any) -> Callable[[State], Any]:
    """A trainer's dictionary with other things in it."""
    return lambda state: {"epoch": 3, "state_dict": state, **extra}


def prefixed(prefix: str) -> Callable[[State], Any]:
    """What Lightning, DataParallel and the like save."""
    return lambda state: {"epoch": 3, "state_dict": under(prefix, state)}


def image_size(folder: Path, state: State, file: str) -> None:
    """A configuration of larger pictures: open_clip would stretch the position embedding."""
    put(folder, file, state)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = 64
    path.write_text(json.dumps(config))


def text_of_the_hub(folder: Path, state: State, file: str) -> None:
    """A text tower that is named by a repository, and no network."""
    put(folder, file, state)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] = {
        "hf_model_name": "nobody/never-there",
        "hf_tokenizer_name": "nobody/never-there",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
    }
    path.write_text(json.dumps(config))


SEVERAL = "several weights files"
NOT_THESE = "are of a type that weights of such models do not have"
LOADS = ""


@dataclass(frozen=True)
class Case:
    """One folder or file.

    Attributes:
        name: In words.
        model: A name of MODELS.
        change: What is done to the folder, whose weights have been taken out.
        said: Part of the refusal; empty where the weights of the plain folder are run.
        options: Of the model's table besides.
        file: The checkpoint, where it is not the folder.
    """

    name: str
    model: str
    change: Change
    said: str = LOADS
    options: dict[str, Any] = field(default_factory=dict)
    file: str = ""


PREFIXES = ("module.", "module.module.", "_orig_mod.module.", "model.", "clip.", "net.model.")
WRAPPERS: dict[str, Callable[[State], Any]] = {
    "net": lambda s: {"net": s, "epoch": 2},
    "model_state": lambda s: {"model_state": s},
    "model: {state_dict}": lambda s: {"model": {"state_dict": s, "step": 1}},
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(9), **under("module.", s)},
    "ema alone": lambda s: {"ema": under("module.", s)},
    "ema beside": lambda s: {"model": s, "model_ema": other(s)},
}
PLAIN: dict[str, Any] = {
    "a numpy number": {"best": np.float64(0.3)},
    "a numpy array": {"history": np.arange(3.0), "names": np.array(["a", None], dtype=object)},
    "a namespace": {"args": argparse.Namespace(lr=1.0, out=pathlib.PurePosixPath("/x"))},
    "paths and dates": {
        "hyper_parameters": {"data": pathlib.Path("/x"), "at": datetime.datetime(2020, 1, 2)},
        "took": datetime.timedelta(seconds=3),
    },
    "collections": {
        "a": collections.defaultdict(list, {"x": [1]}),
        "b": collections.deque([1, 2], maxlen=3),
        "c": collections.Counter("aab"),
        "d": frozenset({1}),
    },
}
TYPES: dict[str, Callable[[State], Any]] = {
    "int8": odd(torch.int8),
    "uint8": odd(torch.uint8),
    "bool": odd(torch.bool),
    "int64": odd(torch.int64),
    "complex64": odd(torch.complex64),
    "float8_e4m3fn": odd(torch.float8_e4m3fn),
    "sparse": with_tensor(lambda t: t.to_sparse()),
    "meta": with_tensor(lambda t: t.to("meta")),
    "quantised": with_tensor(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
}

CASES = [
    # A trainer's own names, in a folder with a configuration.
    *(
        Case(f"{name} in a folder", model, saved(name, of))
        for model in ("clip", "cxr-repair", "medclip", "cxr-clip", "open-clip", "hf")
        for name, of in (("epoch_5.pt", beside()), ("last.ckpt", lambda s: {"state_dict": s}))
    ),
    Case("weights.pth of a timm tower", "open-clip-timm", saved("weights.pth")),
    Case("checkpoint.th of SigLIP", "hf-siglip", saved("checkpoint.th", beside())),
    Case("checkpoint.bin of a CLIP ResNet", "clip-resnet", saved("checkpoint.bin")),
    Case("a bare file of MedCLIP", "medclip", saved("w.pth", beside()), LOADS, {}, "w.pth"),
    Case("a bare file of CXR-CLIP", "cxr-clip", saved("w.tar", beside()), LOADS, {}, "w.tar"),
    # More than one candidate.
    Case("twins of two formats", "hf", also("pytorch_model.bin"), SEVERAL),
    Case("open_clip's twins", "open-clip", also("open_clip_pytorch_model.bin"), SEVERAL),
    Case("open_clip's beside transformers' file", "hf", also(OPEN_CLIP), SEVERAL),
    Case("two epochs", "open-clip", also("epoch_2.pt", keep="epoch_1.pt"), SEVERAL),
    Case("two files of MedCLIP", "medclip", also("best.pth"), SEVERAL),
    Case("two files of CXR-CLIP", "cxr-clip", also("last.tar", lambda s: {"model": s}), SEVERAL),
    Case("two files of CLIP", "clip", also("ViT-B-32.pt"), SEVERAL),
    Case("a stale index", "hf", stale_index, SEVERAL),
    *(
        Case(f"{what}, and one is chosen", model, change, LOADS, {"weights": chosen})
        for what, model, change, chosen in (
            ("twins", "hf", also("pytorch_model.bin"), HUB),
            ("two epochs", "open-clip", also("epoch_2.pt", keep="epoch_1.pt"), "epoch_1.pt"),
            ("a stale index", "hf", stale_index, HUB),
            ("two files", "clip", also("ViT-B-32.pt"), OPEN_CLIP),
            ("two files", "medclip", also("best.pth", keep="last.pth"), "last.pth"),
            ("two files", "cxr-clip", also("best.tar", keep="last.ckpt"), "last.ckpt"),
        )
    ),
    Case("two files in a zip", "medclip", zipped, "a zip with several", {}, "w.zip"),
    Case("two files in a zip, and one is chosen", "medclip", zipped, LOADS,
         {"weights": "run/last.pt"}, "w.zip"),
    Case("a choice in a file", "medclip", saved("w.pth"), "chooses from a directory",
         {"weights": "w.pth"}, "w.pth"),
    Case("one that is not there", "hf", saved(HUB), "is not there", {"weights": "gone.bin"}),
    Case("one outside the folder", "hf", saved(HUB), "is not there", {"weights": "../x.bin"}),
    Case("an optimizer beside", "hf", also("optimizer.pt", lambda s: {"state": {0: s}})),
    # Split checkpoints.
    Case("two parts", "hf", lambda p, s, _: split(p, s)),
    Case("two parts of open_clip", "open-clip", lambda p, s, _: split(p, s, "open_clip_model")),
    Case("two parts of CLIP", "clip", lambda p, s, _: split(p, s)),
    Case("a part is lost", "hf", lost_shard, "1 of the files it lists are not there"),
    Case("parts of two checkpoints", "hf", mixed_shards, "are of different checkpoints"),
    # Around and before the names.
    *(Case(f"{key!r} around", "clip", saved("w.pt", of)) for key, of in WRAPPERS.items()),
    *(
        Case(f"{prefix} before", model, saved("w.ckpt", prefixed(prefix)))
        for model in ("clip", "medclip", "open-clip", "hf")
        for prefix in (PREFIXES if model == "clip" else PREFIXES[2:4])
    ),
    Case("two state_dicts", "clip", saved("w.pt", lambda s: {"net": s, "model": other(s)}),
         "holds a state_dict under each of 'model', 'net'"),
    Case("under a key of its own", "clip", saved("w.pt", lambda s: {"mine": s, "epoch": 1}),
         "under its keys 'mine', 'epoch'"),
    # Data and code beside the weights.
    *(Case(f"{what} beside", "clip", saved("w.pt", beside(**x))) for what, x in PLAIN.items()),
    Case("code beside", "clip", saved("w.pt", beside(x=Malice())), "asks to run posix.system"),
    Case("a whole model", "clip", saved("w.pt", lambda _: torch.nn.Linear(1, 1)),
         "asks to run torch.nn.modules.linear.Linear"),
    # Tensors that are no weights.
    *(Case(f"a matrix is {kind}", "clip", saved("w.pt", of), NOT_THESE)
      for kind, of in TYPES.items()),
    *(Case(f"a matrix is {kind} in safetensors", model, saved("w.safetensors", TYPES[kind]),
           NOT_THESE)
      for kind in ("int8", "float8_e4m3fn") for model in ("clip", "open-clip", "hf")),
    Case("a name that a terminal obeys", "clip",
         saved("w.pt", lambda s: {**s, "\x1b[2J.weight": torch.zeros(1)}), r"'\x1b[2J.weight'"),
    # Models that would hold something else than the file.
    Case("a tensor too few", "open-clip",
         saved("w.pt", lambda s: {n: t for n, t in s.items() if n != "logit_scale"}),
         "logit_scale: missing"),
    Case("a tensor too many", "open-clip",
         saved("w.pt", lambda s: {**s, "head.weight": torch.zeros(1)}), "head.weight: unexpected"),
    Case("a tensor too few", "hf",
         saved("w.pt", lambda s: {n: t for n, t in s.items() if n != "visual_projection.weight"}),
         "visual_projection.weight: missing"),
    Case("a tensor too many", "hf",
         saved("w.pt", lambda s: {**s, "head.weight": torch.zeros(1)}), "head.weight: unexpected"),
    Case("a tensor of another shape", "hf",
         saved("w.pt", lambda s: {**s, "logit_scale": torch.zeros(3)}), "logit_scale: mismatched"),
    Case("a configuration of larger pictures", "open-clip", image_size,
         "visual.positional_embedding: shape [17, 48], expected [65, 48]"),
    Case("a text tower that is not here", "open-clip", text_of_the_hub,
         "nobody/never-there (named by model_cfg.text_cfg.hf_model_name"),
    Case("a file where a folder is needed", "open-clip", saved("w.pt"),
         "a file", {}, "w.pt"),
]  # fmt: skip


def prepared(case: Case, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write a case's folder; its checkpoint, and the arguments to load it with."""
    model = MODELS[case.model]
    model.write(folder)
    options = dict(model.options) | case.options
    if case.file and (folder / "vocab.txt").is_file():
        options["tokenizer"] = folder / "vocab.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what it will not make for ever
        case.change(folder, take(folder, model), model.file)
    return folder / case.file, {"family": model.family, "device": "cpu", **options}


def main() -> int:
    """Print the table; the status says whether every case came out as it is listed."""
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        plain = {}
        for name, model in MODELS.items():
            model.write(Path(place) / name)
            plain[name] = load_encoder(
                model.family, checkpoint=Path(place) / name, device="cpu", **model.options
            ).weights_digest
        for case in CASES:
            checkpoint, options = prepared(case, Path(place) / "case")
            try:
                digest = load_encoder(checkpoint=checkpoint, **options).weights_digest
                said, right = f"runs {digest[:12]}", not case.said and digest == plain[case.model]
            except OcclusionError as fault:
                said = f"refused: {fault.problem.removeprefix(f'{checkpoint}: ')}".splitlines()[0]
                right = bool(case.said) and case.said in fault.problem
            wrong += not right
            mark = "" if right else "  <- WRONG"
            print(f"{case.model:<15}{case.name:<42}{said[:120]}{mark}")  # noqa: T201
            shutil.rmtree(Path(place) / "case")
    print(f"{len(CASES)} cases, {wrong} wrong")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
