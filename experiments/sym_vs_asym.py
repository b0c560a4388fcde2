"""One matrix, one draw of the start, two factorisations: X X^T beside F G^T, and preconditioning beside both.

k > r throughout. F starts from the same Gaussian directions as X.
"""

from __future__ import annotations

import functools
import operator

import numpy as np

from lrtheory import plotting
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import late_rate, runs, table
from lrtheory.sweep import Experiment, grid, median_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, complete, finished, largest, per_cell, where

PAPER = "arXiv:2310.01769"


def preset(steps, seeds, *operators):
    """Symmetric, asymmetric at three imbalances, and preconditioned, for each operator and its sizes."""
    shared = dict(max_steps=steps, tolerance=1e-6, seed=range(seeds), init_seed=0)
    usual = USUAL["gd"] | dict(alpha=0.4)
    rows = [
        dict(method="gd_sym", alpha=0.4, step_size=usual["step_size"]),
        dict(method="gd", **(usual | dict(rho=[0.0, 1 / 3, 1.0]))),
        dict(method="prec_gd_random", **(USUAL["prec_gd_random"] | dict(alpha=0.4))),
    ]
    return functools.reduce(operator.add, (grid(**row, **shared, **each) for each in operators for row in rows))


def population(n, r, k):
    return dict(operator="identity", n=n, r=r, k=k)


def gaussian(n, r, k, m, form="gram", storage="float64"):
    return dict(operator="gaussian", n=n, r=r, k=k, m=m, form=form, storage=storage)


PRESETS = {
    "small": preset(4000, 20, population(50, 3, 5), gaussian(24, 2, 4, 480)),
    "paper": preset(10_000, 20, population(50, 3, 5), gaussian(50, 3, 5, 1500, "dense")),
    # operators of 15 GB, for a GPU
    "large": preset(10_000, 5, population(500, 3, 5), gaussian(500, 3, 5, 15_000, "dense", "float32")),
}


def run(cells, device):
    reduce = cells[0]["method"] in ("gd", "gd_sym")
    for group, _, result in runs(cells, device, published, reduce=reduce):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = [
    *("method", "operator", "n", "r", "k", "m", "alpha", "rho", "step_size", "max_steps", "tolerance", "form"),
    "storage",
    *SEEDS,
]
NAMES = {"identity": "population", "gaussian": "Gaussian"}


def measure(cell):
    first = cell["first_below"].iloc[0]
    return {
        "iterations": first if first >= 0 else np.inf,
        "rate": late_rate(cell),
        "final": cell["error_squared"].iloc[-1],
    }


def summary(frame):
    """One row for each cell: iterations to the tolerance (infinite if never), rate of err^2, and the last err^2."""
    return per_cell(frame, AXES, ["iterations", "rate", "final"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    return sorted([*order_claims(rows), *imbalance_claims(rows)], key=lambda claim: claim.id)


def order_claims(rows):
    """The symmetric factorisation ends last; preconditioning reaches the tolerance first."""
    for end, case, part in cases(rows, AXES, ("method", "rho", "step_size", *SEEDS), ["operator"]):
        final, count = (
            part.pivot(index=list(SEEDS), columns=["method", "rho", "step_size"], values=value)
            for value in ("final", "iterations")
        )
        last, first = (compared(table, method) for table, method in ((final, "gd_sym"), (-count, "prec_gd_random")))
        if last is not None:
            statement = f"share of seeds on which the symmetric factorisation has the largest error at the end{case},"
            source = f"1/T^2 against exp(-Omega(alpha^2 T)), {PAPER}"
            yield share_claim(f"E4.last{end}", statement + " is above a half", source, (0.5, 1.0), last)
        if first is not None:
            statement = f"share of seeds on which PrecGD needs the fewest iterations to the tolerance{case},"
            yield share_claim(f"E4.first{end}", statement + " is above a half", "observed", (0.5, 1.0), first)


def compared(values, method):
    """On which seeds a method has the largest values, at each of its step sizes; None without a second method."""
    own = values.columns.get_level_values("method") == method
    if own.all() or not own.any():
        return None
    larger = values.loc[:, own].min(axis=1, skipna=False) > values.loc[:, ~own].max(axis=1, skipna=False)
    return larger.where(values.notna().all(axis=1))


def imbalance_claims(rows):
    plain = where(rows[rows["method"] == "gd"], operator="identity")
    for end, case, part in cases(plain, AXES, ("rho", *SEEDS)):
        unequal, equal = (by_seed(p, "rate") for p in (where(part, rho=1 / 3), where(part, rho=1.0)))
        if len(unequal) and len(equal):
            statement = f"median over seeds of the rate of err^2 at rho = 1/3 over that at rho = 1 is at least 3{case}"
            source = f"observed; that imbalance is what helps: {PAPER}"
            yield median_claim(f"E4.imbalance{end}", f"population: {statement}", source, (3.0, None), unequal / equal)


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(finished(frame), [*AXES, "iteration"])
        for ax, name, scale in zip(axes, NAMES, ("log", "linear"), strict=True):
            rows = where(frame, operator=name)
            rows = rows[rows["iteration"] > 0] if scale == "log" else rows
            if len(rows):
                panel(ax, largest(rows, AXES, ["method", "rho", "step_size"]), scale)
            else:
                plotting.no_data(ax)
        return fig


def panel(ax, rows, scale):
    series = [(r"$XX^\top$", rows[rows["method"] == "gd_sym"])]
    plain = rows[rows["method"] == "gd"]
    series += [
        (rf"$FG^\top$, $\rho={rho:.2g}$", where(plain, rho=rho)) for rho in sorted(plain["rho"].dropna().unique())
    ]
    series += [(r"$XX^\top$, PrecGD", rows[rows["method"] == "prec_gd_random"])]
    for i, (label, part) in enumerate(series):
        if len(part):
            plotting.band(ax, part, "iteration", "relative_error", i, label, floor=1e-13)
    setting = NAMES[rows["operator"].iloc[0]]
    setting += "" if rows["m"].isna().all() else f", $m={rows['m'].iloc[0]:g}$"
    ylabel = r"relative error (Frobenius)"
    top, legend = (3, "lower left") if scale == "log" else (3e3, "upper right")  # room for the legend
    decorations = dict(xscale=scale, yscale="log", ylim=(1e-13, top), legend=legend)
    plotting.decorate(ax, f"iteration $t$ ({setting})", ylabel, **decorations)


experiment = Experiment(
    name="sym_vs_asym",
    version=1,
    title="Symmetric and asymmetric factorisations of the same matrix",
    paper=PAPER,
    presets=PRESETS,
    together=("rho", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
