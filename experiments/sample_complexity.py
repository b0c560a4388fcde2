"""How many measurements a method needs: the share of seeds that it recovers, against m / (n r).

Success is a relative error below a tolerance within the steps that a method is given; the nuclear norm, the convex
relaxation, has no search rank. Beside it the estimated restricted isometry constant of the same operators: a lower
bound, found by search.
"""

from __future__ import annotations

import functools
import operator

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.sensing import estimate_rip
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import runs, table
from lrtheory.solve import Below
from lrtheory.sweep import Experiment, grid, mean_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, finished, largest, per_cell, where

RATIOS = [1, 2, 3, 4, 5, 6, 8]


def preset(n, r, ranks, ratios, seeds, steps):
    """Only NIHT at k = r pays for the estimate of the isometry constant: one is enough for each operator."""
    shared = dict(operator="gaussian", n=n, r=r, form="dense", tolerance=1e-3, seed=range(seeds), init_seed=0)
    shared |= dict(m=[round(ratio * n * r) for ratio in ratios])
    rows = [
        dict(method="gd", k=ranks, max_steps=steps, probes=0, **USUAL["gd"]),
        dict(method="agn", k=ranks, max_steps=min(steps, 500), probes=0, **USUAL["agn"]),
        dict(method="niht", k=ranks[1:], max_steps=min(steps, 500), probes=0, **USUAL["niht"]),
        dict(method="niht", k=ranks[0], max_steps=min(steps, 500), probes=4, **USUAL["niht"]),
        dict(method="nuclear", max_steps=min(steps, 1000), probes=0, **USUAL["nuclear"]),
    ]
    return functools.reduce(operator.add, (grid(**row, **shared) for row in rows))


PRESETS = {
    "small": preset(16, 2, [2, 4], RATIOS, 10, 2000),
    "paper": preset(50, 3, [3, 6], RATIOS, 100, 4000),
    # for a GPU, and even there no more seeds than this: each has an operator of its own
    "large": preset(100, 3, [3, 6], np.linspace(1, 10, 19), 100, 4000),
}


def run(cells, device):
    stop = Below("relative_error", cells[0]["tolerance"])
    for group, problem, result in runs(cells, device, published, record=[0], stop=stop):
        probes = int(group[0]["probes"])
        delta = np.nan
        if probes:
            delta = estimate_rip(problem.operator, 2 * group[0]["r"], scale=problem.scale, probes=probes).delta
        for i, cell in enumerate(group):
            yield cell, table(result, i, delta=delta)


AXES = [
    *("method", "operator", "n", "r", "k", "m", "alpha", "rho", "step_size", "max_steps", "tolerance", "form"),
    *("final", "probes", *SEEDS),
]


def measure(cell):
    return {"recovered": float(cell["first_below"].iloc[0] >= 0), "delta": cell["delta"].iloc[0]}


def summary(frame):
    """One row for each cell: whether the truth was recovered, and the bound on the isometry constant."""
    return per_cell(frame, AXES, ["recovered", "delta"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    found = [*many_claims(rows), *few_claims(rows), *shift_claims(rows), *isometry_claims(rows)]
    return sorted(found, key=lambda claim: claim.id)


def many_claims(rows):
    for end, case, part in cases(where(rows, m=rows["m"].max()), AXES, SEEDS, ["method", "k"]):
        statement = f"share of seeds recovered at m = {part['m'].iloc[0]:g} is above a half{case}"
        yield share_claim(f"E9.many{end}", statement, "expected", (0.5, 1.0), by_seed(part, "recovered"))


def few_claims(rows):
    """Below r (2n - r) measurements the asymmetric model has more unknowns than equations."""
    for end, case, part in cases(rows, AXES, ("m", *SEEDS), ["method", "k"]):
        few = part[part["m"] < part["r"] * (2 * part["n"] - part["r"])]
        if len(few):
            few = where(few, m=few["m"].max())
            statement = f"share of seeds recovered at m = {few['m'].iloc[0]:g} < r (2n - r) is below a half{case}"
            source = "fewer equations than degrees of freedom"
            yield share_claim(f"E9.few{end}", statement, source, (0.0, 0.5), by_seed(few, "recovered"))


def shift_claims(rows):
    """Over-parameterisation moves the transition: the smallest successful m / (n r), averaged over seeds."""
    for end, case, part in cases(rows, AXES, ("k", "m", "probes", *SEEDS), ["method"]):
        succeeded = part["m"].where(part["recovered"] == 1)  # a seed that never succeeds has no smallest m
        needed = succeeded.groupby([part["k"], part["seed"], part["init_seed"]]).min().unstack("k")
        if len(needed.columns) > 1:
            few, many = needed.columns.min(), needed.columns.max()
            ratio = needed[many] / needed[few]
            statement = (
                f"mean ratio of the smallest m that succeeds at k = {many:g} to that at k = {few:g} is above 1{case}"
            )
            yield mean_claim(f"E9.shift{end}", statement, "observed", (1.0, None), ratio)


def isometry_claims(rows):
    rows = rows.dropna(subset="delta")
    for end, case, part in cases(rows, AXES, ("m", *SEEDS)):
        delta = part.pivot(index=list(SEEDS), columns="m", values="delta")
        if len(delta.columns) > 1:
            slopes = np.polynomial.polynomial.polyfit(np.log(delta.columns), np.log(delta.to_numpy()).T, 1)[1]
            statement = f"mean slope of log of the bound on delta_2r against log m is negative{case}"
            source = "delta falls like sqrt(n r / m)"
            yield mean_claim(f"E9.isometry{end}", statement, source, (None, 0.0), pd.Series(slopes, index=delta.index))


NAMES = {"gd": "gradient descent", "agn": "Gauss-Newton", "niht": "NIHT", "nuclear": "nuclear norm"}


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(finished(frame))
        panel_share(left, rows)
        bounded = largest(rows.dropna(subset="delta"), AXES, ["m"])
        if bounded["m"].nunique() > 1:
            panel_isometry(right, bounded)
        else:
            plotting.no_data(right)
        return fig


def panel_share(ax, rows):
    drawn = 0
    for method, name in NAMES.items():
        for k, part in rows[rows["method"] == method].groupby("k", dropna=False):
            part = largest(part, AXES, ["m"])
            share = part.groupby("m")["recovered"].mean()
            ratio = share.index / (part["n"].iloc[0] * part["r"].iloc[0])
            ax.plot(
                ratio,
                share,
                marker=plotting.MARKERS[drawn],
                label=name if np.isnan(k) else f"{name}, $k={k:g}$",
                **plotting.look(drawn),
            )
            drawn += 1
    if not drawn:
        plotting.no_data(ax)
        return
    first = rows.iloc[0]
    freedom = (2 * first["n"] - first["r"]) / first["n"]
    ax.axvline(freedom, color="0.25", linestyle=(0, (5, 3)), linewidth=0.8, label="$m=r(2n-r)$")
    plotting.decorate(ax, "measurements, $m/(nr)$", "share of seeds recovered", legend="lower right")


def panel_isometry(ax, rows):
    first = rows.iloc[0]
    rows = rows.assign(ratio=rows["m"] / (first["n"] * first["r"]))
    plotting.points(ax, rows, "ratio", "delta", 0, "found by search")
    middle = rows.groupby("ratio")["delta"].median()
    law = middle.iloc[-1] * np.sqrt(middle.index[-1] / middle.index)
    plotting.theory(ax, middle.index, law, r"$\propto\sqrt{nr/m}$")
    xlabel, ylabel = "measurements, $m/(nr)$", r"lower bound on $\delta_{2r}$"
    plotting.decorate(ax, xlabel, ylabel, xscale="log", yscale="log", legend="lower left")
    plotting.plain_ticks(ax, sorted(rows["ratio"].unique()))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")


experiment = Experiment(
    name="sample_complexity",
    version=2,
    title="How many measurements recovery takes",
    presets=PRESETS,
    together=("init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
