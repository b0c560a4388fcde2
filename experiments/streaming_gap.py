"""A fixed matrix in random order: the error of each method against the ratio R of the first two eigenvalues."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming import instances, theory
from lrtheory.streaming.methods import method
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, mean_claim, median_claim, share_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, per_cell, where

PAPER = "arXiv:2412.11963"
DERIVED = "derived from a linear recursion (lrtheory.streaming.asymptotics)"
GAPS = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0)


def blocks(d, gap):
    """Power steps that take a typical start below the noise, and two more."""
    return math.ceil(math.log(d) / math.log(gap)) + 2


def preset(n, d, gaps, seeds):
    shared = dict(n=n, d=d, seed=range(seeds))
    rates = np.round(math.log(d) * np.geomspace(0.5, 8.0, 5), 3)  # step sizes times s_1^2 = 1
    cells = (
        grid(method=["adaoja", "oja_grid"], gap=gaps, **shared)
        + grid(method="oja", step_size=rates, gap=gaps, **shared)
        + grid(method="history", block_size=20, gap=gaps, **shared)
        + grid(method="heavy_history", h_max=64, gap=gaps, **shared)
        + grid(method="frequent_directions", size=20, gap=gaps, **shared)
        + grid(method="count_sketch", size=40, gap=gaps, **shared)
        + grid(method="row_sample", size=400, gap=gaps, **shared)
    )
    for gap in gaps:
        cells += grid(method="block_power", n_blocks=blocks(d, gap), gap=gap, **shared)
    return cells


PRESETS = {
    "small": preset(20_000, 200, GAPS, 11),
    "paper": preset(200_000, 2000, GAPS, 20),
    "large": preset(2_000_000, 4000, GAPS, 20),
}


def run(cells, device):
    c = cells[0]
    made = instances.generic(c["n"], c["d"], c["gap"], Stream(c["seed"], "rows")).ordered("random", c["seed"])
    for c in cells:
        yield c, judged(method(c, Stream(c["seed"], "estimator")).fit(made.rows), made.direction)


AXES = ["method", "n", "d", "gap", "step_size", "block_size", "n_blocks", "size", "h_max", "seed"]
TUNED = "oja, best rate"


def summary(frame):
    """One row for each cell, and for each matrix one of Oja's method with the best of its rates."""
    rows = per_cell(frame, AXES, ["sin2"], lambda cell: {"sin2": cell["sin2"].iloc[0]})
    best = where(rows, method="oja").groupby(["n", "d", "gap", "seed"], as_index=False)["sin2"].min()
    return pd.concat([rows, best.assign(method=TUNED)], ignore_index=True)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    return [*slope_claims(rows), *law_claims(rows), *bound_claims(rows), *grid_claims(rows)]


def slope_claims(rows):
    steep = where(rows[(rows["gap"] >= 4) & (rows["gap"] <= 32)], method="block_power")
    for end, case, part in cases(steep, AXES, ("gap", "n_blocks", "seed")):
        if part["gap"].nunique() > 2:
            table = part.pivot(index="seed", columns="gap", values="sin2")
            slopes = np.polynomial.polynomial.polyfit(np.log(table.columns), np.log(table.to_numpy()).T, 1)[1]
            statement = f"mean slope of log sin^2 against log R, 4 <= R <= 32, block power{case}"
            values = pd.Series(slopes, index=table.index)
            yield mean_claim(f"STREAM.T10.slope{end}", statement, DERIVED, (-1.45, -0.95), values)


def spectrum(c):
    """The eigenvalues s_j^2 / n of a row's second moment."""
    return np.concatenate([[1.0], np.full(int(c["d"]) - 1, 1 / c["gap"])]) / c["n"]


def law_claims(rows):
    """For ratios where the first order is all: below, single starts may miss v_1; above, the next order shows."""
    laws = {
        "block_power": (
            4,
            32,
            lambda c: theory.block_power_sin2(c["n"], spectrum(c), int(c["n_blocks"]), order="random"),
        ),
        "history": (8, 16, lambda c: theory.history_pca_sin2(c["n"], spectrum(c), order="random")),
    }
    for name, (low, high, law) in laws.items():
        for end, case, part in cases(
            where(rows[(rows["gap"] >= low) & (rows["gap"] <= high)], method=name), AXES, ("seed",), ["gap"]
        ):
            statement = f"mean of sin^2 over its law in random order is 1 +- .3, {name}{case}"
            values = by_seed(part, part["sin2"] / law(part.iloc[0]))
            yield mean_claim(f"STREAM.T10.law.{name}{end}", statement, DERIVED, (0.7, 1.3), values)


def bound_claims(rows):
    """Frequent Directions from where its bound says something on."""
    for end, case, part in cases(where(rows, method="frequent_directions"), AXES, ("seed",), ["gap"]):
        c = part.iloc[0]
        energies = spectrum(c)
        bound = theory.frequent_directions_error(energies, int(c["size"])) / (energies[0] - energies[1])
        if bound < 1:
            statement = (
                f"share of seeds with sin^2 <= {bound:.3g}, the bound of Frequent Directions{case}, is above 1/2"
            )
            source = "error / (s_1^2 - s_2^2), error of arXiv:1501.01711"
            hits = np.where(part["sin2"].isna(), np.nan, part["sin2"] <= bound)
            yield share_claim(f"STREAM.T10.directions{end}", statement, source, (0.5, 1.0), by_seed(part, hits))


def grid_claims(rows):
    tuned = where(rows, method=TUNED).set_index(["n", "d", "gap", "seed"])["sin2"]
    for end, case, part in cases(where(rows[rows["gap"] >= 2], method="oja_grid"), AXES, ("seed",), ["gap"]):
        best = tuned.reindex(pd.MultiIndex.from_frame(part[["n", "d", "gap", "seed"]])).to_numpy()
        statement = f"median of sin^2 of the grid of rates over that of the best of five tuned rates{case}"
        source = "observed; rates a factor 2 apart, chosen by a CountSketch of 256 rows"
        yield median_claim(f"STREAM.T12{end}", statement, source, (None, 2.0), by_seed(part, part["sin2"] / best))


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(complete(finished(frame, "sin2"), [*AXES, "sin2"])) if len(frame) else frame
        rows = rows[(rows["n"] == rows["n"].max()) & (rows["method"] != "oja")] if len(rows) else rows
        panel(left, rows, ITERATIVE)
        panel(right, rows, SUMMARIES)
        return fig


ITERATIVE = {
    TUNED: "Oja, best of 5 rates",
    "oja_grid": "Oja, grid of rates",
    "adaoja": "AdaOja",
    "block_power": "block power",
    "history": "History PCA",
}
SUMMARIES = {
    "heavy_history": "heavy rows and History PCA",
    "frequent_directions": r"Frequent Directions, $\ell={:g}$",
    "count_sketch": "CountSketch, {:g} buckets",
    "row_sample": "{:g} sampled rows",
}


def panel(ax, rows, labels):
    rows = rows[rows["method"].isin(labels)] if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    for i, (name, label) in enumerate(labels.items()):
        part = where(rows, method=name)
        if len(part):
            plotting.points(ax, part, "gap", "sin2", i, label.format(part["size"].iloc[0]), line=True)
    gaps = np.geomspace(3, 40, 40)
    c = {"n": rows["n"].iloc[0], "d": rows["d"].iloc[0]}
    if "history" in labels:
        law = [theory.history_pca_sin2(c["n"], spectrum(c | {"gap": gap}), order="random") for gap in gaps]
        plotting.theory(ax, gaps, law, "law of History PCA")
        law = [
            theory.block_power_sin2(c["n"], spectrum(c | {"gap": gap}), blocks(c["d"], gap), order="random")
            for gap in gaps
        ]
        plotting.theory(ax, gaps, law, "law of block power", colour="0.55")
    label = f"ratio $R$ of the eigenvalues ($n={c['n']:g}$, $d={c['d']:g}$)"
    plotting.decorate(ax, label, r"$\sin^2$", xscale="log", yscale="log", legend="lower left")
    plotting.plain_ticks(ax, sorted(rows["gap"].unique()))


experiment = Experiment(
    name="streaming_gap",
    version=1,
    title="Random order: error against the ratio of the eigenvalues",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "step_size", "block_size", "n_blocks", "size", "h_max"),
    run=run,
    figure=figure,
    claims=claims,
)
