"""What a session looks at before anything long starts: labels and groups of its corpus."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytest_occlusion.engine.job import Job
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import MissingError, OcclusionError
from pytest_occlusion.suite.grid import Cell
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite

CELL = Cell("m", "image-to-text", "block", 0.25, 5)
ROWS = [{"sex": "FM"[at % 2], "site": "secret"} for at in range(12)]


def session(folder: Path, rows: Sequence[Mapping[str, str]] = ROWS, **settings: Any) -> Session:
    """Of a manifest of so many studies, with columns that are kept."""
    names = list(rows[0])
    with (folder / "reports.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "study_id", "patient_id", "report", *names])
        for at, row in enumerate(rows):
            Image.new("L", (2, 2), at).save(folder / f"{at}.png")
            fixed = [f"{at}.png", f"hush-{at}", f"hush-p{at}", f"report {at}"]
            writer.writerow([*fixed, *(row[name] for name in names)])
    table = {
        "suite": "team",
        "corpus": f"manifest:reports.csv?keep={','.join(names)}",
        "ks": [5],
        "models": {"m": {"family": "clip", "checkpoint": "m.pt"}},
        **settings,
    }
    return Session(build_settings(Suite(table, "team.toml", folder), command_line={}))


def refused(made: Session) -> str:
    with pytest.raises(OcclusionError) as fault:
        made.preflight([])
    assert fault.value.remedy
    assert "hush" not in str(fault.value)
    assert "secret" not in str(fault.value)
    return str(fault.value)


def test_labels_and_groups_are_made_once(tmp_path: Path) -> None:
    made = session(tmp_path, group_by=["sex"], labels=["sex"])
    assert made.preflight([]) == {}
    assert made.grouping("sex") is made.grouping("sex")
    assert made.labels is made.labels
    assert made.labels is not None
    assert made.labels.names == ("F", "M")
    assert {name: int(own.sum()) for name, own in made.grouping("sex").members.items()} == {
        "F": 6,
        "M": 6,
    }
    numbers = iter(range(9))
    assert [made.once(what, lambda: next(numbers)) for what in ("a", "b", "a")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group-by": ["ward"]}, "group-by ward: the corpus 'manifest' does not know 'ward'"),
        ({"groups": {"gate": ["ward"]}}, "it knows: sex, site"),
        ({"group-by": ["site/20"]}, "group-by site/20: some values are not numbers"),
        ({"labels": ["ward"]}, "labels: the corpus 'manifest' has no attribute ward"),
        ({"labels": "l.csv"}, "l.csv: no such file"),
        ({"labels": "folder.csv"}, "folder.csv: no such file"),
        ({"labels": "$HUSH_NOT_SET/l.csv"}, "a variable in a path has to be set"),
        ({"labels": "other.csv"}, "other.csv: none of its rows is of a study of the corpus"),
        ({"labels": "words.csv"}, "words.csv: no column has labels"),
    ],
)
def test_what_is_wrong_is_said_before_anything_long(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "other.csv").write_text("study_id,Edema\nnobody,1\n")
    (tmp_path / "words.csv").write_text("study_id,note\nhush-1,secret\n")
    said = refused(session(tmp_path, **settings)).replace("HUSH_NOT_SET", "")
    assert words in said


@pytest.mark.parametrize("labels", ["l.csv", "$HUSH_NOT_SET/l.csv"])
def test_a_missing_table_is_forgiven_where_what_is_missing_is(tmp_path: Path, labels: str) -> None:
    made = session(tmp_path, labels=labels)
    with pytest.raises(MissingError):
        made.preflight([])
    allowed = Session(replace(made.settings, allow_missing=True))
    assert "l.csv: no such file" in allowed.preflight(["m"])["m"]


def test_a_table_beside_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("patient,Edema\nhush-p1,1\nhush-p2,0\n")
    labels = session(tmp_path, labels="l.csv").labels
    assert labels is not None
    assert (labels.origin, labels.names) == ("l.csv", ("Edema",))
    assert np.flatnonzero(labels.known).tolist() == [1, 2]
    assert labels.notes == (
        "l.csv has no row for 10 of 12 radiographs",
        "labels: nothing is known of 10 of 12 studies",
    )


@pytest.mark.parametrize(
    ("settings", "first"),
    [({"labels": ["sex"]}, 5), ({"labels": "none"}, 2), ({"labels": ["sex"], "ks": [1]}, 2)],
)
def test_how_many_candidates_a_job_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], first: int
) -> None:
    """As many as the longest list if labels say what they are worth, and two for the gap."""
    made = session(tmp_path, **settings)
    record: Callable[..., Any] = lambda *args: None  # noqa: E731
    monkeypatch.setattr(made, "record", record)
    job = made.job_of("m", [CELL])
    assert isinstance(job, Job)
    assert job.first == first
