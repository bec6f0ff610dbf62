"""Where another tool's recall must equal ours, and how far apart it may be elsewhere.

Peers take the first k of a sorted list. Where candidates tie with the positive, the order of the
list is nobody's choice; we count the expectation over all orders. So a peer's hits lie between
those with every tie lost and those with every tie won, and are ours where no tie straddles k.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_occlusion.retrieval.ranks import Ranks


@dataclass(frozen=True)
class Agreement:
    """How a peer's hits stand against ours.

    Attributes:
        least: Hits if every tie is lost.
        most: Hits if every tie is won.
        found: The peer's hits.
    """

    least: int
    most: int
    found: int

    @property
    def coincides(self) -> bool:
        """Whether both definitions give one number."""
        return self.least == self.most

    @property
    def holds(self) -> bool:
        """Whether the peer's hits are possible; where the definitions coincide, equal to ours."""
        return self.least <= self.found <= self.most


def agreement(ranks: Ranks, k: int, recall: float) -> Agreement:
    """Compare a peer's recall with ranks in which every query has one positive.

    Args:
        ranks: Ours.
        k: Cut-off.
        recall: The peer's, in [0, 1].
    """
    return Agreement(
        least=int((ranks.worst <= k).sum()),
        most=int((ranks.best <= k).sum()),
        found=round(recall * len(ranks)),
    )


def verdict(agreements: list[Agreement]) -> str:
    """One line over many cut-offs or cells."""
    same = sum(one.coincides for one in agreements)
    broken = sum(not one.holds for one in agreements)
    text = f"{same} of {len(agreements)} recalls are defined alike"
    return f"{text}; {f'{broken} DIFFER' if broken else 'all agree, hit for hit'}"
