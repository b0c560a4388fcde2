"""Diagonal state spaces (DSS): the exponential form, which is a diagonal system, and the softmax form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrtheory.backend import Array, namespace

from ._checks import as_double, broadcast, count, function, numbers, real_numbers
from .discretization import expm1_over, steps_like
from .systems import DiagonalSSM
from .vandermonde import naive


def dss_exp(
    log_decay: Array, frequency: Array, W: Array, dt: Any = 1.0, *, conjugate_pairs: bool = False
) -> DiagonalSSM:
    """Return DSS-exp, the diagonal system with zero-order hold, B = 1 and C = W.

    K_l = Re sum_n W_n exp(l dt a_n) (exp(dt a_n) - 1) / a_n with a_n = -exp(log_decay_n) + i frequency_n; twice that
    with conjugate pairs.

    Parameters
    ----------
    log_decay, frequency : real array ``(..., M)``
    W : complex array ``(..., M)``
    dt : float or array ``(...)``
    conjugate_pairs : bool
        The published model has none: its M complex modes stand for themselves.

    References
    ----------
    .. [1] A. Gupta, A. Gu, J. Berant, Diagonal state spaces are as effective as structured state spaces, NeurIPS 2022,
       arXiv:2203.14343.
    """
    log_decay, frequency = real_numbers("log_decay", log_decay), real_numbers("frequency", frequency)
    W = numbers("W", W)
    broadcast(log_decay=tuple(log_decay.shape), frequency=tuple(frequency.shape), W=tuple(W.shape))
    xp = namespace(log_decay, frequency, W)
    a = -xp.exp(log_decay) + 1j * frequency
    return DiagonalSSM(a, xp.ones_like(a), W, dt, discretization="zoh", conjugate_pairs=conjugate_pairs)


def dss_softmax_kernel(
    A: Array,
    W: Array,
    dt: Any,
    length: int,
    algorithm: Callable[..., Array] = naive,
    *,
    conjugate_pairs: bool = False,
    epsilon: float = 0.0,
) -> Array:
    """Return the kernel of DSS-softmax, which is normalised over its own length L and so has no stability condition:

        K_l = Re sum_n (W_n / a_n) softmax_l(l dt a_n)
            = Re sum_n W_n (exp(dt a_n) - 1) / a_n * exp(l dt a_n) / (exp(L dt a_n) - 1),   l < L.

    A kernel of another length is another kernel, not a part of this one.

    Parameters
    ----------
    A, W : complex array ``(..., M)``
        Poles, anywhere but where the sum of exp(l dt a_n) over l vanishes, and not 0; weights.
    dt : float or array ``(...)``
    length : int
        L.
    algorithm : callable
        A kernel algorithm of `lrtheory.ssm.vandermonde`; it is given decaying nodes only.
    conjugate_pairs : bool
        Whether the modes' conjugates belong to the system (a factor of 2). The published model has none.
    epsilon : float
        1 / d is replaced by conj(d) / (|d|^2 + epsilon), d = a (exp(L dt a) - 1), or a (exp(-L dt a) - 1) where
        Re a > 0. The released code has 1e-7; 0 is the definition.

    Returns
    -------
    real array ``(..., L)``

    Raises
    ------
    ValueError
        If a denominator vanishes to rounding and epsilon = 0, or a parameter is out of range.

    Notes
    -----
    A mode with Re a > 0 is computed from its last sample backwards, where it decays: exp(l z) (exp(z) - 1) /
    (exp(L z) - 1) = exp(-(L - 1 - l) z) (exp(-z) - 1) / (exp(-L z) - 1). Cost: that of the algorithm, twice if there
    are such modes.

    References
    ----------
    .. [1] A. Gupta, A. Gu, J. Berant, Diagonal state spaces are as effective as structured state spaces, NeurIPS 2022,
       arXiv:2203.14343.
    """
    length, A, W = count("length", length), numbers("A", A), numbers("W", W)
    broadcast(A=tuple(A.shape), W=tuple(W.shape))
    function("algorithm", algorithm, "lrtheory.ssm.vandermonde")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be >= 0, got {epsilon!r}")
    xp = namespace(A, W)
    single = xp.result_type(A.dtype, W.dtype) in (xp.float32, xp.complex64)
    a, w = as_double(A), as_double(W)
    z = a * steps_like(dt, a)
    growing = xp.real(z) > 0
    z = xp.where(growing, -z, z)
    total = length * z * expm1_over(length * z)
    d = a * total
    if epsilon == 0:
        rounding = 4 * xp.finfo(xp.float64).eps * xp.abs(length * z)
        if bool(xp.any((a == 0) | (xp.abs(total) < rounding))):
            raise ValueError(
                "A must not contain poles with exp(L dt a) = 1, whose softmax divides by 0; epsilon > 0 admits them"
            )
        inverse = 1 / d
    else:
        inverse = xp.conj(d) / (xp.real(d * xp.conj(d)) + epsilon)
    weights = (2 if conjugate_pairs else 1) * w * z * expm1_over(z) * inverse
    nothing = xp.zeros_like(weights)
    kernel = algorithm(xp.where(growing, nothing, weights), z, length)
    if bool(xp.any(growing)):
        kernel = kernel + xp.flip(algorithm(xp.where(growing, weights, nothing), z, length), axis=-1)
    return xp.astype(kernel, xp.float32, copy=False) if single else kernel
