"""Ways of a forward pass that are no option any more still come to the same embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import passes


def test_every_way_but_half_precision_gives_our_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    ways = [name for name in passes.WAYS if name != "compiled"]  # half a minute, and a C++ compiler
    towers = ["clip ViT", "mgca ViT", "medclip Swin", "medclip ResNet"]
    given = ["--small", "--images", "3", "--rounds", "1", "--ways", ",".join(ways)]
    passes.main([*towers, *given])
    rows = [line[17:].split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert {row[0] for row in rows} == set(ways)
    for way, times, apart, *_ in rows:
        assert float(times) > 0
        assert float(apart) < (2e-2 if way.startswith("bf16") else 2e-6), way


def test_an_unknown_way_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        passes.main(["--ways", "sideways"])
    assert "unknown: sideways; ways: batch-at-once, norms-apart" in capsys.readouterr().err
