"""Kernels of diagonal systems: K_l = Re sum_n w_n exp(l x_n), l = 0..L-1, a product with a Vandermonde matrix.

Every function takes w and x as complex arrays ``(..., M)`` whose leading axes broadcast, and gives ``(..., L)``,
float32 for complex64 and float64 for complex128; phases and exponentials are float64 in any case. Samples whose bound
``exp(l max_n Re x_n)`` lies below `tolerance` are 0 and not computed, which makes kernels much longer than their memory
cheap; ``tolerance=0`` computes all of them.

========================  =======================  ==============================  ==========================
function                  operations               memory beyond the result        needs
========================  =======================  ==============================  ==========================
`naive`                   M L exponentials         M L                             nothing
`gemm`                    4 M L                    250 M a thread                  nothing
`recurrence`              7 M L                    10 M a thread                   nothing
`two_term`                4 M L                    10 M a thread                   Im x not near 0
`chirp_z`                 O((M + L) log(M + L))    O(M + L)                        nodes in geometric progression
========================  =======================  ==============================  ==========================

`fastest` takes what `choose` recommends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from array_api_compat import device

from lrtheory.backend import Array, is_array, namespace, to_numpy, twin

from ._checks import count

TOLERANCE = 1e-20
_TURN = Fraction("0.15915494309189533576888376337251436203445964574045644874766734405889679763422653509")  # 1 / 2 pi
FEW_SAMPLES = 256
MANY_MODES = 2048
ROW = 64  # samples are computed in whole rows of so many
BLOCK = 64  # steps of a recurrence from exact exponentials


@dataclass(frozen=True)
class Choice:
    """How `fastest` computes a kernel.

    Attributes
    ----------
    algorithm : callable
        One of the functions of this module.
    samples : int
        Samples computed for the channel with the longest memory, of L; the rest are below the tolerance, and 0.
    aliased : int
        Entries of x with |Im x| > pi: modes faster than half the sampling rate, which appear at another frequency.
    reason : str
        Why this algorithm.
    """

    algorithm: Callable[..., Array]
    samples: int
    aliased: int
    reason: str


def choose(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Choice:
    """Return the algorithm that was the fastest in measurements for arrays like these, and why.

    The rule counts samples, channels and modes, nothing else: the same shapes always get the same algorithm, hence the
    same bits. Measured on one core (Zen 4): tables pay from some 256 samples for each row of nodes; the convolution
    overtakes the product between 512 and 2048 modes. On a device the first number is 4096, by counting operations and
    bytes, and nothing was measured. Parameters and errors: see `naive`.
    """
    given = _checked(w, x, length, tolerance)
    xp = given.xp
    algorithm, reason = _rule(given)
    return Choice(algorithm, given.longest, int(xp.count_nonzero(xp.abs(xp.imag(given.x)) > math.pi)), reason)


def fastest(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Array:
    """Return the kernel by the algorithm that `choose` recommends. Parameters, returns and errors: see `naive`."""
    given = _checked(w, x, length, tolerance)
    return _CORES[_rule(given)[0]](given)


def _rule(given: _Arguments) -> tuple[Callable[..., Array], str]:
    modes, samples, rows = given.x.shape[-1], given.longest, given.computed.size
    if modes >= MANY_MODES and samples >= MANY_MODES and geometric(to_numpy(given.x)):
        return chirp_z, f"{modes} >= {MANY_MODES} modes in geometric progression"
    few = getattr(twin("lrtheory.ssm.", given.w, given.x), "FEW_SAMPLES", FEW_SAMPLES)  # devices have their own
    if samples * math.prod(given.channels) <= few * rows:
        return recurrence, f"at most {few} samples a row of nodes: tables do not pay"
    return gemm, "the least work a sample, once the tables are paid for"


def naive(w: Array, x: Array, length: int, *, tolerance: float = 0.0) -> Array:
    """Return Re sum_n w_n exp(l x_n) by the M x L Vandermonde matrix: O(M L) exponentials and memory.

    Parameters
    ----------
    w, x : complex array ``(..., M)``
        Weights, and logarithms of the nodes.
    length : int
        L.
    tolerance : float
        Samples l with exp(l max Re x) below it, for all channels, are 0.

    Returns
    -------
    array ``(..., L)``, real

    Raises
    ------
    TypeError, ValueError
        If w or x is no floating-point array, their shapes do not broadcast, an entry is not finite, or length < 1.
    OverflowError
        If exp(L max Re x) exceeds the range of the result.

    Notes
    -----
    The phase l Im x is rounded, so that the error grows like l |Im x|; the other functions keep it exact.
    """
    given = _checked(w, x, length, tolerance)
    xp, w, x = given.xp, given.w, given.x
    steps = xp.arange(given.longest, dtype=xp.float64, device=device(x))
    return given.finished(xp.real(xp.sum(w[..., None] * xp.exp(x[..., None] * steps), axis=-2)))


def gemm(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Array:
    """Return the kernel as a product of two small real matrices (baby steps and giant steps).

    With l = S q + r, 0 <= r < S,

        K_(Sq+r) = sum_n [Re g_qn, Im g_qn] . [Re e_nr, -Im e_nr],   g_qn = w_n exp(S q x_n),   e_nr = exp(r x_n),

    4 M operations a sample. Both tables are products of a few exact exponentials, in float64; for a float32 result
    they are rounded before they are multiplied.

    Parameters, returns and errors are those of `naive`; `tolerance` applies to each channel by itself.
    """
    return _gemm(_checked(w, x, length, tolerance))


def _gemm(given: _Arguments) -> Array:
    xp, w, x, dtype = given.xp, given.w, given.x, given.dtype
    kernels = twin("lrtheory.ssm.", w, x)
    if kernels is not None:
        return kernels.gemm(w, x, given.channels, given.computed, given.length, dtype)
    step = max(ROW, 1 << (-(-(given.longest - 1).bit_length() // 2)))
    within = xp.arange(step, dtype=xp.float64, device=device(x))
    starts = xp.arange(0, given.longest, step, dtype=xp.float64, device=device(x))
    e = xp.exp(x[..., None] * within)
    g = w[..., None, :] * xp.exp(starts[:, None] * x[..., None, :])
    left = xp.concat([xp.real(g), xp.imag(g)], axis=-1)
    table = xp.concat([xp.real(e), -xp.imag(e)], axis=-2)
    kernel = xp.matmul(xp.astype(left, dtype), xp.astype(table, dtype))
    return given.finished(xp.reshape(kernel, (*kernel.shape[:-2], starts.shape[0] * step)))


def recurrence(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Array:
    """Return the kernel by v_n <- v_n exp(x_n), K_l = Re sum_n v_n, from exact exponentials every 64 steps.

    It needs no tables: the fastest for short kernels of many channels. Parameters, returns and errors: see `naive`.
    """
    return _recurrence(_checked(w, x, length, tolerance))


def two_term(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Array:
    """Return the kernel by the real recurrence of each mode, from exact exponentials every 64 steps:

        k_l = 2 Re(z) k_(l-1) - |z|^2 k_(l-2),   z = exp(x_n).

    Rounding errors grow like 1 / |Im x| within 64 steps, up to 64^2 / 2 where Im x = 0; and it is no faster than
    `recurrence`, whose loop moves as much memory. For comparison. Parameters, returns and errors: see `naive`.
    """
    return _recurrence(_checked(w, x, length, tolerance), second_order=True)


def _recurrence(given: _Arguments, second_order: bool = False) -> Array:
    xp, w, x = given.xp, given.w, given.x
    kernels = twin("lrtheory.ssm.", w, x)
    if kernels is not None:
        return kernels.recurrence(w, x, given.channels, given.computed, given.length, given.dtype, second_order)
    starts = xp.arange(0, given.longest, BLOCK, dtype=xp.float64, device=device(x))
    v = w[..., None, :] * xp.exp(starts[:, None] * x[..., None, :])
    z = xp.exp(x)[..., None, :]
    columns = []
    if second_order:
        now, after = xp.real(v), xp.real(v * z)
        double, square = 2 * xp.real(z), xp.real(z * xp.conj(z))
        for _ in range(BLOCK):
            columns.append(xp.sum(now, axis=-1))
            now, after = after, double * after - square * now
    else:
        for _ in range(BLOCK):
            columns.append(xp.real(xp.sum(v, axis=-1)))
            v = v * z
    kernel = xp.stack(columns, axis=-1)
    return given.finished(xp.reshape(kernel, (*kernel.shape[:-2], starts.shape[0] * BLOCK)))


def chirp_z(w: Array, x: Array, length: int, *, tolerance: float = TOLERANCE) -> Array:
    """Return the kernel of nodes in geometric progression by Bluestein's convolution, with three Fourier transforms.

    For x_n = s + i (u + n d), as S4D-Lin has them, l n = (l^2 + n^2 - (l - n)^2) / 2 makes of the kernel

        K_l = exp(l s) Re[exp(i l u) c_l sum_n w_n c_n conj(c_(l-n))],   c_k = exp(i d k^2 / 2).

    The phases d k^2 / 2 are reduced in integer arithmetic. Parameters, returns and other errors: see `naive`.

    Raises
    ------
    ValueError
        If the real parts of a channel's x are not equal, or its imaginary parts not in arithmetic progression.

    Notes
    -----
    The nodes used are the progression from the first given one to the last; given ones differ from it by their
    rounding, and the kernel by l times that: 2e-13 of max |K| at M = 2048 modes, L = 131072 and memories as long.
    """
    return _chirp_z(_checked(w, x, length, tolerance))


def _chirp_z(given: _Arguments) -> Array:
    from scipy.fft import next_fast_len

    xp, w, x, count = given.xp, given.w, given.x, given.longest
    shape, modes = x.shape[:-1], x.shape[-1]
    nodes = to_numpy(x).reshape(-1, modes)
    if not geometric(nodes):
        raise ValueError(
            "chirp_z needs nodes in geometric progression: x with equal real parts and imaginary parts in arithmetic "
            "progression, channel by channel; gemm takes any nodes"
        )
    size = next_fast_len(count + modes - 1)
    steps = np.arange(max(count, modes), dtype=np.uint64)
    gaps = (nodes[:, -1].imag - nodes[:, 0].imag) / max(modes - 1, 1)
    chirp = _turned([Fraction(float(d)) / 2 for d in gaps], steps * steps)
    carrier = _turned([Fraction(float(u)) for u in nodes[:, 0].imag], steps[:count])
    carrier *= np.exp(nodes[:, :1].real * np.arange(count)) * chirp[:, :count]
    kernel = np.zeros((nodes.shape[0], size), np.complex128)
    kernel[:, :count] = np.conj(chirp[:, :count])
    kernel[:, size - modes + 1 :] = np.conj(chirp[:, modes - 1 : 0 : -1])
    kernel, carrier, chirp = (
        xp.asarray(a.reshape(*shape, a.shape[-1]), device=device(x)) for a in (kernel, carrier, chirp[:, :modes])
    )
    spectrum = xp.fft.fft(w * chirp, n=size) * xp.fft.fft(kernel)
    return given.finished(xp.real(carrier * xp.fft.ifft(spectrum)[..., :count]))


def geometric(x: np.ndarray) -> bool:
    """Return whether x ``(..., M)`` has, along its last axis, equal real parts and imaginary parts in arithmetic
    progression, to rounding."""
    slack = 4 * np.finfo(np.float64).eps * np.max(np.abs(x), initial=0.0)
    line = np.linspace(x[..., 0].imag, x[..., -1].imag, x.shape[-1], axis=-1)
    return bool(np.all(np.abs(x.real - x[..., :1].real) <= slack) and np.all(np.abs(x.imag - line) <= slack))


def _turned(angles: list[Fraction], multiples: np.ndarray) -> np.ndarray:
    """Return exp(i angle m) for integers m < 2^52, one row for each angle.

    Turns count in units of 2^-64: the whole units wrap round in 64 bits, which is exact.
    """
    out = np.empty((len(angles), multiples.size), np.complex128)
    for row, angle in zip(out, angles, strict=True):
        turns = angle * _TURN % 1 * 2**64
        whole = int(turns)
        exact = (multiples * np.uint64(whole)).astype(np.float64)
        row[:] = np.exp(2j * np.pi * ((exact + multiples * float(turns - whole)) / 2.0**64))
    return out


def vandermonde_vjp(w: Array, x: Array, cotangent: Array, *, tolerance: float = TOLERANCE) -> tuple[Array, Array]:
    """Return the gradients with respect to w and x of a function of the kernel whose gradient there is `cotangent` g:

        grad_w = conj(sum_l g_l exp(l x_n)),   grad_x = conj(w_n sum_l l g_l exp(l x_n)).

    A step d changes the function by Re conj(grad) d to first order: real and imaginary parts hold the derivatives with
    respect to real and imaginary parts (PyTorch's convention). 8 M L operations, by the products of `gemm` with the
    operands transposed; nothing of size M L is stored.

    Parameters
    ----------
    w, x : complex array ``(..., M)``
    cotangent : real array ``(..., L)``
        Its leading axes broadcast with the channels of w and x.
    tolerance : float
        As in `gemm`: samples that it leaves out count as constants.

    Returns
    -------
    grad_w, grad_x : arrays of the shapes and dtypes of w and x
        Summed over the axes along which these were broadcast.

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `naive` for w and x; and if `cotangent` is not a real floating-point array, is not finite or does not fit.
    """
    if not is_array(cotangent):
        raise TypeError(f"cotangent must be an array, got {type(cotangent).__name__}")
    xp = namespace(cotangent)
    if cotangent.dtype not in (xp.float64, xp.float32):
        raise TypeError(f"cotangent must be a real floating-point array, got dtype {cotangent.dtype}")
    if cotangent.ndim == 0 or not bool(xp.all(xp.isfinite(cotangent))):
        raise ValueError("cotangent must be finite and have an axis of samples")
    length = int(cotangent.shape[-1])
    given = _checked(w, x, length, tolerance)
    xp = namespace(w, x, cotangent)
    dtypes = (w.dtype, x.dtype)
    w, x = given.w, given.x
    try:
        cotangent = xp.broadcast_to(cotangent, (*given.channels, length))
    except ValueError:
        raise ValueError(
            f"cotangent must broadcast to the kernel's shape {(*given.channels, length)}, got {cotangent.shape}"
        ) from None
    kernels = twin("lrtheory.ssm.", w, x, cotangent)
    if kernels is not None:
        zeroth, first = kernels.moments(w, x, given.channels, cotangent, given.computed)
    else:
        steps = xp.arange(length, dtype=xp.float64, device=device(x))
        terms = cotangent[..., None, :] * xp.exp(x[..., None] * steps)
        zeroth, first = xp.sum(terms, axis=-1), xp.sum(steps * terms, axis=-1)
    grads = (xp.conj(zeroth), xp.conj(w * first))
    return _gathered(xp, grads[0], w, dtypes[0]), _gathered(xp, grads[1], x, dtypes[1])


def _gathered(xp: Any, grad: Array, a: Array, dtype: Any) -> Array:
    """Return the gradient summed over the axes along which `a` was broadcast, in the given dtype."""
    grad = xp.sum(grad, axis=tuple(range(grad.ndim - a.ndim)))
    axes = tuple(i for i in range(a.ndim - 1) if a.shape[i] == 1 and grad.shape[i] != 1)
    grad = xp.sum(grad, axis=axes, keepdims=True)
    return xp.astype(grad if xp.isdtype(dtype, "complex floating") else xp.real(grad), dtype)


_CORES: dict[Callable[..., Array], Callable[[_Arguments], Array]] = {
    gemm: _gemm,
    recurrence: _recurrence,
    chirp_z: _chirp_z,
}


@dataclass(frozen=True, eq=False)
class _Arguments:
    """Checked arguments: the namespace, w and x as complex128, the shape of the channels, the dtype of the result, and
    how many samples are worth computing for each row of x (whole rows of 64, L at most) and for all."""

    xp: Any
    w: Array
    x: Array
    channels: tuple[int, ...]
    length: int
    dtype: Any
    computed: np.ndarray
    longest: int

    def finished(self, kernel: Array) -> Array:
        """Return the kernel ``(..., >= longest)``, cut there and filled up with zeros, in the dtype of the result."""
        xp = self.xp
        kernel = xp.astype(kernel[..., : self.longest], self.dtype)
        if self.longest == self.length:
            return kernel
        tail = xp.zeros((*kernel.shape[:-1], self.length - self.longest), dtype=self.dtype, device=device(kernel))
        return xp.concat([kernel, tail], axis=-1)


def _checked(w: Array, x: Array, length: int, tolerance: float) -> _Arguments:
    for name, a in (("w", w), ("x", x)):
        if not is_array(a):
            raise TypeError(f"{name} must be an array, got {type(a).__name__}")
    xp = namespace(w, x)
    complex_types = (xp.complex128, xp.complex64)
    for name, a in (("w", w), ("x", x)):
        if a.dtype not in (*complex_types, xp.float64, xp.float32):
            raise TypeError(f"{name} must be a floating-point array, real or complex, got dtype {a.dtype}")
        if a.ndim == 0:
            raise ValueError(f"{name} must have an axis of modes, got a 0-dimensional array")
        if not bool(xp.all(xp.isfinite(a))):
            raise ValueError(f"{name} must be finite")
    if w.shape[-1] != x.shape[-1] or w.shape[-1] == 0:
        raise ValueError(f"w and x must have the same number of modes, at least 1, got shapes {w.shape} and {x.shape}")
    try:
        channels = np.broadcast_shapes(tuple(w.shape), tuple(x.shape))[:-1]
    except ValueError:
        raise ValueError(f"the channels of w and x must broadcast, got shapes {w.shape} and {x.shape}") from None
    length = count("length", length)
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be in [0, 1), got {tolerance!r}")
    single = w.dtype in (xp.complex64, xp.float32)  # logarithms of nodes are kept in double precision
    rates = to_numpy(xp.max(xp.real(x) if x.dtype in complex_types else x, axis=-1)).ravel().astype(np.float64)
    limit = 88.0 if single else 700.0
    if rates.max(initial=-1.0) * length > limit:
        raise OverflowError(f"exp(L max Re x) overflows: L max Re x = {rates.max() * length:g} exceeds {limit:g}")
    w, x = (xp.astype(a, xp.complex128, copy=False) for a in (w, x))
    dtype = xp.float32 if single else xp.float64
    computed = _worth_computing(rates, length, tolerance)
    return _Arguments(xp, w, x, channels, length, dtype, computed, int(computed.max(initial=1)))


def _worth_computing(rates: np.ndarray, length: int, tolerance: float) -> np.ndarray:
    """Return how many samples pass before exp(l rate) falls below the tolerance."""
    if tolerance == 0:
        return np.full(rates.shape, length, np.int64)
    slowest = math.log(tolerance) / length  # a faster decay ends before L
    steps = math.log(tolerance) / np.minimum(rates, slowest)
    return np.minimum((steps.astype(np.int64) // ROW + 1) * ROW, length)
