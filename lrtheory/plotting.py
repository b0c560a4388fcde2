"""One house style, and the few plots that experiments are made of.

Figures are one column (3.4 in) or two columns (7 in) wide, colour-blind safe, and readable in grey: a series is told by
line style as well as by colour. Data are a median line with the quartile band over seeds; theory is a dashed line
with its formula in the legend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0

# Okabe and Ito's colour-blind safe palette, from dark to light.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Theory is dashed, so no series is.
LINES: tuple[Any, ...] = (
    "-",
    (0, (1, 1)),
    (0, (6, 1, 1, 1)),
    (0, (4, 1, 1, 1, 1, 1)),
    "-",
    (0, (1, 2)),
    (0, (8, 1, 1, 1)),
)

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.grid": True,
    "grid.linewidth": 0.3,
    "grid.alpha": 0.5,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.handlelength": 2.6,
    "legend.borderpad": 0.25,
    "legend.labelspacing": 0.25,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "mathtext.fontset": "cm",
    "svg.hashsalt": "lrtheory",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style inside this context."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def panels(rows: int = 1, columns: int = 1, width: float = TWO_COLUMNS, height: float | None = None) -> Any:
    """Return a figure and its flat list of axes, lettered (a), (b), ... when there are several.

    The figure has no window and is known to no global state. `height` is that of one row in inches.
    """
    from matplotlib.figure import Figure

    height = width / columns * 0.78 if height is None else height
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    if len(axes) > 1:
        for letter, ax in zip("abcdefghij", axes, strict=False):
            ax.set_title(f"({letter})", loc="left", fontsize=8, pad=3)
    return figure, axes


def no_data(ax: Axes) -> None:
    """Say in a panel that there is nothing to draw."""
    ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", va="center", color="0.5")
    ax.set_xticks([])
    ax.set_yticks([])


def look(index: int) -> dict[str, Any]:
    """Return colour and line style of the index-th series."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}


def band(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    index: int = 0,
    label: str | None = None,
    floor: float | None = None,
    **line: Any,
) -> None:
    """Draw the median of `y` over the rows that share `x`, with the band of its quartiles, where above `floor`."""
    quartiles = frame.groupby(x)[y].quantile([0.25, 0.5, 0.75]).unstack()
    if floor is not None:
        quartiles = quartiles[quartiles[0.5] > floor].clip(lower=floor)
    looks = look(index) | line
    ax.plot(quartiles.index, quartiles[0.5], label=label, **looks)
    ax.fill_between(quartiles.index, quartiles[0.25], quartiles[0.75], color=looks["color"], alpha=0.18, linewidth=0)


def series(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    label: Callable[[Any, pd.DataFrame], str],
    floor: float | None = None,
) -> list[Any]:
    """Draw one `band` for each value of the column `by`, in ascending order; return the values."""
    values = sorted(frame[by].unique())
    for index, value in enumerate(values):
        part = frame[frame[by] == value]
        band(ax, part, x, y, index, label(value, part), floor)
    return values


def points(
    ax: Axes, frame: pd.DataFrame, x: str, y: str, index: int = 0, label: str | None = None, *, line: bool = False
) -> None:
    """Draw the median of `y` at each `x` as a marker, with its quartiles as a bar, for x that are few.

    With `line` the markers are joined, for x whose order means something.
    """
    quartiles = frame.groupby(x)[y].quantile([0.25, 0.5, 0.75]).unstack()
    spread = np.abs(np.stack([quartiles[0.5] - quartiles[0.25], quartiles[0.75] - quartiles[0.5]]))
    ax.errorbar(
        quartiles.index,
        quartiles[0.5],
        yerr=spread,
        marker=MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],  # of one colour no two alike
        color=COLOURS[index % len(COLOURS)],
        linestyle=LINES[index % len(LINES)] if line else "none",
        capsize=2,
        linewidth=0.9,
        label=label,
    )


def heat_map(figure: Any, ax: Axes, table: pd.DataFrame, xlabel: str, ylabel: str, label: str) -> None:
    """Draw a table (rows: y, columns: x, both as they are listed) as cells, in a logarithmic grey-safe colour scale."""
    from matplotlib.colors import LogNorm

    image = ax.pcolormesh(table.to_numpy(), norm=LogNorm(), cmap="cividis", rasterized=True)
    for axis, values in ((ax.xaxis, table.columns), (ax.yaxis, table.index)):
        every = max(1, len(values) // 8)
        axis.set_ticks(np.arange(len(values))[::every] + 0.5, [f"{value:.3g}" for value in values[::every]])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label=label)


def theory(ax: Axes, x: Any, y: Any, label: str | None = None, colour: str = "0.25") -> None:
    """Draw a prediction as a thin dashed line."""
    ax.plot(x, y, linestyle=(0, (5, 3)), linewidth=0.8, color=colour, label=label, zorder=3)


def decorate(
    ax: Axes,
    xlabel: str,
    ylabel: str,
    *,
    xscale: str = "linear",
    yscale: str = "linear",
    ylim: Sequence[float | None] | None = None,
    legend: str | None = "best",
) -> None:
    """Set labels (with units), scales and legend of a panel; legend "below" is outside, for panels without room."""
    ax.set_xscale(xscale)
    ax.set_yscale(yscale)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if ylim is not None:
        ax.set_ylim(*ylim)
    if legend is not None and ax.get_legend_handles_labels()[0]:
        below = dict(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        ax.legend(**below if legend == "below" else dict(loc=legend))


def plain_ticks(ax: Axes, values: Sequence[float]) -> None:
    """Label a logarithmic x axis at the given values, written plainly, and nowhere else."""
    from matplotlib.ticker import FixedLocator, NullLocator

    ax.xaxis.set_major_locator(FixedLocator(list(values)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{value:g}" for value in values])
