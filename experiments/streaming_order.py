"""Does the order of the rows matter? Each method on the same rows in four orders."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming import instances
from lrtheory.streaming.methods import method
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, median_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, per_cell, where

PAPER = "arXiv:2408.10332"
ORDERS = ("random", "v1_first", "v1_middle", "v1_last")


def preset(n, d, gaps, seeds):
    shared = dict(n=n, d=d, gap=gaps, order=ORDERS, seed=range(seeds))
    rates = np.geomspace(1.0, 256.0, 9)  # times s_1^2 = 1
    return (
        grid(method=["adaoja", "oja_grid"], **shared)
        + grid(method="oja", step_size=rates, **shared)
        + grid(method="oja_inv", step_size=np.geomspace(1.0, 1e6, 13), **shared)
        + grid(method="block_power", n_blocks=6, **shared)
        + grid(method="history", block_size=20, **shared)
        + grid(method="heavy_block_power", h_max=32, **shared)
        + grid(method="frequent_directions", size=20, **shared)
    )


PRESETS = {
    "small": preset(20_000, 200, [2.0, 8.0, 32.0], 9),
    "paper": preset(200_000, 1000, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 20),
    "large": preset(1_000_000, 2000, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0], 20),
}
"""Step sizes of `oja_inv` are c of c / t, in units of a row: s_1^2 / n is the eigenvalue of a row."""


def run(cells, device):
    c = cells[0]
    stored = instances.carried(c["n"], c["d"], c["gap"], Stream(c["seed"], "rows"))
    for order in dict.fromkeys(c["order"] for c in cells):  # one copy of the rows at a time
        made = stored.ordered(order, Stream(c["seed"], "order"))
        for c in [c for c in cells if c["order"] == order]:
            yield c, judged(method(c, Stream(c["seed"], "estimator")).fit(made.rows), made.direction)


AXES = ["method", "n", "d", "gap", "order", "step_size", "block_size", "n_blocks", "h_max", "size", "seed"]
MATRIX = ["n", "d", "gap", "order", "seed"]


def summary(frame):
    """For each method, matrix and order one row: that of the rate that is best in the median over seeds."""
    rows = per_cell(frame, AXES, ["corr2"], lambda cell: {"corr2": cell["corr2"].iloc[0]})
    key = ["method", *MATRIX[:-1]]
    medians = rows.groupby([*key, "step_size"], dropna=False)["corr2"].median().reset_index()
    best = medians.sort_values("corr2", na_position="first").groupby(key, dropna=False).tail(1)
    return rows.merge(best[[*key, "step_size"]], on=[*key, "step_size"])


OBSERVED = "observed on rows of which a tenth carries v_1"
HIGH, LOW = (0.99, 1.0), (0.0, 0.05)
FD = "keeps v_1 if s_1^2 - F^2 / size > s_2^2 (Ghashami et al. 2016)"
EXPECTED = (
    ("oja", ORDERS, (2, 64), HIGH, f"the rates of a fixed-rate method see no order, {PAPER}"),
    ("adaoja", ORDERS[:3], (2, 64), HIGH, OBSERVED),
    ("block_power", ("random",), (8, 64), HIGH, "the blocks are random samples of the rows"),
    ("block_power", ("v1_first", "v1_middle"), (2, 64), LOW, "the last block has no row along v_1"),
    ("history", ("random",), (16, 64), HIGH, "the blocks are random samples of the rows"),
    ("history", ("v1_last",), (2, 32), LOW, OBSERVED),
    ("oja_inv", ("v1_last",), (2, 4), (0.0, 0.1), "the last rates are too small"),
    ("frequent_directions", ORDERS, (2, 64), HIGH, FD),
)
"""Method, orders, range of R, interval of corr2, source."""
MOST_BESIDE = 250  # times s_1^2, the energy of the other directions up to which AdaOja is claimed


def claimed(name, rows):
    """Return which rows a claim on a method covers, beside its range of R: F^2 = s_1^2 (1 + (d - 1) / R)."""
    beside = (rows["d"] - 1) / rows["gap"]
    if name == "frequent_directions":
        return 1 - (1 + beside) / rows["size"] > 1 / rows["gap"]
    return beside <= (MOST_BESIDE if name == "adaoja" else np.inf)


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    found = []
    for name, orders, (low, high), predicted, source in EXPECTED:
        part = where(rows[(rows["gap"] >= low) & (rows["gap"] <= high) & rows["order"].isin(orders)], method=name)
        part = part[claimed(name, part)]
        for end, case, one in cases(part, ["method", *MATRIX], ("seed",), ["gap", "order"]):
            statement = f"median of corr2 in [{predicted[0]:g}, {predicted[1]:g}], {name}{case}"
            found.append(median_claim(f"STREAM.T11.{name}{end}", statement, source, predicted, by_seed(one, "corr2")))
    return found


LABELS = {
    "oja": "Oja, best fixed rate",
    "oja_grid": "Oja, grid of rates",
    "adaoja": "AdaOja",
    "oja_inv": "Oja, best $c/t$",
    "history": "History PCA",
    "block_power": "block power",
    "heavy_block_power": "heavy rows and block power",
    "frequent_directions": "Frequent Directions",
}


def figure(frame):
    with plotting.style():
        frame = finished(frame, "corr2")
        rows = summary(frame) if len(frame) else complete(frame, ["gap", "method", "order", "corr2"])
        gaps = sorted(rows["gap"].unique())[:3]
        fig, axes = plotting.panels(1, max(len(gaps), 1), height=2.6)
        for ax, gap in zip(axes, gaps, strict=False):
            image = order_map(ax, where(rows, gap=gap), names=ax is axes[0])
            ax.set_xlabel(f"order of the rows, $R={gap:g}$")
        if gaps:
            fig.colorbar(image, ax=axes, label=r"median of $\langle v,v_1\rangle^2$", aspect=30, pad=0.01)
        if not gaps:
            plotting.no_data(axes[0])
        return fig


def order_map(ax, rows, names):
    """Draw the medians of corr2 as a map with the numbers in it; return its colours."""
    table = rows.pivot_table(index="method", columns="order", values="corr2", aggfunc="median")
    table = table.reindex(index=[m for m in LABELS if m in table.index], columns=[o for o in ORDERS if o in table])
    image = ax.pcolormesh(table.to_numpy(), vmin=0, vmax=1, cmap="cividis", rasterized=True)
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        if np.isfinite(value):
            ax.text(
                j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", color="k" if value > 0.5 else "w", size=6
            )
    ax.set_xticks(
        np.arange(table.shape[1]) + 0.5, [name.replace("v1_", "$v_1$ ") for name in table.columns], rotation=30
    )
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, [LABELS[name] for name in table.index] if names else [])
    ax.invert_yaxis()
    ax.grid(visible=False)
    return image


experiment = Experiment(
    name="streaming_order",
    version=1,
    title="Order of the rows: each method in four of them",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "order", "step_size", "block_size", "n_blocks", "h_max", "size"),
    run=run,
    figure=figure,
    claims=claims,
)
