"""What this machine can do, measured beside the candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _sum(a: np.ndarray) -> float:
    total = 0.0
    for i in range(a.size):
        total += a[i]
    return total


def reader(data: np.ndarray) -> Callable[[], float]:
    """Return a call that reads every byte of `data` once and does nothing slower with it than add."""
    flat = data.reshape(-1).view(np.float64)
    return lambda: _sum(flat)


def matrix_product(n: int = 768, dtype: type = np.float64) -> tuple[Callable[[], object], float]:
    """Return a matrix product and its number of floating-point operations."""
    a = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out), 2.0 * n**3


@njit(cache=True, nogil=True)
def spin(n: int) -> int:
    """Compute without touching memory."""
    state = 1
    for _ in range(n):
        state = (state * 48271) % 2147483647
    return state
