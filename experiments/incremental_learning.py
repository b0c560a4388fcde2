"""Incremental learning: from a small start the singular values of M are learnt one after another.

Symmetric gradient descent at small alpha first fits the largest singular value, stays near the best approximation of
rank one, then learns the second, and so on. Direction i leaves the noise at a time that grows like
log(1/alpha) / (eta sigma_i).
"""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.backend import to_numpy
from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors
from lrtheory.sensing.trials import measured, runs, table
from lrtheory.spectra import distance, singular_values, spectrum
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import SEEDS, cases, largest, per_cell, where

PAPER = "arXiv:2301.11500"


def preset(n, r, kappa, m, alphas, steps, seeds, form="gram", storage="float64"):
    shared = dict(n=n, r=r, k=2 * r, kappa=kappa, spectrum="geometric", step_size=0.1, max_steps=steps, alpha=alphas)
    seeds = dict(seed=range(seeds), init_seed=0)
    gaussian = dict(operator="gaussian", m=m, form=form, storage=storage)
    return grid(operator="identity", **shared, **seeds) + grid(**gaussian, **shared, **seeds)


PRESETS = {
    "small": preset(20, 3, 6, 1200, [1e-2, 1e-4, 1e-6], 1500, seeds=5),
    "paper": preset(50, 5, 16, 5000, [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6], 4000, seeds=10),
    # operators of 5.4 GB, for a GPU
    "large": preset(300, 5, 16, 30_000, [1e-2, 1e-4, 1e-6], 4000, seeds=5, form="packed", storage="float32"),
}


def method(c):
    return GradientDescent(c["step_size"]), RandomFactors(c["k"], c["alpha"])


def run(cells, device):
    """Record at every step the singular values of the estimate, and its distance to the best approximations of M."""
    seen = []

    def look(iteration, state, metrics):
        values = to_numpy(singular_values(state.x))[:, : r + 1]
        seen.append(np.concatenate([values, *(distances(state.x, truth) for truth in best)], axis=1))

    def watched(c, device):
        nonlocal r, best
        made = measured(c | {"symmetric": True}, device)
        r = c["r"]
        best = [Factors(made.truth.left[..., : s + 1]) for s in range(r)]
        return made

    r, best = 0, []
    for group, _, result in runs(cells, device, method, problem=watched, record="all", callback=look):
        found = np.array(seen)
        seen.clear()
        for i, cell in enumerate(group):
            names = [f"sigma_{j + 1}" for j in range(r + 1)] + [f"distance_{j + 1}" for j in range(r)]
            yield cell, table(result, i, **dict(zip(names, found[:, i].T, strict=True)))


def distances(x, truth):
    return to_numpy(distance(x, truth))[:, None]


AXES = [
    *("operator", "n", "r", "k", "kappa", "spectrum", "m", "alpha", "step_size", "max_steps", "form", "storage"),
    *SEEDS,
]


def measure(cell):
    """For each singular value the time at which it is half learnt; for each rank s the smallest distance, relative to
    |M|, to the best approximation of rank s."""
    first = cell.iloc[0]
    r = int(first["r"])
    target = limits(first)
    size = np.linalg.norm(target)
    found = {f"time_{i + 1}": half_time(cell, f"sigma_{i + 1}", target[i] / 2) for i in range(r)}
    return found | {f"near_{i + 1}": cell[f"distance_{i + 1}"].min() / size for i in range(r)}


def limits(cell):
    """The singular values of M."""
    return spectrum(int(cell["r"]), cell["kappa"], cell["spectrum"])


def half_time(cell, name, half):
    """The first time at which a singular value reaches `half`, interpolated in its logarithm; NaN if it never does."""
    t, values = cell["iteration"].to_numpy(), cell[name].to_numpy()
    above = np.flatnonzero(values >= half)
    if len(above) == 0 or above[0] == 0:
        return np.nan
    i = above[0]
    return float(np.interp(np.log(half), np.log(values[i - 1 : i + 1]), t[i - 1 : i + 1]))


def summary(frame):
    ranks = range(1, 1 + int(frame["r"].max()) if len(frame) else 1)
    return per_cell(frame, AXES, [f"{name}_{s}" for name in ("time", "near") for s in ranks], measure)


def claims(frame):
    if frame.empty:
        return []
    return sorted([*delay_claims(summary(frame)), *visit_claims(summary(frame))], key=lambda claim: claim.id)


def delay_claims(rows):
    """log(1 + eta sigma_i) times the delay that a smaller alpha costs, over log of the ratio of the alphas."""
    for end, case, part in cases(where(rows, operator="identity"), AXES, ("alpha", *SEEDS)):
        few, many = part["alpha"].min(), part["alpha"].max()
        if not few < many:
            continue
        for i, sigma in enumerate(limits(part.iloc[0])):
            late, early = (where(part, alpha=a).set_index(list(SEEDS))[f"time_{i + 1}"] for a in (few, many))
            unit = np.log1p(part["step_size"].iloc[0] * sigma) / np.log(many / few)
            statement = (
                f"population{case}: mean of log(1 + eta sigma_{i + 1}) (t(alpha) - t(alpha')) / log(alpha'/alpha) is "
                f"1, t the time at which singular value {i + 1} is half learnt, alpha = {few:g}, alpha' = {many:g}"
            )
            source = "derived: u_i^T X grows by 1 + eta sigma_i a step while it is small"
            yield mean_claim(f"I1.delay.sigma{i + 1}{end}", statement, source, (0.99, 1.01), (late - early) * unit)


def visit_claims(rows):
    for end, case, part in cases(rows, AXES, ("alpha", *SEEDS), ["operator"]):
        smallest = where(part, alpha=part["alpha"].min())
        for s in range(1, int(part["r"].iloc[0])):
            near = smallest.set_index(list(SEEDS))[f"near_{s}"]
            statement = (
                f"mean of min_t |X_t X_t^T - M_s|_F / |M|_F is below 0.1 for s = {s}, M_s the best approximation of "
                f"rank s, alpha = {smallest['alpha'].iloc[0]:g}{case}"
            )
            source = f"gradient descent passes near the best solution of each rank, {PAPER}; the bound 0.1 is ours"
            yield mean_claim(f"I2.visit.s{s}{end}", statement, source, (None, 0.1), near)


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        for ax, operator in zip(axes, ("identity", "gaussian"), strict=True):
            rows = largest(where(frame, operator=operator), [a for a in AXES if a in frame], ["alpha"])
            if len(rows.dropna(subset="sigma_1")):
                panel(ax, where(rows, alpha=rows["alpha"].min()))
            else:
                plotting.no_data(ax)
        return fig


def panel(ax, rows):
    first = rows.iloc[0]
    late = 0
    for i, sigma in enumerate(limits(first)):
        plotting.band(ax, rows, "iteration", f"sigma_{i + 1}", i, rf"$\sigma_{i + 1}(XX^\top)$, limit {sigma:.2g}")
        late = np.nanmax([late, half_time(where(rows, seed=first["seed"]), f"sigma_{i + 1}", 0.9 * sigma)])
    r = int(first["r"])
    plotting.band(ax, rows, "iteration", f"sigma_{r + 1}", r, rf"$\sigma_{r + 1}(XX^\top)$, redundant")
    start = 4 * first["alpha"] ** 2
    t = np.arange(0, 1 + int(late))
    for i, sigma in enumerate(limits(first)):
        grown = start * (1 + first["step_size"] * sigma) ** (2.0 * t)
        label = r"$\propto(1+\eta\sigma_i)^{2t}$" if i == 0 else None
        plotting.theory(ax, t[grown < sigma], grown[grown < sigma], label)
    ax.set_xlim(0, 1.3 * late if late else None)
    name = "population" if first["operator"] == "identity" else f"$m={first['m']:g}$"
    xlabel = rf"iteration $t$ ({name}, $\alpha=${first['alpha']:g})"
    decorations = dict(yscale="log", ylim=(start / 1e8, 3), legend="lower right")
    plotting.decorate(ax, xlabel, r"singular values of the estimate $XX^\top$", **decorations)


experiment = Experiment(
    name="incremental_learning",
    version=1,
    title="Incremental learning: singular values appear one after another",
    paper=PAPER,
    presets=PRESETS,
    together=("alpha", "init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
    block=15,
    batch=15,
)
