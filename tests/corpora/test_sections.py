"""Report sections: the irregular forms of real reports, written anew; no text is too strange."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_occlusion.corpora.sections import _misspelt, parse_sections

F, I = "The lungs are clear.", "No acute process."  # noqa: E741 - as radiologists abbreviate

BOTH_WAYS = [
    f"FINDINGS: {F}\nIMPRESSION: {I}",
    f"Findings: {F}\nImpression: {I}",
    f"findings: {F}\n\nimpression: {I}",
    f"FINDINGS:\n{F}\n\nIMPRESSION:\n{I}\n",
    f"FINDINGS\n{F}\n\nIMPRESSION\n{I}",
    f"Findings\n\n  {F}\n\nImpression\n\n  {I}",
    f"FINDINGS {F}\nIMPRESSION {I}",
    f"FINDINGS - {F}\nIMPRESSION \u2013 {I}",
    f"FINDINGS.\n{F}\nIMPRESSION.\n{I}",
    f"   FINDINGS  :   {F}   \r\n\r\n   IMPRESSION  :  {I}\r\n",
    f"FINDINGS: {F} IMPRESSION: {I}",
    f"Comparison: None. Findings: {F} Impression: {I}",
    f"COMPARISON: ___ FINDINGS: {F}   IMPRESSION: {I}",
    f"COMPARISON: None\nFINDINGS: {F}\nTECHNIQUE: Portable.\nIMPRESSION: {I}",
    f"FINDINGS: {F}\nCONCLUSION: {I}",
    f"FINDINGS: {F}\nConclusions:\n{I}",
    f"FINDING: {F}\nIMPRESSIONS: {I}",
    f"CHEST FINDINGS: {F}\nFINAL IMPRESSION: {I}",
    f"FINDINGS (portable): {F}\nIMPRESSION (PRELIM): {I}",
    f"**FINDINGS:** {F}\n**IMPRESSION:** {I}".replace(":**", ":"),
    f"IMPRESSION: {I}\nFINDINGS: {F}",
    f"INDICATION: Cough.\nFINDINGS: {F}\nIMPRESSION AND RECOMMENDATION: {I}",
    f"FINDINGS: {F}\nIMPRESSION: {I}\nNOTIFICATION: Told ___ by phone at 3:14 p.m.",
    f"FINDINGS: {F}\nIMPRESSION: {I}\nRECOMMENDATION(S): Follow up.",
    f"FINDINGS: {F}\nIMPRESSION: {I}\n____________________\nA signature.",
    f"FINAL REPORT\nFINDINGS: {F}\nIMPRESSION: {I}\nADDENDUM: Nothing to add.",
    f"FINDINGS: {F}\nIMPRESSION: {I}\n\nimpression:\n  {I.upper()}",
]


@pytest.mark.parametrize("text", BOTH_WAYS)
def test_headings_of_every_form(text: str) -> None:
    found = parse_sections(text)
    assert (found.findings, found.impression) == ((F,), (I,))
    assert found.narrative == ()


def test_a_report_in_small_letters_only() -> None:
    found = parse_sections("comparison: none\nfindings: clear\nimpression: normal")
    assert (found.findings, found.impression) == (("clear",), ("normal",))


@pytest.mark.parametrize(
    "heading",
    [
        "FINDINGS AND IMPRESSION:", "Findings and Impression:", "FINDINGS/IMPRESSION:",
        "FINDINGS & IMPRESSION\n", "IMPRESSION AND FINDINGS:", "FINDINGS AND CONCLUSION:",
    ],
)  # fmt: skip
def test_one_heading_for_both(heading: str) -> None:
    found = parse_sections(f"INDICATION: Pain.\n\n{heading} {F}")
    assert found.findings == found.impression == (F,)


@pytest.mark.parametrize(
    "sentence",
    [
        "These findings were discussed with ___.",
        "Pneumonia with the following\nfindings: effusion and atelectasis.",
        "As was said in the impression: nothing.",
        "See the IMPRESSION: of the CT for details.",
        "There is no change from the prior study and the\nfindings\nare stable.",
        "Compared to the prior\nFindings are stable.",
        "The overall\nimpression is that of edema.",
        "IMPRESSIONISM: not a heading.",
        "Sub-findings: none.",
        "LUNGS: clear. HEART: normal.\nBONES: intact.",
        "A wet read was given.\nHistory of cancer. Comparison is made to ___.",
        "Final report will follow.\nStudy limited by rotation.",
    ],
)
def test_words_of_a_sentence_are_no_headings(sentence: str) -> None:
    found = parse_sections(f"FINDINGS: Start. {sentence} End.\nIMPRESSION: {I}")
    assert found.findings == (f"Start. {sentence} End.",)
    assert found.impression == (I,)


def test_capitals_throughout() -> None:
    text = "FINDINGS: LUNGS CLEAR.\nFINDINGS DISCUSSED WITH ___.\nIMPRESSION:\nNORMAL.\n"
    found = parse_sections(text)
    assert found.findings == ("LUNGS CLEAR.\nFINDINGS DISCUSSED WITH ___.",)
    assert found.impression == ("NORMAL.",)
    assert parse_sections("FINDINGS   LUNGS CLEAR").findings == ("LUNGS CLEAR",)


def test_several_impressions_are_all_kept_in_order() -> None:
    text = f"FINDINGS: {F}\nIMPRESSION: One.\nFINDINGS: Later.\nIMPRESSION: Two.\nIMPRESSION: one."
    found = parse_sections(text)
    assert found.findings == (F, "Later.")
    assert found.impression == ("One.", "Two.")


def test_wet_reads_are_left_out_with_their_headings() -> None:
    text = (
        "WET READ: ___ ___ 10:04 PM\n FINDINGS: Hasty.\n IMPRESSION: Wrong.\n"
        "WET READ VERSION #1 ___\n Hastier.\n"
        "______________________________\n"
        f"      FINAL REPORT\n EXAMINATION: Chest.\n FINDINGS: {F}\n IMPRESSION: {I}\n"
    )
    found = parse_sections(text)
    assert (found.findings, found.impression) == ((F,), (I,))


def test_a_wet_read_after_the_report_ends_it() -> None:
    found = parse_sections(f"FINAL REPORT\nFINDINGS: {F}\nIMPRESSION: {I}\nWET READ: Hasty.")
    assert (found.findings, found.impression) == ((F,), (I,))


def test_a_wet_read_without_a_final_report() -> None:
    found = parse_sections(f"WET READ: Hasty.\nFINDINGS: {F}\nIMPRESSION: {I}")
    assert (found.findings, found.impression) == ((F,), (I,))
    assert parse_sections("WET READ: Hasty.") == parse_sections("")


def test_an_addendum_adds_the_sections_it_repeats() -> None:
    text = (
        "FINAL REPORT\n ADDENDUM  The side was mixed up.\n IMPRESSION: Left.\n"
        "______________________________\n FINAL REPORT\n"
        f" FINDINGS: {F}\n IMPRESSION: {I}\n"
    )
    found = parse_sections(text)
    assert (found.findings, found.impression) == ((F,), ("Left.", I))


@pytest.mark.parametrize(
    ("text", "narrative"),
    [
        ("Clear lungs.", ("Clear lungs.",)),
        ("FINAL REPORT\n PORTABLE CHEST\n\n Clear lungs.", ("PORTABLE CHEST\n\n Clear lungs.",)),
        ("INDICATION: Cough.\n\n Clear lungs.\n\n No change.", ("Clear lungs.\n\n No change.",)),
        ("FINDINGS: ___\n\nIMPRESSION: ___.\nINDICATION: x\n \nClear.", ("Clear.",)),
        ("", ()),
        ("___", ()),
    ],
)
def test_reports_without_headings(text: str, narrative: tuple[str, ...]) -> None:
    found = parse_sections(text)
    assert (found.findings, found.impression) == ((), ())
    assert found.narrative == narrative


def test_marks_of_de_identification_stay_inside() -> None:
    found = parse_sections("FINDINGS: Tip at ___ cm, ___.\nIMPRESSION: ___\n")
    assert found.findings == ("Tip at ___ cm, ___.",)
    assert found.impression == ()


@pytest.mark.parametrize(
    "heading",
    [
        "impresson", "imprression", "imoression", "impressoin", "imprssion", "impresion",
        "imperssion", "mpression", "impession", "imprsesion", "mipression", "impressionn",
        "conclsion", "conclusoins",
    ],
)  # fmt: skip
def test_a_misspelt_impression(heading: str) -> None:
    forms = f"{heading.upper()}:", f" {heading.capitalize()} : ", f"{heading.upper()}\n"
    for form in forms:
        found = parse_sections(f"FINDINGS: {F}\n{form} {I}\nRECOMMENDATION: None.")
        assert (found.findings, found.impression) == ((F,), (I,))


@pytest.mark.parametrize(
    "heading",
    [
        "findins",
        "findindgs",
        "findgings",
        "findngs",
        "findnings",
        "finidngs",
        "findnigs",
        "fidings",
    ],
)
def test_misspelt_findings(heading: str) -> None:
    forms = f"{heading.upper()}:", f"Comparison: None. {heading.capitalize()}:"
    for form in forms:
        found = parse_sections(f"{form} {F}\nIMPRESSION: {I}")
        assert (found.findings, found.impression) == ((F,), (I,))


@pytest.mark.parametrize(
    "heading",
    ["idication", "ndication", "comparision", "comparsion", "comparrison", "comparisions"],
)
def test_other_misspelt_headings_end_a_section(heading: str) -> None:
    found = parse_sections(f"FINDINGS: {F}\n{heading.upper()}: ___.\nIMPRESSION: {I}")
    assert (found.findings, found.impression) == ((F,), (I,))


@pytest.mark.parametrize(
    "heading", ["FINDNGS AND IMPRESSION:", "Findings/Imprssion:", "IMPRSSION & FINDNIGS\n"]
)
def test_one_misspelt_heading_for_both(heading: str) -> None:
    found = parse_sections(f"INDICATION: Pain.\n\n{heading} {F}")
    assert found.findings == found.impression == (F,)


def test_a_misspelt_heading_with_recommendations() -> None:
    found = parse_sections(f"FINDINGS: {F}\nIMPRSSION AND RECOMMENDATION: {I}")
    assert (found.findings, found.impression) == ((F,), (I,))


@pytest.mark.parametrize(
    "sentence",
    [
        "There is an impresson of edema.", "The overall\nimpresson is that of edema.",
        "BINDINGS: none.", "COMPRESSION: none.", "MEDICATION:\nnone.", "Occlusion: none.",
        "See the IMPRSSION: of the CT.", "findngs\nare stable.",
    ],
)  # fmt: skip
def test_misspelt_words_of_a_sentence_are_no_headings(sentence: str) -> None:
    found = parse_sections(f"FINDINGS: Start. {sentence} End.\nIMPRESSION: {I}")
    assert (found.findings, found.impression) == ((f"Start. {sentence} End.",), (I,))


WORDS = st.sampled_from(
    [
        "FINDINGS", "Findings", "findings", "IMPRESSION", "impression", "Conclusion", "AND", "and",
        "WET READ", "FINAL REPORT", "ADDENDUM", "INDICATION", "HISTORY", ":", " ", "  ", "\n",
        "\n\n", "\r\n", "\r", "\t", "___", "_" * 12, ".", "-", "(", ")", "clear", "Clear", "12",
        "İ", "ß", "\u2028", "\x00", "\u017f", "\ud800", "*", "/", "#1",
    ]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(WORDS, max_size=60).map("".join)))
@example("İ" * 5 + "FINDINGS: a")
def test_any_text_gives_parts_of_itself(text: str) -> None:
    found = parse_sections(text)
    for piece in (*found.findings, *found.impression, *found.narrative):
        assert piece in text
        assert piece == piece.strip() != ""
    assert not (found.narrative and (found.findings or found.impression))


@given(st.lists(WORDS, max_size=60).map("".join))
def test_what_is_well_spelt_is_never_taken_for_misspelt(text: str) -> None:
    assert list(_misspelt(text)) == []


@given(st.lists(WORDS, max_size=30).map("".join))
def test_a_plain_report_is_found_after_any_other(before: str) -> None:
    found = parse_sections(f"{before}\n\nFINAL REPORT\n\nFINDINGS: {F}\nIMPRESSION: {I}")
    assert any(F in piece for piece in found.findings)
    assert any(I in piece for piece in found.impression)


@pytest.mark.parametrize(
    "unit",
    [
        "findings ", "FINDINGS", "FINDINGS\n", "FINDINGS a\r", "Findings" + " " * 40, "(findings(",
        "_" * 8, "\n ", " \t", "FINDINGS AND ", "WET READ\n", "FINAL REPORT\n", "a. Findings: ",
        "INDICATION:\n", "\n\n", "reason for ", "FINDNGS\n", "findngs and ", "Imprssion" + " " * 40,
    ],
)  # fmt: skip
def test_time_is_linear(unit: str) -> None:
    """Sixteen times the text may take sixteen times as long, with room for a busy machine."""

    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            parse_sections(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(320_000) < 60 * max(seconds(20_000), 1e-3)
