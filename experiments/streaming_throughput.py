"""Rows a second of each method against the number of columns, beside reading the rows alone."""

from __future__ import annotations

import time

import numpy as np

from lrtheory import plotting
from lrtheory.random import Stream
from lrtheory.streaming.methods import method
from lrtheory.sweep import Experiment, grid, median_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished

PAPER = "arXiv:2412.11963"
ENTRIES = 1 << 24
"""Of the matrix, 128 MiB: more than a cache holds. Methods of less than a gigabyte a second get a sixteenth of it."""
SLOW = ("frequent_directions",)
REPEATS = 3
OPTIONS = {
    "oja": dict(step_size=1e-4),
    "adaoja": {},
    "krasulina": dict(step_size=1e-4),
    "block_power": dict(n_blocks=6),
    "history": dict(block_size=100),
    "heavy_block_power": dict(h_max=64),
    "frequent_directions": dict(size=20),
    "count_sketch": dict(size=256),
}


def preset(columns, seeds):
    shared = dict(d=columns, seed=range(seeds))
    cells = grid(method="read", entries=ENTRIES, **shared)
    for name, options in OPTIONS.items():
        cells += grid(method=name, entries=ENTRIES // 16 if name in SLOW else ENTRIES, **options, **shared)
    return cells


PRESETS = {
    "small": preset([16, 64, 256, 1024, 4096], 6),
    "paper": preset([16, 64, 256, 1024, 4096, 16_384], 10),
    "large": preset([16, 64, 256, 1024, 4096, 16_384, 65_536], 10),
}


def run(cells, device):
    """The first pass, which may compile, is not counted."""
    for c in cells:
        rows = Stream(c["seed"], "rows").normal((c["entries"] // c["d"], c["d"]))
        seconds = []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            if c["method"] == "read":
                rows.sum()
            else:
                method(c, Stream(c["seed"], "estimator")).fit(rows)
            seconds.append(time.perf_counter() - began)
        spent = float(np.median(seconds[1:]))
        yield c, {"seconds": spent, "gigabytes": rows.nbytes / spent / 1e9, "rows": rows.shape[0] / spent}


AXES = ["method", "d", "entries", "step_size", "n_blocks", "block_size", "h_max", "size", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "seconds"])
    return [claim for case in cases(rows, ["d"], (), ["d"]) for claim in shares(*case)]


def shares(end, case, part):
    times = part.pivot_table(index="seed", columns="method", values="seconds", dropna=False)
    if "read" in times and "oja" in times and part["d"].iloc[0] >= 64:
        statement = f"median over seeds of the time to read over that of a pass of Oja's method{case}, is above .25"
        ratio = by_seed(times.reset_index(), times["read"] / times["oja"])
        yield median_claim(f"STREAM.E8{end}", statement, "a goal of ours", (0.25, None), ratio)


LABELS = {
    "read": "reading alone",
    "oja": "Oja",
    "adaoja": "AdaOja",
    "krasulina": "Krasulina",
    "history": "History PCA",
    "heavy_block_power": "heavy rows, block power",
    "frequent_directions": "Frequent Directions",
    "count_sketch": "CountSketch",
}


def figure(frame):
    with plotting.style():
        fig, (ax,) = plotting.panels(1, 1, width=plotting.ONE_COLUMN * 1.4)
        frame = complete(finished(frame, "gigabytes"), [*AXES, "gigabytes"])
        if frame.empty:
            plotting.no_data(ax)
            return fig
        for i, name in enumerate(name for name in ("read", *OPTIONS) if name in set(frame["method"])):
            part = frame[frame["method"] == name]
            plotting.points(ax, part, "d", "gigabytes", i, LABELS.get(name, name.replace("_", " ")), line=True)
        plotting.decorate(ax, "columns $d$", "rows read (GB/s)", xscale="log", yscale="log", legend="lower right")
        plotting.plain_ticks(ax, sorted(frame["d"].unique()))
        return fig


experiment = Experiment(
    name="streaming_throughput",
    version=1,
    title="Rows a second",
    paper=PAPER,
    presets=PRESETS,
    together=("seed",),
    run=run,
    figure=figure,
    claims=claims,
    timing=True,
)
