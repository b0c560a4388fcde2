"""How many states a diagonal system needs: Hankel singular values, and what balanced truncation loses."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, balanced_truncation, hankel_singular_values, poles
from lrtheory.ssm.legs import legs_spectrum
from lrtheory.ssm.norms import difference, hinf_norm
from lrtheory.sweep import Experiment, grid, mean_claim, median_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest

PAPER = "arXiv:2206.11893"
OBSERVED = "observed; the bound is ours"
INITS = ("legs", "inv", "lin", "quad", "real")
RICH = ("inv", "lin", "quad")
RANKS = (2, 4, 8, 16, 32)
ROUNDING = 2e-14  # of the difference of two transfer functions, over s_1


def preset(sizes, ranks, seeds):
    return (
        grid(quantity="values", init=INITS, N=sizes, seed=range(seeds))
        + grid(quantity="truncation", init=("lin", "real"), N=64, rank=ranks, seed=range(seeds))
        + grid(quantity="aliasing", init="lin", N=64, dt=[0.1, 0.01], window=512, seed=range(5))
    )


PRESETS = {
    "small": preset([16, 64], RANKS, seeds=20),
    "paper": preset([16, 64, 256], RANKS, seeds=20),
    "large": preset([16, 64, 256, 1024], (*RANKS, 48), seeds=20),
}


def system(c):
    """B = 1 (of legs: the projected B), C standard normal."""
    N, real = c["N"], c["init"] == "real"
    stream = Stream(c["seed"], "readout", N)
    a = poles(N, c["init"])
    C = stream.normal((N,)) if real else stream.normal((2, N // 2)) / np.sqrt(2)
    C = C if real else C[0] + 1j * C[1]
    B = legs_spectrum(N)[1] + 0j if c["init"] == "legs" else np.ones_like(a)
    return DiagonalSSM(a, B, C, c.get("dt", 1.0), conjugate_pairs=not real)


def values(c):
    """Hankel singular values of the continuous system over the largest."""
    s = hankel_singular_values(system(c))
    return {"index": np.arange(1, len(s) + 1), "value": s / s[0]}


def truncation(c):
    """Largest error of the transfer function after balanced truncation, and both bounds, over s_1."""
    given = system(c)
    reduced, found = balanced_truncation(given, c["rank"])
    scale = found.hankel_singular_values[0]
    return {
        "error": float(hinf_norm(difference(given, reduced))[0] / scale),
        "lower": float(found.lower_bound / scale),
        "upper": float(found.upper_bound / scale),
    }


def aliasing(c):
    """Numerical rank of a window of the Hankel matrix of the sampled kernel."""
    kernel = system(c).kernel(2 * c["window"] - 1)
    rows = np.arange(c["window"])
    s = np.linalg.svd(kernel[rows[:, None] + rows], compute_uv=False)
    return {"rank_found": int(np.sum(s > 1e-12 * s[0]))}


MEASURED = {"values": values, "truncation": truncation, "aliasing": aliasing}


def run(cells, device):
    for c in cells:
        yield c, MEASURED[check_name("quantity", c["quantity"], MEASURED)](c)


AXES = ["quantity", "init", "N", "rank", "dt", "window", "seed"]
FOUND = ["index", "value", "error", "lower", "upper", "rank_found"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, *FOUND])
    return [*decay_claims(rows), *bound_claims(rows), *rank_claims(rows)]


def at(part, index):
    """The value of that index for each seed; NaN where a cell failed."""
    found = part[part["index"] == index].set_index("seed")["value"]
    return found.reindex(part["seed"].unique())


def decay_claims(rows):
    for end, case, part in cases(rows[rows["quantity"] == "values"], AXES, ("seed",), ["init", "N"]):
        name, N = part["init"].iloc[0], part["N"].iloc[0]
        if name == "real" and 32 <= N <= 128:  # the more poles, the slower: at N = 256 some 0.2^j / 0.1 at j = 8
            for j in (8, 16):
                statement = f"median over seeds of s_{j + 1} / s_1{case}, is below 0.2^{j}"
                bounds = (0.0, 0.2**j)
                small = by_seed_of(at(part, j + 1))
                yield median_claim(f"S4D.T8.decay{j}{end}", statement, OBSERVED, bounds, small)
        if name in RICH and N >= 16:
            statement = f"mean over seeds of s_(N/4) / s_1{case}, is above 0.05"
            yield mean_claim(f"S4D.T8.rich{end}", statement, OBSERVED, (0.05, 1.0), by_seed_of(at(part, N // 4)))


def by_seed_of(values):
    return by_seed(values.reset_index(), values)


def bound_claims(rows):
    """Both bounds on the error of balanced truncation, to the rounding of the norm."""
    part = rows[rows["quantity"] == "truncation"]
    for end, case, group in cases(part, AXES, ("rank", "seed"), ["init"]):
        slack = 1e-6 * group["error"] + 1e-12
        outside = np.maximum(group["lower"] - group["error"] - slack, group["error"] - group["upper"] - slack)
        statement = f"largest excess of the error over its bounds s_(r+1) and 2 sum s_i, over ranks and seeds{case}"
        source = "identity: Glover 1984"
        worst = outside.clip(lower=0.0).max(skipna=False) if group["error"].notna().all() else np.nan
        yield value_claim(f"S4D.F6.bounds{end}", statement, source, (0.0, 0.0), worst)


def rank_claims(rows):
    part = rows[(rows["quantity"] == "aliasing") & (rows["N"] == 64) & (rows["dt"] == 0.1)]
    for end, case, group in cases(part, AXES, ("seed",), ["init"]):
        source = "derived: frequencies pi n fold at n = 1 / dt"
        statement = f"mean numerical rank of a {group['window'].iloc[0]:g} x {group['window'].iloc[0]:g} Hankel matrix"
        values = by_seed(group, "rank_found")
        yield mean_claim(f"S4D.F6.rank{end}", f"{statement}, dt = 0.1, N = 64{case}, is 20", source, (20, 20), values)


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(frame, [*AXES, *FOUND])
        values_panel(axes[0], finished(frame[frame["quantity"] == "values"], "value"))
        truncation_panel(axes[1], finished(frame[frame["quantity"] == "truncation"], "error"))
        return fig


def values_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    rows = rows[rows["N"] == rows["N"].max()]
    for i, name in enumerate(name for name in INITS if name in set(rows["init"])):
        plotting.band(ax, rows[rows["init"] == name], "index", "value", i, name, floor=1e-18)
    label = f"index $j$ ($N={rows['N'].iloc[0]:g}$)"
    plotting.decorate(
        ax, label, r"Hankel singular value $s_j/s_1$", yscale="log", ylim=(1e-18, 3), legend="center right"
    )


def truncation_panel(ax, rows):
    if rows.empty:
        return plotting.no_data(ax)
    rows = largest(rows, AXES, ["init", "rank"])
    for i, name in enumerate(name for name in INITS if name in set(rows["init"])):
        part = rows[rows["init"] == name]
        plotting.points(ax, part, "rank", "error", i, name)
        median = part.groupby("rank")[["lower", "upper"]].median()
        for j, (end, label) in enumerate((("lower", r"$\geq s_{r+1}$"), ("upper", r"$\leq 2\,\Sigma_{i>r}s_i$"))):
            plotting.theory(ax, median.index, median[end], label if i == 0 else None, ("0.25", "0.6")[j])
    label = f"order $r$ of the reduced system ($N={rows['N'].iloc[0]:g}$)"
    ax.axhspan(1e-18, ROUNDING, color="0.92", zorder=0)
    ax.text(2, ROUNDING / 3, "rounding", va="top", size=6.5)
    plotting.decorate(
        ax, label, r"$\|G-G_r\|_\infty/s_1$", xscale="log", yscale="log", ylim=(1e-17, None), legend="center left"
    )
    plotting.plain_ticks(ax, sorted(rows["rank"].unique()))


experiment = Experiment(
    name="ssm_reduction",
    version=1,
    title="Hankel singular values and reduction of diagonal systems",
    paper=PAPER,
    presets=PRESETS,
    together=("seed", "rank"),
    run=run,
    figure=figure,
    claims=claims,
)
