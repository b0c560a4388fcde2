"""S4: diagonal plus low-rank state matrices, whose kernel comes from its generating function at the roots of unity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, is_numpy, like, namespace
from lrtheory.random import as_stream

from ._checks import as_double, count, numbers, positive
from .dense import DenseSSM
from .initialization import _output_weights, draw_steps
from .legs import legs_spectrum

_ELEMENTS = 1 << 18  # of an array frequencies x modes that is held at a time


@dataclass(frozen=True, eq=False)
class DiagonalPlusLowRankSSM:
    """The linear system x' = (diag(A) - P P^*) x + B u, y = C x of S4, over M modes and their conjugates, bilinear.

    Parameters
    ----------
    A, B, C : complex array ``(..., M)``
        Diagonal part, input weights and output weights; the leading axes are channels, and broadcast.
    P : complex array ``(..., M, r)``
        The low-rank part; one column for each rank.
    dt : float or array ``(...)``
        Step of the bilinear rule.

    Raises
    ------
    TypeError
        If A, B, C or P is not an array.
    ValueError
        If shapes do not broadcast, an entry is not finite, dt is not positive, or A has a real part of 0 or more (with
        negative ones the system is stable whatever P is).

    References
    ----------
    .. [1] A. Gu, K. Goel, C. Re, Efficiently modeling long sequences with structured state spaces, ICLR 2022,
       arXiv:2111.00396.
    .. [2] K. Goel, A. Gu, C. Donahue, C. Re, It's raw! Audio generation with state-space models, ICML 2022,
       arXiv:2202.09729: the form with P on both sides, which is stable.
    """

    A: Array
    B: Array
    C: Array
    P: Array
    dt: Any = 1.0

    def __post_init__(self) -> None:
        for name in ("A", "B", "C", "P"):
            object.__setattr__(self, name, numbers(name, getattr(self, name)))
        object.__setattr__(self, "dt", positive("dt", self.dt))
        shapes = [tuple(v.shape) for v in (self.A, self.B, self.C)]
        if self.P.ndim < 2 or len({s[-1:] for s in (*shapes, tuple(self.P.shape[:-1]))}) != 1:
            raise ValueError(f"A, B and C must be (..., M) and P (..., M, r), got {shapes} and {tuple(self.P.shape)}")
        shapes = [*(s[:-1] for s in shapes), tuple(self.P.shape[:-2]), tuple(getattr(self.dt, "shape", ()))]
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            text = "the channels of A, B, C, P and dt must broadcast, got {}, {}, {}, {} and {}".format(*shapes)
            raise ValueError(text) from None
        xp = namespace(self.A, self.B, self.C, self.P)
        if bool(xp.any(_parts(xp, self.A)[0] >= 0)):
            raise ValueError("the real parts of A must be negative")

    def kernel(self, length: int) -> Array:
        """Return the first `length` samples of the kernel, ``(..., length)``.

        `truncated_output` and then `generating_kernel`: O(N^3 log L) and O(M L r^2) operations a channel.
        """
        truncated = self.truncated_output(length)
        return generating_kernel(self.A, self.B, truncated, self.P, self.dt, length)

    def truncated_output(self, length: int) -> Array:
        """Return C (I - Abar^L) ``(..., M)``, for which the generating function is that of L samples.

        S4 trains this product in place of C, and so never computes it.
        """
        length = count("length", length)
        xp = namespace(self.A, self.B, self.C, self.P)
        A, _, C = self._real()
        half = self._steps()[..., None, None] / 2 * A
        identity = xp.eye(A.shape[-1], dtype=xp.float64)
        power = xp.linalg.solve(identity - half, identity + half)
        row = C[..., None, :]
        moved, left = row, length
        while True:
            if left % 2:
                moved = moved @ power
            left //= 2
            if not left:
                break
            power = power @ power
        row = (row - moved)[..., 0, :]
        M = self.A.shape[-1]
        return xp.astype((row[..., :M] - 1j * row[..., M:]) / 2, _complex_dtype(xp, self.A, self.B, self.C, self.P))

    def to_dense(self) -> DenseSSM:
        """Return the same system over the real state (Re x, Im x), N = 2 M, with a dense matrix."""
        A, B, C = self._real()
        return DenseSSM(A, B, C, self.dt, "bilinear")

    def _real(self) -> tuple[Array, Array, Array]:
        """Return A ``(..., N, N)``, B and C ``(..., N)`` of the real form, in double precision."""
        xp = namespace(self.A, self.B, self.C, self.P)
        (ar, ai), (br, bi), (cr, ci), (pr, pi) = (_parts(xp, v) for v in (self.A, self.B, self.C, self.P))
        M = ar.shape[-1]
        identity = xp.eye(M, dtype=xp.float64)
        re, im = ar[..., None] * identity, ai[..., None] * identity
        diagonal = xp.concat([xp.concat([re, -im], axis=-1), xp.concat([im, re], axis=-1)], axis=-2)
        p = xp.concat([pr, pi], axis=-2)
        A = diagonal - 2 * (p @ xp.matrix_transpose(p))
        return A, xp.concat([br, bi], axis=-1), 2 * xp.concat([cr, -ci], axis=-1)

    def _steps(self) -> Array:
        return like(self.dt if is_array(self.dt) else float(self.dt), self.A, dtype=namespace(self.A).float64)


def generating_kernel(A: Array, B: Array, C: Array, P: Array, dt: Any, length: int) -> Array:
    """Return the kernel of a `DiagonalPlusLowRankSSM` from its truncated output weights C (I - Abar^L).

    At omega_k = exp(-i theta_k), theta_k = 2 pi k / L, and with the sums over modes and conjugates

        S(v, w) = sum_n v_n w_n / (2 i sin(theta_k / 2) - dt a_n cos(theta_k / 2)),    g = dt cos(theta_k / 2),

    the generating function sum_l K_l omega_k^l is, by Woodbury's identity,

        exp(i theta_k / 2) dt [S(c, b) - g S(c, p) (I_r + g S(p*, p))^-1 S(p*, b)],

    regular at theta = pi too; an inverse real FFT of length L gives K. A mode and its conjugate are summed as one real
    rational function of sine and cosine, with half the products.

    Parameters
    ----------
    A, B, C : complex array ``(..., M)``
    P : complex array ``(..., M, r)``
    dt : float or array ``(...)``
    length : int
        L, for which C is truncated.

    Returns
    -------
    real array ``(..., L)``

    Notes
    -----
    M L / 2 quotients and 3 (1 + r)^2 M L multiplications, a Cauchy product, and O(L log L). No array M x L is formed.

    References
    ----------
    .. [1] A. Gu, K. Goel, C. Re, Efficiently modeling long sequences with structured state spaces, ICLR 2022,
       arXiv:2111.00396.
    """
    length, dt = count("length", length), positive("dt", dt)
    A, B, C, P = (numbers(name, v) for name, v in (("A", A), ("B", B), ("C", C), ("P", P)))
    xp = namespace(A, B, C, P)
    single = _complex_dtype(xp, A, B, C, P) == xp.complex64
    steps = like(dt if is_array(dt) else float(dt), A, dtype=xp.float64)
    a, b, c, p = (as_double(v) for v in (A, B, C, P))
    lead = np.broadcast_shapes(a.shape[:-1], b.shape[:-1], c.shape[:-1], p.shape[:-2], steps.shape)
    M, rank = p.shape[-2:]
    left = [xp.broadcast_to(c[..., None], (*lead, M, 1)), xp.broadcast_to(xp.conj(p), (*lead, M, rank))]
    right = [xp.broadcast_to(b[..., None], (*lead, M, 1)), xp.broadcast_to(p, (*lead, M, rank))]
    residues = xp.concat(left, axis=-1)[..., :, None] * xp.concat(right, axis=-1)[..., None, :]
    # a mode and its conjugate: (cosine x + i tau y) / (alpha^2 + (beta - tau) (beta + tau) + 2 i alpha tau), where
    # -dt a cosine = alpha - i beta and tau = 2 sine
    alpha = xp.broadcast_to(-steps[..., None] * xp.real(a), (*lead, M))
    beta = xp.broadcast_to(steps[..., None] * xp.imag(a), (*lead, M))
    x = 2 * (xp.real(residues) * alpha[..., None, None] - xp.imag(residues) * beta[..., None, None])
    y = 2 * xp.real(residues)
    frequencies = xp.arange(length // 2 + 1, dtype=xp.float64)
    cosine = xp.sin((length - 2 * frequencies) * (math.pi / 2 / length))  # exactly 0 at theta = pi
    tau = 2 * xp.sin(frequencies * (math.pi / length))
    expression = generating_function
    if is_numpy(a):
        from lrtheory.ssm import _cpu_dplr

        expression = _cpu_dplr.generating_function
    values = expression(alpha, beta, x, y, xp.broadcast_to(steps, lead), cosine, tau)
    kernel = xp.fft.irfft(values, n=length, axis=-1)
    return xp.astype(kernel, xp.float32, copy=False) if single else kernel


def generating_function(alpha: Array, beta: Array, x: Array, y: Array, dt: Array, cosine: Array, tau: Array) -> Array:
    """Return the generating function at some frequencies, ``(..., K)``: the plain expression.

    Arguments: -dt Re a and dt Im a ``(..., M)``, the numerators' coefficients of cosine and of i tau
    ``(..., M, 1 + r, 1 + r)``, dt ``(...)``, cos(theta / 2) and 2 sin(theta / 2) ``(K,)``.
    """
    xp = namespace(alpha)
    (M, width), lead = x.shape[-3:-1], tuple(alpha.shape[:-1])
    x, y = (xp.reshape(v, (*lead, M, width * width)) for v in (x, y))
    chunk = max(1, _ELEMENTS // max(1, math.prod(alpha.shape)))
    parts = []
    for first in range(0, cosine.shape[0], chunk):
        last = min(first + chunk, cosine.shape[0])
        c, t = cosine[first:last], tau[first:last]
        re, im, column = alpha[..., None, :] * c[:, None], beta[..., None, :] * c[:, None], t[:, None]
        real, imag = re * re + (im - column) * (im + column), 2 * re * column
        size = real * real + imag * imag
        real, imag = real / size, imag / size
        sums = c[:, None] * (real @ x) + column * (imag @ y) + 1j * (column * (real @ y) - c[:, None] * (imag @ x))
        sums = xp.reshape(sums, (*sums.shape[:-1], width, width))
        g = (dt[..., None] * c)[..., None, None]
        inner = xp.eye(width - 1, dtype=xp.complex128) + g * sums[..., 1:, 1:]
        corrected = xp.linalg.solve(inner, sums[..., 1:, :1])
        value = (sums[..., :1, :1] - g * (sums[..., :1, 1:] @ corrected))[..., 0, 0]
        parts.append(value * dt[..., None] * (c + 0.5j * t))
    return xp.concat(parts, axis=-1)


def s4_legs(
    N: int = 64,
    H: int = 1,
    *,
    C: str | Array = "random",
    dt: str | float | Array = "log-uniform",
    dt_min: float = 1e-3,
    dt_max: float = 1e-1,
    stream: Any = 0,
) -> DiagonalPlusLowRankSSM:
    """Return S4-LegS: HiPPO-LegS itself in the eigenbasis of its normal part, where it is diagonal plus rank 1.

    a_n = -1/2 + i w_n, P_n = |v_n^* P| and B_n = sqrt(2) P_n in closed form (`legs_spectrum`).

    Parameters
    ----------
    N, H
        Even state size; number of channels.
    C, dt, dt_min, dt_max, stream
        See `s4d`, which draws the same C and dt from the same stream.

    Raises
    ------
    ValueError
        If N is not a positive even integer, H is not an integer >= 0, or see `s4d`.
    """
    w, absB = legs_spectrum(N)
    H = count("H", H, least=0)
    stream = as_stream(stream)
    steps = draw_steps(dt, dt_min, dt_max, (H,), stream)
    c = _output_weights(C, (H,), N // 2, stream.child("C"), real=False)
    b = absB.astype(np.complex128)
    return DiagonalPlusLowRankSSM(-0.5 + 1j * w, b, c, b[:, None] / math.sqrt(2.0), steps)


def _parts(xp: Any, v: Array) -> tuple[Array, Array]:
    """Return real and imaginary parts in double precision."""
    v = as_double(v)
    return xp.real(v), xp.imag(v)


def _complex_dtype(xp: Any, *arrays: Array) -> Any:
    return xp.complex64 if xp.result_type(*(v.dtype for v in arrays)) in (xp.float32, xp.complex64) else xp.complex128
