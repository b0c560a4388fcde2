"""Basis kernels: the functions of time that a state space's coordinates are, and what small changes do to them.

HiPPO-LegS has warped Legendre polynomials. Its normal part alone oscillates about them; other diagonal systems have
damped sinusoids; and a random matrix of rank one in place of LegS's own makes the system unstable before long.
"""

from __future__ import annotations

import functools

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.ssm import dense_basis, hippo_fout, hippo_legs, legs_basis, legs_normal_system, perturbed_legs, poles
from lrtheory.sweep import Experiment, grid, share_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished

PAPER = "arXiv:2206.11893"
PICTURE = "a picture of the paper's companion; derived numbers are ours"
LENGTH = 1024
END = 8.0
DIAGONAL = ("lin", "inv", "real")
ORDERS = (0, 1, 2, 3)


def preset(sizes, perturbed, seeds):
    return (
        grid(system="legs", N=32, order=ORDERS)
        + grid(system="legs_normal", N=sizes, order=ORDERS, rule=["zoh", "bilinear"])
        + grid(system=DIAGONAL, N=64, order=ORDERS)
        + grid(system=["fout", "fout_normal"], N=128, order=ORDERS)
        + grid(system="perturbed", N=perturbed, order=ORDERS, sigma=[0.1, 0.3, 0.4, 0.5], seed=range(seeds))
    )


PRESETS = {
    "small": preset([256, 1024], 256, seeds=8),
    "paper": preset([256, 1024], 256, seeds=20),
    "large": preset([256, 1024, 4096], 512, seeds=20),
}


def exact(c):
    """LegS in closed form, and its distance from the matrix exponential of the N x N matrix."""
    from scipy.linalg import expm

    times, n = time_points(), c["order"]
    values = legs_basis(n, times)
    A, B, _ = hippo_legs(c["N"])
    dense = [float((expm(t * A) @ B)[n]) for t in times[::64]]
    return {"value": values, "dense_error": float(np.max(np.abs(values[::64] - dense)))}


def normal(c):
    """LegS's normal part with B / 2, discretised: samples over dt."""
    dt = END / LENGTH
    return {"value": legs_normal_system(c["N"], c["order"], dt, c["rule"]).kernel(LENGTH) / dt}


def diagonal(c):
    """Re exp(t a_n), the slowest modes first; the mode at zero frequency is left out."""
    a = poles(c["N"], c["system"])
    a = a[np.argsort(np.abs(a))]
    return {"value": np.exp(time_points() * a[a != -0.5][c["order"]]).real}


def perturbed(c):
    """e_n^T exp(t A') B for LegS plus p p^T with p normal of standard deviation sigma, and the largest real part."""
    values, abscissa = perturbation(c["N"], c["sigma"], c["seed"])
    return {"value": values[c["order"]], "abscissa": abscissa}


@functools.lru_cache(maxsize=4)
def perturbation(N, sigma, seed):
    A, B = perturbed_legs(N, sigma, seed)
    return dense_basis(A, B, END / LENGTH, LENGTH)[: max(ORDERS) + 1], float(np.max(np.linalg.eigvals(A).real))


def fourier(c):
    """HiPPO-FouT, which forgets after one unit of time, and without its low-rank term, which does not."""
    A, B = hippo_fout(c["N"], low_rank=c["system"] == "fout")
    return {"value": dense_basis(A, B, END / LENGTH, LENGTH)[2 * c["order"]]}


def time_points():
    return np.arange(LENGTH) * (END / LENGTH)


MADE = {
    "legs": exact,
    "legs_normal": normal,
    "perturbed": perturbed,
    "fout": fourier,
    "fout_normal": fourier,
    **dict.fromkeys(DIAGONAL, diagonal),
}


def run(cells, device):
    for c in cells:
        yield c, {"time": time_points(), **MADE[check_name("system", c["system"], MADE)](c)}


AXES = ["system", "N", "order", "rule", "sigma", "seed"]
FOUND = ["time", "value", "dense_error", "abscissa"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, *FOUND]).drop_duplicates(AXES)
    return [*closed_form_claims(rows), *stability_claims(rows)]


def closed_form_claims(rows):
    for end, case, part in cases(rows[rows["system"] == "legs"], AXES, ("order",), ["N"]):
        statement = f"largest difference of the closed form from the matrix exponential{case}"
        source = "derived: Legendre polynomials in exp(-t)"
        worst = part["dense_error"].max(skipna=False)
        yield value_claim(f"S4D.F1.legs{end}", statement, source, (0.0, 1e-11), worst)


def stability_claims(rows):
    """A weak random matrix of rank one leaves LegS stable; one as strong as sigma = 1/2 does not."""
    part = rows[(rows["system"] == "perturbed") & (rows["order"] == rows["order"].min())]
    for end, case, group in cases(part, AXES, ("seed", "order"), ["sigma"]):
        if group["sigma"].iloc[0] not in (0.1, 0.5):
            continue
        weak = group["sigma"].iloc[0] == 0.1
        stable = (group["abscissa"] < 0).where(group["abscissa"].notna())
        words = "above" if weak else "below"
        statement = f"share of seeds with a stable LegS + p p^T is {words} a half{case}"
        predicted = (0.5, 1.0) if weak else (0.0, 0.5)
        yield share_claim(f"S4D.F1.stable{end}", statement, PICTURE, predicted, by_seed(group, stable))


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(3, 3)
        frame = complete(finished(frame, "value"), [*AXES, *FOUND])
        normals = frame[frame["system"] == "legs_normal"]
        small, large = normals["N"].min(), normals["N"].max()
        unstable = frame[(frame["system"] == "perturbed") & (frame["sigma"] == 0.3)]
        panels = [
            ("LegS (S4)", frame[frame["system"] == "legs"]),
            (
                f"S4D-LegS, $N={small:g}$, bilinear",
                normals[(normals["N"] == small) & (normals["rule"] == "bilinear")],
            ),
            (f"S4D-LegS, $N={large:g}$, ZOH", normals[(normals["N"] == large) & (normals["rule"] == "zoh")]),
            ("S4D-Lin", frame[frame["system"] == "lin"]),
            ("S4D-Inv", frame[frame["system"] == "inv"]),
            ("S4D-Real", frame[frame["system"] == "real"]),
            ("FouT, $N=128$", frame[frame["system"] == "fout"]),
            ("FouT, no low-rank term", frame[frame["system"] == "fout_normal"]),
            (r"LegS $+\,pp^\top$, $\sigma=0.3$", unstable[unstable["seed"] == unstable["seed"].min()]),
        ]
        for ax, (title, rows) in zip(axes, panels, strict=True):
            panel(ax, title, rows)
        return fig


def panel(ax, title, rows):
    if rows.empty:
        return plotting.no_data(ax)
    for i, (n, part) in enumerate(rows.groupby("order")):
        part = part[part["N"] == part["N"].min()]
        ax.plot(part["time"], part["value"], label=f"$n={n:g}$", **(plotting.look(i) | {"linewidth": 0.8}))
    if "FouT" in title:
        ax.set_xlim(0, 2.5)  # its kernels oscillate on, or end after one unit of time
    legend = "upper right" if ax.get_subplotspec().is_first_row() else None
    plotting.decorate(ax, f"$t$ ({title})", r"$K_n(t)$", legend=legend)


experiment = Experiment(
    name="s4d_basis",
    version=1,
    title="Basis kernels of S4, S4D and perturbed HiPPO matrices",
    paper=PAPER,
    presets=PRESETS,
    together=("order",),
    run=run,
    figure=figure,
    claims=claims,
)
