"""Canvas: what all pictures share: colours, style, figures and files.

Owns the look, and that equal data give equal files. Colours are those of Okabe and Ito, which the
colour-blind can tell apart. Must not know what is drawn. Imports matplotlib where it is used (a
run without pictures should not wait for it) and never its `pyplot`, which keeps global state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrt.core.errors import UsageError
from dualrt.observe.kinds import Activity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILLION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#D9D9D9"

INK = "#333333"
FAINT = "#777777"

SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Colours of runs, in this order."""

COLOURS = {
    Activity.GRADIENT: BLUE,
    Activity.UPDATE: SKY,
    Activity.BLEND: ORANGE,
    Activity.EXCHANGE: VERMILLION,
    Activity.LISTENING: GREY,
    Activity.OTHER: PURPLE,
}

_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""No date and no version, which would make equal pictures differ."""

_STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    # Else identifiers inside an SVG are random.
    "svg.hashsalt": "dualrt",
}


def picture(
    path: Path | str,
    size_in: tuple[float, float],
    title: str,
    subtitle: str,
    draw: Callable[[Figure], None],
) -> None:
    """Save a headline, and below it what `draw` puts on an empty figure.

    The suffix of `path` says PNG, SVG or PDF; `size_in` is (width, height) in inches.

    Raises UsageError if the file cannot be written.
    """
    # Here, not above: a second of import that a run without pictures must not pay.
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    inch = 1 / size_in[1]
    layout = ConstrainedLayoutEngine(
        rect=(0, 0, 1, 1 - 0.62 * inch), w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03
    )
    # The reader's own matplotlibrc must not change a picture.
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=size_in, dpi=120, layout=layout)
        # Not mathematics, whatever dollars a title holds.
        figure.text(
            0.012, 1 - 0.14 * inch, title, size=14, weight="bold", va="top", parse_math=False
        )
        figure.text(0.012, 1 - 0.42 * inch, subtitle, color=FAINT, va="top", parse_math=False)
        draw(figure)
        with writing(path):
            figure.savefig(path, metadata=_METADATA.get(Path(path).suffix))


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """What is needed to write a picture; raises UsageError if it fails: a disk may be full."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}. Name a file elsewhere"
        ) from error
