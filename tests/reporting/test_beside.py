"""What is measured beside recall: its tables in terminal and Markdown."""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from pytest_occlusion.reporting import beside, schema
from pytest_occlusion.reporting.files import CSV_COLUMNS, as_csv, as_markdown
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.terminal import RED, Line, summary
from tests.reporting.fabricated import SECOND, results

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    return results(2, occluders=("block",), ratios=(0.0, 0.25, 0.36, 0.81), ks=(5, 10), findings=5)


def told(document: Document, width: int = 80) -> list[Line]:
    return summary(document, width=width, unicode=False, notes=[])


def block(document: Document, title: str) -> list[str]:
    """The lines of one table."""
    lines = [line.text for line in told(document)]
    start = lines.index(title)
    return lines[start + 1 : lines.index("", start)]


def test_the_sample_is_a_whole_document(document: Document) -> None:
    assert completed(copy.deepcopy(document)) == document
    assert list(beside.MEASURES) == list(schema.MEASURES)


def test_rankings_with_nothing_blocked_and_at_one_level_below_a_half(document: Document) -> None:
    assert block(document, "rankings - block") == [
        "model       blocked    R@1   R@5  R@10   mean  median    MRR  RSUM",
        "clip        0 %        0.4   1.5   1.8  210.4    11.0  0.008   3.7",
        "            36 %       0.4   1.5   1.8  286.1    11.0  0.008   3.7",
        "cxr-repair  0 %        8.3  33.4  40.1  210.4    12.0  0.167  81.8",
        "            36 %       2.0   8.2   9.8  286.1    12.0  0.041  20.1",
    ]


def test_what_nobody_measured_is_no_column(document: Document) -> None:
    for row in document["rankings"]:
        row["recall_10"] = row["rsum"] = None
    assert block(document, "rankings - block")[0].split() == [
        *("model", "blocked", "R@1", "R@5", "mean", "median", "MRR"),
    ]


def test_relevance_has_its_floors(document: Document) -> None:
    lines = block(document, "relevance by label, the first 10, % - block")
    assert lines[0].split("  ")[-1] == "nDCG"
    assert [line.split() for line in lines[-2:]] == [
        ["chance", *["11.0"] * 6],
        ["constant", *["24.0"] * 6],
    ]
    assert lines[3] == ("cxr-repair  0 %          46.7      41.1      38.3        36.7  35.6  34.8")


def test_agreement_leaves_out_the_five_that_were_not_asked(document: Document) -> None:
    lines = block(document, "clinical agreement of the first report, F1 in % - block")
    assert lines[0].split() == ["model", "blocked", "micro", "macro"]
    document["agreement"][0]["scores"]["micro_5"] = document["agreement"][0]["scores"]["micro"]
    lines = block(document, "clinical agreement of the first report, F1 in % - block")
    assert lines[0].endswith("micro  macro  micro, 5")


def test_selective_retrieval_tells_the_pooled_levels_too(document: Document) -> None:
    document["selective"][0]["gain"] = None
    lines = block(document, "selective retrieval at R@10 - block")
    assert [line[12:21].strip() for line in lines] == ["blocked", *["0 %", "36 %", "all"] * 2]
    assert lines[1].endswith("0.492"), "nothing is to gain"
    assert lines[2].endswith("31")


def test_groups_by_model(document: Document) -> None:
    title = "groups by finding - block: R@10; left, wider at 36 %"
    assert block(document, title)[:6] == [
        "model       finding                n   0 %  36 %  left, %   gap   wider",
        "clip        Atelectasis          400   1.0   1.0       64  -4.0  -2.0 *",
        "            Cardiomegaly         395   3.5   4.3       64  +2.0  +1.0",
        "            Edema                390   3.6   4.4       64  +2.0  +1.0",
        "            Hernia              (17)   5.9   5.9       64  +2.0  +1.0",
        "            Pleural Effusion     385   3.6   4.2       64  +2.0  +1.0",
    ]
    assert block(document, title)[-2:] == [
        "(n): too few to be judged",
        "*: p < 0.05 after Holm over the groups",
    ]
    assert block(document, "groups by sex - block: R@10; left, wider at 36 %")[-1][0] == "*"


def test_many_groups_stay_readable() -> None:
    document = results(2, occluders=("block",), ratios=(0.0, 0.25), ks=(10,), findings=47)
    for row in document["groups"]:
        if row["group"] == "finding 44" and row["ratio"]:
            row["widening_p_adjusted"] = 0.01
    lines = block(document, "groups by finding - block: R@10; left, wider at 25 %")
    assert sum("finding " in line for line in lines[1:]) < 2 * beside.GROUPS_SHOWN
    assert sum("finding 44" in line and "*" in line for line in lines) == 2, "widens for certain"
    assert "... and 39 more groups" in lines
    assert len(lines) == 1 + 2 * beside.GROUPS_SHOWN + 2


def test_everything_fits_into_80_columns_whatever_the_names() -> None:
    names = ("a-model-with-a-rather-long-name", "b" * 30)
    document = results(2, occluders=("block", "blur"), ratios=(0.0, 0.4), ks=(10,), findings=5)
    for parts in (document[name] for name in ("cells", "curves", "timings", *SECOND)):
        for row in parts if isinstance(parts, list) else []:
            if isinstance(row, dict):
                row["model"] = names[row["model"] == "cxr-repair"]
                row["group"] = f"{row.get('group')} with many words"
    document["models"] = dict(zip(names, document["models"].values(), strict=True))
    tables = [line.text for line in told(document)]
    start, end = (
        next(i for i, t in enumerate(tables) if t.startswith(s)) for s in ("rank", "claims")
    )
    assert max(map(len, tables[start:end])) <= 80
    assert sum(text.startswith("model ") for text in tables[start:end]) > 12, "in blocks"


def test_what_regressed_in_a_group_comes_last_and_red(document: Document) -> None:
    lines = told(document)
    at = next(i for i, line in enumerate(lines) if "numbers of groups" in line.text)
    assert lines[at] == Line("64 numbers of groups: 56 same, 8 regressed", RED)
    assert lines[at + 1] == Line("regressed:", RED)
    assert lines[at + 2 : at + 4] == [
        Line("  cxr-repair-block-r25-k005 view=lateral", RED),
        Line("    17.2 -> 11.9 %  -30 hits of 570  p 1e-07", RED),
    ]
    assert len(lines) == at + 2 + 2 * 8
    headline = (
        "Occlusion suite fabricated: 6 of 16 cells regressed; 2 groups regressed; 1 group vanished"
    )
    assert as_markdown(document).startswith(f"### {headline}\n")


def test_notes_are_said_once(document: Document) -> None:
    texts = [line.text for line in told(document)]
    for text in (
        "5 labels from labels.csv, uncertain counted as positive; 3 studies have none",
        "Hernia: few positives.",
        "age/20: 2 groups of fewer than 5 patients are not named.",
        "clip: the group sex=O of the baseline (12 queries) is gone",
    ):
        assert texts.count(text) == 1
        assert as_markdown(document).count(f"- {text}\n") == 1


@pytest.mark.parametrize("strip", [dict.fromkeys, lambda names: {}], ids=["empty", "absent"])
def test_nothing_is_said_of_what_was_not_measured(strip: Callable[[Any], Any]) -> None:
    document = results(2, occluders=("block",), ratios=(0.0, 0.25), ks=(5, 10))
    document = {name: part for name, part in document.items() if name not in SECOND}
    bare = "\n".join(line.text for line in told(document)) + as_markdown(document)
    document |= {name: [] for name in strip(SECOND)}
    assert "\n".join(line.text for line in told(document)) + as_markdown(document) == bare
    for section in beside.SECTIONS.values():
        assert section.heading.lower() not in bare.lower()


def test_markdown_folds_the_same_tables(document: Document) -> None:
    text = as_markdown(document)
    assert "<details><summary>rankings - block</summary>\n\n| model | blocked | R@1 |" in text
    assert "|---|---|---:|---:|---:|---:|---:|---:|---:|\n| clip | 0 % | 0.4 |" in text
    assert "| regressed | baseline | now | hits | lost / gained | p |" in text
    assert (
        "| cxr-repair-block-r25-k005 view=lateral | 17.2 % | 11.9 % | -30 of 570 | 32 / 2 | 1e-07 |"
    ) in text
    assert "| clip | Hernia | (17) | 5.9 |" in text
    assert "\n(n): too few to be judged\n" in text


def test_a_bar_in_a_value_of_a_table_stays_in_its_cell(document: Document) -> None:
    for row in document["groups"]:
        row["group"] = row["group"].replace("lateral", "a|b")
    text = as_markdown(document)
    assert "| clip | a\\|b | 570 |" in text
    assert "view=a\\|b |" in text


def test_corruptions_name_their_reference() -> None:
    document = results(2, occluders=("blur",), ratios=(0.0, 0.4), ks=(10,), findings=2)
    assert block(document, "corruptions: R@10") == [
        "model       reference    MMI, %  mCE, %",
        "clip        clip           31.0",
        "cxr-repair  clip           31.0    91.0",
    ]
    assert [row.keys for row in beside.tables(document, "corruptions", brief=False)[0].rows] == [
        *(("clip", "clip", "all"), ("clip", "clip", "blur")),
        *(("cxr-repair", "clip", "all"), ("cxr-repair", "clip", "blur")),
    ]


def test_full_tables_have_every_level_and_the_intervals(document: Document) -> None:
    (table,) = beside.tables(document, "rankings", brief=False)
    assert [row.keys[1] for row in table.rows[:4]] == ["0 %", "25 %", "36 %", "81 %"]
    groups = beside.tables(document, "groups", brief=False)[1]
    assert groups.heads[3:7] == ["0 %", "25 %", "36 %", "81 %"]
    assert groups.rows[0].entries[1] == beside.Entry("1.0", "0.0 to 4.0")
    assert groups.rows[0].group == "sex=F"
    labels = beside.tables(document, "relevance", brief=False)[-1]
    assert labels.rows[0] == beside.Row(("Atelectasis",), [beside.Entry("30.0")])
    classes = beside.tables(document, "agreement", brief=False)[-1]
    assert classes.rows[4].keys == ("clip", "0 %", "Hernia")
    assert [entry.text for entry in classes.rows[4].entries] == ["296", "1.5", "0.8", ""]


def test_a_row_per_cell_and_one_per_group_in_csv(document: Document) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    cells, groups = (
        [row for row in rows if bool(row["attribute"]) == grouped] for grouped in (False, True)
    )
    assert [row["recall"] for row in cells] == [str(one["recall"]) for one in document["cells"]]
    assert rows == [*cells, *groups]
    ranking, relevance = document["rankings"][1], document["relevance"][3]["measures"]["ndcg"]
    at5, at10 = cells[2:4]
    assert (at10["ratio"], at10["k"]) == (str(ranking["ratio"]), "10")
    for row in (at5, at10):
        assert row["rsum"] == str(ranking["rsum"])
        assert row["mean_rank"] == str(ranking["mean_rank"])
    assert at10["ndcg"] == str(relevance["value"])
    assert at10["ndcg_low"] == str(relevance["low"])
    assert at10["ndcg_constant"] == "0.24"
    assert at10["gain"] == "0.31"
    assert at5["gain"] == "", "asked at 10 only"
    assert len(groups) == len(document["groups"])
    lateral = next(row for row in groups if row["verdict"] == "regressed")
    assert (lateral["attribute"], lateral["group"], lateral["lost"]) == ("view", "lateral", "32")
    assert lateral["mean_rank"] == lateral["ndcg"] == ""
    assert {row["severity"] for row in groups} == {""}


def test_a_severity_stands_where_a_ratio_would_in_csv() -> None:
    document = results(1, occluders=("blur",), ratios=(0.0, 0.4), ks=(10,), findings=2)
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert {(row["ratio"], row["severity"]) for row in rows} == {("", "0"), ("", "2")}
    assert len(CSV_COLUMNS) == len(set(CSV_COLUMNS))
