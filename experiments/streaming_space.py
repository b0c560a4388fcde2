"""What a float of memory buys: error against the numbers kept, on three streams; heavy and light rows apart."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.streaming import instances, theory
from lrtheory.streaming.methods import method
from lrtheory.streaming.sampled import pareto
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, median_claim, share_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest, per_cell, where

PAPER = "arXiv:2412.11963"
RECONSTRUCTED = f"derived for a reconstruction of an instance of {PAPER}"
SIZES = (4, 8, 16, 32, 64)


def preset(subset, hard, heavy_tailed, split, sizes, gaps, seeds):
    cells = grid(instance="subset", method="heavy_rows", h_max=[s for s in sizes if s <= subset["h"]], **subset)
    for name, shared in (("subset", subset), ("hard", hard), ("pareto", heavy_tailed)):
        shared = dict(instance=name, seed=range(seeds), **shared)
        cells += grid(method=["frequent_directions", "row_sample"], size=sizes, **shared)
        cells += grid(method="count_sketch", size=[4 * s for s in sizes], **shared)
        if name != "subset":
            cells += grid(method=["heavy_block_power", "heavy_history"], h_max=[0, 1, *sizes], **shared)
            cells += grid(method="history", block_size=100, **shared)
    shared = dict(instance="split", gap=gaps, seed=range(seeds), **split)
    return cells + grid(method=["heavy_select", "heavy_block_power"], h_max=4, **shared)


PRESETS = {
    "small": preset(
        dict(h=64, quotient=8.0),
        dict(d=500, k=4),
        dict(n=10_000, d=100),
        dict(m=2000, d=100),
        SIZES,
        [4.0, 16.0, 64.0, 256.0],
        9,
    ),
    "paper": preset(
        dict(h=256, quotient=[8.0, 32.0]),
        dict(d=5000, k=5),
        dict(n=100_000, d=500),
        dict(m=20_000, d=500),
        (*SIZES, 128),
        [4.0, 16.0, 64.0, 256.0, 1024.0],
        20,
    ),
    "large": preset(
        dict(h=1024, quotient=[8.0, 32.0]),
        dict(d=20_000, k=5),
        dict(n=1_000_000, d=1000),
        dict(m=200_000, d=1000),
        (*SIZES, 128, 256),
        [4.0, 16.0, 64.0, 256.0, 1024.0],
        20,
    ),
}


def instance(c):
    stream = Stream(c.get("seed", 0), "rows")
    check_name("instance", c["instance"], ("subset", "hard", "split", "pareto"))
    if c["instance"] == "subset":
        made = instances.heavy_subset(c["h"], c["quotient"])
    elif c["instance"] == "hard":
        made = instances.hard(c["d"], c["k"], float(c["k"]))
    elif c["instance"] == "split":
        made = instances.split(c["d"], c["m"], c["gap"])
    else:
        made = pareto(c["n"], c["d"], stream)
    return made.ordered("random", stream.child("order"))


def run(cells, device):
    made = instance(cells[0])
    for c in cells:
        found = method(c, Stream(c.get("seed", 0), "estimator")).fit(made.rows)
        yield c, judged(found, made.direction) | {"columns": made.d, "ratio": made.gap}


AXES = ["instance", "method", "h", "quotient", "n", "d", "k", "m", "gap", "h_max", "size", "block_size", "seed"]
FOUND = ["sin2", "state_floats", "columns", "ratio"]


def summary(frame):
    return per_cell(frame, AXES, FOUND, lambda cell: {name: cell[name].iloc[0] for name in FOUND})


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    return [
        *subset_claims(where(rows, instance="subset", method="heavy_rows")),
        *split_claims(where(rows, instance="split")),
        *pareto_claims(where(rows, instance="pareto")),
    ]


def subset_claims(rows):
    for end, case, part in cases(rows, AXES, ("h_max",), ["h", "quotient"]):
        law = theory.heavy_subset_sin2(part["h_max"] / part["h"], part["quotient"])
        statement = f"largest difference of sin^2 from (1 - rho) / (1 + Q rho), rho = s / h, over s stored rows{case}"
        off = np.abs(part["sin2"] - law).max(skipna=False)
        yield value_claim(f"STREAM.T6{end}", statement, RECONSTRUCTED, (0.0, 1e-10), off)


def split_claims(rows):
    for end, case, part in cases(where(rows, method="heavy_select"), AXES, ("seed",), ["gap"]):
        statement = f"largest difference of sin^2 from 1 / (1 + R) over orders, the better candidate{case}"
        off = np.abs(part["sin2"] - theory.split_sin2(part["gap"])).max(skipna=False)
        yield value_claim(f"STREAM.T5.select{end}", statement, RECONSTRUCTED, (0.0, 1e-9), off)
    for end, case, part in cases(where(rows, method="heavy_block_power"), AXES, ("seed",), ["gap"]):
        statement = f"median of sin^2 of the combination times 1 + R is below 1/5{case}"
        values = by_seed(part, part["sin2"] * (1 + part["gap"]))
        yield median_claim(f"STREAM.T5.combined{end}", statement, "observed", (None, 0.2), values)


def pareto_claims(rows):
    most = rows["h_max"].max()
    for name in ("heavy_block_power", "heavy_history"):
        for end, case, part in cases(where(rows[rows["h_max"] == most], method=name), AXES, ("seed",)):
            statement = f"share of seeds with sin^2 below .01 is above 1/2, {name}{case}"
            hits = np.where(part["sin2"].isna(), np.nan, part["sin2"] < 0.01)
            yield share_claim(f"STREAM.T13.{name}{end}", statement, "observed", (0.5, 1.0), by_seed(part, hits))


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(2, 2)
        rows = summary(complete(finished(frame, "sin2"), [*AXES, *FOUND]))
        for ax, name in zip(axes, ("subset", "hard", "pareto"), strict=False):
            space_panel(ax, where(rows, instance=name), name)
        split_panel(axes[3], where(rows, instance="split"))
        return fig


LABELS = {
    "heavy_rows": "stored rows",
    "frequent_directions": "Frequent Directions",
    "row_sample": "sampled rows",
    "count_sketch": "CountSketch",
    "heavy_block_power": "heavy rows, block power",
    "heavy_history": "heavy rows, History PCA",
    "history": "History PCA",
}
FLOORS = {"subset": 1e-5, "hard": 1e-5, "pareto": 1e-11}
"""Below is all that is exact up to rounding."""
WORDS = {"subset": "equally heavy rows", "hard": "the hard stream", "pareto": "Pareto row norms"}


def space_panel(ax, rows, name):
    shared = ["h", "quotient", "n", "d", "k", "m"]
    rows = largest(rows, shared, ()) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    for i, (estimator, label) in enumerate(LABELS.items()):
        part = where(rows, method=estimator)
        if len(part):
            part = part.assign(sin2=np.maximum(part["sin2"], FLOORS[name]))
            plotting.points(ax, part, "state_floats", "sin2", i, label, line=True)
    c = rows.iloc[0]
    if name == "subset":
        stored = np.geomspace(1, c["h"] * 0.98, 60)
        law = theory.heavy_subset_sin2(stored / c["h"], c["quotient"])
        plotting.theory(ax, stored * c["columns"], law, r"$(1-\rho)/(1+Q\rho)$")
    label = f"numbers kept ({WORDS[name]}, $d={c['columns']:g}$)"
    exponent = round(np.log10(FLOORS[name]))
    ylabel = r"$\sin^2$" if name == "pareto" else rf"$\sin^2$ (drawn at $10^{{{exponent}}}$ if below)"
    legend, bottom = (None, FLOORS[name] / 2) if name == "hard" else ("lower left", FLOORS[name] / 10)
    plotting.decorate(ax, label, ylabel, xscale="log", yscale="log", ylim=(bottom, 3.0), legend=legend)


def split_panel(ax, rows):
    rows = largest(rows, ["m", "d"], ()) if len(rows) else rows
    if rows.empty:
        return plotting.no_data(ax)
    labels = {"heavy_select": "the better candidate", "heavy_block_power": "both combined"}
    for i, name in enumerate(name for name in labels if name in set(rows["method"])):
        plotting.points(ax, where(rows, method=name), "gap", "sin2", i, labels[name])  # a line would hide the law
    gaps = np.geomspace(rows["gap"].min(), rows["gap"].max(), 30)
    plotting.theory(ax, gaps, theory.split_sin2(gaps), "$1/(1+R)$")
    plotting.decorate(ax, "ratio $R$, heavy and light rows apart", r"$\sin^2$", xscale="log", yscale="log")
    plotting.plain_ticks(ax, sorted(rows["gap"].unique()))


experiment = Experiment(
    name="streaming_space",
    version=1,
    title="What a float of memory buys",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "h_max", "size", "block_size"),
    run=run,
    figure=figure,
    claims=claims,
)
