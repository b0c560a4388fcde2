"""The same matrix seen by different measurements: gradient descent on X X^T at k = r, one curve for each operator.

Every operator is scaled so that it preserves squared norms on average, except rank-one measurements a a^T, which
cannot be: their trace part calls for a smaller step.
"""

from __future__ import annotations

import functools
import math
import operator

from lrtheory import operators, plotting
from lrtheory.random import Stream
from lrtheory.sensing import ground_truth, observe
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import chosen, late_rate, runs, table
from lrtheory.sweep import Experiment, grid, mean_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, finished, largest, per_cell

MAKERS = {
    "gaussian": lambda m, n, stream: operators.gaussian(m, n, stream=stream),
    "symmetric gaussian": lambda m, n, stream: operators.gaussian(m, n, symmetric=True, packed=True, stream=stream),
    "rademacher": lambda m, n, stream: operators.rademacher(m, n, symmetric=True, stream=stream),
    "hadamard": lambda m, n, stream: operators.hadamard(m, n, n, stream=stream),
    "pauli": lambda m, n, stream: operators.pauli(m, int(math.log2(n)), stream=stream),
    "entries": lambda m, n, stream: operators.sample_entries(m, n, n, stream=stream),
    "rank-one": lambda m, n, stream: operators.rank_one(m, n, stream=stream),
}
ALIKE = ("symmetric gaussian", "rademacher")
STEPS = {"rank-one": 0.05}
NAMES = {
    "gaussian": "Gaussian",
    "symmetric gaussian": "symmetric Gaussian",
    "rademacher": "Rademacher",
    "hadamard": "Hadamard",
    "pauli": "Pauli",
}


def preset(n, r, m, steps, seeds):
    """n is a power of two, and m at most the n (n + 1) / 2 real Pauli strings."""
    shared = dict(method="gd_sym", alpha=0.5, n=n, r=r, k=r, m=m, tolerance=1e-6, max_steps=steps, init_seed=0)
    step = USUAL["gd_sym"]["step_size"]
    parts = [grid(operator=o, step_size=STEPS.get(o, step), seed=range(seeds), **shared) for o in MAKERS]
    return functools.reduce(operator.add, parts)


PRESETS = {
    "small": preset(32, 2, 480, 600, seeds=10),
    "paper": preset(64, 3, 1920, 1000, seeds=10),
    "large": preset(256, 5, 12_800, 1000, seeds=10),
}


def problem(c, device):
    made = MAKERS[chosen(c, "operator", MAKERS)](int(c["m"]), c["n"], Stream(c["seed"], "operator"))
    return observe(made, ground_truth(c["n"], c["r"], seed=c["seed"], device=device))


def run(cells, device):
    for group, _, result in runs(cells, device, published, problem=problem):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = ["operator", "method", "n", "r", "k", "m", "alpha", "step_size", "max_steps", "tolerance", *SEEDS]


def measure(cell):
    return {"rate": late_rate(cell), "reached": float(cell["first_below"].iloc[0] >= 0)}


def summary(frame):
    """One row for each cell: the rate of err^2, and whether the tolerance was reached."""
    return per_cell(frame, AXES, ["rate", "reached"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    return sorted([*reached_claims(rows), *rate_claims(rows)], key=lambda claim: claim.id)


def reached_claims(rows):
    for end, case, part in cases(rows, AXES, SEEDS, ["operator"]):
        statement = f"share of seeds that reach relative error {part['tolerance'].iloc[0]:g} is above a half{case}"
        yield share_claim(f"E11.reached{named(end)}", statement, "expected", (0.5, 1.0), by_seed(part, "reached"))


def rate_claims(rows):
    """The rate of an operator in units of the Gaussian one's, seed by seed."""
    for end, case, part in cases(rows, AXES, ("operator", "step_size", *SEEDS)):
        rates = part.pivot(index=list(SEEDS), columns="operator", values="rate")
        for name in rates.columns.drop("gaussian", errors="ignore") if "gaussian" in rates else ():
            source = "expected"
            if name in ALIKE:
                bound, predicted = "about 1", (0.8, 1.25)
                if name == "symmetric gaussian":
                    source = "identity: the symmetric part of the same draw gives the same iterates"
            elif name in ("entries", "rank-one"):
                bound, predicted = "below 1", (None, 1.0)
            else:
                continue
            statement = (
                f"mean ratio of the rate of err^2 with {name} to that with Gaussian measurements is {bound}{case}"
            )
            ratio = rates[name] / rates["gaussian"]
            yield mean_claim(f"E11.rate.{name}{end}".replace(" ", "_"), statement, source, predicted, ratio)


def named(end):
    return end.replace(" ", "_")


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        frame = finished(frame)
        groups = (("gaussian", *ALIKE, "hadamard"), ("gaussian", "pauli", "entries", "rank-one"))
        for ax, names in zip((left, right), groups, strict=True):
            rows = frame[frame["operator"].isin(names)] if "operator" in frame else frame
            if len(rows):
                panel(ax, largest(rows, [a for a in AXES if a in rows], ["operator", "step_size"]), names)
            else:
                plotting.no_data(ax)
        return fig


def panel(ax, rows, names):
    rates = summary(rows).groupby("operator")["rate"].median() / 2
    for i, name in enumerate(names):
        part = rows[rows["operator"] == name]
        if len(part):
            label = rf"{NAMES.get(name, name)}: $e^{{-{rates[name]:.2g}\,t}}$"
            plotting.band(ax, part, "iteration", "relative_error", i, label, floor=1e-13)
    xlabel = f"iteration $t$ ($m={rows['m'].iloc[0]:g}$)"
    ylabel = r"relative error $\|XX^\top-M\|_F\,/\,\|M\|_F$"
    plotting.decorate(ax, xlabel, ylabel, yscale="log", ylim=(1e-13, 3), legend="upper right")


experiment = Experiment(
    name="sensing_operators",
    version=1,
    title="Gradient descent through different measurements",
    presets=PRESETS,
    together=("init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
