"""What the block methods share: products of a block of rows with frozen directions, and the division into blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import is_cupy, twin
from lrtheory.streaming._checks import integer
from lrtheory.streaming._estimator import positive, squared_norm
from lrtheory.streaming.sources import Chunk

CACHED_ENTRIES = 1 << 15  # of rows that several members read one after another, or that are squared after a product
MANY = 16  # members of one component from which matrix products are faster than one kernel a member


def add_products(rows: Chunk, w: np.ndarray, y: np.ndarray) -> float:
    """Add ``(rows w^T)^T rows`` to y, for members w and y ``(B, k, d)``; return the sum of the rows' squared norms.

    For k = 1 and few members row by row, which gives the same bits for every division of the rows into calls.
    """
    if is_cupy(rows):
        return twin("lrtheory.streaming.", rows).add_products(rows, w, y)
    members, k, d = w.shape
    kernels = twin("lrtheory.streaming.power", w)
    if k == 1 and members == 1:
        return kernels.power(rows, w[0, 0], y[0, 0])
    if k == 1 and members < MANY:
        total = 0.0
        for part in cached_parts(rows):
            for b in range(members):
                norm2 = kernels.power(part, w[b, 0], y[b, 0])
            total += norm2
        return total
    norm2 = 0.0
    flat, sums = w.reshape(-1, d), y.reshape(-1, d)
    for part in cached_parts(rows):
        norm2 += squared_norm(part)
        part = part.astype(np.float64, copy=False)
        c = np.ascontiguousarray(part @ flat.T)
        if isinstance(part, np.ndarray):
            twin("lrtheory.streaming.", w).add_product(sums, c, part)
        else:
            sums += (part.T @ c).T
    return norm2


def cached_parts(rows: Chunk, entries: int = CACHED_ENTRIES) -> Any:
    """Yield dense rows a few at a time, which stay in cache, and CSR rows as they are."""
    if not isinstance(rows, np.ndarray):
        yield rows
        return
    step = max(8, entries // rows.shape[1])
    for i in range(0, rows.shape[0], step):
        yield rows[i : i + step]


def dense_parts(rows: Chunk) -> Any:
    """Yield rows, dense or CSR, a few at a time as new dense float64 arrays, for kernels that overwrite them."""
    step = max(1, CACHED_ENTRIES // rows.shape[1])
    for i in range(0, rows.shape[0], step):
        part = rows[i : i + step]
        yield np.array(part if isinstance(part, np.ndarray) else part.toarray(), dtype=np.float64)


def next_directions(sums: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal rows spanning those of sums ``(B, k, d)``, in their order, and the lengths of Gram-Schmidt.

    A row of sums that depends on those before it (rounding errors have no direction worth keeping) gets length 0 and
    what is left over of a row of w, orthonormal rows.
    """
    found, lengths = sums.copy(), np.empty(w.shape[:-1])
    kernels = twin("lrtheory.streaming.power", w)
    for b in range(w.shape[0]):
        kernels.orthonormalize(found[b], w[b], lengths[b])
    return found, lengths


def norms(vectors: np.ndarray) -> np.ndarray:
    """Return the norms of vectors ``(..., d)`` whose squares may overflow or underflow."""
    largest = np.max(np.abs(vectors), axis=-1, keepdims=True)
    scale = np.ldexp(1.0, np.frexp(largest)[1] - 1)  # a power of two, 1/2 for zeros: divides without rounding
    return np.linalg.norm(vectors / scale, axis=-1) * scale[..., 0]


@dataclass(frozen=True)
class Partition:
    """Lengths of the blocks of a stream.

    Parameters
    ----------
    first, growth : int
        Blocks of ``first * growth^j`` rows ...
    longer : int
        ... and one more row in each of so many blocks at the beginning.
    """

    first: int
    growth: int = 1
    longer: int = 0

    def length(self, block: int) -> int:
        return self.first * self.growth**block + (block < self.longer)


def partition(d: int, n_blocks: int | None, block_size: int | None, n_rows: int | None, gap_guess: float) -> Partition:
    """Return the blocks that the parameters ask for; see `BlockPower`. n_rows is None where it cannot be known.

    Raises ValueError for numbers out of range, and for n_blocks without n_rows or with block_size.
    """
    if not positive("gap_guess", gap_guess) > 1:
        raise ValueError(f"gap_guess must be above 1, got {gap_guess!r}")
    if block_size is not None:
        if n_blocks is not None:
            raise ValueError(f"give n_blocks or block_size, got {n_blocks!r} and {block_size!r}")
        return Partition(integer("block_size", block_size))
    if n_blocks is not None:
        integer("n_blocks", n_blocks)
    if n_rows is None:
        if n_blocks is not None:
            raise ValueError(
                f"n_blocks={n_blocks} needs the number of rows, which this source does not tell: give n_rows, or "
                "block_size, or neither for blocks of 1, 2, 4, .. rows"
            )
        return Partition(1, 2)
    n_rows = integer("n_rows", n_rows)
    if n_blocks is None:
        n_blocks = min(math.ceil(math.log(d) / math.log(gap_guess)) + 2, n_rows)
    if n_blocks > n_rows:
        raise ValueError(f"n_blocks must be at most the number of rows, {n_rows}, got {n_blocks}")
    return Partition(n_rows // n_blocks, longer=n_rows % n_blocks)
