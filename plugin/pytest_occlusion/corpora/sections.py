"""Findings and impression of a report as radiologists really write it.

Headings come in any case, with a colon, with a dash or with neither, alone on a line or followed by
their text, at the start of a line or in the middle of one. The same words stand inside sentences
("findings were discussed"), often at the start of a line because somebody wrapped it. What tells
the two apart is written down once, in :func:`_is_heading`. A heading may also be misspelt by one
letter (IMPRSSION, FINDNIGS); every form in MIT-LCP's splitter of MIMIC-CXR is of that kind.

The time is linear in the length of the text: words are looked up by plain search, and every
repetition in the patterns tried at such a place is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import eq
from typing import NamedTuple

_FINDINGS = "findings?"
_IMPRESSION = "(impressions?|conclusions?|summary|interpretation)"
_AND = "~(and|&|/|[+])~"
_QUALIFIER = "((chest|final|preliminary|radiographic|overall|additional) )?"
_COUNT = r"(~#?~\d{1,3})?"

_KINDS: dict[str, str] = {
    "both": f"{_QUALIFIER}({_FINDINGS}{_AND}{_IMPRESSION}|{_IMPRESSION}{_AND}{_FINDINGS})",
    "impression": f"{_QUALIFIER}{_IMPRESSION}({_AND}recommendations?)?",
    "findings": f"{_QUALIFIER}{_FINDINGS}",
    "wet": rf"wet[ \t-]{{0,4}}read(ing)?s?( version)?{_COUNT}",
    "final": "final report",
    "addendum": f"(final )?addend(um|a){_COUNT}",
    "other": "(type of )?exam(ination)?s?( type)?|stud(y|ies)( date)?|procedures?|"
    "(clinical )?(indications?|history|information)|(patient|past medical|medical) history|history|"
    "reason for (this |the )?(exam(ination)?|study)|comparisons?( (study|studies|exams?|films?))?|"
    "techniques?|notifications?|communications?|recommendations?|preliminary report|dictated by|"
    "attending( radiologist)?|electronically signed by",
}
"""Kind of heading -> its names. Only these end a section: "LUNGS:" and the like are part of one.
A blank stands for one or more blanks or tabs, ``~`` for any number, and groups capture nothing."""

_STEMS = (
    "finding", "impression", "conclusion", "summary", "interpretation", "chest", "final", "prelim",
    "radiographic", "overall", "additional", "wet", "addend", "type", "exam", "stud", "procedure",
    "clinical", "indication", "history", "information", "patient", "past", "medical", "reason",
    "comparison", "technique", "notification", "communication", "recommendation", "dictated",
    "attending", "electronically",
)  # fmt: skip
"""How the names above begin. Searching for these first is ten times as fast as the pattern."""


def _pattern(names: str) -> str:
    names = re.sub(r"(?<!\[) ", r"[ \\t]{1,8}", names)
    return names.replace("~", r"[ \t]{0,8}").replace("(", "(?:")


_HEADING = re.compile(
    "(" + "|".join(f"(?P<{kind}>{_pattern(names)})" for kind, names in _KINDS.items()) + ")"
    r"(?![A-Za-z0-9])"
    r"(?P<aside>[ \t]{0,8}\([^()\n]{0,60}\))?"
    r"[ \t]{0,8}(?P<mark>:{1,2}|;|[-\u2013\u2014=]{1,2}>?|\.(?=[ \t]{0,8}(?:[\r\n]|\Z)))?",
    re.IGNORECASE | re.ASCII,
)
_WORDS = {
    name + ending: kind
    for kind, names in {
        "findings": ("finding",),
        "impression": ("impression", "conclusion"),
        "other": ("comparison", "indication", "examination", "technique", "recommendation"),
    }.items()
    for name in names
    for ending in ("", "s")
}
"""Names that are known when they are misspelt: all so long that no other word is like them."""

_UNKNOWN = re.compile(
    rf"(?<![A-Za-z0-9])((?P<first>[a-z]{{6,16}})({_pattern(_AND)}(?P<second>[a-z]{{6,16}}))?)"
    r"[ \t]{0,8}(?:(?P<mark>:)|(?=[\r\n]|\Z))",
    re.IGNORECASE | re.ASCII,
)
"""One or two words that may be a misspelt name, with a colon or at the end of a line."""

_RULE = re.compile(r"^[ \t]*[_=*-]{8,}[ \t]*$", re.MULTILINE)
_REST_OF_LINE = re.compile(r"[^\n\r]*")
_END_OF_LINE = re.compile(r"[ \t]*(?:[\n\r\v\f]|\Z)")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_INDENT = " \t*#>"
_BREAKS = "\n\r\v\f"
_SENTENCE_END = ".:;!?)]_-=*"


@dataclass(frozen=True)
class Sections:
    """What a report says where, in order and each once; every piece is a part of it, as it is.

    A text under "Findings and impression" is in both. The narrative is what stands under no heading
    of a report that has neither.
    """

    findings: tuple[str, ...] = ()
    impression: tuple[str, ...] = ()
    narrative: tuple[str, ...] = ()


class _Heading(NamedTuple):
    kind: str
    start: int
    end: int


def parse_sections(text: str) -> Sections:
    """Find the findings and the impression of any text; all empty where there is none.

    Wet reads (what somebody read first) are left out, with their headings, when a final report
    follows. An addendum is not part of a section, but sections that it repeats count like others:
    they correct or extend the first ones. De-identification marks (``___``) stay; a section of
    nothing but marks is empty.
    """
    headings = _without_wet_reads(_headings(text))
    findings: list[str] = []
    impression: list[str] = []
    narrative: list[str] = []
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        segment = text[heading.end : following.start if following else len(text)]
        if heading.kind in ("findings", "both"):
            findings.append(segment)
        if heading.kind in ("impression", "both"):
            impression.append(segment)
        if heading.kind in ("start", "final", "rule"):
            narrative.append(segment)
        if heading.kind == "other" and (gap := _BLANK_LINE.search(segment)):
            narrative.append(segment[gap.end() :])
    found = Sections(_pieces(findings), _pieces(impression))
    return found if found.findings or found.impression else Sections((), (), _pieces(narrative))


def _pieces(segments: list[str]) -> tuple[str, ...]:
    """Without white space around them, empty ones and repetitions."""
    kept: dict[str, str] = {}
    for segment in segments:
        piece = segment.strip().lstrip(":;-\u2013\u2014 \t\r\n").rstrip("*#>").rstrip()
        if any(character.isalnum() for character in piece):
            kept.setdefault(" ".join(piece.casefold().split()), piece)
    return tuple(kept.values())


def _without_wet_reads(headings: list[_Heading]) -> list[_Heading]:
    """Drop the headings between a wet read and the final report after it."""
    last_final = max((at for at, one in enumerate(headings) if one.kind == "final"), default=-1)
    kept: list[_Heading] = []
    inside = False
    for at, heading in enumerate(headings):
        inside = inside and heading.kind != "final"
        if not inside:
            kept.append(heading)
        inside = inside or (heading.kind == "wet" and at < last_final)
    return kept


def _headings(text: str) -> list[_Heading]:
    """All headings and dividing lines in order, after one that stands for the text's start."""
    found = [_Heading("start", 0, 0), *_named(text), *_misspelt(text)]
    found.sort(key=lambda heading: heading.start)
    if any(rule in text for rule in ("________", "--------", "========", "********")):
        found += [_Heading("rule", *match.span()) for match in _RULE.finditer(text)]
        found.sort(key=lambda heading: heading.start)
    return found


def _named(text: str) -> Iterator[_Heading]:
    end = last = 0
    small = text.islower()
    for place in _places(text):
        # What lies before ``last`` is inside a name that was looked at already.
        match = _HEADING.match(text, place) if place >= last else None
        if match is None:
            continue
        kind = next(kind for kind in _KINDS if match[kind] is not None)
        last = match.end(1)
        if _is_heading(text, match, after=end, small=small):
            yield _Heading(kind, place, match.end())
            end = last = match.end()


def _misspelt(text: str) -> Iterator[_Heading]:
    """Headings with a slip of the typist in a word; "impresson and findings" has one in two."""
    small = text.islower()
    for match in _UNKNOWN.finditer(text):
        words = [word.lower() for word in match.group("first", "second") if word]
        kinds = {_WORDS.get(word) or _meant(word) for word in words}
        if "" not in kinds and not all(word in _WORDS for word in words):
            said = kinds - {"other"} or kinds  # "impression and recommendations" is an impression
            kind = said.pop() if len(said) == 1 else "both"
            if _is_heading(text, match, after=0, small=small):
                yield _Heading(kind, match.start(), match.end())


@lru_cache(maxsize=4096)
def _meant(word: str) -> str:
    """The kind of heading that a word is but for one letter, or two exchanged; else empty."""
    for right, kind in _WORDS.items():
        at = [*map(eq, word, right), False].index(False)
        have, want = word[at:], right[at:]
        exchanged = have[:2] == want[1::-1] and have[2:] == want[2:]
        other = at > 0 and have[1:] in (want, want[1:])  # never first: "bindings" is a word
        if have == want[1:] or exchanged or other:
            return kind
    return ""


def _places(text: str) -> list[int]:
    """Where a name may begin."""
    # Beyond ASCII, str.lower() would move places: some letters become two.
    lowered = text.lower() if text.isascii() else text.translate(_LOWER)
    places: list[int] = []
    for stem in _STEMS:
        at = lowered.find(stem)
        while at >= 0:
            if at == 0 or not lowered[at - 1].isalnum():
                places.append(at)
            at = lowered.find(stem, at + len(stem))
    return sorted(places)


def _is_heading(text: str, match: re.Match[str], *, after: int, small: bool) -> bool:
    """Whether a name is a heading here, or a word of a sentence.

    The match has the name's mark (colon, dash) if there is one; the heading before it ends at
    ``after``; a ``small`` report has no capitals at all.
    """
    start = match.start()
    name, colon = match[1], (match["mark"] or "").startswith(":")
    before = start - 1
    while before >= 0 and text[before] in _INDENT:
        before -= 1
    begins_line = before < 0 or text[before] in _BREAKS
    lines = 0
    while before >= 0 and text[before].isspace():
        lines += text[before] == "\n"
        before -= 1
    begins_paragraph = before < 0 or lines > 1
    begins_sentence = begins_paragraph or before < after or text[before] in _SENTENCE_END
    if not begins_line:
        wide_gap = name.isupper() and text[max(0, start - 2) : start].isspace() and start > 1
        return colon and name[0].isupper() and (begins_sentence or wide_gap)
    if name.isupper():
        return colon or _stands_out(text, match)
    if name[0].isupper():
        return colon or (begins_sentence and (bool(match["mark"]) or _alone(text, match.end())))
    # In small letters, at the start of a line that may be a wrapped one.
    if colon:
        return begins_sentence or small
    return begins_paragraph and _alone(text, match.end())


def _stands_out(text: str, match: re.Match[str]) -> bool:
    """Whether a name in capitals at the start of a line, without a colon, is a heading.

    In a report that is all in capitals "FINDINGS DISCUSSED WITH" is a sentence, so what follows on
    the line must differ from the name: small letters, or at least a wide gap.
    """
    if match["mark"] or _alone(text, match.end()):
        return True
    line = _REST_OF_LINE.match(text, match.end())
    rest = line[0].lstrip() if line else ""
    wide_gap = len(match[0]) - len(match[0].rstrip()) > 1
    return not rest[:1].islower() and (wide_gap or any(map(str.islower, rest)))


def _alone(text: str, end: int) -> bool:
    return _END_OF_LINE.match(text, end) is not None
