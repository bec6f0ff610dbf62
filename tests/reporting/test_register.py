"""The register in words: it fits a terminal, says what is not known, and gives lines that parse."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.encoders.register import Known, completed, known_models
from pytest_occlusion.reporting.register import as_markdown, sheet_lines, table_lines

ENTRIES = [pytest.param(entry, id=entry.name) for entry in known_models()]


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line for line in lines if line}
    assert set(rows) >= {entry.name for entry in known_models()}
    for word, value in {"px": "448", "tokens": "64", "size": "3,513 MB"}.items():
        end = lines[0].index(word) + len(word)
        assert rows["medsiglip"][:end].endswith(value)
    start = lines[0].index("from")
    assert rows["medsiglip"][start:].split() == ["gated", "HAI-DEF"]
    assert "not known  hub (?) CC BY-NC 4.0" in rows["xrayclip-l-14"]
    assert "?     77" in rows["xrayclip-l-14"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_lines_for_a_suite_stand_for_what_the_register_fills_in(entry: Known) -> None:
    lines = list(sheet_lines(entry))
    addresses = ("https://", "SHA-256")
    long = [line for line in lines if len(line) > 80 and not line.startswith("checkpoint =")]
    assert not [line for line in long if not any(word in line for word in addresses)]
    text = "\n".join(lines)
    short, _, whole = text.partition("In a suite:")[2].partition("which stands for")
    (written,) = tomllib.loads(short)["models"].values()
    own = {**tomllib.loads(whole), "model": entry.name}
    assert completed(written) == own


def test_one_model_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "MedSigLIP"]) == 0
    said = capsys.readouterr().out
    for line in (
        "fetched       python -m pytest_occlusion fetch medsiglip",
        "gated         accept the terms on https://huggingface.co/google/medsiglip-448,",
        "input         448 px, 64 tokens",
        "not held out  MIMIC-CXR: which part is not known here",
        "paper         arXiv 2507.05201",
        'model = "medsiglip"',
    ):
        assert line in said
    assert main(["models", "chexzero"]) == 0
    said = capsys.readouterr().out
    assert "fetched       by hand: save the file, and give its path as checkpoint" in said
    assert "beware        It has the format of CLIP's ViT-B/32" in said
    assert main(["models", "xrayclip"]) == 0
    assert "commit        not known; choose one on" in capsys.readouterr().out
    assert main(["models", "biovilt"]) == 2
    assert "(near: biovil-t" in capsys.readouterr().err


def test_the_page_says_what_is_not_known_and_shares_what_is_the_same() -> None:
    one = Known("one", "hf", hub="a/b", how="hub", notes=("Shared.",), mistake="Wrongly.")
    other = Known("other", "hf", hub="a/c", revision="c0ffee", how="hub", notes=("Shared.",))
    page = as_markdown([one, other])
    row = "| `one` | `hf` | [a/b](https://huggingface.co/a/b), commit not known | not known |"
    assert row in page
    assert "[a/c](https://huggingface.co/a/c) `c0ffee`" in page
    assert "- `one`, `other`: Shared." in page
    assert page.count("Wrongly.") == 1
    assert len(list(table_lines([one, other]))) == 6


def test_the_share_of_reports_that_limits_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path / "store"))
    lines = ["image,study_id,impression"]
    for number, words in enumerate((3, 90)):
        Image.new("L", (4, 4)).save(f"{number}.png")
        lines.append(f"{number}.png,s{number},{' '.join(['secret'] * words)}")
    Path("reports.csv").write_text("\n".join(lines) + "\n")
    spec = ["--corpus", "manifest:reports.csv"]
    assert main(["models", "clip", *spec, "--text-rule", "impression"]) == 0
    said = capsys.readouterr().out
    assert "secret" not in said
    assert said.splitlines()[-1].split() == ["clip-vit-b-32", "1", "50.0", "%", "77", "92"]
    assert main(["models", "clip", *spec, "--text-rule", "findings"]) == 2
    assert "no study has a text under the rule 'findings'" in capsys.readouterr().err
