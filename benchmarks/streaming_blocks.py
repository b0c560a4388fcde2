"""Block methods over a stream of rows: History PCA, the streaming power method, heavy rows kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import reader
from benchmarks.record import Row, alternate
from lrtheory import backend
from lrtheory.streaming._starts import start_rows
from lrtheory.streaming.heavy_light import HeavyBlockPower, HeavyHistory
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.metrics import sin2
from lrtheory.streaming.offline import top_directions
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.sampled import pareto, spiked


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, everything on one thread."""
    backend.set_threads(1)
    rounds = 1 if quick else 5
    data = mean_free(20_000, 500)
    for size in (20,) if quick else (10, 20, 100):
        name = f"History PCA, B={size}"
        yield against_incremental(data, HistoryPCA(size, stream=np.arange(8)), name, rounds, 100.0)
    if not quick:
        yield against_incremental(data, BlockPower(stream=np.arange(8)), "block power", rounds)
    yield against_numpy(data, 100, rounds)
    yield starts(data, 32, rounds)
    yield from heavy(rounds)
    yield sparse(rounds)


def mean_free(n: int, d: int) -> np.ndarray:
    """Return Gaussian rows of variances 4, 1, .., 1, less their mean: scikit-learn's IncrementalPCA subtracts it."""
    data = spiked(n, np.array([4.0] + [1.0] * (d - 1))).rows
    return data - data.mean(axis=0)


def against_incremental(data: np.ndarray, eight: Any, name: str, rounds: int, target: float | None = None) -> Row:
    """scikit-learn's estimator in batches of 100 rows. One start is timed; accuracies are sin2 to the direction of the
    law, ours the mean of eight starts."""
    size = f"{data.shape[0]} x {data.shape[1]}"
    try:
        import sklearn
        from sklearn.decomposition import IncrementalPCA
    except ImportError:
        return Row(name, size, None, "scikit-learn is not installed", target=target)
    truth = np.eye(1, data.shape[1])[0]
    ours, peer = type(eight)(**eight.get_params() | {"stream": 0}), IncrementalPCA(1, batch_size=100)
    t = alternate({"ours": partial(ours.fit, data), "peer": partial(peer.fit, data), "read": reader(data)}, rounds)
    error = float(np.mean(sin2(eight.fit(data).components_[:, 0], truth)))
    others = [float(sin2(v, truth)) for v in (peer.components_[0], top_directions(data)[1][0])]
    words = "IncrementalPCA {}, sin2 {:.4f} (ours {:.4f}, whole matrix {:.4f})"
    return Row(
        name,
        size,
        t["ours"],
        words.format(sklearn.__version__, others[0], error, others[1]),
        t["peer"],
        t["read"],
        target,
    )


def history_in_numpy(data: Any, size: int) -> np.ndarray:
    """History PCA by two products a block, of NumPy or SciPy."""
    w = start_rows(None, 1, data.shape[1], (), 0)[0]
    w, eigenvalue = w / np.linalg.norm(w), 0.0
    for t, first in enumerate(range(0, data.shape[0], size), start=1):
        block = data[first : first + size]
        s = (t - 1) / t * eigenvalue * w + block.T @ (block @ w) / (t * block.shape[0])
        eigenvalue = np.linalg.norm(s)
        w = s / eigenvalue
    return w


def against_numpy(data: np.ndarray, size: int, rounds: int) -> Row:
    ours = HistoryPCA(size)
    calls: dict[str, Callable[[], Any]] = {
        "ours": partial(ours.fit, data),
        "peer": partial(history_in_numpy, data, size),
        "read": reader(data),
    }
    t = alternate(calls, 3 * rounds)
    assert sin2(history_in_numpy(data, size), ours.components_[0]) < 1e-9
    size_text = f"{data.shape[0]} x {data.shape[1]}"
    return Row(f"History PCA, B={size}", size_text, t["ours"], "its products in NumPy", t["peer"], t["read"])


def starts(data: np.ndarray, batch: int, rounds: int) -> Row:
    """Many starts at once, against one after another."""
    together = HistoryPCA(100, stream=np.arange(batch))
    calls: dict[str, Callable[[], Any]] = {
        "ours": partial(together.fit, data),
        "one": partial(HistoryPCA(100).fit, data),
        "read": reader(data),
    }
    t = alternate(calls, 3 * rounds)
    size = f"{data.shape[0]} x {data.shape[1]}"
    return Row(
        f"History PCA, B=100, {batch} starts", size, t["ours"], f"{batch} x one start", batch * t["one"], t["read"]
    )


def heavy(rounds: int) -> Iterator[Row]:
    """A few rows hold most of the energy: one pass, against the iterated products of ARPACK."""
    from scipy.sparse.linalg import svds

    instance = pareto(20_000, 500)
    start = np.random.default_rng(0).standard_normal(500)
    for name, estimator in (
        ("heavy rows + History PCA", HeavyHistory()),
        ("heavy rows + block power", HeavyBlockPower()),
    ):
        calls: dict[str, Callable[[], Any]] = {
            "ours": partial(estimator.fit, instance.rows),
            "peer": partial(svds, instance.rows, k=1, v0=start),
            "read": reader(instance.rows),
        }
        t = alternate(calls, rounds)
        error = float(sin2(estimator.components_[0], instance.direction))
        what = f"scipy svds (ours off by sin2 {error:.0e}, {estimator.n_heavy_} heavy rows)"
        yield Row(name, f"{instance.n} x {instance.d}", t["ours"], what, t["peer"], t["read"])


def sparse(rounds: int) -> Row:
    """Rows of ten stored numbers: the kernel over CSR rows, against SciPy's products a block."""
    from scipy.sparse import random_array

    rows = random_array((40_000, 1_000), density=0.01, format="csr", rng=np.random.default_rng(0))
    ours = HistoryPCA(100)
    calls: dict[str, Callable[[], Any]] = {
        "ours": partial(ours.fit, rows),
        "peer": partial(history_in_numpy, rows, 100),
    }
    t = alternate(calls, 3 * rounds)
    assert sin2(history_in_numpy(rows, 100), ours.components_[0]) < 1e-9
    return Row("History PCA, B=100, CSR", "40000 x 1000, 1%", t["ours"], "its products in SciPy", t["peer"])
