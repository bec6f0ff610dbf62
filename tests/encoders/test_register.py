"""The register: every entry can be used as it is written, and says nothing that is not known."""

from __future__ import annotations

import re

import pytest

from pytest_occlusion.encoders import check_options, get_family
from pytest_occlusion.encoders.register import Known, completed, find_model, known_models
from pytest_occlusion.errors import OcclusionError

ENTRIES = [pytest.param(entry, id=entry.name) for entry in known_models()]

ASKED_FOR = (
    *("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "clip-rn50", "cxr-repair", "chexzero"),
    *("medclip-swin", "medclip-resnet50", "cxr-clip-swint-m", "cxr-clip-r50-mcc", "biovil"),
    *("biovil-t", "chexficient", "biomedclip", "pubmedclip", "medsiglip", "siglip2", "bmc-clip"),
    *("xrayclip-b-16", "xrayclip-l-14", "xrayclip-siglip-l-16", "xrayclip-siglip-b-16"),
    *("whyxrayclip", "unimed-clip", "mgca-resnet50", "mgca-vit"),
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_family_takes_what_a_suite_is_told_to_write(entry: Known) -> None:
    own = ("family", "checkpoint")
    options = {name: value for name, value in entry.table().items() if name not in own}
    assert check_options(get_family(entry.family), options).items() >= options.items()


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_whole_and_its_facts_have_the_form_of_facts(entry: Known) -> None:
    assert all((entry.licence, entry.terms, entry.paper, entry.trained, entry.title))
    assert entry.page.startswith("https://")
    assert entry.where.startswith("https://")
    assert len(entry.licence) <= 14  # a column of the table
    assert bool(entry.hub) == (entry.how == "hub") == (not entry.url)
    assert re.fullmatch(r"|[0-9a-f]{40}|v[\d.]+", entry.revision)
    assert re.fullmatch(r"|[0-9a-f]{32}", entry.md5)
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in entry.sums.values())
    assert entry.sha256 == "" or entry.sha256 in entry.url
    assert entry.files or entry.how == "direct" or entry.name == "cxr-repair"


def test_all_that_people_ask_for_is_there_under_its_own_name() -> None:
    assert {find_model(name).name for name in ASKED_FOR} >= set(ASKED_FOR) - {
        "siglip2",
        "unimed-clip",
    }
    names = [name for entry in known_models() for name in (entry.name, *entry.also)]
    assert len({entry.name for entry in known_models()}) == len(known_models())
    assert all(find_model(name) for name in names)


def test_names_that_were_used_before_still_mean_the_same() -> None:
    assert find_model("clip") == find_model("clip:vit-b-32")
    assert find_model("MedCLIP:ResNet50").url.endswith("/medclip-pretrained.zip")
    assert find_model("medclip").url.endswith("/medclip-vit-pretrained.zip")
    assert find_model("cxr-clip:swint_mc").url.endswith("/swint_mc.tar")
    assert find_model("cxr-clip").url.endswith("/swint_mc.tar")
    assert find_model("cxr_repair:vit-b-32") == find_model("cxr-repair")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(OcclusionError, match=r"known as 'bio-vilt' \(near: .*biovil") as fault:
        find_model("bio-vilt")
    assert "pytest_occlusion models" in fault.value.remedy


def test_a_suite_s_table_is_filled_in() -> None:
    told = completed({"model": "BioViL_T"})
    assert told["model"] == "biovil-t"
    assert told["family"] == "biovil"
    assert told["checkpoint"] == "hf-hub:microsoft/BiomedVLP-BioViL-T"
    assert re.fullmatch(r"[0-9a-f]{40}", told["revision"])
    assert told["weights"].split("+")[0].startswith("biovil_t_image")
    direct = completed({"model": "clip"})
    assert direct["checkpoint"].endswith("/pytest-occlusion/checkpoints/clip/ViT-B-32.pt")
    assert set(direct) == {"model", "family", "checkpoint"}


def test_what_is_written_beside_the_name_wins() -> None:
    assert completed({"model": "biovil-t", "revision": "v1.0"})["revision"] == "v1.0"
    assert completed({"model": "cxr-clip", "max-tokens": 77})["max-tokens"] == 77
    own = completed({"model": "biovil-t", "checkpoint": "weights/biovil-t"})
    assert own["checkpoint"] == "weights/biovil-t"
    assert not {"revision", "weights"} & set(own)  # they are of the hub's files
    assert completed({"model": "whyxrayclip", "revision": "c0ffee"})["revision"] == "c0ffee"
    by_hand = completed({"model": "chexzero", "checkpoint": "best.pt", "family": "cxr_repair"})
    assert by_hand["family"] == "cxr_repair"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "clip", "family": "hf"}, "is of family 'clip', and family = 'hf' contradicts"),
        ({"model": "chexzero"}, "only a browser can use"),
        ({"model": "whyxrayclip"}, "no commit of hf-hub:yyupenn/whyxrayclip is known here"),
        ({"model": "clap"}, "no published model is known as 'clap'"),
    ],
)
def test_what_the_user_must_say(given: dict[str, str], said: str) -> None:
    with pytest.raises(OcclusionError, match=said) as fault:
        completed(given)
    assert fault.value.remedy
