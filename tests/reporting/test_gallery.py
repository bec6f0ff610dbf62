"""The gallery: what was shown, chosen or at random, on a sheet, and on the page only when asked."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pytest_occlusion.__main__ import main
from pytest_occlusion.encoders import _REGISTERED
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import CORRUPTIONS, OCCLUDERS, corrupt, occlude
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.reporting.gallery import CAPTION, SIDE, draw_sheet, gallery
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import find_suite
from tests.engine import decoder_tricks
from tests.plugin import toy_family
from tests.reporting.fabricated import results
from tests.reporting.test_html import Page

RATIOS = (0.0, 0.25, 0.81)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy suite of six pictures, here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path / "store"))
    rows = ["image,study_id,patient_id,report"]
    for number in range(6):
        Image.fromarray(toy_family.pattern(number)).save(tmp_path / f"secret-{number}.png")
        rows.append(f"secret-{number}.png,s{number},p{number},report {number}")
    (tmp_path / "r.csv").write_text("\n".join(rows))
    toy_family.write_checkpoint(tmp_path / "toy.safetensors")
    (tmp_path / "suite.toml").write_text(
        'suite = "toy"\ncorpus = "manifest:r.csv"\nratios = [0.0, 0.25, 0.81]\nks = [1]\n'
        'occluders = ["block", "pixels"]\n[models.toy]\nfamily = "toy"\n'
        'checkpoint = "toy.safetensors"\n'
    )
    monkeypatch.setitem(_REGISTERED, "toy", toy_family.TOY)
    return tmp_path


def tiles(sheet: Image.Image, columns: int) -> list[Image.Image]:
    found = []
    for top in range(0, sheet.height, SIDE + CAPTION):
        for column in range(columns):
            corner = (column * SIDE, top + CAPTION)
            found.append(sheet.crop((*corner, corner[0] + SIDE, corner[1] + SIDE)))
    return found


def shown(number: int, key: str, occluder: str, ratio: float) -> Image.Image:
    """One tile, the dumb way."""
    canvas = torch.from_numpy(toy_family.pattern(number))[None, None]
    pixels = occlude(canvas, ratio=ratio, occluder=occluder, keys=[key])[0, 0].numpy()
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def test_a_chosen_radiograph_under_every_condition(folder: Path) -> None:
    arguments = ["gallery", "--suite", "suite.toml", "--out", "out/g.png"]
    assert main([*arguments, "--key", "secret-4.png"]) == 0
    with Image.open(folder / "out" / "g.png") as sheet:
        found = tiles(sheet, len(RATIOS))
    wanted = [
        shown(4, "secret-4.png", name, ratio) for name in ("block", "pixels") for ratio in RATIOS
    ]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert (folder / "out" / "g.png").stat().st_mode & 0o077 == 0, "for its owner alone"


@pytest.mark.parametrize("ratios", [RATIOS, (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)])
def test_corruptions_at_their_severities_beside_occluders(
    ratios: tuple[float, ...], folder: Path
) -> None:
    """Rows of fewer levels than the longest end in empty tiles."""
    arguments = ["gallery", "--suite", "suite.toml", "--out", "g.png", "--key", "secret-4.png"]
    chosen = ["--occluders", "blur,block", "--ratios", ",".join(map(str, ratios))]
    assert main([*arguments, *chosen]) == 0
    canvas = torch.from_numpy(toy_family.pattern(4))[None, None]
    keys = ["secret-4.png"]
    blurred = [
        (
            f"1 blur {severity}",
            corrupt(canvas, severity=severity, corruption="blur", keys=keys)[0, 0].numpy(),
        )
        for severity in range(6)
    ]
    blocked = [
        (
            f"1 block {100 * ratio:.0f} %",
            occlude(canvas, ratio=ratio, occluder="block", keys=keys)[0, 0].numpy(),
        )
        for ratio in ratios
    ]
    columns = max(len(blurred), len(blocked))
    empty = [("", np.zeros_like(toy_family.pattern(4)))]
    tiles = [part for row in (blurred, blocked) for part in row + empty * (columns - len(row))]
    with Image.open(folder / "g.png") as sheet:
        found = np.asarray(sheet)
    np.testing.assert_array_equal(found, draw_sheet(tiles, columns=columns, side=SIDE))


def test_captions_fit_above_their_tiles() -> None:
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    for name in (*OCCLUDERS, *CORRUPTIONS):
        assert draw.textlength(f"99 {name} {level_text(name, 0.8)}") < SIDE


def test_a_seeded_choice_is_the_same_again(folder: Path) -> None:
    arguments = ["gallery", "--suite", "suite.toml", "--occluders", "block", "--ratios", "0"]
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main([*arguments, "--count", "2", "--seed", seed, "--out", f"{name}.png"]) == 0
    first, again, other = ((folder / f"{name}.png").read_bytes() for name in "abc")
    assert first == again
    assert first != other
    with Image.open(folder / "a.png") as sheet:
        found = tiles(sheet, 1)
    for tile, number in zip(found, random.Random(3).sample(range(6), 2), strict=True):
        wanted = shown(number, f"secret-{number}.png", "block", 0.0)
        np.testing.assert_array_equal(np.asarray(tile), np.asarray(wanted))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--key", "nobody"], "has no radiograph nobody"),
        (["--count", "0"], "--count 0: nothing to show"),
        (["--occluders", "blob"], "holds unknown blob"),
        (["--ratios", "2"], "holds 2.0, outside [0, 1)"),
        (["--model", "other"], "unknown model other"),
        (["--corpus", "manifest:no.csv"], "no.csv: no such file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "--suite", "suite.toml", "--out", "g.png", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "->" in error
    assert not Path("g.png").exists()


def test_damaged_images_and_places_that_cannot_be(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "secret-1.png").write_bytes(b"no picture")
    arguments = ["gallery", "--suite", "suite.toml", "--out", "g.png"]
    assert main([*arguments, "--key", "secret-1.png"]) == 2
    error = capsys.readouterr().err
    assert "row 2" in error
    assert "secret" not in error
    assert main([*arguments[:3], "--out", "suite.toml/g.png", "--key", "secret-2.png"]) == 2
    assert "another file with --out" in capsys.readouterr().err


def test_radiographs_that_crash_their_decoder_are_listed_with_the_others(folder: Path) -> None:
    settings = build_settings(find_suite("suite.toml", folder), command_line={})
    session = Session(settings, say=lambda line: None)
    radiographs = list(session.corpus.radiographs)
    crash = partial(decoder_tricks.killed_elsewhere, os.getpid())
    radiographs[1] = replace(radiographs[1], open=crash)
    radiographs[4] = replace(radiographs[4], open=decoder_tricks.faulty)
    session.corpus = replace(session.corpus, radiographs=tuple(radiographs))
    with pytest.raises(OcclusionError) as fault:
        gallery(session, "toy", [0, 1, 4])
    crashed, damaged = radiographs[1].where, radiographs[4].where
    first, *lines = fault.value.problem.splitlines()
    assert first == "2 radiographs of the corpus 'manifest' cannot be used:"
    assert lines == [f"  - {crashed}: its decoder was killed (SIGSEGV)", f"  - {damaged}: damaged"]
    assert fault.value.remedy
    assert gallery(session, "toy", [0, 2]).height == 2 * 2 * (SIDE + CAPTION), "the rest is drawn"


def test_the_page_shows_it_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page, sheet = (tmp_path / name for name in ("r.json", "p.html", "g.png"))
    path.write_text(json.dumps(results(1, occluders=("block",))))
    grey = np.full((4, 4), 99, np.uint8)
    draw_sheet([("one", grey)], columns=1, side=20).save(sheet)
    assert main(["html", str(path), "--out", str(page)]) == 0
    assert Page(page.read_text()).every("img") == []
    assert "img-src" not in page.read_text()
    arguments = ["html", str(path), "--out", str(page), "--gallery"]
    assert main([*arguments, str(sheet)]) == 0
    first = page.read_text()
    (image,) = Page(first).every("img")
    assert str(image["src"]).startswith("data:image/png;base64,")
    assert "as the encoder is shown them" in str(image["alt"])
    assert "shows radiographs of the corpus" in Page(first).words
    assert main([*arguments, str(sheet)]) == 0
    assert page.read_text() == first
    for wrong, says in ((path, "not a PNG file"), (tmp_path / "no.png", "No such file")):
        capsys.readouterr()
        assert main([*arguments, str(wrong)]) == 2
        assert says in capsys.readouterr().err


def test_the_help_says_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("gallery", "html"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "SHOWS RADIOGRAPHS OF PATIENTS" in " ".join(capsys.readouterr().out.split())


def test_a_sheet_of_tiles() -> None:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (8, 8), dtype=np.uint8) for _ in range(5)]
    sheet = draw_sheet([("", one) for one in pictures], columns=2, side=8)
    assert sheet.size == (16, 3 * (8 + CAPTION))
    pixels = np.asarray(sheet)
    for number, one in enumerate(pictures):
        top, left = number // 2 * (8 + CAPTION) + CAPTION, number % 2 * 8
        np.testing.assert_array_equal(pixels[top : top + 8, left : left + 8], one)
