"""Streams side by side on the host: the kernel of one stream for each, on all threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lrtheory import backend
from lrtheory.streaming import _cpu


def take_each(
    rows: np.ndarray, rates: np.ndarray, kind: int, seen: int, w: np.ndarray, scalars: np.ndarray
) -> np.ndarray:
    """Take rows ``(S, m, d)`` after `seen` others, those of stream s for w_s; return their squared norms ``(S,)``.

    w ``(S, d)`` and scalars ``(S, SCALARS)`` are changed; rates are ``(m, S)``.
    """
    rates = np.ascontiguousarray(rates.T)

    def take(s: int) -> float:
        return float(_cpu.dense_rows(rows[s], rates[s], kind, seen, w[s], scalars[s]))

    streams, parts = rows.shape[0], backend.threads()

    def part(i: int) -> list[float]:
        return [take(s) for s in range(i * streams // parts, (i + 1) * streams // parts)]

    if parts == 1:
        return np.array(part(0))
    with ThreadPoolExecutor(parts) as pool:
        return np.concatenate(list(pool.map(part, range(parts))))
