"""A top direction that turns: the error of a fixed rate, and the rate that follows best."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming import Oja, theory
from lrtheory.streaming.methods import method
from lrtheory.streaming.sampled import drift
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, mean_claim, slope_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, where

PAPER = "arXiv:1902.03223"
DERIVED = "derived: noise proportional to eta plus the square of the lag"
TOP = 4.0  # the largest eigenvalue; the others are 1
TURNS = (3e-5, 1e-4, 3e-4, 1e-3)


def preset(n, d, turns, seeds, sizes):
    shared = dict(n=n, d=d, turn=turns, seed=range(seeds))
    return grid(method="oja", lowest=2e-4, highest=5e-2, rates=17, **shared) + grid(
        method=["history", "block_power"], block_size=sizes, **shared
    )


PRESETS = {
    "small": preset(20_000, 20, TURNS, 40, [20, 60, 200, 600, 2000]),
    "paper": preset(100_000, 100, (1e-5, *TURNS), 100, [20, 60, 200, 600, 2000, 6000]),
    "large": preset(400_000, 1000, (1e-6, 3e-6, *TURNS), 100, [60, 200, 600, 2000, 6000]),
}


def eigenvalues(d):
    return np.concatenate([[TOP], np.ones(int(d) - 1)])


def run(cells, device):
    c = cells[0]
    made = drift(c["n"], eigenvalues(c["d"]), c["turn"], Stream(c["seed"], "rows"))
    for c in cells:
        stream = Stream(c["seed"], "estimator")
        if c["method"] == "oja":
            rates = np.geomspace(c["lowest"], c["highest"], c["rates"])
            start = stream.normal((c["d"],))
            yield c, judged(Oja(rates, start=start).fit(made.rows), made.direction) | {"step_size": rates}
        else:
            yield c, judged(method(c, stream).fit(made.rows), made.direction)


AXES = ["method", "n", "d", "turn", "lowest", "highest", "rates", "block_size", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = where(complete(frame, [*AXES, "step_size", "sin2"]), method="oja")
    return [*law_claims(rows), *least_claims(rows)]


def law_claims(rows):
    """At the rate next to the best one."""
    for end, case, part in cases(rows, AXES, ("seed",), ["turn"]):
        c, rates = part.iloc[0], np.sort(part["step_size"].dropna().unique())
        best = theory.drift_best_step_size(eigenvalues(c["d"]), c["turn"])
        near = part[part["step_size"].isna()]
        law = np.nan
        if rates.size:
            rate = rates[np.argmin(np.abs(np.log(rates / best)))]
            near = part[(part["step_size"] == rate) | part["step_size"].isna()]
            law = theory.drift_sin2(rate, eigenvalues(c["d"]), c["turn"])
        statement = f"mean of sin^2 over its law at the rate next to the best is 1 +- .25{case}"
        yield mean_claim(f"STREAM.E10.law{end}", statement, DERIVED, (0.75, 1.25), by_seed(near, near["sin2"] / law))


def least_claims(rows):
    """At the best rate the lag is half of the noise, and both are proportional to it."""
    for end, case, part in cases(rows, AXES, ("turn", "seed")):
        if part["turn"].nunique() > 2:
            least = part.groupby(["turn", "step_size"])["sin2"].mean().groupby("turn").min()
            statement = f"exponent of the turn a row in the least mean of sin^2 over rates is 2/3{case}"
            yield slope_claim(f"STREAM.E10.least{end}", statement, DERIVED, (0.6, 0.73), least.index, least)


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        frame = complete(finished(frame, "sin2"), [*AXES, "step_size", "sin2"])
        rate_panel(left, where(frame, method="oja"))
        block_panel(right, where(frame, method="history"))
        return fig


def turning(turn):
    """The angle that v_1 turns by a row."""
    digits, exponent = f"{turn:.0e}".split("e")
    return rf"$\delta={digits}\cdot10^{{{int(exponent)}}}$ a row"


def rate_panel(ax, rows):
    rows = largest(rows, AXES, ("turn",)) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    turns = plotting.series(ax, rows, "step_size", "sin2", "turn", lambda turn, part: turning(turn))
    rates, lam = np.sort(rows["step_size"].unique()), eigenvalues(rows["d"].iloc[0])
    for i, turn in enumerate(turns):
        law = r"$c\,\eta+(\delta/(\eta(\lambda_1-\lambda_2)))^2$"
        plotting.theory(ax, rates, np.minimum(theory.drift_sin2(rates, lam, turn), 1), law if i == 0 else None)
    plotting.decorate(ax, r"rate $\eta$", r"$\sin^2$ at the last row", xscale="log", yscale="log")


def block_panel(ax, rows):
    rows = largest(rows, AXES, ("turn", "block_size")) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    for i, turn in enumerate(sorted(rows["turn"].unique())):
        plotting.points(ax, where(rows, turn=turn), "block_size", "sin2", i, turning(turn), line=True)
    plotting.decorate(ax, "rows of a block of History PCA", r"$\sin^2$ at the last row", xscale="log", yscale="log")


experiment = Experiment(
    name="streaming_drift",
    version=1,
    title="A top direction that turns",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "lowest", "highest", "rates", "block_size"),
    run=run,
    figure=figure,
    claims=claims,
)
