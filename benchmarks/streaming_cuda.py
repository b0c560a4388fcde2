"""Streams of rows on a device: passes over rows that lie there, many streams at once, rows that come from the host.

Peers are loops of CuPy and PyTorch, eager and compiled, over the rows, all rates or streams together, and PyTorch's
randomised decomposition. Candidates must agree before they are timed. The clock is read when the device has ended.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.record import Row
from benchmarks.sensing_cuda import Call, against, same_work, timed, torch_calls
from benchmarks.ssm_cuda import Setting, floor, host
from lrtheory.random import Stream
from lrtheory.streaming import HistoryPCA, ManyStreams, Oja, metrics, transfers

UNROLLED = 16  # rows that PyTorch compiles as one graph
ETA = 1e-4


def rows(quick: bool, device: str) -> Iterator[Row]:
    """Yield the rows."""
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)):
        setting = Setting(cupy, device, 3 if quick else 9, cupy.cuda.runtime.deviceSynchronize)
        for n, d in ((2048, 500),) if quick else ((20_480, 500), (20_480, 4096)):
            for rates in (1, 128):
                yield from passes(setting, n, d, rates)
            yield from history(setting, n, d)
        for streams, n, d in ((256, 256, 64),) if quick else ((1024, 1024, 64), (1024, 1024, 500), (128, 1024, 4096)):
            yield from side_by_side(setting, streams, n, d)
        yield from copied(setting, 1 << (14 if quick else 20), 500)


def stream_of(n: int, d: int) -> np.ndarray:
    """Return Gaussian rows, the first column of variance 4."""
    data = Stream(0, "benchmark", n, d).normal((n, d))
    data[:, 0] *= 2.0
    return data


def directions(w: Any) -> np.ndarray:
    """Return vectors ``(..., d)`` of any library as unit vectors with canonical signs, on the host."""
    w = host(w)
    return metrics.canonical_signs(w / np.linalg.norm(w, axis=-1, keepdims=True))


def row_loop(x: Any, w: Any, eta: Any) -> Any:
    """Oja's step for x ``(m, d)`` or ``(m, S, d)`` and w ``(B, d)``, row by row."""
    for a in x:
        w = w + (eta * (w * a).sum(-1))[:, None] * a
    return w


def loops(setting: Setting, x: Any, start: np.ndarray, eta: np.ndarray) -> dict[str, Call | str]:
    """Return loops over rows x ``(n, d)`` or ``(n, S, d)`` on the device, n a multiple of UNROLLED."""
    w0, rates = setting.move(start), setting.move(eta)

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        seen, first, steps = (torch.as_tensor(a, device=setting.device) for a in (x, w0, rates))
        several = compiler(row_loop)

        def peer() -> Any:
            w = first
            for i in range(0, seen.shape[0], UNROLLED):
                w = several(seen[i : i + UNROLLED], w, steps).clone()
            return w

        return peer

    return {"loop of CuPy over rows": lambda: row_loop(x, w0, rates), **torch_calls(make, setting.device)}


def checked(expected: np.ndarray, peers: dict[str, Call | str]) -> None:
    """Raise AssertionError unless the peers find the same directions."""
    found = {name: call if isinstance(call, str) else _direction(call) for name, call in peers.items()}
    same_work(expected, found, 1e-8)


def _direction(call: Call) -> Call:
    return lambda: directions(call())


def passes(setting: Setting, n: int, d: int, rates: int) -> Iterator[Row]:
    """One pass for all rates of a sweep."""
    x = setting.move(stream_of(n, d))
    start = Stream(1, "start").normal((d,))
    eta = np.geomspace(ETA / 100, ETA, rates) if rates > 1 else np.full(1, ETA)
    ours = Oja(eta, start=start)
    peers = loops(setting, x, np.broadcast_to(start, (rates, d)).copy(), eta)
    checked(ours.fit(x).components_[:, 0], peers)
    extra, least = floor(setting, np.float64, 4.0 * rates * n * d, 8.0 * n * d)
    t = timed({"ours": partial(ours.fit, x)} | extra, peers, setting.rounds, setting.wait)
    yield from against(f"Oja, one pass, {rates} rates", f"{n} x {d}", t, "ours", peers, least(t))


def history(setting: Setting, n: int, d: int, size: int = 1024) -> Iterator[Row]:
    """Rows in blocks, against the same products alone, and two power steps over all rows: with their errors."""
    xp, x = setting.xp, setting.move(stream_of(n, d))
    start = Stream(1, "start").normal((d,))
    ours, w0, truth = HistoryPCA(size, start=start), setting.move(start / np.linalg.norm(start)), np.eye(1, d)[0]

    def plain() -> Any:
        w, eigenvalue = w0, 0.0
        for t, first in enumerate(range(0, n, size), start=1):
            block = x[first : first + size]
            s = (t - 1) / t * eigenvalue * w + block.T @ (block @ w) / (t * block.shape[0])
            eigenvalue = xp.linalg.norm(s)
            w = s / eigenvalue
        return w

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        seen = torch.as_tensor(x, device=setting.device)
        peer = compiler(lambda a: torch.pca_lowrank(a, q=6, center=False, niter=2)[2][:, 0])
        return lambda: peer(seen).clone()

    peers: dict[str, Call | str] = {"its products in CuPy": plain}
    checked(ours.fit(x).components_[0], peers)
    for name, call in torch_calls(make, setting.device).items():
        error = "" if isinstance(call, str) else f", sin2 {metrics.sin2(directions(call()), truth):.1e}"
        peers[f"{name}, pca_lowrank{error}"] = call
    extra, least = floor(setting, np.float64, 4.0 * n * d, 8.0 * n * d)
    t = timed({"ours": partial(ours.fit, x)} | extra, peers, setting.rounds, setting.wait)
    name = f"History PCA, B={size}, sin2 {metrics.sin2(ours.components_[0], truth):.1e}"
    yield from against(name, f"{n} x {d}", t, "ours", peers, least(t))


def side_by_side(setting: Setting, streams: int, n: int, d: int) -> Iterator[Row]:
    """Many streams, each with its own rows."""
    data = np.stack([stream_of(n, d)] * streams) * np.linspace(0.5, 1.5, streams)[:, None, None]
    x = setting.move(data)
    by_row = setting.move(np.ascontiguousarray(data.transpose(1, 0, 2)))  # as loops over rows would have them
    start = Stream(1, "start").normal((d,))
    ours = ManyStreams(Oja(ETA, start=start))
    peers = loops(setting, by_row, np.broadcast_to(start, (streams, d)).copy(), np.full(1, ETA))
    checked(ours.fit(x).components_[:, 0], peers)
    extra, least = floor(setting, np.float64, 6.0 * streams * n * d, 8.0 * streams * n * d)
    t = timed({"ours": partial(ours.fit, x)} | extra, peers, setting.rounds, setting.wait)
    yield from against(f"Oja, {streams} streams", f"{n} x {d} each", t, "ours", peers, least(t))


def copied(setting: Setting, n: int, d: int, rates: int = 128) -> Iterator[Row]:
    """Rows that lie on the host, copied while others are worked on, against one after the other."""
    data = stream_of(n, d)
    m = n // 16
    ours = Oja(np.geomspace(ETA / 100, ETA, rates))

    def together() -> Any:
        return ours.fit(transfers.on_device(data, setting.device, chunk_rows=m))

    def in_turns() -> Any:
        found = Oja(**ours.get_params())
        for first in range(0, n, m):
            found.partial_fit(setting.move(data[first : first + m]))
        return found

    peers: dict[str, Call | str] = {"copies and steps in turns": in_turns}
    checked(together().components_[:, 0], {name: lambda: in_turns().components_[:, 0] for name in peers})
    t = timed({"ours": together, "copies": lambda: setting.move(data)}, peers, setting.rounds, setting.wait)
    yield from against(f"Oja, {rates} rates, rows on the host", f"{n} x {d}", t, "ours", peers, t["copies"])
