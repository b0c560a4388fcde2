"""ScaledGD beside gradient descent: one is blind to the condition number, the other slows down with it.

Both from the same spectral start, with the same step size, at k = r.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrtheory import plotting
from lrtheory.sensing.methods import USUAL, published
from lrtheory.sensing.trials import late_rate, runs, table
from lrtheory.solve import Below
from lrtheory.sweep import Experiment, grid, mean_claim
from lrtheory.sweep.frames import SEEDS, cases, finished, largest, per_cell

PAPER = "arXiv:2005.08898"


def preset(n, r, m, steps, seeds, form="dense", storage="float64"):
    shared = dict(operator="gaussian", n=n, r=r, k=r, m=m, kappa=[1.0, 5.0, 10.0, 20.0], tolerance=1e-6, form=form)
    shared |= dict(storage=storage, finest=1e-14, seed=range(seeds), init_seed=0)
    return grid(method="scaled_gd", max_steps=steps, **USUAL["scaled_gd"], **shared) + grid(
        method="gd_spectral", max_steps=4 * steps, **USUAL["gd_spectral"], **shared
    )


PRESETS = {
    "small": preset(60, 3, 900, 300, seeds=5),
    # the paper's code: n = 200, r = 10, m = 5 n r, T = 1000, eta = 0.5 (gradient descent: 0.5 / sigma_1), stop at 1e-14
    "paper": preset(200, 10, 10_000, 1000, seeds=5, storage="float32"),
    "large": preset(200, 10, 10_000, 1000, seeds=32, storage="float32"),
}


def run(cells, device):
    for group, _, result in runs(cells, device, published, stop=Below("relative_error", cells[0]["finest"])):
        for i, cell in enumerate(group):
            yield cell, table(result, i)


AXES = [
    *("method", "operator", "n", "r", "k", "m", "kappa", "step_size", "max_steps", "tolerance", "form", "storage"),
    "finest",
    *SEEDS,
]


def measure(cell):
    first = cell["first_below"].iloc[0]
    return {"iterations": first if first >= 0 else np.nan, "rate": late_rate(cell)}


def summary(frame):
    """One row for each cell: iterations to the tolerance (NaN if never), and the rate of err^2."""
    return per_cell(frame, AXES, ["iterations", "rate"], measure)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    return [*blind_claims(rows[rows["method"] == "scaled_gd"]), *slowed_claims(rows[rows["method"] == "gd_spectral"])]


def blind_claims(rows):
    for end, case, part in cases(rows, AXES, ("kappa", *SEEDS)):
        if part["kappa"].nunique() > 1:
            counts = part.pivot(index=list(SEEDS), columns="kappa", values="iterations")
            spread = counts.max(axis=1, skipna=False) / counts.min(axis=1, skipna=False)
            statement = (
                f"ScaledGD{case}: mean ratio of the largest to the smallest number of iterations, over kappa, to "
                f"relative error {part['tolerance'].iloc[0]:g}"
            )
            source = f"rate independent of the condition number, {PAPER}; the bound 1.2 is ours"
            yield mean_claim(f"E7.blind{end}", statement, source, (1.0, 1.2), spread)


def slowed_claims(rows):
    for end, case, part in cases(rows, AXES, ("kappa", *SEEDS)):
        if part["kappa"].nunique() > 1:
            rates = part.pivot(index=list(SEEDS), columns="kappa", values="rate")
            slopes = np.polynomial.polynomial.polyfit(np.log(rates.columns), np.log(rates.to_numpy()).T, 1)[1]
            statement = f"gradient descent{case}: mean slope of log rate of err^2 against log kappa is about -1"
            source = f"contraction 1 - O(1/kappa) an iteration, {PAPER}"
            yield mean_claim(f"E7.slowed{end}", statement, source, (-1.3, -0.7), pd.Series(slopes, index=rates.index))


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        titles = {"scaled_gd": "ScaledGD", "gd_spectral": "gradient descent"}
        frame = finished(frame)
        for ax, (method, name) in zip(axes, titles.items(), strict=True):
            rows = frame[frame["method"] == method] if "method" in frame else frame
            if len(rows):
                panel(ax, largest(rows, [a for a in AXES if a in rows], ["kappa"]), name)
            else:
                plotting.no_data(ax)
        return fig


def panel(ax, rows, name):
    rates = summary(rows).groupby("kappa")["rate"].median() / 2

    def label(kappa, _):
        return rf"$\kappa={kappa:g}$: $e^{{-{rates[kappa]:.2g}\,t}}$"

    plotting.series(ax, rows, "iteration", "relative_error", "kappa", label, floor=rows["finest"].iloc[0])
    ylabel = r"relative error $\|FG^\top-M\|_F\,/\,\|M\|_F$"
    decorations = dict(yscale="log", ylim=(rows["finest"].iloc[0], 3), legend="upper right")
    plotting.decorate(ax, f"iteration $t$ ({name})", ylabel, **decorations)


experiment = Experiment(
    name="scaled_gd",
    version=2,
    title="ScaledGD does not see the condition number",
    paper=PAPER,
    presets=PRESETS,
    together=("init_seed", "seed"),
    run=run,
    figure=figure,
    claims=claims,
    block=10,
)
