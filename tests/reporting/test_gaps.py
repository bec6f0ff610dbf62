"""The domain gap: bars of several corpora side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.__main__ import main
from tests.reporting.fabricated import results


def run_of(folder: Path, corpus: str, mark: str, **given: Any) -> str:
    asked: dict[str, Any] = {"occluders": ("block",), "ks": (5, 10), "ratios": (0.0, 0.25), **given}
    document = results(asked.pop("models", 3), **asked)
    document["corpus"] |= {"name": corpus, "fingerprint": mark * 32}
    path = folder / f"{corpus}-{mark}.json"
    path.write_text(json.dumps(document))
    return str(path)


def draw(folder: Path, *paths: str, formats: str = "svg") -> int:
    return main(["plot", *paths, "--out", str(folder / "out"), "--formats", formats])


def words(folder: Path) -> list[str]:
    return re.findall(r"<!-- (.*?) -->", (folder / "out" / "corpora.svg").read_text())


@pytest.mark.parametrize("count", [2, 3])
def test_a_bar_per_model_and_corpus(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("mimic-cxr", "open-i", "ours")[:count]
    paths = [run_of(tmp_path, name, f"{n}a") for n, name in enumerate(names)]
    assert draw(tmp_path, *paths) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'corpora.svg'}\n"
    said = words(tmp_path)
    for word in (*names, "chance", "constant", "R@5", "R@10", "clip", "cxr-repair", "medclip"):
        assert word in said
    bars = re.findall(r'<g id="patch_\d+">', (tmp_path / "out" / "corpora.svg").read_text())
    assert len(bars) >= 2 * 3 * count


def test_corpora_of_one_name_are_told_apart(tmp_path: Path) -> None:
    assert draw(tmp_path, run_of(tmp_path, "ours", "1a"), run_of(tmp_path, "ours", "2b")) == 0
    assert {"ours 1a1a1a1a", "ours 2b2b2b2b"} <= set(words(tmp_path))


def test_a_model_of_one_corpus_only_is_left_out(tmp_path: Path) -> None:
    assert draw(tmp_path, run_of(tmp_path, "a", "1a"), run_of(tmp_path, "b", "2b", models=2)) == 0
    assert "cxr-repair" in words(tmp_path)
    assert "medclip" not in words(tmp_path)


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    paths = [run_of(tmp_path, "a", "1a"), run_of(tmp_path, "b", "2b")]
    content = []
    for _ in range(2):
        assert draw(tmp_path, *paths, formats="svg,pdf,png") == 0
        content.append([path.read_bytes() for path in sorted((tmp_path / "out").iterdir())])
    assert content[0] == content[1]


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = [run_of(tmp_path, name, "1a") for name in ("a", "b", "c")]
    assert draw(tmp_path, *same) == 2
    assert "two of the runs are of the same corpus, a 1a1a1a1a" in capsys.readouterr().err
    apart = [run_of(tmp_path, "a", "3a", ratios=(0.25, 0.5)), run_of(tmp_path, "b", "4b")]
    assert draw(tmp_path, *apart) == 2
    error = capsys.readouterr().err
    assert "no model was measured with the same k and nothing blocked" in error
    assert "-> give runs" in error
    assert not (tmp_path / "out").exists()
