"""Rows with heavy tails: plain and robust variants of Oja's method, and methods that keep the heavy rows."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming.methods import method
from lrtheory.streaming.sampled import student
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, median_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, per_cell, where

PAPER = "arXiv:1607.07837"
TOP = 4.0  # the largest eigenvalue of the covariance; the others are 1


def preset(n, d, freedoms, seeds):
    shared = dict(n=n, d=d, freedom=freedoms, seed=range(seeds))
    rates = np.geomspace(2e-4, 2e-2, 7)
    return (
        grid(method=["offline", "adaoja"], **shared)
        + grid(method=["oja", "clipped_oja", "geometric_median_oja"], step_size=rates, **shared)
        + grid(method="history", block_size=20, **shared)
        + grid(method="heavy_block_power", h_max=64, **shared)
    )


PRESETS = {
    "small": preset(20_000, 50, [2.5, 3.0, 5.0], 15),
    "paper": preset(200_000, 200, [2.2, 2.5, 3.0, 4.0, 5.0, 10.0], 20),
    "large": preset(2_000_000, 500, [2.2, 2.5, 3.0, 4.0, 5.0, 10.0], 20),
}


def eigenvalues(d):
    return np.concatenate([[TOP], np.ones(int(d) - 1)])


def run(cells, device):
    from lrtheory.streaming.metrics import corr2, sin2
    from lrtheory.streaming.offline import top_directions

    c = cells[0]
    made = student(c["n"], eigenvalues(c["d"]), c["freedom"], Stream(c["seed"], "rows"))
    for c in cells:
        if c["method"] == "offline":
            v = top_directions(made.rows)[1][0]
            yield c, {"corr2": corr2(v, made.direction), "sin2": sin2(v, made.direction)}
        else:
            yield c, judged(method(c, Stream(c["seed"], "estimator")).fit(made.rows), made.direction)


AXES = ["method", "n", "d", "freedom", "step_size", "block_size", "h_max", "seed"]
CASE = ["n", "d", "freedom"]


def summary(frame):
    """For each method and stream one row: that of the rate that is best in the median over seeds."""
    rows = per_cell(frame, AXES, ["sin2"], lambda cell: {"sin2": cell["sin2"].iloc[0]})
    key = ["method", *CASE]
    medians = rows.groupby([*key, "step_size"], dropna=False)["sin2"].median()
    best = medians.reset_index().sort_values("sin2").groupby(key, dropna=False).head(1)
    return rows.merge(best[[*key, "step_size"]], on=[*key, "step_size"])


EXPECTED = {
    "clipped_oja": ((None, 1.0), "observed on elliptical rows"),
    "geometric_median_oja": ((None, 8.0), "each of its 8 runs has an eighth of the rows"),
}


def claims(frame):
    if frame.empty:
        return []
    rows, found = summary(frame), []
    for name in EXPECTED:
        for end, case, part in cases(rows[rows["method"].isin([name, "oja"])], CASE, (), ["freedom"]):
            table = part.pivot(index="seed", columns="method", values="sin2")
            if name in table and "oja" in table:
                predicted, source = EXPECTED[name]
                statement = f"median of sin^2 of {name} over that of Oja's method, both with the best of 7 rates{case}"
                ratio = by_seed(table.reset_index(), table[name] / table["oja"])
                found.append(median_claim(f"STREAM.E9.{name}{end}", statement, source, predicted, ratio))
    return found


LABELS = {
    "offline": "offline",
    "oja": "Oja, best of 7 rates",
    "clipped_oja": "clipped Oja, best of 7",
    "geometric_median_oja": "median of Oja, best of 7",
    "adaoja": "AdaOja",
    "history": "History PCA",
    "heavy_block_power": "heavy rows, block power",
}


def figure(frame):
    with plotting.style():
        fig, (ax,) = plotting.panels(1, 1, width=plotting.ONE_COLUMN * 1.4)
        frame = complete(finished(frame, "sin2"), [*AXES, "sin2"])
        rows = summary(frame) if len(frame) else frame
        rows = rows[rows["n"] == rows["n"].max()] if len(rows) else rows
        if rows.empty:
            plotting.no_data(ax)
            return fig
        for i, name in enumerate(name for name in LABELS if name in set(rows["method"])):
            plotting.points(ax, where(rows, method=name), "freedom", "sin2", i, LABELS[name], line=True)
        label = rf"degrees of freedom $\nu$ ($n={rows['n'].iloc[0]:g}$, $d={rows['d'].iloc[0]:g}$)"
        plotting.decorate(ax, label, r"$\sin^2$", yscale="log", legend="upper right")
        return fig


experiment = Experiment(
    name="streaming_heavy_tail",
    version=1,
    title="Rows with heavy tails",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "step_size", "block_size", "h_max"),
    run=run,
    figure=figure,
    claims=claims,
)
