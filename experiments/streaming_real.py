"""Real images in random orders, as they are (a large gap) and centred (almost none)."""

from __future__ import annotations

import functools

import numpy as np

from lrtheory import datasets, plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.streaming.instances import row_order
from lrtheory.streaming.methods import METHODS, method
from lrtheory.streaming.metrics import energy_ratio
from lrtheory.streaming.offline import top_directions
from lrtheory.streaming.trials import judged
from lrtheory.sweep import Experiment, grid, median_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, per_cell, where

PAPER = "arXiv:2412.11963"
ROWS = {"digits": datasets.digits, "mnist": datasets.mnist}
"""Of MNIST the files must be there: see `lrtheory.datasets.mnist`."""


MEANS = ("kept", "subtracted")


def preset(data, seeds):
    shared = dict(data=data, mean=MEANS, seed=range(seeds))
    rates = np.round(4.0 * np.geomspace(0.25, 512.0, 12), 3)  # times s_1^2
    return (
        grid(method="offline", data=data, mean=MEANS)
        + grid(method=["adaoja", "oja_grid", "ccipca"], **shared)
        + grid(method="oja", step_size=rates, **shared)
        + grid(method="history", block_size=20, **shared)
        + grid(method="block_power", n_blocks=6, **shared)
        + grid(method="heavy_block_power", h_max=64, **shared)
        + grid(method="frequent_directions", size=10, **shared)
        + grid(method="incremental", n_components=1, batch=50, **shared)
    )


PRESETS = {
    "small": preset("digits", 7),
    "paper": preset(["digits", "mnist"], 20),
    "large": preset(["digits", "mnist"], 40),
}


@functools.lru_cache(maxsize=2)
def matrix(data, mean):
    """The rows, the two largest s_j^2 and the first two directions."""
    rows = np.asarray(ROWS[check_name("data", data, ROWS)](), dtype=np.float64)
    if check_name("mean", mean, MEANS) == "subtracted":
        rows = rows - rows.mean(axis=0)
    return rows, *top_directions(rows, 2)


def run(cells, device):
    rows, energies, directions = matrix(cells[0]["data"], cells[0]["mean"])
    for c in cells:
        if check_name("method", c["method"], ("offline", *METHODS)) == "offline":
            yield c, {"gap": energies[0] / energies[1], "top": energies[0], "frobenius2": float(np.sum(rows * rows))}
            continue
        shuffled = rows[row_order(rows, "random", stream=Stream(c["seed"], "order"))]
        scaled = c | {"step_size": c["step_size"] / energies[0]} if "step_size" in c else c
        found = method(scaled, Stream(c["seed"], "estimator")).fit(shuffled)
        ratio = energy_ratio(found.components_[..., 0, :], rows, float(energies[0]))
        yield c, judged(found, directions[0]) | {"energy_ratio": ratio}


AXES = [
    "method",
    "data",
    "mean",
    "step_size",
    "block_size",
    "n_blocks",
    "h_max",
    "size",
    "n_components",
    "batch",
    "seed",
]
CASE = ["data", "mean"]
FOUND = ["corr2", "energy_ratio", "gap", "top", "frobenius2"]


def summary(frame):
    """For each method and order one row: that of the best rate, where there are several."""

    def first(cell):
        return {name: cell[name].iloc[0] for name in FOUND if name in cell}

    rows = per_cell(frame, AXES, FOUND, first)
    return rows.sort_values("corr2", na_position="first").groupby(["method", *CASE, "seed"], dropna=False).tail(1)


PUBLISHED = {("digits", "kept"): 14.961094140364, ("digits", "subtracted"): 1.09339}


def claims(frame):
    if frame.empty:
        return []
    rows = summary(frame)
    found = []
    for end, case, part in cases(where(rows, method="offline"), ["method", *CASE, "seed"], (), CASE):
        value = PUBLISHED.get(tuple(part[CASE].iloc[0]))
        if value is not None:
            statement = f"R = s_1^2 / s_2^2 of the whole matrix is {value:.6g}{case}"
            low, high = value * (1 - 1e-5), value * (1 + 1e-5)
            found.append(
                value_claim(
                    f"STREAM.E7.R{end}", statement, "offline, by another library", (low, high), part["gap"].iloc[0]
                )
            )
    for name in LABELS:
        for end, case, part in cases(where(rows, method=name, mean="kept"), ["method", *CASE, "seed"], ("seed",), CASE):
            statement = f"median of corr2 over orders is above .99, {name}{case}"
            found.append(
                median_claim(f"STREAM.E7.{name}{end}", statement, "observed", (0.99, 1.0), by_seed(part, "corr2"))
            )
        for end, case, part in cases(
            where(rows, method=name, mean="subtracted"), ["method", *CASE, "seed"], ("seed",), CASE
        ):
            statement = f"median of |A v|^2 / s_1^2 over orders is above 3/4, {name}{case}"
            found.append(
                median_claim(
                    f"STREAM.E7.energy.{name}{end}",
                    statement,
                    "observed: no gap, and none is needed",
                    (0.75, 1.0),
                    by_seed(part, "energy_ratio"),
                )
            )
    return found


LABELS = {
    "oja": "Oja, best of 12 rates",
    "oja_grid": "Oja, grid of rates",
    "adaoja": "AdaOja",
    "ccipca": "CCIPCA",
    "history": "History PCA",
    "block_power": "block power",
    "heavy_block_power": "heavy rows, block power",
    "incremental": "incremental SVD",
    "frequent_directions": "Frequent Directions",
}


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2, height=2.6)
        frame = complete(finished(frame, "corr2"), [*AXES, *FOUND])
        rows = summary(frame[frame["method"] != "offline"]) if len(frame) else frame
        for ax, mean, words in zip(axes, MEANS, ("as they are", "centred"), strict=True):
            part = where(rows, data="digits", mean=mean)
            if part.empty:
                plotting.no_data(ax)
                continue
            bars(ax, part)
            ax.set_xlabel(f"lost share, digits {words}")
        return fig


def bars(ax, rows):
    """What each method loses, of the direction and of the energy: medians and quartiles over orders."""
    names = [name for name in LABELS if name in set(rows["method"])]
    places = np.arange(len(names))
    for i, (column, label) in enumerate(
        (("corr2", r"$1-\langle v,v_1\rangle^2$"), ("energy_ratio", r"$1-|Av|^2/s_1^2$"))
    ):
        lost = [np.nanquantile(1 - where(rows, method=name)[column], [0.25, 0.5, 0.75]) for name in names]
        low, middle, high = np.maximum(np.transpose(lost), 1e-16)
        looks = dict(color=plotting.COLOURS[i], marker=plotting.MARKERS[i], linestyle="none", capsize=2, linewidth=0.9)
        spread = [middle - low, high - middle]
        ax.errorbar(middle, places + 0.12 * (2 * i - 1), xerr=spread, label=label, **looks)
    ax.set_yticks(places, [LABELS[name] for name in names])
    ax.set_xscale("log")
    ax.legend(loc="best")


experiment = Experiment(
    name="streaming_real",
    version=1,
    title="Handwritten digits, as they are and centred",
    paper=PAPER,
    presets=PRESETS,
    together=("method", "seed", "step_size", "block_size", "n_blocks", "h_max", "size", "n_components", "batch"),
    run=run,
    figure=figure,
    claims=claims,
)
