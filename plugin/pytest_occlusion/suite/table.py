"""The table of settings: what suites and the command line may give, and what is wrong with a value.

From this one description of each come options, reading of suites, defaults and protocol. Every run
of pytest reads it, also of projects that have no use for us, so it imports the standard library
alone. The checks are ours: pydantic costs each process 0.2 s and would need this table beside its
models, msgspec stops at the first fault.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)
"""Eight levels from 0 to 81 % (Deanda et al. 2025); ours are squares, so that a block has sides
of 0, .3, .4 ... .9 of the canvas. The paper does not list its own."""

KS = (5, 10, 20, 30, 50, 100)
"""Recall@k of Deanda et al. 2025."""

TOLERANCE = 0.01
"""Share of the queries of a cell that may change: no red in 200 simulated re-runs that flip as many
queries as bf16 against fp32, while a loss of 2 points of 1,770 queries is caught in 199 of 200
(``benchmarks/gate_rates.py``, table in ``docs/verdicts.md``)."""

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "image-to-text": ("image-to-text",),
    "both": ("image-to-text", "text-to-image"),
}
"""Value of the setting -> directions that are measured."""

PRECISIONS = ("fp32", "bf16", "fp16")

FAIL_ON = {
    "any": "every change beyond the tolerance, improvements too",
    "regression": "losses beyond the tolerance",
    "significant-regression": "losses beyond the tolerance that are significant (Holm)",
}
"""Value of ``fail-on`` -> what turns a cell red."""

OUTCOMES = ("supported", "contradicted", "no power")
"""What a claim can come to."""

ROLES = ("clip", "cxr-repair", "medclip", "cxr-clip")
"""The four models of Deanda et al. 2025, by family."""

CLAIM_NAMES = (
    "best", "second", "flattest", "near-chance", "proportional", "center", "border", "scattered",
)  # fmt: skip
"""The claims; :mod:`pytest_occlusion.insight.claims` says what they are."""

ENGINE = re.compile(r"local|ray(://(auto|(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):[0-9]{1,5}))?")
"""How ``engine`` says who works."""

LARGEST_MAP = 64
"""Placements per side of a map: 4,096 forward passes per radiograph are a slip of the finger."""

SMALLEST_GROUP = 30
"""Queries of a group that is judged: of fewer, one that flips is more than 3 points."""

Check = Callable[[Any], str | None]
"""Value -> what is wrong with it, to be read after the setting's name, or ``None``."""


def names_of(setting: str) -> tuple[str, ...]:
    """Names that a setting takes from the ground floor, asked for when a value is checked."""
    from pytest_occlusion.corpora.labels import UNCERTAIN
    from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES
    from pytest_occlusion.occlusion.names import CORRUPTIONS, FILLS
    from pytest_occlusion.occlusion.registry import OCCLUDERS

    names: dict[str, Iterable[str]] = {
        "text-rule": TEXT_RULES,
        "uncertain": UNCERTAIN,
        "candidates": CANDIDATES,
        "fill": FILLS,
        "occluders": {**OCCLUDERS, **CORRUPTIONS},
    }
    return tuple(names[setting])


def parse_value(text: str) -> Any:
    """A value as TOML reads it; what is none, such as a word without quotes, is a text."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def shown(value: object) -> str:
    """A value as faults show it: never longer than a line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def known(names: Iterable[str], *misspelt: object) -> str:
    """The names there are, and the nearest to those that are misspelt."""
    import difflib

    names = [name for name in names if name]
    near = [difflib.get_close_matches(str(name), names, n=1) for name in misspelt]
    nearest = ", ".join(dict.fromkeys(found[0] for found in near if found))
    return f"known: {', '.join(names)}" + (f"; did you mean {nearest}?" if nearest else "")


def needs(what: str, right: Callable[[Any], object]) -> Check:
    """A check that says what is needed."""
    return lambda value: None if right(value) else f"is {shown(value)}: {what}"


def one_of(names: Callable[[], Iterable[str]]) -> Check:
    """A check for one of some names."""

    def check(value: object) -> str | None:
        allowed = tuple(names())
        return None if value in allowed else f"is {shown(value)}; {known(allowed, value)}"

    return check


def _numbers(
    one: str,
    kinds: tuple[type, ...],
    allowed: Callable[[Any], bool],
    limits: str = "",
    spelt: Callable[[Any], object] = lambda number: number,
) -> Check:
    """A check for a list of numbers, each within limits and none given twice."""
    what = "numbers" if float in kinds else "whole numbers"

    def check(value: Any) -> str | None:
        if not (isinstance(value, list) and value and all(type(item) in kinds for item in value)):
            return f"is not a list of {what}: {shown(value)}"
        if outside := [number for number in value if not allowed(number)]:
            return f"holds {', '.join(map(shown, outside))}{limits}"
        return f"names a {one} twice" if len(set(map(spelt, value))) != len(value) else None

    return check


def _check_map_ratios(value: Any) -> str | None:
    if value in ([], "all", ["all"]):
        return None
    if wrong := _check_ratios(value):
        return f"{wrong}; or say all"
    return "holds 0, which blocks nothing" if 0 in value else None


def _check_occluders(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return f"is not a list of names: {shown(value)}"
    names = names_of("occluders")
    if unknown := [name for name in value if name not in names]:
        said = (name if isinstance(name, str) else shown(name) for name in unknown)
        return f"holds unknown {', '.join(said)}; {known(names, *unknown)}"
    return "names an occluder twice" if len(set(value)) != len(value) else None


def check_attributes(value: Any) -> str | None:
    """Of ``group-by``: attributes whose groups can be told apart in ids of tests."""
    if not isinstance(value, list):
        return f"is not a list of names: {shown(value)}"
    if odd := [name for name in value if not (isinstance(name, str) and ATTRIBUTE.fullmatch(name))]:
        return f"holds {', '.join(map(shown, odd))}; an attribute is NAME, or NAME/20 for bands"
    tags = {attribute_tag(name) for name in value}
    return "names an attribute twice" if len(tags) != len(value) else None


def _check_labels(value: Any) -> str | None:
    names = value if isinstance(value, list) else [value]
    if names and all(isinstance(name, str) and name.strip() for name in names):
        return None
    return f"is {shown(value)}: auto, none, a table's path or names of attributes are needed"


def attribute_tag(attribute: str) -> str:
    """An attribute in ids of tests: letters, digits and - only."""
    return re.sub(r"[^a-z0-9]+", "-", attribute.lower()).strip("-")


def check_groups(value: Any) -> str | None:
    """Of a suite: which groups are judged."""
    if wrong := check_table(value):
        return wrong
    if unknown := sorted(value.keys() - {"gate", "minimum"}):
        return f"holds unknown {', '.join(unknown)}; {known(('gate', 'minimum'), *unknown)}"
    if wrong := check_attributes(value.get("gate", [])):
        return f"gate {wrong}"
    wrong = _check_size(value.get("minimum", SMALLEST_GROUP))
    return f"minimum {wrong}" if wrong else None


def check_table(value: object) -> str | None:
    """Of a suite: what has a heading of its own."""
    return None if isinstance(value, dict) else f"is not a table: {shown(value)}"


check_column = needs(
    "the name of a column is needed, or a list of names",
    lambda value: (
        all(isinstance(name, str) and name for name in value)
        if isinstance(value, list)
        else isinstance(value, str) and value
    ),
)
check_text = needs("a text is needed", lambda value: isinstance(value, str))
check_tolerance = needs(
    "a share of the queries below 1, or a whole number of them, is needed",
    lambda value: (
        type(value) in (int, float)
        and 0 <= value <= sys.maxsize
        and (value < 1 or value == int(value))
    ),
)
_check_filled = needs("a text is needed", lambda value: isinstance(value, str) and value.strip())
_check_ratios = _numbers(
    "ratio",
    (int, float),
    lambda ratio: 0 <= ratio < 1,
    ", outside [0, 1): 0.25 blocks a quarter",
    lambda ratio: f"{100 * ratio:.4f}",  # as ids spell them
)
_check_ks = _numbers("k", (int,), lambda k: k >= 1, "; a k is 1 or more")
_check_severities = _numbers("severity", (int,), lambda s: 0 <= s <= 5, "; severities are 0 to 5")
_check_seeds = _numbers("seed", (int,), lambda seed: True)
_check_size = needs("a positive whole number is needed", lambda v: type(v) is int and v > 0)
_check_gpus = needs(
    "a whole number of GPUs or a share of one is needed",
    lambda v: (type(v) is int and v >= 0) or (type(v) is float and 0 < v < 1),
)
_check_workers = needs("a whole number is needed", lambda v: type(v) is int and v >= 0)
_check_map = needs(
    f"a map has 2 to {LARGEST_MAP} places per side, or 0 for none",
    lambda side: type(side) is int and (side == 0 or 2 <= side <= LARGEST_MAP),
)


_check_engine = needs(
    "local, ray, ray://auto or ray://HOST:PORT, the address of the head, is needed",
    lambda value: isinstance(value, str) and ENGINE.fullmatch(value),
)


def check_ray(value: Any) -> str | None:
    """What is wrong with the table ``[ray]``, or ``None``."""
    if wrong := check_table(value):
        return wrong
    checks = {"cpus": _check_size, "gpus": _check_gpus, "workers": _check_workers}
    if unknown := [name for name in value if name not in checks]:
        return f"has an unknown setting {', '.join(unknown)}; {known(checks, *unknown)}"
    return next((f"{n} {w}" for n, one in value.items() if (w := checks[n](one))), None)


ATTRIBUTE = re.compile(r"[^/]*[A-Za-z0-9][^/]*(/[1-9][0-9]{0,5})?")
"""How ``group-by`` names an attribute."""


class Setting(NamedTuple):
    """One setting; without a text for ``--help`` it is for suites alone."""

    default: Any  # also tells how the command line's text is read
    check: Check
    help: str = ""
    protocol: bool = False  # whether it changes what is measured and has a baseline of its own

    def parse(self, text: str) -> Any:
        """The value of the command line's text, as it is where it cannot be read."""
        if isinstance(self.default, list):
            return parse_list(text, type(self.default[0]) if self.default else float)
        return text if isinstance(self.default, str) else _parse(text, int, float)


def parse_list(text: str, kind: type) -> list[Any]:
    """Parse a comma-separated value; what cannot be parsed stays text for the check to refuse."""
    return [_parse(item.strip(), kind) for item in text.split(",")]


def _parse(text: str, *kinds: type) -> Any:
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return text


SETTINGS: dict[str, Setting] = {
    "ratios": Setting([*RATIOS], _check_ratios, "blocked shares in [0, 1), e.g. 0,0.25,0.5"),
    "ks": Setting([*KS], _check_ks, "list lengths of Recall@k, e.g. 5,10"),
    "severities": Setting([*range(6)], _check_severities, "of corruptions, 0 to 5, e.g. 0,3,5"),
    "occluders": Setting(
        ["block"],
        _check_occluders,
        "block, patches, pixels, center, border; or corruptions: gaussian-noise, blur, "
        "motion-blur, jpeg, contrast, brightness, down-sampling, rotation",
    ),
    "corpus": Setting(
        "embedded",
        _check_filled,
        "embedded, open-i[:ROOT], manifest:FILE, annotations:FILE, or indiana, mimic-cxr, "
        "chexpert-plus, rexgradient, webdataset or hf with :ROOT",
        True,
    ),
    "split": Setting("", check_text, protocol=True),
    "text-rule": Setting(
        "findings+impression",
        one_of(lambda: names_of("text-rule")),
        "findings+impression, longest, impression, findings or full",
        protocol=True,
    ),
    "candidates": Setting(
        "texts", one_of(lambda: names_of("candidates")), "texts (distinct reports) or studies", True
    ),
    "fill": Setting("black", one_of(lambda: names_of("fill")), "black, white, mean or noise", True),
    "seed": Setting([0], _check_seeds, "mask seed; several are pooled, e.g. 0,1,2", protocol=True),
    "direction": Setting("image-to-text", one_of(lambda: DIRECTIONS), "image-to-text or both"),
    "tolerance": Setting(
        TOLERANCE, check_tolerance, "queries of a cell that may change, or a share of them below 1"
    ),
    "fail-on": Setting("any", one_of(lambda: FAIL_ON), "any, regression or significant-regression"),
    "group-by": Setting(
        [], check_attributes, "whom a model fails: split the queries, e.g. view,sex,age/20,finding"
    ),
    "labels": Setting(
        "auto",
        _check_labels,
        "of reports, for relevance: auto (what the corpus knows), none, a .csv table, or "
        "attributes of the corpus",
    ),
    "uncertain": Setting(
        "positive",
        one_of(lambda: names_of("uncertain")),
        "whether an uncertain label (-1) counts as positive or negative",
    ),
    "reference": Setting("", check_text, "the model that mCE compares with, for corruptions"),
    "engine": Setting(
        "local",
        _check_engine,
        "local, ray (a cluster on this machine, or that of RAY_ADDRESS) or ray://HOST:PORT",
    ),
    "device": Setting("auto", _check_filled, "auto, cpu, cuda or cuda:N"),
    "precision": Setting("fp32", one_of(lambda: PRECISIONS), "fp32, bf16 or fp16"),
    "batch-size": Setting(64, _check_size, "radiographs at a time; on a GPU, per forward pass"),
    "map": Setting(
        0,
        _check_map,
        "slide a tile over N x N places: where does retrieval suffer? costs N^2 passes",
    ),
    "map-ratios": Setting(
        [], _check_map_ratios, "further tile sizes for the worst placement: blocked shares, or all"
    ),
}
"""Setting -> everything there is to know about it."""
