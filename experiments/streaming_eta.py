"""Which fixed rates of Oja's method work: the window of good step sizes and how it widens with the ratio R."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming import Oja, instances
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, per_cell

PAPER = "arXiv:2408.10332"
GOOD = 0.5
"""corr2 from which a rate counts as good."""


def preset(n, d, gaps, seeds):
    return grid(n=n, d=d, gap=gaps, lowest=1e-2, highest=1e6, rates=49, seed=range(seeds))


PRESETS = {
    "small": preset(20_000, 200, [2.0, 4.0, 8.0, 16.0, 32.0], 10),
    "paper": preset(200_000, 1000, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 20),
    "large": preset(1_000_000, 4000, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 20),
}


def run(cells, device):
    for c in cells:
        made = instances.generic(c["n"], c["d"], c["gap"], Stream(c["seed"], "rows")).ordered("random", c["seed"])
        rates = np.geomspace(c["lowest"], c["highest"], c["rates"])  # of s_1^2 = 1
        estimator = Oja(rates, start=Stream(c["seed"], "start").normal((c["d"],))).fit(made.rows)
        yield c, judged(estimator, made.direction) | {"step_size": rates}


AXES = ["n", "d", "gap", "lowest", "highest", "rates", "seed"]


def window(cell):
    """The ends of the widest run of good rates, between two rates by interpolation; NaN without one."""
    cell = cell.sort_values("step_size")
    x, y = np.log(cell["step_size"].to_numpy()), cell["corr2"].to_numpy()
    good = np.concatenate([[False], y >= GOOD, [False]])
    starts, ends = np.flatnonzero(good[1:] & ~good[:-1]), np.flatnonzero(good[:-1] & ~good[1:])
    if starts.size == 0 or (ends - starts).max() == y.size:
        return {"first": np.nan, "last": np.nan}
    widest = np.argmax(ends - starts)
    i, j = starts[widest], ends[widest] - 1
    first = x[0] if i == 0 else np.interp(GOOD, y[[i - 1, i]], x[[i - 1, i]])
    last = x[-1] if j == y.size - 1 else np.interp(-GOOD, -y[[j, j + 1]], x[[j, j + 1]])
    return {"first": np.exp(first), "last": np.exp(last)}


def claims(frame):
    if frame.empty:
        return []
    rows = per_cell(frame, AXES, ["first", "last"], window)
    return [*first_claims(rows), *width_claims(rows)]


def first_law(d, gap):
    """The rate at which the start is forgotten: its d parts across v_1 lose a factor exp(2 x (1 - 1/R)) each."""
    return np.log(d) / (2 * (1 - 1 / gap))


def first_claims(rows):
    for end, case, part in cases(rows, AXES, ("seed",), ["gap"]):
        statement = f"mean of the least rate with corr2 = 1/2 over (log d) / (2 s_1^2 (1 - 1/R)){case}"
        source = "derived for small steps: growth exp(x) along v_1 and exp(x / R) across"
        ratio = part["first"] / first_law(part["d"], part["gap"])
        yield mean_claim(f"STREAM.E6.first{end}", statement, source, (0.5, 1.5), by_seed(part, ratio))


def width_claims(rows):
    for end, case, part in cases(rows, AXES, ("gap", "seed")):
        if part["gap"].nunique() > 1:
            table = part.assign(width=np.log2(part["last"] / part["first"]))
            table = table.pivot(index="seed", columns="gap", values="width")
            slopes = np.polynomial.polynomial.polyfit(np.log2(table.columns), table.to_numpy().T, 1)[1]
            statement = f"mean slope of log2 of the width of the window against log2 R is positive{case}"
            values = pd.Series(slopes, index=table.index)
            yield mean_claim(f"STREAM.E6.width{end}", statement, "expected", (0.0, None), values)


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        frame = largest(complete(finished(frame, "corr2"), [*AXES, "corr2", "step_size"]), AXES, ("gap",))
        rate_panel(left, frame)
        window_panel(right, per_cell(frame, AXES, ["first", "last"], window).dropna(subset="first"))
        return fig


def rate_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    plotting.series(ax, rows, "step_size", "corr2", "gap", lambda gap, part: f"$R={gap:g}$")
    ax.axvline(first_law(rows["d"].iloc[0], np.inf), linestyle=(0, (5, 3)), linewidth=0.8, color="0.25")
    ax.text(first_law(rows["d"].iloc[0], np.inf), 0.5, r"$\frac{1}{2}\log d$ ", ha="right")
    label = rf"rate $\eta s_1^2$ ($n={rows['n'].iloc[0]:g}$, $d={rows['d'].iloc[0]:g}$)"
    plotting.decorate(ax, label, r"$\langle v,v_1\rangle^2$", xscale="log", ylim=(-0.02, 1.02))


def window_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    plotting.points(ax, rows, "gap", "last", 0, "largest good rate", line=True)
    plotting.points(ax, rows, "gap", "first", 1, "least good rate", line=True)
    gaps = np.geomspace(rows["gap"].min(), rows["gap"].max() + 1e-9, 50)
    plotting.theory(ax, gaps, first_law(rows["d"].iloc[0], gaps), r"$\log d/(2(1-1/R))$")
    plotting.decorate(ax, "ratio $R$ of the eigenvalues", r"rate $\eta s_1^2$", xscale="log", yscale="log")
    plotting.plain_ticks(ax, sorted(rows["gap"].unique()))


experiment = Experiment(
    name="streaming_eta",
    version=1,
    title="The window of good rates of Oja's method",
    paper=PAPER,
    presets=PRESETS,
    together=("lowest", "highest", "rates"),
    run=run,
    figure=figure,
    claims=claims,
)
