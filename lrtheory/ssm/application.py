"""Applying diagonal systems: from the input to the response, with the state in and out.

Every algorithm takes (x, b, c, u, state, return_state), and computes

    z_k = exp(x) z_{k-1} + b u_k,   y_k = Re sum_n c_n z_{k,n},

so that c holds the factor 2 of conjugate pairs. x, b, c are complex arrays ``(..., M)``, u is a real array
``(..., L)``, the state before the first sample a complex array ``(..., M)`` or None for 0; the leading axes broadcast.
It returns y ``(..., L)`` in the dtype of u and the state after the last sample, or None unless `return_state`.

==============  ==========================  ============================  ====================================
function        operations                  memory beyond the result      best for
==============  ==========================  ============================  ====================================
`scan`          8 M L                       16 M a thread                 one or few channels on a CPU, M <= 64
`chunked`       2 (4 M + T) L               (2 M / T + 1) L a channel     float32, many modes, GPUs
`fft`           L log L, and the kernel     6 L a channel                 batches that share a kernel
`associative`   20 M L                      6 M L a channel               libraries with neither
==============  ==========================  ============================  ====================================

`fastest` takes what `choose` recommends.

References
----------
.. [1] G. E. Blelloch, Prefix sums and their applications, CMU-CS-90-190, 1990.
.. [2] J. T. H. Smith, A. Warrington, S. W. Linderman, Simplified state space layers for sequence modeling, ICLR 2023,
   arXiv:2208.04933.
.. [3] T. Dao, A. Gu, Transformers are SSMs, ICML 2024, arXiv:2405.21060.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lrtheory import backend
from lrtheory.backend import Array, is_cupy, is_numpy, namespace, twin
from lrtheory.ssm import vandermonde

from ._checks import as_double
from .scans import associative_scan

CHUNK = 64


def scan(
    x: Array, b: Array, c: Array, u: Array, state: Array | None = None, return_state: bool = False
) -> tuple[Array, Array | None]:
    """Apply a system by its recurrence, one sample after the other.

    NumPy arrays take a compiled kernel that advances blocks of eight samples with the state in cache: it reads u and
    writes y, nothing else. CuPy arrays take kernels that run it over chunks of 64 samples together, and carry states
    over the chunks. Others take the plain expression, a few calls a sample, which is the reference.
    """
    kernels = twin("lrtheory.ssm.application", x, b, c, u, *(() if state is None else (state,)))
    if kernels is None:
        return _plain_scan(x, b, c, u, state, return_state)
    length, modes = u.shape[-1], x.shape[-1]
    systems = _broadcast(x.shape[:-1], b.shape[:-1], c.shape[:-1])
    batch, row_of = _layout(systems, u.shape[:-1], None if state is None else state.shape[:-1])
    z = _states(state, batch, x)
    y = _bare(u).empty((row_of.shape[1], length), dtype=u.dtype)
    weights = tuple(_flat(v, (*systems, modes), np.complex128) for v in (x, b, c))
    signals = _flat(u, u.shape, u.dtype)
    kernels.scan(*weights, signals, row_of, z, y)
    return y.reshape(*batch, length), z.reshape(*batch, modes) if return_state else None


def chunked(
    x: Array,
    b: Array,
    c: Array,
    u: Array,
    state: Array | None = None,
    return_state: bool = False,
    *,
    chunk: int = CHUNK,
) -> tuple[Array, Array | None]:
    """Apply a system by matrix products over chunks of T samples, and a recurrence over the chunks.

    Within a chunk that starts from the state z,

        y_j = Re sum_n c_n exp((j+1) x_n) z_n + sum_{i<=j} K_{j-i} u_i,   z <- exp(T x) z + b sum_i exp((T-1-i) x) u_i,

    for all chunks together three real products, with tables of (T x 2 M), (2 M x T) and (T x T) numbers. The tables are
    made in double precision; for float32 the products are in float32, and the states are carried in float64.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk!r}")
    length = u.shape[-1]
    whole = length // chunk * chunk
    if 0 < whole < length:
        xp = namespace(u)
        head, state = chunked(x, b, c, u[..., :whole], state, True, chunk=chunk)
        tail, last = chunked(x, b, c, u[..., whole:], state, return_state, chunk=length - whole)
        return xp.concat([xp.broadcast_to(head, (*tail.shape[:-1], whole)), tail], axis=-1), last
    return _whole_chunks(x, b, c, u, state, return_state, min(chunk, length))


def fft(
    x: Array,
    b: Array,
    c: Array,
    u: Array,
    state: Array | None = None,
    return_state: bool = False,
    *,
    kernel: Callable[..., Array] = vandermonde.fastest,
) -> tuple[Array, Array | None]:
    """Apply a system by its kernel: the product of real Fourier transforms of length >= 2 L - 1.

    `kernel` is an algorithm of `lrtheory.ssm.vandermonde`. Rounding errors are relative to the largest y, not to each.
    """
    from scipy.fft import next_fast_len

    xp = namespace(u)
    length = u.shape[-1]
    size = next_fast_len(2 * length - 1, real=True)
    forward, backward = _transforms(u)
    response = xp.astype(kernel(c * b, x, length), u.dtype, copy=False)
    y = backward(forward(response, size) * forward(u, size), size)[..., :length]
    if state is not None:
        y = y + xp.astype(kernel(c * xp.exp(x) * state, x, length), u.dtype, copy=False)
    return y, final_state(x, b, u, state) if return_state else None


def associative(
    x: Array, b: Array, c: Array, u: Array, state: Array | None = None, return_state: bool = False
) -> tuple[Array, Array | None]:
    """Apply a system by a parallel prefix sum of (a, v) . (a', v') = (a' a, a' v + v') over the samples [1]_, [2]_.

    See `lrtheory.ssm.associative_scan`. All states are stored, in double precision.
    """
    xp = namespace(u)
    states = associative_scan(x, as_double(b)[..., None, :] * u[..., None], state)
    y = xp.astype(xp.real(xp.sum(as_double(c)[..., None, :] * states, axis=-1)), u.dtype, copy=False)
    return y, states[..., -1, :] if return_state else None


def final_state(x: Array, b: Array, u: Array, state: Array | None = None) -> Array:
    """Return the state after the last sample, exp(L x) state + sum_l exp((L-1-l) x) b u_l, without the response.

    With L - 1 - l = T p + q the sum is a real product of u's rows of T samples with the table exp(q x), and a sum over
    rows with exp(T p x): 4 M L operations a channel, and exponentials that are exact.
    """
    xp = namespace(u)
    length = u.shape[-1]
    chunk = 1 << (length.bit_length() + 1) // 2
    short = -length % chunk  # zeros before the first sample change nothing
    if short:
        u = xp.concat([xp.zeros_like(u[..., :1]) * xp.zeros(short, dtype=u.dtype), u], axis=-1)
    count = u.shape[-1] // chunk
    table = _real_pairs(xp.flip(_powers(x, chunk), axis=-2), u.dtype)
    rows = _from_pairs(xp.reshape(u, (*u.shape[:-1], count, chunk)) @ table)
    total = as_double(b) * xp.sum(xp.flip(_powers(chunk * x, count), axis=-2) * rows, axis=-2)
    return total if state is None else total + xp.exp(length * x) * state


# the chooser


@dataclass(frozen=True)
class Choice:
    """How `fastest` applies a system.

    Attributes
    ----------
    algorithm : callable
        One of the functions of this module.
    seconds : dict
        What the model of `choose` expects of each algorithm, by name.
    reason : str
        Why this algorithm.
    """

    algorithm: Callable[..., tuple[Array, Array | None]]
    seconds: dict[str, float]
    reason: str


@lru_cache(maxsize=256)
def choose(
    length: int,
    modes: int,
    rows: int = 1,
    systems: int | None = None,
    *,
    memory: float = math.inf,
    single: bool = False,
) -> Choice:
    """Return the algorithm for `rows` signals of `length` samples through `systems` different systems, on a CPU.

    The rule is a model of the time on one thread, fitted to 134 measurements on one core (Zen 4) with L from 64 to
    32768, M from 2 to 512, and one system, 16 systems, or one that 64 signals share; there its choice takes 2 % more
    time than the best one on average. With S systems, W = T + 4 M, and in each pair the second number for float32:

    =========  =====  ============  ==============================================  ==============================
    algorithm  call   each system   each sample                                     and
    =========  =====  ============  ==============================================  ==============================
    scan       15 us  65 ns M       1.2 or 2.6 ns, 0.237 ns M (in multiples of 16)
    chunked    70 us  2.5 ns T W    1 or 0.5 ns, 0.062 or 0.031 ns W
    fft        90 us                1.2 or 0.7 ns log2(2 L)                         half of it for S L samples,
                                                                                    0.13 ns M for S kernels
    =========  =====  ============  ==============================================  ==============================

    Parameters
    ----------
    length, modes : int
        L and M.
    rows : int
        Signals, over all batch axes.
    systems : int, optional
        Default: one for each row.
    memory : float
        Samples of a kernel that are worth computing, if fewer than L.
    single : bool
        Whether the signals are float32.
    """
    systems = rows if systems is None else systems
    samples = float(rows * length)
    chunk = min(CHUNK, length)
    width = chunk + 4 * modes
    filled = -(-modes // 16) * 16
    transform = (0.35e-9 if single else 0.6e-9) * math.log2(2 * max(length, 1))
    seconds = {
        "scan": 15e-6 + 65e-9 * modes * systems + ((2.6e-9 if single else 1.2e-9) + 0.237e-9 * filled) * samples,
        "chunked": 70e-6
        + 2.5e-9 * chunk * width * systems
        + (1e-9 + 0.062e-9 * width) * (0.5 if single else 1) * samples,
        "fft": 90e-6 + 0.13e-9 * modes * min(length, memory) * systems + transform * (length * systems + 2 * samples),
    }
    best = min(seconds, key=seconds.__getitem__)
    others = ", ".join(f"{name} {value:.2g} s" for name, value in seconds.items() if name != best)
    return Choice(
        {"scan": scan, "chunked": chunked, "fft": fft}[best],
        seconds,
        f"{rows} signals of {length} samples, {systems} systems of {modes} modes: {best} is expected to take "
        f"{seconds[best]:.2g} s, {others}",
    )


def fastest(
    x: Array, b: Array, c: Array, u: Array, state: Array | None = None, return_state: bool = False
) -> tuple[Array, Array | None]:
    """Apply a system by the algorithm that `choose` recommends for NumPy arrays; on a device a count of calls and bytes
    decides, and other libraries take `chunked`."""
    return chosen(x, b, c, u, state).algorithm(x, b, c, u, state, return_state)


def chosen(x: Array, b: Array, c: Array, u: Array, state: Array | None = None) -> Choice:
    """Return what `fastest` takes for these arrays."""
    systems = _broadcast(x.shape[:-1], b.shape[:-1], c.shape[:-1])
    rows = _broadcast(systems, u.shape[:-1], () if state is None else state.shape[:-1])
    if not is_numpy(x, b, c, u):
        if not is_cupy(x, b, c, u):
            return Choice(chunked, {}, "arrays of a library without kernels: matrix products run everywhere")
        from lrtheory.ssm import _gpu_application

        name, reason = _gpu_application.recommended(u.shape[-1], x.shape[-1], math.prod(rows))
        return Choice({"scan": scan, "chunked": chunked, "fft": fft}[name], {}, reason)
    decay = -float(x.real.max()) if x.size else math.inf
    return choose(
        u.shape[-1],
        x.shape[-1],
        math.prod(rows),
        math.prod(systems),
        memory=-math.log(vandermonde.TOLERANCE) / decay if decay > 0 else math.inf,
        single=u.dtype == np.float32,
    )


# what the algorithms share


def _plain_scan(
    x: Array, b: Array, c: Array, u: Array, state: Array | None, return_state: bool
) -> tuple[Array, Array | None]:
    xp = namespace(u)
    a, b, c = xp.exp(x), as_double(b), as_double(c)
    z = xp.zeros((*_batch(x, b, c, u, state), x.shape[-1]), dtype=xp.complex128)
    z = z if state is None else z + state
    y = []
    for k in range(u.shape[-1]):
        z = a * z + b * u[..., k, None]
        y.append(xp.real(xp.sum(c * z, axis=-1)))
    return xp.astype(xp.stack(y, axis=-1), u.dtype), z if return_state else None


def _whole_chunks(
    x: Array, b: Array, c: Array, u: Array, state: Array | None, return_state: bool, chunk: int
) -> tuple[Array, Array | None]:
    xp = namespace(u)
    count = u.shape[-1] // chunk
    powers = _powers(x, chunk + 1)
    weighted = as_double(b)[..., None, :] * powers[..., :-1, :]
    drive = _real_pairs(xp.flip(weighted, axis=-2), u.dtype)
    read = xp.conj(as_double(c)[..., None, :] * powers[..., 1:, :])  # Re(c p z) = Re(c p) Re z - Im(c p) Im z
    read = xp.matrix_transpose(_real_pairs(read, u.dtype))
    taps = xp.astype(xp.real(xp.sum(as_double(c)[..., None, :] * weighted, axis=-1)), u.dtype)

    rows = xp.reshape(u, (*u.shape[:-1], count, chunk))
    before, last = _carry(chunk * x, rows @ drive, state)
    y = xp.astype(before, u.dtype, copy=False) @ read + rows @ _toeplitz(taps)
    batch = y.shape[:-2]
    return xp.reshape(y, (*batch, count * chunk)), last if return_state else None


def _toeplitz(taps: Array) -> Array:
    """Return the upper triangular matrix with entries taps_{j-i}, ``(..., T, T)``."""
    xp = namespace(taps)
    size = taps.shape[-1]
    padded = xp.concat([xp.zeros_like(taps), taps], axis=-1)
    steps = xp.arange(size)
    index = size + steps[None, :] - steps[:, None]
    return xp.reshape(xp.take(padded, xp.reshape(index, (-1,)), axis=-1), (*taps.shape[:-1], size, size))


def _carry(turn: Array, added: Array, state: Array | None) -> tuple[Array, Array]:
    """Return the states before each chunk as real pairs, and the last one.

    A chunk multiplies the state by exp(turn), turn ``(..., M)``, and adds its part of added ``(..., chunks, 2 M)``.
    """
    xp = namespace(added)
    modes = turn.shape[-1]
    batch, row_of = _layout(turn.shape[:-1], added.shape[:-2], None if state is None else state.shape[:-1])
    kernels = twin("lrtheory.ssm.application", turn, added, *(() if state is None else (state,)))
    if kernels is not None:
        z = _states(state, batch, turn)
        before = _bare(added).empty((len(z), *added.shape[-2:]), dtype=added.dtype)
        turns = _flat(xp.exp(turn), turn.shape, np.complex128)
        gains = added.reshape(-1, *added.shape[-2:])
        kernels.carry(turns, gains, row_of, z, before)
        return before.reshape(*batch, *added.shape[-2:]), z.reshape(*batch, modes)
    start = xp.zeros((*batch, 1, modes), dtype=xp.complex128)
    if state is not None:
        start = start + state[..., None, :]
    gained = xp.broadcast_to(_from_pairs(added), (*batch, added.shape[-2], modes))
    # the state before the first chunk is what a chunk before it added
    states = associative_scan(turn, xp.concat([start, gained], axis=-2))
    return _real_pairs(states[..., :-1, :], xp.float64), states[..., -1, :]


def _powers(x: Array, count: int) -> Array:
    """Return exp(j x), j = 0..count-1, ``(..., count, M)``: products of at most log2(count) exact exponentials."""
    xp = namespace(x)
    powers = xp.ones_like(x)[..., None, :]
    while powers.shape[-2] < count:
        have = powers.shape[-2]
        more = powers[..., : min(have, count - have), :] * xp.exp(have * x)[..., None, :]
        powers = xp.concat([powers, more], axis=-2)
    return powers


def _transforms(u: Array) -> tuple[Callable[[Array, int], Array], Callable[[Array, int], Array]]:
    if is_numpy(u):
        from scipy import fft as scipy_fft

        workers = backend.threads()
        return (
            lambda v, n: scipy_fft.rfft(v, n, workers=workers),
            lambda v, n: scipy_fft.irfft(v, n, workers=workers),
        )
    if is_cupy(u):
        from lrtheory.ssm import _gpu_application

        return _gpu_application.rfft, _gpu_application.irfft
    xp = namespace(u)
    return lambda v, n: xp.fft.rfft(v, n=n), lambda v, n: xp.fft.irfft(v, n=n)


_broadcast = lru_cache(maxsize=256)(np.broadcast_shapes)  # which takes longer than short signals do


def _batch(x: Array, b: Array, c: Array, u: Array, state: Array | None) -> tuple[int, ...]:
    shapes = [tuple(v.shape[:-1]) for v in (x, b, c, u)]
    return _broadcast(*shapes, () if state is None else tuple(state.shape[:-1]))


@lru_cache(maxsize=64)
def _layout(
    systems: tuple[int, ...], sources: tuple[int, ...], states: tuple[int, ...] | None
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the batch shape, and for each of its rows the flat indices of system, source and row, systems in order."""
    batch = np.broadcast_shapes(systems, sources, states or ())
    system, source = (
        np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), batch).ravel() for shape in (systems, sources)
    )
    order = np.argsort(system, kind="stable")  # a kernel makes the tables of a system once
    return batch, np.stack([system[order], source[order], order])


def _bare(a: Array) -> Any:
    """Return NumPy itself, whose array-API wrapper takes a microsecond a call, or the namespace of a device's array."""
    return np if is_numpy(a) else namespace(a)


def _flat(v: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return `v`, broadcast to the shape, as rows that a kernel can take: read-only is another signature to compile."""
    if not is_numpy(v):
        xp = namespace(v)
        rows = xp.reshape(xp.broadcast_to(v, shape), (-1, shape[-1]))
        return xp.ascontiguousarray(xp.astype(rows, dtype, copy=False))
    if v.shape != shape:
        v = np.broadcast_to(v, shape)
    return np.require(v.reshape(-1, shape[-1]), dtype, ["C", "W"])


def _states(state: Array | None, batch: tuple[int, ...], x: Array) -> Array:
    """Return new rows of states, one for each mode of x, for a kernel to advance."""
    modes, xp = x.shape[-1], _bare(x)
    if state is None:
        return xp.zeros((math.prod(batch), modes), dtype=np.complex128)
    return xp.array(xp.broadcast_to(state, (*batch, modes)), dtype=np.complex128, order="C").reshape(-1, modes)


def _real_pairs(z: Array, dtype: Any) -> Array:
    """Return the real parts of the last axis and after them the imaginary parts."""
    xp = namespace(z)
    return xp.astype(xp.concat([xp.real(z), xp.imag(z)], axis=-1), dtype, copy=False)


def _from_pairs(pairs: Array) -> Array:
    xp = namespace(pairs)
    half = pairs.shape[-1] // 2
    return xp.astype(pairs[..., :half], xp.complex128) + 1j * xp.astype(pairs[..., half:], xp.complex128)
