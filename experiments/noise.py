"""Noisy measurements: what the final error owes to the noise, and what a search rank above r adds to it.

At k = r least squares leaves |estimate - M|_F about sigma sqrt(p / (m - p)), p = r (2n - r) degrees of freedom. Methods
that fit k > r run on until they fit the noise with the redundant directions too.
"""

from __future__ import annotations

import functools
import operator

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.sensing import theory
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import runs, table
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, largest, per_cell, where


def preset(n, r, ranks, m, noises, steps, seeds, form="dense", storage="float64"):
    shared = dict(operator="gaussian", n=n, r=r, m=m, noise=noises, form=form, storage=storage)
    shared |= dict(seed=range(seeds), init_seed=0)
    rows = [
        dict(method="gd", k=ranks, max_steps=steps, **USUAL["gd"]),
        dict(method="agn", k=ranks, max_steps=min(400, steps), **USUAL["agn"]),
        dict(method="niht", k=ranks, max_steps=min(400, steps), **USUAL["niht"]),
    ]
    return functools.reduce(operator.add, (grid(**row, **shared) for row in rows))


NOISES = [1e-4, 1e-3, 1e-2, 1e-1]
PRESETS = {
    "small": preset(24, 2, [2, 4, 8], 800, NOISES, 2000, seeds=5),
    "paper": preset(100, 3, [3, 6, 12], 6000, NOISES, 5000, seeds=5, storage="float32"),
    # operators of 6.5 GB, for a GPU
    "large": preset(300, 3, [3, 6, 12], 18_000, NOISES, 5000, seeds=5, storage="float32"),
}


def run(cells, device):
    for group, _, result in runs(cells, device, published):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = [
    *("method", "operator", "n", "r", "k", "m", "noise", "alpha", "rho", "step_size", "max_steps", "form"),
    "storage",
    *SEEDS,
]


def measure(cell):
    error = np.sqrt(cell["error_squared"])
    return {"final": error.iloc[-1], "best": error.min()}


def summary(frame):
    """One row for each cell: the last error, and the smallest on the way (early stopping by an oracle)."""
    return per_cell(frame, AXES, ["final", "best"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    found = [*linear_claims(rows), *constant_claims(rows[rows["k"] == rows["r"]]), *overfit_claims(rows)]
    return sorted(found, key=lambda claim: claim.id)


def linear_claims(rows):
    """Not for gradient descent at k > r, which fits the noise with the redundant directions too slowly to be done."""
    rows = rows[(rows["method"] != "gd") | (rows["k"] == rows["r"])]
    for end, case, part in cases(rows, AXES, ("noise", *SEEDS), ["method", "k"]):
        if part["noise"].nunique() > 1:
            errors = part.pivot(index=list(SEEDS), columns="noise", values="final")
            slopes = np.polynomial.polynomial.polyfit(np.log(errors.columns), np.log(errors.to_numpy()).T, 1)[1]
            statement = f"mean slope of log final error against log noise is 1{case}"
            source = "least squares near the truth is linear in the noise"
            yield mean_claim(f"E10.linear{end}", statement, source, (0.95, 1.05), pd.Series(slopes, index=errors.index))


def constant_claims(rows):
    """The final error at k = r, in units of what least squares with a Gaussian design leaves."""
    for end, case, part in cases(where(rows, noise=rows["noise"].min()), AXES, SEEDS, ["method"]):
        predicted = theory.noise_error(part["noise"], part["n"], part["n"], part["r"], part["m"])
        statement = f"mean ratio of the final error at k = r to sigma sqrt(p / (m - p - 1)), p = r (2n - r), is 1{case}"
        source = "derived: least squares on the tangent space at M, Gaussian design"
        yield mean_claim(f"E10.constant{end}", statement, source, (0.9, 1.1), by_seed(part, part["final"] / predicted))


def overfit_claims(rows):
    """A larger search rank fits more of the noise."""
    for end, case, part in cases(where(rows, noise=rows["noise"].min()), AXES, ("k", *SEEDS), ["method"]):
        few, many = part["k"].min(), part["k"].max()
        if few < many:
            at = [where(part, k=k).set_index(list(SEEDS))["final"] for k in (few, many)]
            statement = f"mean ratio of the final error at k = {many:g} to that at k = {few:g} is above 1{case}"
            yield mean_claim(f"E10.overfit{end}", statement, "observed", (1.0, None), at[1] / at[0])


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(frame).dropna(subset="final")
        panel_noise(left, largest(rows[rows["method"] == "agn"], AXES, ["k", "noise"]))
        panel_rank(right, rows)
        return fig


def panel_noise(ax, rows):
    if rows.empty:
        plotting.no_data(ax)
        return
    first = rows.iloc[0]
    for i, (k, part) in enumerate(rows.groupby("k")):
        plotting.points(ax, part, "noise", "final", i, f"$k={k:g}$", line=True)
    noise = np.array(sorted(rows["noise"].unique()))
    law = theory.noise_error(noise, first["n"], first["n"], first["r"], first["m"])
    plotting.theory(ax, noise, law, r"$\sigma\sqrt{p\,/\,(m-p-1)}$, $p=r(2n-r)$")
    xlabel = rf"noise $\sigma$ (Gauss-Newton, $m={first['m']:g}$)"
    plotting.decorate(ax, xlabel, "final error (Frobenius)", xscale="log", yscale="log", legend="upper left")


NAMES = {"gd": "gradient descent", "agn": "Gauss-Newton", "niht": "NIHT"}


def panel_rank(ax, rows):
    """The final error over the search rank, and the smallest error on the way."""
    drawn = 0
    for method, name in NAMES.items():
        part = where(rows[rows["method"] == method], noise=rows["noise"].min()) if len(rows) else rows
        part = largest(part, AXES, ["k"])
        if part["k"].nunique() < 2:
            continue
        unit = theory.noise_error(part["noise"], part["n"], part["n"], part["r"], part["m"])
        part = part.assign(final=part["final"] / unit, best=part["best"] / unit)
        plotting.points(ax, part, "k", "final", drawn, name, line=True)
        if method == "gd":
            plotting.points(ax, part, "k", "best", len(NAMES), f"{name}, stopped at its best", line=True)
        drawn += 1
    if not drawn:
        plotting.no_data(ax)
        return
    ks = np.array(sorted(rows["k"].unique()))
    first = rows.iloc[0]
    law = theory.noise_error(1.0, first["n"], first["n"], ks, first["m"])
    plotting.theory(
        ax, ks, law / theory.noise_error(1.0, first["n"], first["n"], first["r"], first["m"]), "$p=k(2n-k)$"
    )
    ylabel = "final error, in units of that at $k=r$"
    plotting.decorate(ax, "search rank $k$", ylabel, legend="upper left")
    ax.set_xticks(ks)


experiment = Experiment(
    name="noise",
    version=1,
    title="Noisy measurements and over-parameterisation",
    presets=PRESETS,
    together=("init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
