"""Time to compute a kernel of one channel, against its length and its number of modes."""

from __future__ import annotations

import time

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, poles, vandermonde
from lrtheory.sweep import Experiment, grid, median_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished, largest

PAPER = "arXiv:2206.11893"
REPEATS = 5


def plain(w, x, length):
    """The whole outer product in complex64, as the released code does."""
    steps = np.arange(length, dtype=np.float32)
    return np.real(w.astype(np.complex64) @ np.exp(x.astype(np.complex64)[:, None] * steps))


ALGORITHMS = {
    "gemm": vandermonde.gemm,
    "recurrence": vandermonde.recurrence,
    "two_term": vandermonde.two_term,
    "chirp_z": vandermonde.chirp_z,
    "naive": vandermonde.naive,
    "complex64": plain,
}
UNTRUNCATED = {"gemm", "recurrence", "two_term"}


def preset(lengths, sizes, seeds):
    shared = dict(algorithm=tuple(ALGORITHMS), dt=1e-3, seed=range(seeds))
    return grid(length=lengths, N=64, **shared) + grid(length=4096, N=sizes, **shared)


PRESETS = {
    "small": preset([256, 1024, 4096, 16384], [16, 64, 256], seeds=6),
    "paper": preset([256, 1024, 4096, 16384, 65536, 262144], [16, 64, 256, 1024], seeds=10),
    "large": preset([1024, 16384, 262144, 1048576], [16, 64, 256, 1024], seeds=10),
}


def run(cells, device):
    """All samples are computed (no tail is cut off); the first call, which may compile, is not counted."""
    for c in cells:
        C = Stream(c["seed"], "readout", c["N"]).normal((2, c["N"] // 2))
        a = poles(c["N"], "lin")
        w, x = DiagonalSSM(a, np.ones_like(a), C[0] + 1j * C[1], c["dt"]).log_nodes()
        options = {"tolerance": 0.0} if c["algorithm"] in UNTRUNCATED else {}
        algorithm, seconds = ALGORITHMS[check_name("algorithm", c["algorithm"], ALGORITHMS)], []
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            algorithm(w, x, c["length"], **options)
            seconds.append(time.perf_counter() - began)
        yield c, {"seconds": float(np.median(seconds[1:]))}


AXES = ["algorithm", "length", "N", "dt", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "seconds"])
    return [claim for case in cases(rows, AXES, ("algorithm", "seed"), ["length", "N"]) for claim in gains(*case)]


def gains(end, case, part):
    if part["length"].iloc[0] < 1024:
        return
    times = part.pivot(index="seed", columns="algorithm", values="seconds")
    if "gemm" in times and "complex64" in times:
        statement = f"median over seeds of the time of complex64 exponentials over that of gemm{case}, is above 10"
        ratio = by_seed(times.reset_index(), times["complex64"] / times["gemm"])
        yield median_claim(f"S4D.F7.gain{end}", statement, "a goal of ours", (10.0, None), ratio)


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(finished(frame, "seconds"), [*AXES, "seconds"])
        for ax, x, label, other in zip(
            axes, ("length", "N"), ("length $L", "state size $N"), ("N", "length"), strict=True
        ):
            rows = largest(frame, AXES, ["algorithm", x]) if len(frame) else frame
            if rows.empty or rows[x].nunique() < 2:
                plotting.no_data(ax)
                continue
            for i, name in enumerate(name for name in ALGORITHMS if name in set(rows["algorithm"])):
                part = rows[rows["algorithm"] == name]
                plotting.points(ax, part, x, "seconds", i, name.replace("_", " "), line=True)
            label += f"$ (${'L' if other == 'length' else other}={rows[other].iloc[0]:g}$)"
            plotting.decorate(ax, label, "seconds", xscale="log", yscale="log", legend="upper left")
            plotting.plain_ticks(ax, sorted(rows[x].unique()))
        return fig


experiment = Experiment(
    name="s4d_speed",
    version=1,
    title="Time to compute a diagonal kernel",
    paper=PAPER,
    presets=PRESETS,
    together=("seed",),
    run=run,
    figure=figure,
    claims=claims,
    timing=True,
)
