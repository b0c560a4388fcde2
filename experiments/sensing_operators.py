"""The same matrix seen by different measurements: gradient descent on X X^T at k = r, one curve for each operator.

Every operator is scaled so that it preserves squared norms on average, except rank-one measurements a a^T, which
cannot be: they see the trace of the error again, which speeds small steps up and forbids large ones. So all operators
run at a small and at a large step size, the same for all.
"""

from __future__ import annotations

import math

from lrtheory import operators, plotting
from lrtheory.random import Stream
from lrtheory.sensing import ground_truth, observe
from lrtheory.sensing.methods import published
from lrtheory.sensing.trials import chosen, late_rate, runs, table
from lrtheory.sweep import Experiment, grid, mean_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, finished, largest, per_cell, where

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
NAMES = {
    "gaussian": "Gaussian",
    "symmetric gaussian": "symmetric Gaussian",
    "rademacher": "Rademacher",
    "hadamard": "Hadamard",
    "pauli": "Pauli",
}


def preset(n, r, m, steps, seeds, step_sizes):
    """n is a power of two, and m at most the n (n + 1) / 2 real Pauli strings."""
    shared = dict(method="gd_sym", alpha=0.5, n=n, r=r, k=r, m=m, tolerance=1e-6, max_steps=steps, init_seed=0)
    return grid(operator=list(MAKERS), step_size=step_sizes, seed=range(seeds), **shared)


PRESETS = {
    "small": preset(32, 2, 480, 800, 10, [0.1, 0.4]),
    "paper": preset(64, 3, 1920, 1000, 10, [0.1, 0.4]),
    "large": preset(256, 5, 12_800, 2000, 10, [0.05, 0.4]),
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
    """At the smallest step size all operators do, at the largest one the isotropic ones only."""
    steps = rows["step_size"].min(), rows["step_size"].max()
    for size, step_size in zip(("small", "large") if steps[0] < steps[1] else ("small",), steps, strict=False):
        for end, case, part in cases(where(rows, step_size=step_size), AXES, SEEDS, ["operator"]):
            lost = size == "large" and part["operator"].iloc[0] == "rank-one"
            bound, predicted = ("below", (0.0, 0.5)) if lost else ("above", (0.5, 1.0))
            reach = f"relative error {part['tolerance'].iloc[0]:g} within {part['max_steps'].iloc[0]:g} iterations"
            statement = f"share of seeds that reach {reach} at step size {step_size:g} is {bound} a half{case}"
            source = "the curvature of measurements a a^T along the trace is larger" if lost else "expected"
            yield share_claim(f"E11.{size}{named(end)}", statement, source, predicted, by_seed(part, "reached"))


def rate_claims(rows):
    """The rate of an operator in units of the Gaussian one's, seed by seed, at the smallest step size."""
    rows = rows[rows["step_size"] == rows["step_size"].min()]
    for end, case, part in cases(rows, AXES, ("operator", *SEEDS)):
        rates = part.pivot(index=list(SEEDS), columns="operator", values="rate")
        for name in rates.columns.drop("gaussian", errors="ignore") if "gaussian" in rates else ():
            source = "expected"
            if name in ALIKE:
                bound, predicted = "about 1", (0.8, 1.25)
                if name == "symmetric gaussian":
                    source = "identity: the symmetric part of the same draw gives the same iterates"
                    predicted = (0.999, 1.001)  # up to the fit of the rate, whose window ends at rounding
            elif name == "entries":
                bound, predicted = "below 1", (None, 1.0)
            elif name == "rank-one":
                bound, predicted, source = "above 1", (1.0, None), "observed"
            else:
                continue
            step = f"the same step size {part['step_size'].iloc[0]:g}"
            statement = (
                f"mean ratio of the rate of err^2 with {name} to that with Gaussian measurements, at {step}, is "
                f"{bound}{case}"
            )
            ratio = rates[name] / rates["gaussian"]
            yield mean_claim(f"E11.rate.{name}{end}".replace(" ", "_"), statement, source, predicted, ratio)


def named(end):
    return end.replace(" ", "_")


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        frame = finished(frame)
        steps = sorted(frame["step_size"].unique()) if "step_size" in frame else []
        for ax, at in ((left, 0), (right, -1)):
            if len(steps) > (at == -1):
                rows = where(frame, step_size=steps[at])
                panel(ax, largest(rows, [a for a in AXES if a in rows], ["operator"]))
            else:
                plotting.no_data(ax)
        return fig


def panel(ax, rows):
    """All operators at one step size, with the rates of those that arrive."""
    found = summary(rows).groupby("operator")[["rate", "reached"]].median()
    for i, name in enumerate(MAKERS):
        part = rows[rows["operator"] == name]
        if len(part):
            told = rf": $e^{{-{found.loc[name, 'rate'] / 2:.2g}\,t}}$" if found.loc[name, "reached"] == 1 else ""
            plotting.band(ax, part, "iteration", "relative_error", i, NAMES.get(name, name) + told, floor=1e-13)
    xlabel = rf"iteration $t$ ($\eta={rows['step_size'].iloc[0]:g}$, $m={rows['m'].iloc[0]:g}$)"
    ylabel = r"relative error $\|XX^\top-M\|_F\,/\,\|M\|_F$"
    plotting.decorate(ax, xlabel, ylabel, yscale="log", ylim=(1e-13, 1e2), legend="best")


experiment = Experiment(
    name="sensing_operators",
    version=2,
    title="Gradient descent through different measurements",
    presets=PRESETS,
    together=("init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
