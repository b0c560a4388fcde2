"""How unequal the two factors should start: the rate of asymmetric gradient descent against rho.

Their imbalance Delta = F^T F - G^T G hardly changes on the way; how it does is an identity, checked step by step.

F starts with scale alpha and G with rho alpha, k > r. rho = 0 is a special case: with infinitely many measurements
G never leaves the row space of M and the rate does not depend on alpha at all; with finitely many it does again.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.backend import to_numpy
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors
from lrtheory.random import Stream
from lrtheory.sensing import theory
from lrtheory.sensing.trials import chosen, columns, late_rate, runs, table
from lrtheory.sweep import Experiment, grid, mean_claim, median_claim
from lrtheory.sweep.frames import SEEDS, cases, largest, per_cell, where

PAPER = "arXiv:2310.01769"
STEPS = 100  # that are looked at for the imbalance
RHOS = [0.0, 0.1, 0.2, 1 / 3, 0.5, 0.7, 0.85, 1.0]


def preset(n, r, k, m, steps, seeds, form="gram", step_size=0.2):
    """rho at one alpha, and alpha at rho = 0, with infinitely many and with m measurements."""
    shared = dict(n=n, r=r, k=k, step_size=step_size, seed=range(seeds), init_seed=0)
    population = dict(operator="identity", max_steps=steps)
    gaussian = dict(operator="gaussian", m=m, form=form, max_steps=steps)
    return (
        grid(alpha=0.4, rho=RHOS, **population, **shared)
        + grid(alpha=[0.1, 0.2, 0.4], rho=0.0, **population, **shared)
        + grid(alpha=0.4, rho=RHOS, **gaussian, **shared)
        + grid(alpha=[0.1, 0.2, 0.4], rho=0.0, **gaussian, **shared)
    )


PRESETS = {
    "small": preset(24, 2, 4, 480, 12_000, seeds=10),
    "paper": preset(50, 3, 5, 1500, 20_000, seeds=20, form="dense"),
    "large": preset(300, 3, 5, 9000, 20_000, seeds=20, form="dense"),
}


def method(c):
    return GradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"], c["rho"])


def run(cells, device):
    chosen(cells[0], "operator", ("identity", "gaussian"))
    for group, made, result in runs(cells, device, method, reduce=True):
        defect, change = imbalance_steps(made, group)
        for i, cell in enumerate(group):
            yield cell, table(result, i, imbalance_defect=defect[i], imbalance_change=change[i])


def imbalance_steps(problem, cells):
    """Take the first steps of gradient descent and look at the imbalance of the factors.

    Returns the largest difference between the imbalance after a step and what `theory.next_imbalance` says of it, and
    the largest of what that adds to the imbalance before the step; both relative to the imbalance at the start. (In
    the population case the steps are those of the reduced problem, from a start of the same scales.)
    """
    c = columns(cells)
    algorithm, start = method(c)
    stream = Stream(*(np.array([cell[name] for cell in cells]) for name in SEEDS))
    state = algorithm.init(problem, start(problem, stream.child("start")), stream)
    size = extent(theory.imbalance(state.x))
    defect, change = np.zeros((2, len(cells)))
    for _ in range(STEPS):
        before = state.x
        state = algorithm.step(problem, state)
        predicted = theory.next_imbalance(before, problem.matrix_gradient(before)[1], c["step_size"])
        defect = np.maximum(defect, extent(theory.imbalance(state.x) - predicted) / size)
        change = np.maximum(change, extent(predicted - theory.imbalance(before)) / size)
    return defect, change


def extent(matrices):
    return np.linalg.norm(to_numpy(matrices), axis=(-2, -1))


AXES = ["operator", "n", "r", "k", "m", "alpha", "rho", "step_size", "max_steps", "form", "seed", "init_seed"]


def summary(frame):
    """One row for each cell, with its rate and what its first steps do to the imbalance."""
    return per_cell(frame, AXES, ["rate", "imbalance_defect", "imbalance_change"], measure)


def measure(cell):
    return {"rate": late_rate(cell)} | {name: cell[name].iloc[0] for name in ("imbalance_defect", "imbalance_change")}


NAMES = {"identity": "population", "gaussian": "Gaussian"}


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    found = [*slowest_claims(rows), *anomaly_claims(where(rows, rho=0.0)), *identity_claims(rows)]
    return sorted(found, key=lambda claim: claim.id)


def slowest_claims(rows):
    for end, case, part in cases(rows, AXES, ("rho", *SEEDS), ["operator"]):
        rates = part.pivot(index=list(SEEDS), columns="rho", values="rate")
        others = [rho for rho in rates.columns if 0 < rho <= 0.5]
        if others and 1.0 in rates.columns:
            gain = rates[others].mean(axis=1, skipna=False) / rates[1.0]
            tried = ", ".join(f"{rho:.2g}" for rho in others)
            statement = f"median over seeds of the mean rate of err^2 at rho = {tried} over that at rho = 1 exceeds 1"
            source = f"that imbalance is what helps: {PAPER}; the form is observed"
            yield median_claim(f"E8.slowest{end}", f"{statement}{case}", source, (1.0, None), gain)


def identity_claims(rows):
    """The imbalance changes by terms of order eta^2 only, exactly those of the identity."""
    source = "derived (lrtheory.sensing.theory), any measurements and any noise"
    for end, case, part in cases(rows, AXES, ("alpha", "rho", *SEEDS), ["operator"]):
        with np.errstate(divide="ignore"):
            worst = np.log10(part.groupby("seed")[["imbalance_defect", "imbalance_change"]].agg(max_of))
        words = f"mean of log10 of the largest, over all starts and the first {STEPS} steps"
        of = "relative to Delta at the start, Delta = F^T F - G^T G"
        statement = f"{words}, |Delta_(t+1) - Delta_t - eta^2 (G^T R^T R G - F^T R R^T F)|_F {of}, is below -12{case}"
        yield mean_claim(f"T8.identity{end}", statement, f"identity: {source}", (None, -12), worst["imbalance_defect"])
        statement = f"{words}, eta^2 |G^T R^T R G - F^T R R^T F|_F {of}, is above -6{case}"
        size = "what the identity is about is no rounding; observed"
        yield mean_claim(f"T8.change{end}", statement, size, (-6, None), worst["imbalance_change"])


def max_of(values):
    return values.to_numpy().max()  # NaN of a failed cell stays NaN


def anomaly_claims(rows):
    for end, case, part in cases(rows, AXES, ("alpha", *SEEDS), ["operator"]):
        rates = part.pivot(index=list(SEEDS), columns="alpha", values="rate")
        if len(rates.columns) < 2:
            continue
        with np.errstate(invalid="ignore"):
            logs = np.log(rates.to_numpy())
        slopes = pd.Series(np.polynomial.polynomial.polyfit(np.log(rates.columns), logs.T, 1)[1], index=rates.index)
        free = part["operator"].iloc[0] == "identity"
        statement = f"mean slope of log rate of err^2 against log alpha at rho = 0 is about {0 if free else 2}{case}"
        source = (
            "derived: G stays in the row space of M, so that no redundant direction has to decay"
            if free
            else f"exp(-Omega(alpha^2 T)), {PAPER}; that rho = 0 is no exception is observed"
        )
        predicted = (-0.25, 0.25) if free else (1.7, 2.3)
        yield mean_claim(f"E8.zero{end}", statement, source, predicted, slopes)


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(frame).dropna(subset="rate")
        curves = [largest(where(rows, operator=o), AXES, ["rho"]) for o in NAMES]
        zeros = [largest(where(rows, operator=o, rho=0.0), AXES, ["alpha"]) for o in NAMES]
        draw(left, curves, "rho", panel_rho)
        draw(right, zeros, "alpha", panel_alpha)
        return fig


def draw(ax, parts, axis, decorate):
    """One series of points for each operator that has more than one value on the axis."""
    parts = [(i, part) for i, part in enumerate(parts) if part[axis].nunique() > 1]
    if not parts:
        plotting.no_data(ax)
        return
    for i, part in parts:
        name = NAMES[part["operator"].iloc[0]]
        if name == "Gaussian":
            name += f", $m={part['m'].iloc[0]:g}$"
        plotting.points(ax, part, axis, "rate", i, name)
    decorate(ax, [part for _, part in parts])


RATE = "rate of the squared error (per iteration)"


def panel_rho(ax, parts):
    xlabel = r"ratio $\rho$ of the factors' initial scales"
    plotting.decorate(ax, xlabel, RATE, yscale="log", legend="upper right")


def panel_alpha(ax, parts):
    for part in parts:
        middle = part.groupby("alpha")["rate"].median()
        free = part["operator"].iloc[0] == "identity"
        law = middle.iloc[-1] * (middle.index / middle.index[-1]) ** (0 if free else 2)
        plotting.theory(ax, middle.index, law, r"independent of $\alpha$" if free else r"$\propto\alpha^2$")
    xlabel = r"initialisation scale $\alpha$, at $\rho=0$"
    plotting.decorate(ax, xlabel, RATE, xscale="log", yscale="log", legend="center left")
    plotting.plain_ticks(ax, sorted(set().union(*(part["alpha"] for part in parts))))


experiment = Experiment(
    name="imbalance",
    version=2,
    title="Unequal starts speed asymmetric gradient descent up",
    paper=PAPER,
    presets=PRESETS,
    together=("alpha", "rho", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
