"""Frequencies of the initialisations, and what is known of those of HiPPO-LegS: roots of a secular equation."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.ssm import legs_spectrum, legs_spectrum_dense, poles, theory
from lrtheory.sweep import Experiment, grid, slope_claim, value_claim
from lrtheory.sweep.frames import cases, complete, finished, largest

PAPER = "arXiv:2206.11893"
DERIVED = "derived, checked numerically"
INITS = ("legs", "inv", "lin", "quad", "inv2")
SIZES = (4, 16, 64, 256)
DENSE = 1024  # the largest state whose eigenvalues are also computed from the dense matrix


def preset(sizes):
    return grid(quantity="frequencies", init=INITS, N=64) + grid(quantity="legs", init="legs", N=sizes)


PRESETS = {
    "small": preset(SIZES),
    "paper": preset((*SIZES, 1024)),
    "large": preset((*SIZES, 1024, 4096)),
}


def frequencies(c):
    """Imaginary parts of the stored modes, from the slowest."""
    frequency = np.sort(poles(c["N"], c["init"]).imag)
    return {"mode": np.arange(len(frequency)), "frequency": frequency}


def legs(c):
    """The closed-form spectrum, held against the dense eigenvalues, the sum rule and the leading terms for large N."""
    N = c["N"]
    check_name("init", c["init"], ("legs",))
    w, b = legs_spectrum(N)
    dense = np.max(np.abs(legs_spectrum_dense(N)[0] / w - 1)) if N <= DENSE else np.nan
    order = np.argsort(w)
    return {
        "mode": np.arange(N // 2),
        "frequency": w[order],
        "asymptote": theory.legs_frequency(N, np.arange(N // 2), terms=2)[order],
        "dense_error": dense,
        "sum_error": abs(2 * np.sum(b**2) / N**2 - 1),
        "top_gap": N**2 / np.pi - w[0],
    }


MEASURED = {"frequencies": frequencies, "legs": legs}


def run(cells, device):
    for c in cells:
        yield c, MEASURED[check_name("quantity", c["quantity"], MEASURED)](c)


AXES = ["quantity", "init", "N"]
FOUND = ["mode", "frequency", "asymptote", "dense_error", "sum_error", "top_gap"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, *FOUND])
    rows = rows[rows["quantity"] == "legs"].drop_duplicates("N").sort_values("N")
    return [] if rows.empty else [*spectrum_claims(rows), *asymptote_claims(rows)]


def spectrum_claims(rows):
    for end, case, part in cases(rows, AXES, (), ["N"]):
        if part["N"].iloc[0] <= 256:
            statement = f"largest relative difference of secular roots and dense eigenvalues{case}"
            yield value_claim(f"S4D.T1.roots{end}", statement, DERIVED, (0.0, 1e-11), part["dense_error"].iloc[0])
        statement = f"relative error of the sum of |B|^2 over all modes, against N^2{case}"
        yield value_claim(f"S4D.T1.sum{end}", statement, DERIVED, (0.0, 1e-12), part["sum_error"].iloc[0])


def asymptote_claims(rows):
    rows = rows[rows["N"] >= 16]
    if rows.empty:
        return
    top = rows.loc[rows["N"].idxmax()]
    # half a unit in the last place of N^2 / pi, and as much of the root
    rounding = top["N"] ** 2 / np.pi * np.finfo(float).eps
    statement = f"N^2/pi - w_0 at the largest N, {top['N']:g}, over pi/6"
    gap = top["top_gap"] / (np.pi / 6)
    yield value_claim("S4D.T2.limit", statement, DERIVED, (0.99, 1.01), gap, rounding)
    remainder = (rows["top_gap"] - np.pi / 6).abs()
    resolved = remainder > 100 * rows["N"] ** 2 / np.pi * np.finfo(float).eps
    statement = "exponent of N in |N^2/pi - w_0 - pi/6|, N >= 16, where rounding leaves two digits, is -2"
    usable = resolved | remainder.isna()
    yield slope_claim("S4D.T2.slope", statement, DERIVED, (-2.1, -1.9), rows["N"][usable], remainder[usable])


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(finished(frame, "frequency"), [*AXES, *FOUND])
        for ax, panel in zip(axes, (initialisation_panel, legs_panel), strict=True):
            panel(ax, frame)
        return fig


def initialisation_panel(ax, frame):
    rows = largest(frame[frame["quantity"] == "frequencies"], ["N", "init"], ["init"])
    if rows.empty:
        return plotting.no_data(ax)
    for i, name in enumerate(name for name in INITS if name in set(rows["init"])):
        plotting.band(ax, rows[rows["init"] == name], "mode", "frequency", i, name, floor=1e-3)
    label = rf"mode, from the slowest ($N={rows['N'].iloc[0]:g}$)"
    plotting.decorate(ax, label, r"$\mathrm{Im}\,a_n$", yscale="log", legend="lower right")


def legs_panel(ax, frame):
    rows = frame[frame["quantity"] == "legs"]
    if rows.empty:
        return plotting.no_data(ax)
    part = rows[rows["N"] == rows["N"].max()]
    size = part["N"].iloc[0]
    rank = (len(part) - part["mode"]).to_numpy()
    ax.plot(rank, part["frequency"], label=f"legs, $N={size:g}$", **plotting.look(1))
    label = r"$N^2/((2j+1)\pi)-(2j+1)\pi/6$"
    asymptote = part["asymptote"].where(part["asymptote"] > 0)
    plotting.theory(ax, rank, asymptote, label)
    plotting.decorate(ax, "mode $j+1$, from the fastest", r"$w_j$", xscale="log", yscale="log", legend="lower left")


experiment = Experiment(
    name="s4d_spectra",
    version=1,
    title="Frequencies of S4D initialisations",
    paper=PAPER,
    presets=PRESETS,
    together=("init",),
    run=run,
    figure=figure,
    claims=claims,
)
