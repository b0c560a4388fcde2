"""The rate of asymmetric gradient descent over search rank k and initialisation scale alpha (population case)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors
from lrtheory.sensing.trials import late_rate, runs, table
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import SEEDS, cases, largest, per_cell, where

PAPER = "arXiv:2310.01769"


def preset(n, r, k, alpha, steps, seeds):
    """Fewer steps at large alpha would do, but then they could not share a call."""
    shared = dict(operator="identity", rho=1 / 3, step_size=0.2, max_steps=steps, seed=range(seeds), init_seed=0)
    return grid(n=n, r=r, k=k, alpha=alpha, **shared)


PRESETS = {
    "small": preset(24, 2, [3, 4, 5, 6, 8, 10], np.geomspace(0.08, 0.64, 6).round(4), 40_000, seeds=5),
    "paper": preset(100, 3, range(4, 43, 2), np.geomspace(0.04, 0.64, 20).round(4), 60_000, seeds=5),
    # k up to n/4 and alpha from 0.08: beyond, rates are too small to be seen in these steps. For a GPU.
    "large": preset(500, 3, range(4, 132, 2), np.geomspace(0.08, 0.64, 64).round(4), 100_000, seeds=5),
}


def method(c):
    return GradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"], c["rho"])


def run(cells, device):
    for group, _, result in runs(cells, device, method, reduce=True):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = ["operator", "n", "r", "k", "alpha", "rho", "step_size", "max_steps", "seed", "init_seed"]


def summary(frame):
    """One row for each cell, with its rate."""
    return per_cell(frame, AXES, ["rate"], lambda cell: {"rate": late_rate(cell)})


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    rows = rows[rows["k"] > rows["r"]]
    found = [*scale_claims(rows), *rank_claims(rows)]
    return sorted(found, key=lambda claim: claim.id)


def scale_claims(rows):
    for end, case, part in cases(rows[rows["alpha"] < 0.5], AXES, ("alpha", *SEEDS), ["k"]):
        if part["alpha"].nunique() > 1:
            statement = f"mean slope of log rate of err^2 against log alpha (below 0.5) is about 2{case}"
            source = f"exp(-Omega(alpha^2 T)), {PAPER}"
            yield mean_claim(f"E12.alpha{end}", statement, source, (1.7, 2.3), slopes(part, "alpha"))


def rank_claims(rows):
    for end, case, part in cases(rows, AXES, ("k", *SEEDS), ["alpha"]):
        if part["k"].nunique() > 1:
            statement = f"mean slope of log rate of err^2 against log k (k > r) is negative{case}"
            source = "expected: the smallest imbalance of the redundant directions at the start falls as k/n grows"
            yield mean_claim(f"E12.k{end}", statement, source, (None, 0.0), slopes(part, "k"))


def slopes(rows, axis):
    """For each start the slope of log rate against the log of an axis; NaN where a rate is missing."""
    rates = rows.pivot(index=list(SEEDS), columns=axis, values="rate")
    with np.errstate(invalid="ignore"):
        logs = np.log(rates.to_numpy())
    return pd.Series(np.polynomial.polynomial.polyfit(np.log(rates.columns), logs.T, 1)[1], index=rates.index)


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(frame).dropna(subset="rate")
        rows = largest(rows[rows["k"] > rows["r"]], AXES, ["k", "alpha"])
        if rows["k"].nunique() > 1 and rows["alpha"].nunique() > 1:
            panel_map(fig, left, rows)
            panel_start(right, rows)
        else:
            plotting.no_data(left)
            plotting.no_data(right)
        return fig


def panel_map(fig, ax, rows):
    rates = rows.pivot_table(index="alpha", columns="k", values="rate", aggfunc="median")
    colour = "rate of the squared error (per iteration)"
    plotting.heat_map(fig, ax, rates, "search rank $k$", r"initialisation scale $\alpha$", colour)


def panel_start(ax, rows):
    """The rate in units of alpha^2 falls on one curve in k / n."""
    rows = rows.assign(fraction=rows["k"] / rows["n"], unit=rows["rate"] / (rows["step_size"] * rows["alpha"] ** 2))
    few = sorted(rows["alpha"].unique())
    for i, alpha in enumerate((few[0], few[len(few) // 2], few[-1])):
        plotting.points(ax, where(rows, alpha=alpha), "fraction", "unit", i, rf"$\alpha={alpha:.2g}$")
    ylabel = r"rate of the squared error, in units of $\eta\alpha^2$"
    plotting.decorate(ax, "search rank over size, $k/n$", ylabel, yscale="log", legend="upper right")


experiment = Experiment(
    name="phase_map",
    version=1,
    title="The rate of asymmetric gradient descent over search rank and initialisation scale",
    paper=PAPER,
    presets=PRESETS,
    together=("alpha", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
