"""Streams of rows: passes of Oja's method against reading the rows, loops in NumPy, and files larger than memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import streaming_blocks, streaming_sketches
from benchmarks.machine import reader
from benchmarks.record import Row, alternate
from lrtheory import backend
from lrtheory.random import Stream
from lrtheory.streaming import AdaOja, ManyStreams, Oja

ROOT = Path(__file__).resolve().parents[1]
READ_SHARES = {64: 0.75, 500: 0.75, 4096: 0.7}
"""Share of the read bandwidth to reach, by the number of columns."""


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, everything on one thread."""
    backend.set_threads(1)
    rounds = 3 if quick else 9
    for d, share in READ_SHARES.items():
        yield against_reading(d, share, rounds)
    data = Stream(0, "benchmark").normal((20_000, 500))
    yield against_numpy(data, rounds)
    yield many_rates(data, 128, 1 if quick else 5)
    yield many_streams(1000, 200, 50, rounds)
    yield sparse(rounds)
    if not quick:
        yield large_file(4.0)
    yield from streaming_blocks.rows(quick)
    yield from streaming_sketches.rows(quick)


def against_reading(d: int, share: float, rounds: int) -> Row:
    """A pass over 128 MiB of rows, more than caches hold; the target is a share of the speed of adding all entries."""
    data = Stream(0, "benchmark", d).normal(((1 << 24) // d, d))
    t = alternate({"ours": partial(Oja(1e-4).fit, data), "read": reader(data)}, rounds)
    size = f"{data.shape[0]} x {d}"
    return Row("Oja, one pass", size, t["ours"], "reading (ratio: share of its speed)", t["read"], t["read"], share)


def row_loop(data: np.ndarray, eta: float, w: np.ndarray) -> np.ndarray:
    """Oja's method by two NumPy calls a row, normalised now and then."""
    w = w.copy()
    for i, a in enumerate(data):
        w += (eta * (a @ w)) * a
        if i % 256 == 0:
            w /= np.linalg.norm(w)
    return w / np.linalg.norm(w)


def against_numpy(data: np.ndarray, rounds: int) -> Row:
    start = Stream(1, "start").normal((data.shape[1],))
    ours = Oja(1e-4, start=start)
    t = alternate({"ours": partial(ours.fit, data), "peer": partial(row_loop, data, 1e-4, start)}, rounds)
    assert abs(abs(row_loop(data, 1e-4, start) @ ours.components_[0]) - 1) < 1e-10
    return Row("Oja, one pass", "20000 x 500", t["ours"], "a loop of NumPy over rows", t["peer"], target=25.0)


def many_rates(data: np.ndarray, count: int, rounds: int) -> Row:
    """All rates of a sweep in one pass; the peer's time is the limit of 40 passes of one rate."""
    rates = np.geomspace(1e-6, 1e-2, count)
    t = alternate({"ours": partial(Oja(rates).fit, data), "one": partial(Oja(1e-4).fit, data)}, rounds)
    return Row(f"Oja, {count} rates", "20000 x 500", t["ours"], "40 passes of one rate", 40 * t["one"], target=1.0)


def many_streams(streams: int, n: int, d: int, rounds: int) -> Row:
    """Short streams side by side, against one fit after another."""
    data = Stream(0, "benchmark").normal((streams, n, d))
    ours = ManyStreams(Oja(1e-3))
    calls = {"ours": partial(ours.fit, data), "fits": lambda: [Oja(1e-3).fit(x) for x in data], "read": reader(data)}
    t = alternate(calls, rounds)
    return Row(f"Oja, {streams} streams", f"{n} x {d} each", t["ours"], "fits one by one", t["fits"], t["read"])


def sparse(rounds: int) -> Row:
    """CSR rows with 1 % of the entries; the peer's time is that of 100 million entries a second."""
    from scipy.sparse import random_array

    data = random_array((40_000, 10_000), density=0.01, format="csr", rng=np.random.default_rng(0), dtype=np.float64)
    data.sort_indices()
    t = alternate({"ours": partial(Oja(1e-2).fit, data), "ada": partial(AdaOja().fit, data)}, rounds)
    words = f"100 M entries/s (AdaOja {data.nnz / t['ada'] / 1e6:.0f} M)"
    return Row(
        "Oja, CSR, one pass",
        f"40000 x 10000, {data.nnz / 1e6:.0f} M entries",
        t["ours"],
        words,
        data.nnz / 1e8,
        target=1.0,
    )


MEASURE = """
import sys
from lrtheory.streaming import Oja
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
Oja(1e-4).fit([[1.0] * 512] * 8)  # compiles
before, largest = anonymous(), 0
import threading, time
def watch():
    global largest
    while True:
        largest = max(largest, anonymous())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
Oja(1e-4).fit(sys.argv[1])
print(time.perf_counter() - began, (largest - before) / 1024)
"""


def large_file(gigabytes: float) -> Row:
    """A mapped .npy file in one pass: seconds, and anonymous memory beyond that of the process before."""
    name, size = "Oja, mapped file", f"{gigabytes:g} GB, d=512"
    if not Path("/proc/self/status").exists():
        return Row(name, size, None, "no /proc to read the memory from")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        n = int(gigabytes * 1e9) // (512 * 8)
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, 512))
        piece = Stream(0, "benchmark").normal((4096, 512))
        for first in range(0, n, 4096):
            mapped[first : first + 4096] = piece[: n - first]
        del mapped
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    seconds, megabytes = (float(word) for word in done.stdout.split())
    return Row(f"{name}: {megabytes:.0f} MB of anonymous memory (limit 200)", size, seconds, "")
