"""Suites of made-up towers, and pieces of the engine that several parts use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_parts.made_up import picture, report
from gpu_parts.setting import ROOT, Setting
from gpu_parts.towers import Made
from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.grid import cells
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.suites import find_suite


def settings_for(
    given: Setting,
    folder: Path,
    models: Mapping[str, tuple[Made, str]],
    *,
    corpus: str = "embedded",
    store: Path | None = None,
    **changed: Any,
) -> Settings:
    """Settings of a suite of made-up towers: name -> the checkpoint and its precision."""
    lines = ['suite = "gpu"', f"corpus = {json.dumps(corpus)}"]
    for name, (made, precision) in models.items():
        told = {"family": made.family, "checkpoint": str(made.checkpoint), "precision": precision}
        told |= {"tokenizer": str(made.tokenizer)} if made.tokenizer else {}
        lines += [
            f"[models.{name}]",
            *(f"{key} = {json.dumps(value)}" for key, value in told.items()),
        ]
        lines += [f"{key} = {json.dumps(value)}" for key, value in made.options.items()]
    path = folder / "suite.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = {"device": str(given.device), **changed}
    settings = build_settings(find_suite(str(path), ROOT), command_line=asked)
    return replace(settings, store=store)


def session_of(settings: Settings, corpus: Corpus | None = None) -> Session:
    """A session that says nothing, over its own corpus or another."""
    session = Session(settings, wanted=cells(settings.grid), say=lambda line: None)
    if corpus is not None:
        session.corpus = corpus
    return session


def made_up_corpus(count: int, side: int) -> Corpus:
    """So many radiographs, each with a report of its own; nothing is read from a file."""
    from functools import partial

    studies = tuple(
        Study(f"study {number}", f"patient {number}", report(number), findings=report(number))
        for number in range(count)
    )
    radiographs = tuple(
        Radiograph(
            key=f"radiograph {number}",
            study=number,
            view="PA",
            content=f"made up {number} of {side}",
            where=f"radiograph {number}",
            open=partial(picture, number, side, side),
        )
        for number in range(count)
    )
    return Corpus("made up", studies, radiographs)


def forget(store: Path, kinds: Sequence[str] = ("ranks", "embeddings", "texts")) -> None:
    """Delete entries of some kinds from a store."""
    for kind in kinds:
        for path in store.glob(f"v*/{kind}/**/*"):
            if path.is_file():
                path.unlink()
