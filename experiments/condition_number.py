"""What ill-conditioning costs: iterations to a small error against kappa, gradient descent beside its competitors.

The same m Gaussian measurements, truth and seeds for every method. Each runs at the step size that is usual for it;
panel (b) shows what other step sizes would have given, on other seeds, the same grid of multiples for every method, and
counts passes over the data, of which a step takes one or two. A seed that does not arrive counts as infinitely slow.
"""

from __future__ import annotations

import functools
import operator

import numpy as np

from lrtheory import plotting
from lrtheory.rates import fit_rate
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import runs, table
from lrtheory.solve import Below
from lrtheory.sweep import Experiment, grid, mean_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, largest, per_cell, where

TUNING_SEEDS = 100  # seeds from here on are for the choice of step sizes only
TUNING_KAPPA = 10.0
MULTIPLES = (0.5, 1.0, 1.5, 2.0)


def preset(n, r, k, m, kappas, seeds, steps, form="gram", storage="float64"):
    quick = min(steps, 400)
    shared = dict(n=n, r=r, m=m, operator="gaussian", form=form, storage=storage, tolerance=1e-6)
    shared |= dict(init_seed=0)
    tuning = shared | dict(kappa=TUNING_KAPPA, seed=range(TUNING_SEEDS, TUNING_SEEDS + 3))
    slow = [row("gd_sym", k, steps), row("agn", k, quick, step_size=1.0)]
    slow += [row("iht", [r, k], quick), row("niht", k, quick)]
    damped = [row("scaled_gd_lambda", k, steps), row("prec_gd_asym", k, min(steps, 2000))]
    descent = [row("gd", k, steps), row("gd", k, steps, rho=1.0)]
    drawn = [
        row("prec_gd", k, quick),
        row("prec_gd_random", k, quick),
        row("agn", k, quick),
        row("scaled_gd", r, quick),
        row("niht", r, quick),
        row("riemannian_cg", k, quick),
    ]
    parts = [grid(**each, kappa=[1.0, 10.0], seed=range(seeds), **shared) for each in slow]
    parts += [grid(**each, kappa=kappas, seed=range(seeds), **shared) for each in (*drawn, *damped)]
    parts += [grid(**each, kappa=[x for x in kappas if x <= 10], seed=range(seeds), **shared) for each in descent]
    parts += [grid(**(each | multiples(each)), **tuning) for each in (*descent, *drawn) if "step_size" in each]
    return functools.reduce(operator.add, parts)


def row(method, k, steps, **changes):
    """One method with its usual parameters, some of them changed."""
    return dict(method=method, k=k, max_steps=steps, **(USUAL[method] | changes))


def multiples(row):
    usual = USUAL[row["method"]]["step_size"]
    return dict(step_size=[multiple * usual for multiple in MULTIPLES])


PRESETS = {
    "small": preset(24, 2, 4, 480, [1.0, 3.0, 10.0, 30.0], 10, 6000),
    # the setting of the comparison in the paper of approximated Gauss-Newton: n = 100, r = 5, d = 3r, m = 50 n r
    "paper": preset(100, 5, 15, 25_000, [1.0, 10.0, 50.0, 100.0], 5, 5000, form="dense", storage="float32"),
    # operators of 12.5 GB, for a GPU
    "large": preset(500, 5, 15, 12_500, [1.0, 10.0, 100.0], 5, 5000, form="dense", storage="float32"),
}


def run(cells, device):
    stop = Below("relative_error", cells[0]["tolerance"])
    for group, _, result in runs(cells, device, published, stop=stop):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = [
    *("method", "operator", "n", "r", "k", "m", "kappa", "alpha", "rho", "damping", "step_size", "max_steps"),
    *("tolerance", "form", "storage", "seed", "init_seed"),
]


def measure(cell):
    first, last = cell["first_below"].iloc[0], cell.iloc[-1]
    seen = cell[cell["iteration"] > 0]
    slope = fit_rate(seen["iteration"].to_numpy(), seen["error_squared"].to_numpy(), floor=last["floor"]).slope
    return {
        "iterations": first if first >= 0 else np.inf,
        "passes": first * last["passes"] / max(last["iteration"], 1) if first >= 0 else np.inf,
        "reached": float(first >= 0),
        "diverged": float(last["status"] == "diverged"),
        "slope": slope,
    }


def summary(frame):
    """One row for each cell: iterations and passes over the data to the tolerance (infinite if never), whether it was
    reached, whether the run diverged, and the exponent of the power law in which err^2 ends (NaN if in none)."""
    return per_cell(frame, AXES, ["iterations", "passes", "reached", "diverged", "slope"], measure)


def judged(rows):
    return rows[rows["seed"] < TUNING_SEEDS]


SLOWED = ("gd",)
UNMOVED = ("prec_gd", "prec_gd_random", "agn", "niht", "scaled_gd", "riemannian_cg")
OBSERVED = "observed"
FREE = ("kappa", *SEEDS)


def claims(frame):
    if frame.empty:
        return []
    rows = judged(summary(frame))
    found = [*growth_claims(rows), *stall_claims(where(rows, kappa=1.0)), *failure_claims(rows), *surprise_claims(rows)]
    found += [*tail_claims(rows), *baseline_claims(rows)]
    return sorted(found, key=lambda claim: claim.id)


def growth_claims(rows):
    """Iterations at kappa = 10 over those at kappa = 1, at the usual parameters."""
    rows = usual(rows)
    for end, case, part in cases(rows[rows["method"].isin((*SLOWED, *UNMOVED))], AXES, FREE, ["method", "k"]):
        at = {kappa: where(part, kappa=kappa).set_index(list(SEEDS))["iterations"] for kappa in (1.0, 10.0)}
        if not (len(at[1.0]) and len(at[10.0])):
            continue
        slowed = part["method"].iloc[0] in SLOWED
        bound, predicted = ("above 1.5", (1.5, None)) if slowed else ("below 1.3", (None, 1.3))
        statement = f"mean ratio of the iterations to {reach(part)} at kappa = 10 and at kappa = 1 is {bound}{case}"
        at = {kappa: counts.where(np.isfinite(counts)) for kappa, counts in at.items()}
        source = "no preconditioner: the rate falls with sigma_r" if slowed else "a rate free of kappa"
        yield mean_claim(f"T9.growth{end}", statement, f"{source}; bound {OBSERVED}", predicted, at[10.0] / at[1.0])


def usual(rows):
    """The rows with the usual parameters of their method."""
    keep = np.ones(len(rows), dtype=bool)
    for axis in ("step_size", "alpha", "rho"):
        value = rows["method"].map(lambda method, axis=axis: USUAL[method].get(axis, np.nan)).astype(float)
        keep &= np.isclose(rows[axis].astype(float), value, equal_nan=True)
    return rows[keep]


def reach(rows):
    return f"relative error {rows['tolerance'].iloc[0]:g}"


def stall_claims(rows):
    """Which rows miss the tolerance at kappa = 1; hard thresholding at rank k > r is judged by `failure_claims`."""
    rows = rows[(rows["method"] != "iht") | (rows["k"] == rows["r"])]
    for end, case, part in cases(usual(rows), AXES, SEEDS, ["method", "k"]):
        missed = part["method"].iloc[0] in ("gd_sym", "scaled_gd_lambda")
        bound, predicted = ("below", (0.0, 0.5)) if missed else ("above", (0.5, 1.0))
        steps = f"within {part['max_steps'].iloc[0]:g} iterations at kappa = 1"
        statement = f"share of seeds that reach {reach(part)} {steps} is {bound} a half{case}"
        yield share_claim(f"T9.reached{end}", statement, OBSERVED, predicted, by_seed(part, "reached"))


def failure_claims(rows):
    """Gauss-Newton with eta = 1 at kappa = 10, and hard thresholding at rank k > r, diverge on some seeds."""
    at = where(rows, kappa=10.0)
    full = (at["method"] == "agn") & np.isclose(at["step_size"].astype(float), 1.0)
    over = (at["method"] == "iht") & (at["k"] > at["r"])
    for end, case, part in cases(at[full | over], AXES, SEEDS, ["method", "k"]):
        steps = f"within {part['max_steps'].iloc[0]:g} iterations at kappa = 10"
        statement = f"share of seeds that diverge {steps} is above 0.02{case}"
        yield share_claim(f"T9.diverges{end}", statement, OBSERVED, (0.02, 1.0), by_seed(part, "diverged"))


def tail_claims(rows):
    """What misses the tolerance at kappa = 1 has not stalled: it goes on by a power law."""
    rows = usual(where(rows[rows["method"].isin(("gd_sym", "scaled_gd_lambda"))], kappa=1.0))
    for end, case, part in cases(rows, AXES, SEEDS, ["method", "k"]):
        statement = f"mean exponent p of the law C (t + t0)^p that err^2 ends in at kappa = 1 is about -2{case}"
        source = "derived for the population case"
        yield mean_claim(f"T9.tail{end}", statement, source, (-2.1, -1.8), by_seed(part, "slope"))


def baseline_claims(rows):
    """Gauss-Newton beside the asymmetric PrecGD that its paper compares it with; both at random starts of one draw."""
    rows = usual(rows[rows["method"].isin(("agn", "prec_gd_asym"))])
    for end, case, part in cases(where(rows, kappa=10.0), AXES, ("method", "step_size", "max_steps", *SEEDS), ["k"]):
        agn, other = (part[part["method"] == m].groupby("seed")["passes"].mean() for m in ("agn", "prec_gd_asym"))
        if len(agn) and len(other):
            fewer = (agn < other).where(agn.notna() & other.notna())
            statement = (
                f"share of seeds on which Gauss-Newton takes fewer passes over the data to {reach(part)} than "
                f"asymmetric PrecGD, kappa = 10, is above a half{case}"
            )
            source = "Jia, Feng, Meng, Sun, NeurIPS 2024: PrecGD is slow near saddles"
            yield share_claim(f"T9.baseline{end}", statement, source, (0.5, 1.0), fewer)


def surprise_claims(rows):
    """At kappa = 10 equal starts are not slower on a share of seeds that is not small."""
    at = where(rows[rows["method"] == "gd"], kappa=10.0)
    for end, case, part in cases(at, AXES, ("rho", *SEEDS)):
        unequal, equal = (where(part, rho=rho).groupby("seed")["iterations"].mean() for rho in (1 / 3, 1.0))
        if len(unequal) and len(equal):
            faster = (equal <= unequal).where(np.isfinite(equal) | np.isfinite(unequal))
            statement = (
                f"share of seeds where rho = 1 needs no more iterations than rho = 1/3, kappa = 10, is above 0.1{case}"
            )
            yield share_claim(f"T9.equal{end}", statement, OBSERVED, (0.1, 1.0), faster)


LABELS = {
    "gd": "gradient descent",
    "scaled_gd": "ScaledGD",
    "prec_gd": "PrecGD",
    "agn": "Gauss-Newton",
    "niht": "NIHT",
    "riemannian_cg": "Riemannian CG",
}
SERIES = (
    *(("gd", 1 / 3), ("prec_gd", None), ("agn", None), ("niht", None), ("scaled_gd", None), ("riemannian_cg", None)),
    ("gd", 1.0),
)
DRAWN = tuple(method for method, _ in SERIES[:-1])


def figure(frame):
    with plotting.style():
        fig, (left, right) = plotting.panels(1, 2)
        rows = summary(frame).dropna(subset="iterations")  # of failed cells
        drawn = rows[rows["method"].isin(DRAWN)]
        tuning = drawn[drawn["seed"] >= TUNING_SEEDS]
        units = tuning["method"].map(lambda method: USUAL[method]["step_size"]).astype(float)
        panel(left, usual(judged(drawn)), "kappa", "iterations", r"condition number $\kappa$")
        xlabel = rf"step size, in units of the usual one ($\kappa={TUNING_KAPPA:g}$)"
        tuning = tuning.assign(multiple=(tuning["step_size"].astype(float) / units).round(6))
        panel(right, tuning, "multiple", "passes", xlabel)
        return fig


def panel(ax, rows, axis, count, xlabel):
    """Iterations or passes to the tolerance against an axis, one series for each method and imbalance.

    A method looks the same in both panels, and has no point where fewer than three in four seeds arrive.
    """
    drawn = False
    for index, (method, rho) in enumerate(SERIES):
        part = rows[rows["method"] == method]
        part = part if rho is None else where(part, rho=rho)
        part = largest(part, AXES, ["kappa", "step_size"])
        part = part[part.groupby(axis)["reached"].transform("mean") > 0.75]
        if len(part):
            label = LABELS[method] + ("" if rho is None else rf", $\rho={rho:.2g}$")
            upper = part.loc[np.isfinite(part[count]), count].max()  # of the bar, where it would be infinite
            plotting.points(
                ax, part.assign(**{count: part[count].clip(upper=upper)}), axis, count, index, label, line=True
            )
            drawn = True
    if not drawn:
        plotting.no_data(ax)
        return
    what = {"iterations": "iterations", "passes": "passes over the data"}[count]
    tolerance = f"$10^{{{np.log10(rows['tolerance'].iloc[0]):.3g}}}$"
    plotting.decorate(ax, xlabel, f"{what} to relative error {tolerance}", yscale="log", legend="best")
    ax.set_xscale("log")
    plotting.plain_ticks(ax, sorted(rows[axis].unique()))


experiment = Experiment(
    name="condition_number",
    version=2,
    title="What ill-conditioning costs gradient descent and its competitors",
    paper="Jia, Feng, Meng, Sun, NeurIPS 2024",
    presets=PRESETS,
    together=("init_seed", "step_size", "seed"),
    run=run,
    figure=figure,
    claims=claims,
)
