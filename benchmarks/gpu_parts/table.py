"""The part ``table``: the paper's table on as many synthetic radiographs as it had.

1,770 grey JPEGs of 2,500 x 3,000 pixels with the reports of 994 studies; ViT-B/32 at eight ratios
and six ks, through the session that pytest's cells ask. Cold: nothing is stored. Canvases warm:
what was decoded is stored. All warm: ranks are stored too, which imports nothing anew here.
"""

from __future__ import annotations

import csv
import gc
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpu_parts import towers
from gpu_parts.made_up import jpeg, report, with_comment
from gpu_parts.record import Check, Finding
from gpu_parts.setting import Setting
from gpu_parts.suites import forget, session_of, settings_for
from pytest_occlusion.engine.parallel import usable_cores
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.settings import Settings

STUDIES, RADIOGRAPHS, WIDTH, HEIGHT = 994, 1770, 2500, 3000
DISTINCT = 48
"""Pictures that are drawn; the files differ by a comment each."""

COLD, WARM_CANVASES = 60.0, 10.0
"""Aims in seconds."""


def table(given: Setting) -> Iterator[Finding]:
    """Seconds of a cold run, of one with canvases, and of one with everything in the store."""
    given.needs(60, "writing the radiographs and a cold run")
    folder = given.folder / "table"
    folder.mkdir()
    start = time.perf_counter()
    manifest, size = write_corpus(folder, small=given.small)
    yield f"{size / 1e6:,.0f} MB of JPEGs were written in {time.perf_counter() - start:.1f} s"
    made = towers.write("clip ViT", folder / "clip", small=given.small)
    models = {"half": (made, "bf16"), "exact": (made, "fp32")}
    ks = [1, 5, 10] if given.small else None
    settings = settings_for(
        given,
        folder,
        models,
        corpus=f"manifest:{manifest}",
        store=folder / "store",
        **({"ks": ks} if ks else {}),
    )
    half, exact = (_only(settings, name) for name in models)
    yield from _row("bf16", "cold", half, COLD)
    for precision, one in (("bf16", half), ("fp32", exact)):
        given.needs(15, f"{precision} with warm canvases")
        forget(folder / "store")
        yield from _row(precision, "canvases warm", one, WARM_CANVASES)
        yield from _row(precision, "all warm", one, None)


def _only(settings: Settings, model: str) -> Settings:
    return replace(settings, grid=replace(settings.grid, models=(model,)))


def _row(precision: str, state: str, settings: Settings, aim: float | None) -> Iterator[Finding]:
    start = time.perf_counter()
    session = session_of(settings)
    corpus = session.corpus
    read = time.perf_counter() - start
    results = [session.result(cell) for cell in session.wanted]
    seconds = time.perf_counter() - start
    yield {
        "precision": precision,
        "store": state,
        "radiographs": len(corpus.radiographs),
        "cells": len(results),
        "s": round(seconds, 2),
        "corpus": round(read, 2),
        **_split(session),
        "batch": session.measured(session.wanted[0])[0].fields["batch_size"],
    }
    if aim is not None and len(corpus.radiographs) == RADIOGRAPHS:
        what = f"{precision}, {state}, seconds"
        yield Check(what, round(seconds, 2), f"at most {aim:g}", seconds <= aim, must=False)
    session.close()
    gc.collect()


def _split(session: Session) -> dict[str, Any]:
    """What took the time of a fresh run."""
    done = [one for cell in session.wanted for one in session.measured(cell)]
    if not done[0].fresh:
        return {"draw": None, "texts": None, "encode": None, "wait": None, "rank": None}
    fields = done[0].fields
    ranked = {id(one): one.fields["rank_seconds"] for one in done}
    told = {
        "draw": fields["draw_seconds"],
        "texts": fields["text_seconds"],
        "encode": fields["encode_seconds"],
        "wait": fields["wait_seconds"],
        "rank": sum(ranked.values()),
    }
    return {name: round(seconds, 2) for name, seconds in told.items()}


def write_corpus(folder: Path, *, small: bool) -> tuple[Path, int]:
    """Write radiographs and a manifest; gives its path, and bytes of pictures."""
    studies, radiographs = (16, 24) if small else (STUDIES, RADIOGRAPHS)
    width, height = (500, 600) if small else (WIDTH, HEIGHT)
    asked = [(number, width, height) for number in range(4 if small else DISTINCT)]
    if small:
        pictures = [jpeg(one) for one in asked]
    else:
        with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as processes:
            pictures = list(processes.map(jpeg, asked))
    images = folder / "images"
    images.mkdir()

    def write(number: int) -> int:
        whole = with_comment(pictures[number % len(pictures)], f"made up, number {number}")
        return (images / f"{number:04}.jpg").write_bytes(whole)

    with ThreadPoolExecutor(8) as threads:
        size = sum(threads.map(write, range(radiographs)))
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "report", "study", "patient"))
        for number in range(radiographs):
            study = number % studies
            rows.writerow((f"images/{number:04}.jpg", report(study), f"s{study}", f"p{study}"))
    return manifest, size
