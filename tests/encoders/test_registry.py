"""Families by name, options by name and type."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from pytest_occlusion import encoders
from pytest_occlusion.encoders import (
    FAMILIES,
    Family,
    check_options,
    family_names,
    get_family,
    load_encoder,
    register_family,
)
from pytest_occlusion.encoders.signatures import refuse_other_families
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
    assert check_options(family, {"canvas_size": 64}) == {**family.options, "canvas-size": 64}


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
            activation="relu",
            pading=1,
        )
    message = str(fault.value)
    assert "antialias = 'yes' is no bool" in message
    assert "canvas-size = True is no int" in message
    assert "activation = 'relu' is unknown (known: quick-gelu, gelu)" in message
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


THEIRS = replace(get_family("clip"), name="theirs")


def test_a_registered_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_REGISTERED", {})
    register_family(THEIRS)
    assert get_family("theirs") is THEIRS
    assert "theirs" in family_names()
    with pytest.raises(OcclusionError, match="built in and cannot be replaced"):
        register_family(get_family("clip"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f"{__name__}:THEIRS", ""),
        (f"{__name__}:NOTHING", "cannot be imported"),
        ("no_such_module:X", "cannot be imported"),
        (f"{__name__}:test_spelling", "is not a Family of that name"),
    ],
)
def test_an_installed_family(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", value, encoders.ENTRY_POINTS)

    def entry_points(*, group: str) -> EntryPoints:
        return EntryPoints([point] if group == encoders.ENTRY_POINTS else [])

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert "theirs" in family_names()
    if said:
        with pytest.raises(OcclusionError, match=said):
            get_family("theirs")
    else:
        assert isinstance(get_family("theirs"), Family)


def test_a_family_without_a_signature_takes_what_no_signature_knows() -> None:
    """A family of a conftest may be built as ours are; nobody can know its tensors beforehand."""
    refuse_other_families({"image.weight", "text.weight"}, "mine", "m.pt")
    for asked in ("mine", "medclip"):
        with pytest.raises(OcclusionError, match="set family = 'clip'"):
            refuse_other_families(
                {"visual.class_embedding", "token_embedding.weight"}, asked, "m.pt"
            )
    with pytest.raises(OcclusionError, match="no known family"):
        refuse_other_families({"image.weight"}, "medclip", "m.pt")
