"""Families by name, options by name and type."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_occlusion.encoders import FAMILIES, check_options, get_family, load_encoder
from pytest_occlusion.errors import OcclusionError


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_resolves(name: str) -> None:
    family = get_family(name)
    assert family.name == name
    assert family.revision >= 1
    assert check_options(family, {}) == dict(family.options)


def test_spelling() -> None:
    assert get_family("CXR_RePaiR").name == "cxr-repair"
    family = get_family("cxr-repair")
    assert check_options(family, {"canvas_size": 64}) == {"antialias": False, "canvas-size": 64}


def test_unknown_family() -> None:
    with pytest.raises(OcclusionError, match="'clop' is unknown") as fault:
        get_family("clop")
    assert "clip, cxr-repair" in fault.value.remedy


def test_all_wrong_options_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(OcclusionError) as fault:
        load_encoder(
            "cxr-repair",
            checkpoint=tmp_path,
            device="cpu",
            antialias="yes",
            canvas_size=True,
            pading=1,
        )
    message = str(fault.value)
    assert "antialias = 'yes' is no bool" in message
    assert "canvas-size = True is no int" in message
    assert "unknown option 'pading'" in message
    assert "canvas-size = 320" in fault.value.remedy


def test_an_option_given_twice() -> None:
    with pytest.raises(OcclusionError, match="given twice"):
        check_options(get_family("cxr-repair"), {"canvas_size": 64, "canvas-size": 32})


def test_canvas_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(OcclusionError, match="canvas-size = 0 is out of range"):
        load_encoder("cxr-repair", checkpoint=tmp_path, device="cpu", canvas_size=0)


def test_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(OcclusionError, match="precision 'fp8' is unknown"):
        load_encoder("clip", checkpoint=tmp_path, device="cpu", precision="fp8")
