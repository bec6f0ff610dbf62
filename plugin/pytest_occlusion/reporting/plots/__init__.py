"""Static figures for papers, by matplotlib: the same results give the same bytes.

Everything that would differ from run to run is fixed here: the user's own style is set aside, the
ids in SVG files are salted with a constant, and no file says when or by what it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting.plots.gaps import gap_figure, several_corpora
from pytest_occlusion.reporting.plots.overlay import overlays
from pytest_occlusion.reporting.plots.single import figures
from pytest_occlusion.reporting.plots.style import fixed_style, rendered, require_matplotlib
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Results

FORMATS = ("svg", "pdf", "png")


def plot(
    runs: Sequence[Results], folder: Path, formats: Sequence[str], labels: Sequence[str] = ()
) -> list[Path]:
    """Draw every figure that the results allow.

    Args:
        runs: One results document, two to be overlaid, or one for each of several corpora.
        folder: Where the files go.
        formats: Of ``FORMATS``.
        labels: What the two runs are called.

    Returns:
        The files, in order.

    Raises:
        OcclusionError: matplotlib is missing, a format is unknown, there is nothing to draw, or
            two runs share nothing.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise OcclusionError(
            f"--formats {','.join(formats)}: unknown format {', '.join(unknown) or '(none given)'}",
            remedy=f"choose from {', '.join(FORMATS)}",
        )
    require_matplotlib()
    runs = [completed(run) for run in runs]
    with fixed_style():
        if len(runs) > 2 or several_corpora(runs):
            drawn = {"corpora": gap_figure(runs)}
        elif len(runs) == 2:
            drawn = dict(overlays(runs[0], runs[1], labels))
        else:
            drawn = dict(figures(runs[0]))
            if runs[0]["maps"]:
                from pytest_occlusion.reporting.plots.maps import map_figures

                drawn.update(map_figures(runs[0]))
        if not drawn:
            raise OcclusionError(
                "there is nothing to draw: one blocked share makes no curve, and without ratio 0 "
                "there is no accuracy",
                remedy="measure ratio 0 and at least one other",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OcclusionError(
                f"{folder}: {fault.strerror}", remedy="give another folder with --out"
            ) from None
        written = []
        for name, figure in drawn.items():
            for kind in formats:
                path = folder / f"{name}.{kind}"
                write_atomically(path, rendered(figure, kind))
                written.append(path)
    return written
