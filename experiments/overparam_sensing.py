"""Over-parameterisation slows gradient descent: the rates of symmetric and asymmetric matrix sensing.

Panels: (a) the 1/t^2 law of the symmetric factorisation at k > r, (b) linear convergence of the asymmetric one at
several initialisation scales alpha, (c) its rate against alpha, (d) one modified step that makes the rate
independent of alpha. Instances are drawn from (seed); the start from (seed, init_seed).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.backend import to_numpy
from lrtheory.falsify import Floats, Ints, Search
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors, RebalancedGradientDescent
from lrtheory.rates import fit_rate
from lrtheory.sensing import theory
from lrtheory.sensing.trials import chosen, late_rate, measured, runs, table
from lrtheory.sweep import Experiment, grid, mean_claim, median_claim, share_claim
from lrtheory.sweep.frames import SEEDS, by_seed, cases, complete, finished, largest, per_cell, where

PAPER = "arXiv:2310.01769"
DERIVED = f"lrtheory.sensing.theory (derived); order: {PAPER}"
R = 3

# -- presets: a cell says everything that run reads ------------------------------------------------------------------


def population(n, symmetric_steps, asymmetric_steps):
    """Infinitely many measurements: T1 and T2 (symmetric), T4 and T6 (asymmetric)."""
    shared = dict(operator="identity", algorithm="gd", n=n, r=R, step_size=0.1, init_seed=0)
    asymmetric = dict(model="asymmetric", k=5, max_steps=asymmetric_steps, **shared)
    return (
        grid(model="symmetric", k=[3, 4, 5, 6], alpha=0.5, max_steps=symmetric_steps, seed=range(5), **shared)
        + grid(alpha=[0.1, 0.2], rho=1 / 3, seed=range(5), **asymmetric)
        + grid(alpha=0.4, rho=[1 / 3, 1.0], seed=range(20), **asymmetric)
    )


def symmetric_sensing(n, k, m, steps, seeds, init_seeds=1, form="gram", storage="float64"):
    """Gaussian measurements, symmetric factorisation: T3."""
    numbers = dict(n=n, r=R, k=k, m=m, alpha=0.5, step_size=0.1, max_steps=steps)
    names = dict(model="symmetric", algorithm="gd", operator="gaussian", form=form, storage=storage)
    return grid(seed=range(seeds), init_seed=range(init_seeds), **numbers, **names)


def asymmetric_sensing(n, m, steps, form="gram", storage="float64"):
    """Gaussian measurements, asymmetric factorisation: T5 (rate against alpha) and T7 (the modified step)."""
    numbers = dict(n=n, r=R, k=5, m=m, rho=1 / 3, step_size=0.2, init_seed=0, tolerance=1e-6)
    names = dict(model="asymmetric", operator="gaussian", form=form, storage=storage)
    shared = numbers | names
    return (
        grid(algorithm="gd", alpha=[0.1, 0.2, 0.4, 0.8], max_steps=steps, seed=range(10), **shared)
        + grid(algorithm="gd", alpha=[0.05, 0.5], max_steps=steps, seed=range(5), **shared)
        + grid(algorithm=["flat", "lift"], alpha=[0.05, 0.2, 0.5], max_steps=3000, seed=range(5), **shared)
    )


PRESETS = {
    "small": population(50, 30_000, 60_000)
    + symmetric_sensing(20, k=4, m=[600, 1200], steps=20_000, seeds=5)
    + asymmetric_sensing(20, m=600, steps=15_000),
    "paper": population(50, 100_000, 100_000)
    + symmetric_sensing(50, k=[3, 4, 5, 6], m=[1500, 3000], steps=100_000, seeds=5)
    + asymmetric_sensing(50, m=1500, steps=20_000, form="dense"),
    # One operator of 7.5 GB and 64 starts, for a GPU; with one seed T3 is drawn, and stays inconclusive as a claim.
    "large": population(500, 100_000, 100_000)
    + symmetric_sensing(500, [3, 4, 6], 15_000, 10_000, seeds=1, init_seeds=64, form="packed", storage="float32"),
}


def prepare(device):
    """Compile every kernel that the presets use, on two steps of tiny cells."""
    tiny = dict(n=6, k=4, m=72, max_steps=2, seed=0, init_seed=0)
    for preset in PRESETS.values():
        kinds = {(c["model"], c["operator"], c.get("form"), c.get("storage")): c for c in preset}
        for cell in kinds.values():
            list(run([cell | {name: tiny[name] for name in tiny if name in cell}], device))


# -- run --------------------------------------------------------------------------------------------------------------


def method(c):
    """Algorithm and start that columns of cells name."""
    symmetric = chosen(c, "model", ("symmetric", "asymmetric")) == "symmetric"
    start = RandomFactors(c["k"], c["alpha"], None if symmetric else c["rho"])
    if chosen(c, "algorithm", ("gd", "flat", "lift")) == "gd":
        return GradientDescent(c["step_size"]), start
    return RebalancedGradientDescent(c["step_size"], c["algorithm"], rank=c["r"]), start


def problem(c, device):
    return measured(c | {"symmetric": c["model"] == "symmetric"}, device)


def run(cells, device):
    """Solve cells that differ in alpha, rho, seed or init_seed only."""
    for group, _, result in runs(cells, device, method, problem=problem, reduce=True):
        weakest = np.linalg.svd(to_numpy(result.x.left), compute_uv=False)[:, -1]
        rebalanced = result.events.get("rebalanced", np.full(len(group), -1))
        for i, cell in enumerate(group):
            yield cell, table(result, i, sigma_k=weakest[i], rebalanced_at=rebalanced[i])


# -- what the data say ------------------------------------------------------------------------------------------------

AXES = [
    *("model", "operator", "algorithm", "n", "r", "k", "m", "alpha", "rho", "step_size", "max_steps", "tolerance"),
    *("form", "storage", "seed", "init_seed"),
]
FOUND = ["slope", "rate", "constant", "sigma_k", "iterations"]
ALPHAS = (0.1, 0.2, 0.4, 0.8)


def summary(frame):
    """One row for each cell, with what was measured of its squared error.

    slope: the exponent p of the law C (t + t0)^p that it ends in, by fit_rate (NaN if it is no power law); rate: minus
    the log of its factor per iteration, over the last half of the iterations above the floor; constant: amplitude of
    the 1/t^2 law at the last iteration, 1 predicted; iterations: to the tolerance, counted from the modified step
    where there is one.
    """
    return per_cell(frame, AXES, FOUND, measure)


def measure(cell):
    last = cell.iloc[-1]
    t, error = last["iteration"], last["error_squared"]
    redundant = theory.redundant_directions(last["n"], last["r"], last["k"])
    law = theory.symmetric_error_squared(t, last["step_size"], redundant)
    counted = last["first_below"] if last["first_below"] >= 0 else np.nan
    records = cell[cell["iteration"] > 0]
    slope = fit_rate(records["iteration"].to_numpy(), records["error_squared"].to_numpy(), floor=last["floor"]).slope
    return {
        "slope": slope,
        "rate": late_rate(cell),
        "constant": error / law if redundant else np.nan,
        "sigma_k": last["sigma_k"],
        "iterations": counted - max(last["rebalanced_at"], 0),
    }


def by_alpha(rows, value):
    """Return one row for each start and one column for each alpha."""
    return rows.pivot(index=list(SEEDS), columns="alpha", values=value)


def alpha_slopes(rows):
    """For each start the slope of log rate against log alpha; NaN where an alpha has no rate."""
    rates = by_alpha(rows, "rate")
    with np.errstate(invalid="ignore"):
        logs = np.log(rates.to_numpy())
    return pd.Series(np.polynomial.polynomial.polyfit(np.log(rates.columns), logs.T, 1)[1], index=rates.index)


def claims(frame):
    if frame.empty:
        return []
    table = summary(frame)
    over, exact = table[table["k"] > table["r"]], table[table["k"] == table["r"]]
    plain = where(over, model="asymmetric", algorithm="gd")
    found = [
        *power_law_claims(where(over, model="symmetric", operator="identity")),
        *exact_rank_claims(where(exact, model="symmetric", operator="identity")),
        *measured_claims(where(over, model="symmetric", operator="gaussian")),
        *identity_claims(where(plain, operator="identity", rho=1 / 3)),
        *alpha_claims(where(plain, operator="gaussian")),
        *imbalance_claims(where(plain, operator="identity")),
        *modified_step_claims(where(over, model="asymmetric", operator="gaussian")),
    ]
    return sorted(found, key=lambda claim: claim.id)


def power_law_claims(rows):
    for end, case, part in cases(rows[rows["alpha"] >= 0.5], AXES, SEEDS, ["k"]):
        slope = "mean exponent p of the law C (t + t0)^p that err^2 ends in is -2"
        constant = "mean of err^2 4 eta^2 t^2 / (k - r) at the last t is 1"
        values = by_seed(part, part["slope"]), by_seed(part, part["constant"])
        yield mean_claim(f"T1.slope{end}", f"population{case}: {slope}", DERIVED, (-2.03, -1.97), values[0])
        yield mean_claim(f"T1.constant{end}", f"population{case}: {constant}", DERIVED, (0.98, 1.02), values[1])


def exact_rank_claims(rows):
    for end, case, part in cases(rows, AXES, SEEDS):
        predicted = -theory.exact_rank_log_factor(part["step_size"], 1.0)
        statement = f"population, k = r{case}: mean ratio of the rate of err^2 to -2 log(1 - eta sigma_r) is 1"
        yield mean_claim(f"T2.rate{end}", statement, DERIVED, (0.999, 1.001), by_seed(part, part["rate"] / predicted))


def measured_claims(rows):
    for end, case, part in cases(rows, AXES, SEEDS, ["m", "k"]):
        statement = f"Gaussian{case}: mean exponent p of the law C (t + t0)^p that err^2 ends in is about -2"
        source = f"Omega(1/T^2) lower bound, {PAPER}"
        yield mean_claim(f"T3.slope{end}", statement, source, (-2.1, -1.8), by_seed(part, part["slope"]))
    for end, case, part in cases(rows, AXES, ("m", *SEEDS), ["k"]):
        few, many = part["m"].min(), part["m"].max()
        if few < many:
            at = [where(part, m=m).set_index(list(SEEDS))["constant"] for m in (few, many)]
            statement = f"Gaussian{case}: mean ratio of T1's constants at m = {few:g} and m = {many:g} is above 1"
            source = "the constant tends to 1 as m grows (observed)"
            yield mean_claim(f"T3.constant{end}", statement, source, (1.0, None), at[0] / at[1])


def identity_claims(rows):
    far = rows[rows["alpha"] < 0.5]  # redundant and signal rates mix at larger alpha
    for end, case, part in cases(far[far["sigma_k"] ** 2 > 0.05 * far["alpha"] ** 2], AXES, SEEDS, ["alpha"]):
        closed = -theory.asymmetric_log_factor(part["step_size"], part["sigma_k"])
        statement = f"population{case}: mean ratio of the rate of err^2 to -2 log(1 - eta sigma_k(F)^2) is 1"
        ratio = by_seed(part, part["rate"] / closed)
        yield mean_claim(f"T4.rate{end}", statement, "identity: " + DERIVED, (0.985, 1.015), ratio)
    yield from slope_claims("T4.slope", "population", far, (1.8, 2.2))


def alpha_claims(rows):
    yield from slope_claims("T5.slope", "Gaussian", rows[rows["alpha"].isin(ALPHAS)], (1.85, 2.2), ["m"])


def slope_claims(name, data, rows, predicted, named=()):
    for end, case, part in cases(rows, AXES, ("alpha", *SEEDS), named):
        part = shared_seeds(part)
        if part["alpha"].nunique() > 1:
            tested = ", ".join(f"{alpha:g}" for alpha in sorted(part["alpha"].unique()))
            statement = f"{data}{case}: mean slope of log rate of err^2 against log alpha ({tested}) is about 2"
            yield mean_claim(name + end, statement, f"exp(-Omega(alpha^2 T)), {PAPER}", predicted, alpha_slopes(part))


def shared_seeds(rows):
    """The rows of those seeds that were run at the most alphas."""
    count = rows.groupby("seed")["alpha"].transform("nunique")
    return rows[count == count.max()]


def imbalance_claims(rows):
    for end, case, part in cases(rows, AXES, ("rho", *SEEDS)):
        unequal, equal = (where(part, rho=rho).groupby("seed")["rate"].mean() for rho in (1 / 3, 1.0))
        if not (len(unequal) and len(equal)):
            continue
        gain = unequal / equal
        source = f"observed; that imbalance is what helps: {PAPER}"
        words = f"the rate of err^2 at rho = 1/3 over that at rho = 1 (population{case})"
        yield median_claim(f"T6.median{end}", f"median over seeds of {words} is at least 3", source, (3.0, None), gain)
        faster = (gain > 1).where(gain.notna())
        yield share_claim(f"T6.share{end}", f"share of seeds where {words} exceeds 1", source, (0.5, 1.0), faster)


def modified_step_claims(rows):
    for end, case, part in cases(
        rows[rows["algorithm"].isin(("flat", "lift"))], AXES, ("alpha", *SEEDS), ["algorithm"]
    ):
        if part["alpha"].nunique() > 1:
            counts = by_alpha(part, "iterations")
            spread = counts.max(axis=1, skipna=False) / counts.min(axis=1, skipna=False)
            statement = (
                f"Gaussian{case}: mean ratio of the largest to the smallest number of iterations, over alpha, from the "
                f"modified step to relative error {part['tolerance'].iloc[0]:g}"
            )
            source = f"reconstruction; rate independent of alpha: {PAPER}"
            yield mean_claim(f"T7.count{end}", statement, source, (1.0, 1.2), spread)


# -- figure -----------------------------------------------------------------------------------------------------------


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 2)
        frame = complete(finished(frame), AXES)
        table = summary(frame)
        over = frame[frame["k"] > frame["r"]]
        measured = where(over, model="asymmetric", operator="gaussian")
        plain = where(table[table["k"] > table["r"]], model="asymmetric", algorithm="gd", rho=1 / 3)
        modified = measured[~measured["alpha"].isin((0.1, 0.4, 0.8))]
        rates = plain[plain["alpha"].isin(ALPHAS)].dropna(subset="rate")
        rates = pd.concat([largest(where(rates, operator=o), AXES, ["alpha"]) for o in ("gaussian", "identity")])
        panels = (
            (panel_symmetric, largest(where(frame, model="symmetric", operator="identity"), AXES, ["k"])),
            (panel_alpha, largest(where(measured[measured["alpha"].isin(ALPHAS)], algorithm="gd"), AXES, ["alpha"])),
            (
                panel_rate,
                pd.concat([largest(where(rates, operator=o), AXES, ["alpha"]) for o in ("gaussian", "identity")]),
            ),
            (panel_modified, largest(modified, AXES, ["algorithm", "alpha", "max_steps"])),
        )
        for ax, (draw, data) in zip(axes, panels, strict=True):
            if len(data.dropna(subset="seed")):
                draw(ax, data)
            else:
                plotting.no_data(ax)
        return fig


ERROR = r"relative error $\|FG^\top-M\|_F\,/\,\|M\|_F$"
SMALLEST = 1e-13  # relative errors are drawn down to here; below is rounding


def panel_symmetric(ax, frame):
    frame = frame[frame["iteration"] > 0]
    first = frame.iloc[0]
    slopes = summary(frame).groupby("k")["slope"].median()

    def label(k, _):
        return f"$k={k}$: " + (f"slope {slopes[k]:.3f}" if np.isfinite(slopes[k]) else "linear convergence")

    t = np.geomspace(30, frame["iteration"].max(), 50)
    laws = iter([r"$(k-r)\,/\,(4\eta^2t^2)$"])
    for k in plotting.series(ax, frame, "iteration", "error_squared", "k", label):
        redundant = theory.redundant_directions(first["n"], first["r"], k)
        if redundant > 0:
            law = theory.symmetric_error_squared(t, first["step_size"], redundant)
            plotting.theory(ax, t, law, next(laws, None))
    decorations = dict(xscale="log", yscale="log", ylim=(1e-12, 1e2), legend="upper right")
    plotting.decorate(ax, "iteration $t$", r"squared error $\|XX^\top-M\|_F^2$", **decorations)


def panel_alpha(ax, frame):
    table = summary(frame)
    unit = (table["rate"] / 2 / table["alpha"] ** 2).median()
    law = rf"$\propto\exp(-c\alpha^2t)$, fitted $c={unit:.2g}$"
    for alpha in plotting.series(
        ax, frame, "iteration", "relative_error", "alpha", lambda alpha, _: rf"$\alpha={alpha:g}$", floor=SMALLEST
    ):
        median = where(frame, alpha=alpha).groupby("iteration")["relative_error"].median()
        median = median[median > SMALLEST]
        anchor = np.argmin(np.abs(np.log(median / 1e-3)))
        t = np.linspace(median.index[anchor], median.index[-1], 200)
        plotting.theory(ax, t, median.iloc[anchor] * np.exp(-unit * alpha**2 * (t - t[0])), law)
        law = None
    plotting.decorate(ax, "iteration $t$", ERROR, yscale="log", ylim=(SMALLEST, 3), legend="upper right")


def panel_rate(ax, table):
    law = r"$\propto\alpha^2$"
    for i, (operator, part) in enumerate(table.groupby("operator", sort=False)):
        part = shared_seeds(part)
        name = "population" if operator == "identity" else f"$m={int(part['m'].iloc[0])}$"
        if part["alpha"].nunique() > 1:
            name += f": slope {alpha_slopes(part).mean():.2f}"
        plotting.points(ax, part, "alpha", "rate", i, name)
        middle = part.groupby("alpha")["rate"].median()
        plotting.theory(ax, middle.index, middle.iloc[0] * (middle.index / middle.index[0]) ** 2, law)
        law = None
    ylabel = r"rate of the squared error (per iteration)"
    plotting.decorate(ax, r"initialisation scale $\alpha$", ylabel, xscale="log", yscale="log", legend="upper left")
    plotting.plain_ticks(ax, sorted(table["alpha"].unique()))


def panel_modified(ax, frame):
    kinds = {"gd": "no modified step", "flat": "flat", "lift": "lift"}
    for j, kind in enumerate(kinds):
        for i, alpha in enumerate(sorted(frame["alpha"].unique())):
            part = where(frame, algorithm=kind, alpha=alpha)
            if len(part):
                looks = dict(linestyle=plotting.LINES[j], color=plotting.COLOURS[i])
                plotting.band(ax, part, "iteration", "relative_error", floor=SMALLEST, **looks)
    done = frame.loc[frame["algorithm"] != "gd", "first_below"].max()
    if np.isfinite(done) and done > 0:
        ax.set_xlim(0, 2.2 * done)
    for i, alpha in enumerate(sorted(frame["alpha"].unique())):
        ax.plot([], [], color=plotting.COLOURS[i], label=rf"$\alpha={alpha:g}$")
    for j, name in enumerate(kinds.values()):
        ax.plot([], [], color="0.4", linestyle=plotting.LINES[j], label=name)
    plotting.decorate(ax, "iteration $t$", ERROR, yscale="log", ylim=(SMALLEST, 3), legend="lower left")


# -- searches for counterexamples -------------------------------------------------------------------------------------

# T1 needs redundant singular values near alpha at the start: many more rows than redundant columns. The smallest of an
# (n - r, k - r) start is about alpha (sqrt(n - r) - sqrt(k - r)) / sqrt(n), and 0 where k > n.
T1_DOMAIN = {
    "r": Ints(1, 5),
    "redundant": Ints(1, 4),
    "n": Ints(30, 100),
    "step_size": Floats(0.05, 0.25, scale="log", simplest=0.1),
    "alpha": Floats(0.3, 1.0, scale="log", simplest=0.5),
    "seed": Ints(0, 9999),
}
T2_DOMAIN = {name: bound for name, bound in T1_DOMAIN.items() if name != "redundant"}


def symmetric_cell(point, max_steps):
    point = {"redundant": 0, **point}
    k = point["r"] + point.pop("redundant")
    names = dict(model="symmetric", operator="identity", algorithm="gd")
    return [{**names, **point, "k": k, "init_seed": 0, "max_steps": math.ceil(max_steps)}]


def t1_cells(point):
    """Long enough for 1/t^2, whatever the start.

    From s <- s - eta s^3 the constant falls short of 1 by (alpha^2 / s^2 + 1.5 eta alpha^2 log 1200) / 600, where s is
    the redundant singular value at the start: 0.006 at the ends of the domain.
    """
    return symmetric_cell(point, 600 / (point["step_size"] * point["alpha"] ** 2))


def t2_cells(point):
    """The slowest part of the error, 1 - eta a step, reaches rounding."""
    return symmetric_cell(point, 60 / point["step_size"])


def within(tolerance, name, target):
    """The margin of "what the summary calls `name` is `target` up to `tolerance`"."""
    return lambda frame: tolerance - abs(summary(frame)[name].iloc[0] - target)


def t2_margin(frame):
    cell = summary(frame).iloc[0]
    return 0.001 - abs(cell["rate"] / -theory.exact_rank_log_factor(cell["step_size"], 1.0) - 1)


falsify = {
    "T1.slope": Search(
        T1_DOMAIN, t1_cells, within(0.03, "slope", -2), "population, k > r: slope of log err^2 against log t is -2"
    ),
    "T1.constant": Search(
        T1_DOMAIN,
        t1_cells,
        within(0.02, "constant", 1),
        "population, k > r: err^2 4 eta^2 t^2 / (k - r) is 1 at t = 600 / (eta alpha^2)",
    ),
    "T2.rate": Search(
        T2_DOMAIN, t2_cells, t2_margin, "population, k = r: ratio of the rate of err^2 to -2 log(1 - eta sigma_r) is 1"
    ),
}


experiment = Experiment(
    name="overparam_sensing",
    version=2,
    title="Over-parameterisation slows gradient descent in matrix sensing",
    paper=PAPER,
    presets=PRESETS,
    together=("alpha", "rho", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
    falsify=falsify,
    block=20,
    prepare=prepare,
    batch=20,
)
