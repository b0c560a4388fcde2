"""Over-parameterisation slows gradient descent: the rates of symmetric and asymmetric matrix sensing.

Panels: (a) the 1/t^2 law of the symmetric factorisation at k > r, (b) linear convergence of the asymmetric one at
several initialisation scales alpha, (c) its rate against alpha, (d) one modified step that makes the rate
independent of alpha. Instances are drawn from (seed); the start from (seed, init_seed).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.backend import to_numpy
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import GivenFactors, RandomFactors, RebalancedGradientDescent
from lrtheory.random import Stream
from lrtheory.rates import fit_rate
from lrtheory.sensing import gaussian_problem, population_problem, reduce_population, theory
from lrtheory.solve import solve
from lrtheory.sweep import Experiment, grid, mean_claim, median_claim, share_claim

PAPER = "arXiv:2310.01769"
DERIVED = f"lrtheory.sensing.theory (derived); order: {PAPER}"
TOLERANCE = 1e-6  # of the relative error, where iterations are counted
R = 3
TRUTH = dict(r=R, init_seed=0)

# -- presets: a cell says everything that run reads ------------------------------------------------------------------


def population(n, symmetric_steps, asymmetric_steps):
    """Infinitely many measurements: T1 and T2 (symmetric), T4 and T6 (asymmetric)."""
    shared = dict(operator="identity", algorithm="gd", n=n, step_size=0.1, **TRUTH)
    asymmetric = dict(model="asymmetric", k=5, max_steps=asymmetric_steps, **shared)
    return (
        grid(model="symmetric", k=[3, 4, 5, 6], alpha=0.5, max_steps=symmetric_steps, seed=range(5), **shared)
        + grid(alpha=[0.1, 0.2], rho=1 / 3, seed=range(5), **asymmetric)
        + grid(alpha=0.4, rho=[1 / 3, 1.0], seed=range(20), **asymmetric)
    )


def measured(n, m, symmetric_steps, asymmetric_steps, storage="float64", form="gram"):
    """Gaussian measurements: T3 (symmetric, m and 2m), T5 (rate against alpha), T7 (the modified step)."""
    shared = dict(operator="gaussian", storage=storage, form=form, n=n, **TRUTH)
    symmetric = dict(model="symmetric", algorithm="gd", alpha=0.5, step_size=0.1, max_steps=symmetric_steps)
    asymmetric = dict(model="asymmetric", k=5, rho=1 / 3, step_size=0.2, max_steps=asymmetric_steps)
    return (
        grid(k=4, m=[m, 2 * m], seed=range(5), **symmetric, **shared)
        + grid(algorithm="gd", alpha=[0.1, 0.2, 0.4, 0.8], m=m, seed=range(10), **asymmetric, **shared)
        + grid(algorithm=["gd", "flat", "lift"], alpha=[0.05, 0.2, 0.5], m=m, seed=range(5), **asymmetric, **shared)
    )


PRESETS = {
    "small": population(50, 30_000, 60_000) + measured(20, 600, 20_000, 15_000),
    "paper": population(50, 100_000, 100_000) + measured(50, 10 * 50 * R, 100_000, 100_000),
}

# -- run --------------------------------------------------------------------------------------------------------------


def run(cells, device):
    """Solve cells that differ in alpha, rho, seed or init_seed only; one call of solve for each operator."""
    groups = {}
    for cell in cells:
        groups.setdefault(None if cell["operator"] == "identity" else cell["seed"], []).append(cell)
    for group in groups.values():
        yield from run_group(group, device)


def run_group(cells, device):
    cell = cells[0]
    column = {name: np.array([c[name] for c in cells]) for name in ("alpha", "seed", "init_seed")}
    rho = np.array([c["rho"] for c in cells]) if cell["model"] == "asymmetric" else None
    start = RandomFactors(cell["k"], column["alpha"], rho)
    stream = Stream(column["seed"], column["init_seed"])
    if cell["operator"] == "identity":
        problem = population_problem(cell["n"], cell["r"], seed=column["seed"], device=device)
        problem, x = reduce_population(problem, start(problem, stream.child("start")))
        start = GivenFactors(x)
    else:
        problem = gaussian_problem(
            cell["n"],
            cell["r"],
            int(cell["m"]),
            symmetric=cell["model"] == "symmetric",
            form=cell["form"],
            storage=cell["storage"],
            seed=cell["seed"],
            device=device,
        )
    algorithm = {
        "gd": GradientDescent(cell["step_size"]),
        "flat": RebalancedGradientDescent(cell["step_size"], "flat", rank=cell["r"]),
        "lift": RebalancedGradientDescent(cell["step_size"], "lift", rank=cell["r"]),
    }[cell["algorithm"]]
    result = solve(
        problem,
        algorithm,
        start=start,
        max_steps=cell["max_steps"],
        watch={"relative_error": TOLERANCE},
        stream=stream,
    )
    floor = np.broadcast_to(result.resolution["error"], len(cells)) ** 2
    weakest = np.linalg.svd(to_numpy(result.x.left), compute_uv=False)[:, -1]
    for i, cell in enumerate(cells):
        table = result.trace.table(i)
        once = np.ones(len(table["iteration"]))
        yield (
            cell,
            {
                "iteration": table["iteration"],
                "error_squared": table["error"] ** 2,
                "relative_error": table["relative_error"],
                "loss": table["loss"],
                "floor": once * floor[i],
                "sigma_k": once * weakest[i],
                "first_below": once * result.first_below["relative_error"][i],
                "rebalanced_at": once * result.events.get("rebalanced", np.full(len(cells), -1))[i],
            },
        )


# -- what the data say ------------------------------------------------------------------------------------------------

AXES = ["model", "operator", "algorithm", "n", "r", "k", "m", "alpha", "rho", "step_size", "seed", "init_seed"]


def summary(frame):
    """One row for each cell: fitted slope or log factor of the squared error, amplitude of 1/t^2, iteration counts."""
    frame = frame.reindex(columns=[*AXES, *(c for c in frame.columns if c not in AXES)])
    rows = []
    for key, run in frame.groupby(AXES, dropna=False, sort=True):
        cell = dict(zip(AXES, key, strict=True))
        run = run[run["iteration"] > 0]
        if run.empty:  # a cell that failed
            rows.append(cell)
            continue
        t, error = run["iteration"].to_numpy(), run["error_squared"].to_numpy()
        fit = fit_rate(t, error, floor=run["floor"].iloc[0])
        redundant = theory.redundant_directions(cell["n"], cell["r"], cell["k"])
        law = theory.symmetric_error_squared(t[-1], cell["step_size"], max(redundant, 1))
        last = run.iloc[-1]
        counted = last["first_below"] if last["first_below"] >= 0 else np.nan
        rows.append(
            cell
            | {
                "slope": fit.slope,
                "log_factor": np.log(fit.factor),
                "constant": error[-1] / law if redundant else np.nan,
                "sigma_k": last["sigma_k"],
                "iterations": counted - max(last["rebalanced_at"], 0),
            }
        )
    return pd.DataFrame(rows, columns=[*AXES, "slope", "log_factor", "constant", "sigma_k", "iterations"])


def where(frame, **conditions):
    """Rows that agree with every condition (numbers to rounding)."""
    keep = np.ones(len(frame), dtype=bool)
    for name, value in conditions.items():
        column = frame[name]
        keep &= (column == value) if isinstance(value, str) else np.isclose(column.astype(float), value)
    return frame[keep]


def per_seed(rows, value):
    """Average over init_seed; a Series indexed by seed."""
    return rows.assign(value=value).groupby("seed")["value"].mean()


def alpha_slopes(rows):
    """For each seed the slope of log rate against log alpha; NaN where an alpha has no rate."""
    rates = rows.assign(rate=-rows["log_factor"]).pivot_table("rate", ["seed", "init_seed"], "alpha", dropna=False)
    with np.errstate(invalid="ignore"):
        logs = np.log(rates.to_numpy())
    slopes = [np.polyfit(np.log(rates.columns), y, 1)[0] if np.isfinite(y).all() else np.nan for y in logs]
    return pd.Series(slopes, index=rates.index).groupby("seed").mean()


def claims(frame):
    if frame.empty:
        return []
    table = summary(frame)
    symmetric = where(table, model="symmetric", operator="identity")
    noisy = where(table, model="symmetric", operator="gaussian")
    asymmetric = where(table, model="asymmetric", operator="identity", algorithm="gd")
    sensing = where(table, model="asymmetric", operator="gaussian", algorithm="gd")
    return [
        *symmetric_claims(symmetric[symmetric["alpha"] >= 0.5]),
        *measured_claims(noisy[noisy["k"] > noisy["r"]]),
        *imbalance_claims(asymmetric),
        *rate_claims(sensing[sensing["alpha"].round(9).isin([0.1, 0.2, 0.4, 0.8])]),
        *modified_step_claims(where(table, model="asymmetric", operator="gaussian")),
    ]


def symmetric_claims(rows):
    for k, part in rows[rows["k"] > rows["r"]].groupby("k"):
        yield mean_claim(
            f"T1.slope.k{k}",
            f"population, k = {k}: mean slope of log err^2 against log t is -2",
            DERIVED,
            (-2.03, -1.97),
            per_seed(part, part["slope"]),
        )
        yield mean_claim(
            f"T1.constant.k{k}",
            f"population, k = {k}: mean of err^2 4 eta^2 t^2 / (k - r) at the last t is 1",
            DERIVED,
            (0.98, 1.02),
            per_seed(part, part["constant"]),
        )
    exact = rows[rows["k"] == rows["r"]]
    if len(exact):
        predicted = theory.exact_rank_log_factor(exact["step_size"], 1.0)
        yield mean_claim(
            "T2.rate",
            "population, k = r: mean ratio of the log factor of err^2 to 2 log(1 - eta sigma_r) is 1",
            DERIVED,
            (0.999, 1.001),
            per_seed(exact, exact["log_factor"] / predicted),
        )


def measured_claims(rows):
    for m, part in rows.groupby("m"):
        yield mean_claim(
            f"T3.slope.m{int(m)}",
            f"m = {int(m)}, k = {part['k'].iloc[0]}: mean slope of log err^2 against log t is about -2",
            f"Omega(1/T^2) lower bound, {PAPER}",
            (-2.1, -1.8),
            per_seed(part, part["slope"]),
        )
    sizes = sorted(rows["m"].unique())
    if len(sizes) > 1:
        few, many = (per_seed(part, part["constant"]) for part in (where(rows, m=sizes[0]), where(rows, m=sizes[-1])))
        yield mean_claim(
            "T3.constant",
            f"mean ratio of the constants of T1 at m = {int(sizes[0])} and m = {int(sizes[-1])} is above 1",
            "constant tends to 1 as m grows (observed)",
            (1.0, None),
            few / many,
        )


def imbalance_claims(rows):
    usual = where(rows, rho=1 / 3)
    closed = theory.rebalanced_log_factor(usual["step_size"], usual["sigma_k"])
    for alpha in (0.1, 0.2, 0.4):
        keep = np.isclose(usual["alpha"], alpha) & (usual["sigma_k"] ** 2 > 0.05 * alpha**2)
        if keep.any():
            part = usual[keep]
            yield mean_claim(
                f"T4.rate.alpha{alpha}",
                f"population, alpha = {alpha}: mean ratio of the log factor of err^2 to 2 log(1 - eta sigma_k(F)^2) is 1",
                "identity: " + DERIVED,
                (0.985, 1.015),
                per_seed(part, part["log_factor"] / closed[keep]),
            )
    shared = usual[usual["seed"].isin(usual.loc[usual["alpha"] < 0.15, "seed"])]
    if shared["alpha"].nunique() > 1:
        yield mean_claim(
            "T4.slope",
            "population: mean slope of log rate against log alpha is 2",
            f"exp(-Omega(alpha^2 T)), {PAPER}",
            (1.8, 2.2),
            alpha_slopes(shared),
        )
    unequal, equal = (where(rows, rho=rho, alpha=0.4) for rho in (1 / 3, 1.0))
    if len(equal) and len(unequal):
        gain = per_seed(unequal, unequal["log_factor"]) / per_seed(equal, equal["log_factor"])
        statement = "rate at rho = 1/3 over rate at rho = 1 (population, alpha = 0.4)"
        yield median_claim("T6.median", f"median over seeds of the {statement} is at least 3", PAPER, (3.0, None), gain)
        faster = (gain > 1).where(gain.notna())
        yield share_claim("T6.share", f"share of seeds where the {statement} exceeds 1", PAPER, (0.5, 1.0), faster)


def rate_claims(rows):
    if rows["alpha"].nunique() > 1:
        yield mean_claim(
            "T5.slope",
            f"m = {int(rows['m'].iloc[0])}: mean slope of log rate against log alpha is about 2",
            f"exp(-Omega(alpha^2 T)), {PAPER}",
            (1.85, 2.2),
            alpha_slopes(rows),
        )


def modified_step_claims(rows):
    for kind in ("flat", "lift"):
        part = where(rows, algorithm=kind)
        if part["alpha"].nunique() > 1:
            counts = part.pivot_table("iterations", ["seed", "init_seed"], "alpha", dropna=False)
            spread = counts.max(axis=1, skipna=False) / counts.min(axis=1, skipna=False)
            yield mean_claim(
                f"T7.{kind}",
                f"{kind}: mean over seeds of the largest over the smallest number of iterations, over alpha, from the "
                f"modified step to relative error {TOLERANCE:g}",
                f"reconstruction; alpha-free rate: {PAPER}",
                (1.0, 1.2),
                spread.groupby("seed").mean(),
            )


# -- figure -----------------------------------------------------------------------------------------------------------


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 2)
        known = frame.reindex(columns=[*AXES, *(c for c in frame.columns if c not in AXES)])
        table = summary(frame)
        panels = (
            (panel_symmetric, where(known, model="symmetric", operator="identity")),
            (panel_alpha, where(known, model="asymmetric", operator="gaussian", algorithm="gd")),
            (panel_rate, where(table, model="asymmetric", algorithm="gd", rho=1 / 3)),
            (panel_modified, where(known, model="asymmetric", operator="gaussian")),
        )
        for ax, (draw, data) in zip(axes, panels, strict=True):
            if len(data):
                draw(ax, data)
            else:
                plotting.no_data(ax)
        return fig


def panel_symmetric(ax, frame):
    frame = frame[frame["iteration"] > 0]
    r, eta = frame["r"].iloc[0], frame["step_size"].iloc[0]
    slopes = summary(frame).groupby("k")["slope"].median()

    def label(k, part):
        return f"$k={k}$" + (f", slope {slopes[k]:.3f}" if np.isfinite(slopes[k]) else " $=r$, linear")

    t = np.geomspace(30, frame["iteration"].max(), 50)
    for i, k in enumerate(plotting.series(ax, frame, "iteration", "error_squared", "k", label)):
        redundant = theory.redundant_directions(frame["n"].iloc[0], r, k)
        if redundant > 0:
            law = theory.symmetric_error_squared(t, eta, redundant)
            plotting.theory(ax, t, law, r"$(k-r)/(4\eta^2t^2)$" if i == 1 else None)
    plotting.decorate(
        ax,
        "iteration $t$",
        r"squared error $\|XX^\top-M\|_F^2$",
        xscale="log",
        yscale="log",
        ylim=(1e-12, 1e2),
        legend="lower left",
    )


def panel_alpha(ax, frame):
    rates = summary(frame)
    rates["unit"] = -rates["log_factor"] / 2 / rates["alpha"] ** 2
    unit = rates["unit"].median()
    shown = frame[frame["relative_error"] > 1e-13]
    for i, alpha in enumerate(
        plotting.series(ax, shown, "iteration", "relative_error", "alpha", lambda a, part: rf"$\alpha={a:g}$")
    ):
        median = where(shown, alpha=alpha).groupby("iteration")["relative_error"].median()
        anchor = median.index[np.argmin(np.abs(np.log(median / 1e-3)))]
        t = np.linspace(anchor, median.index[-1], 2)
        law = median[anchor] * np.exp(-unit * alpha**2 * (t - anchor))
        if np.isfinite(unit):
            plotting.theory(ax, t, law, rf"$\propto e^{{-{unit:.2g}\,\alpha^2t}}$" if i == 0 else None)
    plotting.decorate(
        ax,
        "iteration $t$",
        r"relative error $\|FG^\top-M\|_F/\|M\|_F$",
        yscale="log",
        ylim=(1e-13, 3),
        legend="upper right",
    )


def panel_rate(ax, table):
    table = table.assign(rate=-table["log_factor"]).dropna(subset="rate")
    names = {"identity": "population", "gaussian": "Gaussian"}
    for i, (operator, part) in enumerate(table.groupby("operator")):
        if operator == "identity":
            part = part[part["seed"].isin(part.loc[part["alpha"] == part["alpha"].min(), "seed"])]
        slope = alpha_slopes(part).mean() if part["alpha"].nunique() > 1 else np.nan
        label = names[operator] + (f", $m={int(part['m'].iloc[0])}$" if operator == "gaussian" else "")
        plotting.points(ax, part, "alpha", "rate", i, f"{label}: slope {slope:.2f}")
        middle = part.groupby("alpha")["rate"].median()
        law = middle.iloc[0] * (middle.index / middle.index[0]) ** 2
        plotting.theory(ax, middle.index, law, r"$\propto\alpha^2$" if i == 0 else None)
    plotting.decorate(
        ax,
        r"initialisation scale $\alpha$",
        r"rate $-\mathrm{d}\log\mathrm{err}^2/\mathrm{d}t$ (per iteration)",
        xscale="log",
        yscale="log",
        legend="upper left",
    )


def panel_modified(ax, frame):
    lines = {"gd": "-", "flat": (0, (1, 1)), "lift": (0, (6, 1, 1, 1))}
    alphas = sorted(where(frame, algorithm="flat")["alpha"].unique()) or sorted(frame["alpha"].unique())
    for kind, line in lines.items():
        for i, alpha in enumerate(alphas):
            part = where(frame, algorithm=kind, alpha=alpha)
            part = part[part["relative_error"] > 1e-13]
            if len(part):
                name = "plain" if kind == "gd" else kind
                plotting.band(
                    ax, part, "iteration", "relative_error", i, rf"{name}, $\alpha={alpha:g}$", linestyle=line
                )
    done = frame.loc[frame["algorithm"] != "gd", "first_below"].max()
    if np.isfinite(done) and done > 0:
        ax.set_xlim(0, 2.2 * done)
    plotting.decorate(
        ax,
        "iteration $t$",
        r"relative error $\|FG^\top-M\|_F/\|M\|_F$",
        yscale="log",
        ylim=(1e-13, 3),
        legend="lower left",
    )


experiment = Experiment(
    name="overparam_sensing",
    version=1,
    title="Over-parameterisation slows gradient descent in matrix sensing",
    paper=PAPER,
    presets=PRESETS,
    together=("alpha", "rho", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
    block=20,
    batch=20,
)
