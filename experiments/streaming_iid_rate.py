"""How the error falls with the number of independent rows, method by method, beside the laws of first order."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming import theory
from lrtheory.streaming.methods import method
from lrtheory.streaming.metrics import sin2
from lrtheory.streaming.offline import top_directions
from lrtheory.streaming.sampled import spiked
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, mean_claim, share_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, per_cell, where

PAPER = "arXiv:1602.06929"
DERIVED = "derived from a linear recursion (lrtheory.streaming.asymptotics)"
TOP = 4.0  # the largest eigenvalue; the others are 1
RATES = (0.1, 0.2, 0.4, 0.8)  # times d: the laws are of first order in that
LARGEST_PLATEAU = 0.35  # sin^2 up to which the law of first order is claimed


def preset(d, sizes, seeds, plateau_rows, plateau_seeds):
    shared = dict(d=d, n=sizes, seed=range(seeds))
    delta = TOP - 1
    inverse = dict(step_size=2 / delta, t0=round(2 * d * TOP / delta, 1))
    return (
        grid(method=["offline", "adaoja", "ccipca"], **shared)
        + grid(method=["oja_inv", "krasulina_inv"], **inverse, **shared)
        + grid(method="history", block_size=20, **shared)
        + grid(method="block_power", n_blocks=6, **shared)
        + grid(method="frequent_directions", size=[10, 50], **shared)
        + grid(method="oja", step_size=[rate / d for rate in RATES], d=d, n=plateau_rows, seed=range(plateau_seeds))
    )


PRESETS = {
    "small": preset(100, [1000, 4000, 16_000, 64_000], 20, 10_000, 100),
    "paper": preset(1000, [10_000, 40_000, 160_000, 640_000], 20, 100_000, 100),
    "large": preset(10_000, [100_000, 400_000, 1_600_000], 64, 400_000, 100),
}


def eigenvalues(d):
    return np.concatenate([[TOP], np.ones(int(d) - 1)])


def run(cells, device):
    d, seed = cells[0]["d"], cells[0]["seed"]
    made = spiked(max(c["n"] for c in cells), eigenvalues(d), Stream(seed, "rows"))
    for c in cells:
        rows = made.rows[: c["n"]]
        if c["method"] == "offline":
            yield c, {"sin2": sin2(top_directions(rows)[1][0], made.direction)}
        else:
            yield c, judged(method(c, Stream(seed, "estimator")).fit(rows), made.direction)


AXES = ["method", "d", "n", "step_size", "t0", "block_size", "n_blocks", "size", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = per_cell(frame, AXES, ["sin2"], lambda cell: {"sin2": cell["sin2"].iloc[0]})
    found = [
        *slope_claims(
            rows, "T1", "offline", (-1.05, -0.95), f"(d - 1) lambda_1 lambda_2 / (n (lambda_1 - lambda_2)^2), {DERIVED}"
        ),
        *slope_claims(rows, "T4", "adaoja", (-0.58, -0.45), f"n^(-1/2), {DERIVED}"),
        *law_claims(rows),
        *plateau_claims(where(rows, method="oja")),
        *sketch_claims(where(rows, method="frequent_directions")),
    ]
    return sorted(found, key=lambda claim: claim.id)


def slope_claims(rows, name, estimator, predicted, source):
    for end, case, part in cases(where(rows, method=estimator), AXES, ("n", "seed")):
        if part["n"].nunique() > 1:
            table = part.pivot(index="seed", columns="n", values="sin2")
            slopes = np.polynomial.polynomial.polyfit(np.log(table.columns), np.log(table.to_numpy()).T, 1)[1]
            statement = f"mean slope of log sin^2 against log n, {estimator}{case}"
            yield mean_claim(
                f"STREAM.{name}.slope.{estimator}{end}",
                statement,
                source,
                predicted,
                pd.Series(slopes, index=table.index),
            )


LAWS = {
    "offline": ("T1", lambda c, lam: theory.offline_sin2(c["n"], lam), 0.15),
    "oja_inv": ("T2", lambda c, lam: theory.oja_sin2(c["n"], lam, c["step_size"], t0=c["t0"]), 0.15),
    "krasulina_inv": ("T2", lambda c, lam: theory.oja_sin2(c["n"], lam, c["step_size"], t0=c["t0"]), 0.15),
    "history": ("T4", lambda c, lam: theory.history_pca_sin2(c["n"], lam), 0.15),
    "block_power": ("T4", lambda c, lam: theory.block_power_sin2(c["n"], lam, int(c["n_blocks"])), 0.15),
    "adaoja": ("T4", lambda c, lam: theory.adaoja_sin2(c["n"], lam), 0.15),
    "ccipca": ("T4", lambda c, lam: theory.ccipca_sin2(c["n"], lam), 0.15),
}
"""The claim's number, the law, and how far its first order is trusted at the largest n."""


def law_claims(rows):
    """At the largest number of rows, where what is left of the start no longer counts."""
    for estimator, (name, law, tolerance) in LAWS.items():
        for end, case, part in cases(where(rows, method=estimator), AXES, ("seed",), ["n"]):
            c = part.iloc[0]
            if c["n"] < rows.loc[rows["method"] == estimator, "n"].max():
                continue
            statement = f"mean of sin^2 over its law is 1 +- {tolerance:g}, {estimator}{case}"
            values = by_seed(part, part["sin2"] / law(c, eigenvalues(c["d"])))
            yield mean_claim(
                f"STREAM.{name}.law.{estimator}{end}", statement, DERIVED, (1 - tolerance, 1 + tolerance), values
            )


def plateau_claims(rows):
    for end, case, part in cases(rows, AXES, ("seed",), ["step_size"]):
        c = part.iloc[0]
        law = theory.fixed_rate_sin2(c["step_size"], eigenvalues(c["d"]))
        if law > LARGEST_PLATEAU:
            continue
        tolerance = 0.08 if law < 0.25 else 0.15  # of second order in u is left out
        statement = f"mean of sin^2 over the plateau u / (1 + u) is 1 +- {tolerance:g}, fixed rate{case}"
        source = f"u = eta lambda_1 lambda_2 (d - 1) / (2 (lambda_1 - lambda_2)), {DERIVED}"
        yield mean_claim(
            f"STREAM.T3{end}", statement, source, (1 - tolerance, 1 + tolerance), by_seed(part, part["sin2"] / law)
        )


def sketch_claims(rows):
    """Frequent Directions is no estimator of a covariance's eigenvector: more rows do not help a small sketch."""
    for end, case, part in cases(rows, AXES, ("seed",), ["size", "n"]):
        c = part.iloc[0]
        if c["n"] == rows["n"].max() and c["size"] < theory.frequent_directions_size(eigenvalues(c["d"])) / 2:
            statement = f"share of seeds with sin^2 above 1/2 is above 1/2, Frequent Directions{case}"
            source = "observed; the bound says something from ell = 1 + (d - 1) / (lambda_1 - lambda_2) on only"
            hits = np.where(part["sin2"].isna(), np.nan, part["sin2"] > 0.5)
            yield share_claim(f"STREAM.T4.directions{end}", statement, source, (0.5, 1.0), by_seed(part, hits))


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2, height=3.8)
        frame = complete(finished(frame, "sin2"), [*AXES, "sin2"])
        methods_panel(left, frame[frame["method"] != "oja"])
        plateau_panel(right, where(frame, method="oja"))
        return fig


LABELS = {
    "offline": "offline",
    "oja_inv": r"Oja, $\eta_t=c/(t+t_0)$",
    "krasulina_inv": r"Krasulina, $c/(t+t_0)$",
    "history": "History PCA",
    "block_power": "block power",
    "ccipca": "CCIPCA",
    "adaoja": "AdaOja",
    "frequent_directions": "Frequent Directions",
}


def methods_panel(ax, rows):
    rows = rows[rows["d"] == rows["d"].min()]
    if rows.empty:
        return plotting.no_data(ax)
    series = [
        (label + (rf", $\ell={size:g}$" if size == size else ""), part)
        for name, label in LABELS.items()
        for size, part in where(rows, method=name).groupby("size", dropna=False)
    ]
    for i, (label, part) in enumerate(series):
        plotting.points(ax, part, "n", "sin2", i, label, line=True)
    n, lam = np.sort(rows["n"].unique()), eigenvalues(rows["d"].iloc[0])
    law = r"$(d-1)\lambda_1\lambda_2/(n(\lambda_1-\lambda_2)^2)$"
    plotting.theory(ax, n, theory.offline_sin2(n, lam), law)
    plotting.theory(ax, n, theory.adaoja_sin2(n, lam), r"AdaOja: $\propto n^{-1/2}$", colour="0.55")
    plotting.decorate(
        ax,
        rf"rows $n$ ($d={rows['d'].iloc[0]:g}$, $\lambda_1={TOP:g}$, $\lambda_2=1$)",
        r"$\sin^2$",
        xscale="log",
        yscale="log",
        legend="below",
    )


def plateau_panel(ax, rows):
    rows = largest(rows, AXES, ("step_size",)) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    plotting.points(ax, rows, "step_size", "sin2", 0, f"Oja, fixed rate, $n={rows['n'].iloc[0]:g}$")
    rates = np.geomspace(rows["step_size"].min() / 1.5, rows["step_size"].max() * 1.5, 50)
    label = r"$u/(1+u)$, $u=\eta\lambda_1\lambda_2(d-1)/(2(\lambda_1-\lambda_2))$"
    plotting.theory(ax, rates, theory.fixed_rate_sin2(rates, eigenvalues(rows["d"].iloc[0])), label)
    plotting.decorate(ax, r"rate $\eta$", r"$\sin^2$ at the plateau", xscale="log", yscale="log", legend="below")


experiment = Experiment(
    name="streaming_iid_rate",
    version=1,
    title="Error against the number of independent rows",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "n", "step_size", "t0", "block_size", "n_blocks", "size"),
    run=run,
    figure=figure,
    claims=claims,
)
