"""CUDA kernels of the Vandermonde products: exact exponentials, tables for cuBLAS, a fused recurrence, the adjoint.

Nothing here was run on a device yet: the shapes follow from counting, with M = 32 modes, operations and bytes.

- `gemm` writes two tables, all entries of which are exact exponentials, and leaves 4 M operations a sample to cuBLAS
  (one batched product; channels that share their nodes share the right table, and stack their left ones). The tables
  have 2 M (Q + S) numbers for Q S samples, written and read once.
- `recurrence` writes nothing but the kernel: a block of threads makes 1024 samples of a channel. Its threads start 128
  neighbouring samples and go on in strides of 128, so that writes are contiguous. A start is the product of two exact
  exponentials from tables of 16 and 8 in shared memory: 25 exponentials for 1024 samples of a mode, where one for each
  thread would be 128, and some 7 multiply-adds a mode and sample with 8 samples a thread.

Phases are reduced in float64 and lose no digits, as in `_cpu`: Re x in powers of two and Im x in quarter turns are sums
of two numbers, and what the product with a step number rounds off is found with a fused multiply-add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, namespace
from lrtheory.operators import _gpu_launch
from lrtheory.ssm._gpu_sources import FUSED, MOMENTS, OUTPUTS, QUEUES, REAL, TABLES, THREADS, fused_macros

FEW_SAMPLES = 4096
"""Samples for each row of nodes up to which the recurrence is taken. With 10 operations for each byte of memory
traffic, as large devices have them, its 14 M operations a sample equal the product's 4 M and 32 M (Q + S) bytes of
tables where (Q + S) / Q S = 1 / 32. A count, not a measurement."""

LOWEST = {"float64": -200.0, "float32": -50.0}  # of `_cpu`: exponentials below 2 to this power are 0
LINES = 4  # of 32 numbers, that a block of threads makes of a table
STEP = 64


def gemm(w, x, lead, computed, length, dtype):
    """Return the kernels ``(*lead, L)`` of w and x ``(..., M)``, whose channels broadcast to the shape `lead`.

    Of the channels with the r-th row of nodes, the first ``computed[r]`` samples are computed; the others are 0.
    CuPy's matrix products are in full float32 unless the environment asks for less (``CUPY_TF32``).
    """
    given = _Channels.of(w, x, lead, computed)
    xp, kind = given.xp, np.dtype(dtype).name
    if given.count == 0:
        return xp.empty((*lead, length), dtype=dtype)
    step, giants = given.steps()
    left = xp.empty((given.nodes.shape[0], given.together * giants, 2 * given.modes), dtype=dtype)
    right = xp.empty((given.nodes.shape[0], 2 * given.modes, step), dtype=dtype)
    macros = {"REAL": REAL[kind]}
    rows = given.count * giants
    _lines(
        TABLES,
        "left_table",
        (rows, given.modes),
        (given.weights, given.nodes, given.table, given.count, given.modes, giants, step, LOWEST[kind], left),
        macros,
    )
    _lines(
        TABLES,
        "right_table",
        (given.nodes.shape[0] * given.modes, step),
        (given.nodes, given.table, given.count, given.modes, given.together, step, LOWEST[kind], right),
        macros,
    )
    product = xp.matmul(left, right)
    samples = giants * step
    if given.whole(length, samples):
        return xp.reshape(product, (*lead, length))
    out = xp.empty((*lead, length), dtype=dtype)
    parts = -(-length // 256)
    arguments = (product, given.table, given.count, samples, length, parts, out)
    _gpu_launch.launch(TABLES, "place_rows", (given.count * parts,), (256,), arguments, macros)
    return out


def recurrence(w, x, lead, computed, length, dtype, two_term=False):
    """The same by the recurrence, or the two-term one."""
    given = _Channels.of(w, x, lead, computed)
    kind = np.dtype(dtype).name
    out = given.xp.empty((*lead, length), dtype=dtype)
    if given.count:
        tiles = -(-length // (THREADS * OUTPUTS))
        arguments = (
            given.weights,
            given.nodes,
            given.table,
            given.count,
            given.modes,
            length,
            tiles,
            LOWEST[kind],
            out,
        )
        macros = fused_macros(kind, two_term)
        _gpu_launch.launch(FUSED, "recurrence", (given.count * tiles,), (THREADS,), arguments, macros)
    return out


def moments(w, x, lead, cotangent, computed):
    """Return sum_l g_l exp(l x_n) and sum_l l g_l exp(l x_n), ``(*lead, M)``, for the channels of w and x.

    With l = S q + r the sum over r is a product of matrices, 8 M operations a sample, and the one over q a kernel; all
    in float64 whatever the cotangent's dtype. Sums are added in an order that the shape alone decides.
    """
    given = _Channels.of(w, x, lead, computed)
    xp, lowest, modes, count = given.xp, LOWEST["float64"], given.modes, given.count
    length = cotangent.shape[-1]
    if count == 0:
        return xp.empty((*lead, modes), dtype=xp.complex128), xp.empty((*lead, modes), dtype=xp.complex128)
    step, giants = given.steps()
    samples, rows_of_nodes = giants * step, given.nodes.shape[0]
    macros = {"REAL": REAL[np.dtype(cotangent.dtype).name], "QUEUES": QUEUES}
    rows = xp.ascontiguousarray(xp.reshape(cotangent, (count, length)))
    if not (given.whole(length, samples) and rows.dtype == xp.float64):
        source, rows = rows, xp.empty((count, samples))
        parts = -(-samples // 256)
        gathered = (source, given.table, count, samples, length, parts, rows)
        _gpu_launch.launch(MOMENTS, "gather_rows", (count * parts,), (256,), gathered, macros)
    table = xp.empty((rows_of_nodes, step, 4 * modes))
    made = (given.nodes, given.table, count, modes, given.together, step, lowest, table)
    _lines(MOMENTS, "moment_table", (rows_of_nodes * step, modes), made, macros)
    sums_of_rows = xp.matmul(xp.reshape(rows, (rows_of_nodes, given.together * giants, step)), table)
    out = xp.empty((count, 2, 2 * modes))
    added = (given.nodes, given.table, sums_of_rows, count, modes, giants, step, lowest, out)
    _gpu_launch.launch(MOMENTS, "add_moments", (count, -(-modes // 32)), (32, QUEUES), added, macros)
    sums = out.view(xp.complex128)
    return xp.reshape(sums[:, 0], (*lead, modes)), xp.reshape(sums[:, 1], (*lead, modes))


def _lines(source, kernel, shape, arguments, macros):
    """Start a kernel that makes a table of `shape`, 32 neighbours in a row for each row of threads."""
    grid = (-(-shape[0] // LINES), -(-shape[1] // 32))
    _gpu_launch.launch(source, kernel, grid, (32, LINES), arguments, macros)


@dataclass(frozen=True, eq=False)
class _Channels:
    """What all kernels are given.

    Attributes
    ----------
    weights, nodes : array ``(nw, 2 M)`` and ``(nx, 2 M)``, float64
        Real and imaginary parts alternate.
    table : array ``(4, H)``, int64
        Of each channel the row of its weights, the row of its nodes, the place of its result, and how many samples are
        computed; by rows of nodes.
    together : int
        Channels that share a row of nodes: as many for each row, since shapes broadcast.
    ordered : bool
        Whether places are 0, 1, 2, ...
    longest, shortest : int
        Largest and smallest number of samples computed.
    """

    xp: Any
    weights: Array
    nodes: Array
    table: Array
    count: int
    modes: int
    together: int
    ordered: bool
    longest: int
    shortest: int

    @classmethod
    def of(cls, w: Array, x: Array, lead: tuple[int, ...], computed: np.ndarray) -> _Channels:
        xp = namespace(w, x)
        count, modes = math.prod(lead), x.shape[-1]
        flat = [xp.ascontiguousarray(xp.reshape(a, (-1, modes))) if count else a for a in (w, x)]
        weights, nodes = (a.view(xp.float64) if count else a for a in flat)
        weight_of, node_of = (
            np.broadcast_to(np.arange(math.prod(a.shape[:-1])).reshape(a.shape[:-1]), lead).ravel() for a in (w, x)
        )
        place = np.argsort(node_of, kind="stable")
        table = np.stack([weight_of[place], node_of[place], place, computed[node_of[place]]]).astype(np.int64)
        return cls(
            xp,
            weights,
            nodes,
            xp.asarray(table),
            count,
            modes,
            count // max(1, computed.size),
            bool(np.all(np.diff(place) > 0)),
            int(computed.max(initial=1)),
            int(computed.min(initial=2**62)),
        )

    def steps(self) -> tuple[int, int]:
        """Return S and Q: baby steps, a power of two near sqrt(together L) since channels with the same nodes share
        their table, and giant steps."""
        samples = max(STEP, self.longest)
        step = 1 << -(-(samples * self.together - 1).bit_length() // 2)
        step = max(STEP, min(step, 1 << (samples - 1).bit_length()))
        return step, -(-self.longest // step)

    def whole(self, length: int, samples: int) -> bool:
        """Return whether the product of the tables is the result as it is."""
        return self.ordered and samples == length == self.shortest
