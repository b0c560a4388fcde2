"""Dense state matrices beside LegS, and the basis functions exp(t A) B of any dense system."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.random import as_stream

from ._checks import count, positive_number, real_values
from .legs import check_size, hippo_legs


def hippo_fout(N: int, low_rank: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return A ``(N, N)`` and B ``(N,)`` of HiPPO-FouT: the Fourier coefficients of the last unit of time.

    State 0 belongs to the function 1, states 2n and 2n + 1 to sqrt(2) cos(2 pi n x) and sqrt(2) sin(2 pi n x) on
    0 <= x <= 1, x the age of the input; state 1 stays 0. With b the functions' values at age 0 and J their
    derivative (blocks of rotations by 2 pi n), A = J - 2 b b^T and B = 2 b.

    The term -2 b b^T is what lets the basis functions end at t = 1. Without it they are those of exp(t J): undamped
    oscillations that never end.

    Parameters
    ----------
    N : int
        Size, even.
    low_rank : bool
        Whether A has the term -2 b b^T.

    Raises
    ------
    ValueError
        If N is not a positive even integer.

    Notes
    -----
    Derived: for c_n(t) = int_0^1 u(t - x) g_n(x) dx, integration by parts gives c' = g(0) u(t) - g(1) u(t - 1) + J c,
    g(0) = g(1) = b. A Fourier series converges to the mean of both sides of a jump, so that b^T c stands for
    (u(t) + u(t - 1)) / 2, and u(t - 1) for 2 b^T c - u(t). Ordering and scaling are this reconstruction's, not quoted
    from [1]_.

    References
    ----------
    .. [1] A. Gu, I. Johnson, A. Timalsina, A. Rudra, C. Re, How to train your HiPPO, ICLR 2023, arXiv:2206.12037.
    """
    check_size(N, even=True)
    b = np.zeros(N)
    b[0], b[2::2] = 1.0, math.sqrt(2.0)
    cosine = np.arange(2, N, 2)
    A = np.zeros((N, N))
    A[cosine, cosine + 1] = -math.pi * cosine
    A[cosine + 1, cosine] = math.pi * cosine
    return (A - 2.0 * np.outer(b, b) if low_rank else A), 2.0 * b


def legs_spectrum_dense(N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `legs_spectrum` returns with vectors, by a dense eigensolver: O(N^3), an independent reference.

    The relative error of the smallest frequencies is some eps w_0 / w_j.
    """
    check_size(N, even=True)
    A, B, P = hippo_legs(N)
    w, V = np.linalg.eigh(-1j * (A + np.outer(P, P) + np.eye(N) / 2))
    w, V = w[::-1][: N // 2], V[:, ::-1][:, : N // 2]
    projected = V.conj().T @ B
    return w, np.abs(projected), V * (projected / np.abs(projected))


def perturbed_legs(N: int, sigma: float, stream: Any = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return A + p p^T and B of LegS with a random rank-one perturbation, p_n independent normal with deviation sigma.

    For p = P this would be LegS's normal part, whose basis functions resemble LegS's; for random p they do not, and
    stability is lost near sigma = 0.35 to 0.4 at N = 256.

    Raises
    ------
    ValueError
        If N is not a positive integer or sigma is negative or not finite.

    References
    ----------
    .. [1] S. Rush, S. Karamcheti, The annotated S4, which shows this experiment for its diagonal models.
    """
    if not real_values("sigma", sigma) >= 0:
        raise ValueError(f"sigma must be finite and >= 0, got {sigma!r}")
    A, B, _ = hippo_legs(N)
    p = sigma * as_stream(stream).child("perturbation").normal((N,))
    return A + np.outer(p, p), B


def dense_basis(A: np.ndarray, B: np.ndarray, dt: float, length: int) -> np.ndarray:
    """Return the basis functions exp(t A) B at t = 0, dt, ..., (length - 1) dt by powers of one matrix exponential.

    Cost O(N^3 + length N^2). Rounding grows with the number of steps and with how far A is from normal; for LegS, whose
    basis has a closed form (`legs_basis`), 1,024 steps at N = 256 leave 2e-12 of at most 23.

    Parameters
    ----------
    A : array ``(N, N)``
    B : array ``(N,)``
    dt : float
    length : int

    Returns
    -------
    array ``(N, length)``
        Row n is K_n(t) = e_n^T exp(t A) B.

    Raises
    ------
    ValueError
        If shapes do not match, an entry is not finite, dt is not positive, or length < 1.
    """
    A, B = np.asarray(A), np.asarray(B)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or B.shape != A.shape[:1]:
        raise ValueError(f"A must be (N, N) and B (N,), got {A.shape} and {B.shape}")
    if not (np.isfinite(A).all() and np.isfinite(B).all()):
        raise ValueError("A and B must be finite")
    dt, length = positive_number("dt", dt), count("length", length)
    from scipy.linalg import expm

    step = expm(dt * A)
    values = np.empty((length, len(B)), dtype=np.result_type(step, B))
    values[0] = B
    for k in range(1, length):
        values[k] = step @ values[k - 1]
    return values.T
