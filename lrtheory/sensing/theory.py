"""Closed-form predictions for over-parameterised matrix sensing.

Formulas marked *derived* follow from a few lines of algebra that their docstrings give; the tests check them against
the iteration itself. They are sharper than the theorems of arXiv:2310.01769, which state orders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, per_element
from lrtheory.factors import Factors, transpose


def redundant_directions(n: int, r: int, k: int) -> int:
    """Return how many redundant directions the symmetric factorisation has: ``min(k, n) - r``, at least 0."""
    return max(min(k, n) - r, 0)


def symmetric_error_squared(t: Any, step_size: Any, redundant: int) -> Any:
    """Return the law of symmetric over-parameterised gradient descent, population case.

    ``|X X^T - M|_F^2 ~ (k - r) / (4 eta^2 t^2)`` for ``t >> 1 / (eta alpha^2)``.

    Derived: a redundant singular value obeys ``s <- s - eta s^3``, hence ``s^2 ~ 1 / (2 eta t)``, and each redundant
    direction adds ``s^4`` to the squared error. The order 1/t^2 as a lower bound is Theorem 1's statement in
    arXiv:2310.01769 (abstract).

    Parameters
    ----------
    t : array
        Iterations.
    step_size : float
    redundant : int
        Number of redundant directions, see `redundant_directions`.
    """
    return redundant / (4.0 * np.square(step_size) * np.square(np.asarray(t, dtype=np.float64)))


def damped_error_squared(t: Any, step_size: Any, damping: Any, redundant: int) -> Any:
    """Return the law of scaled gradient descent on X with a fixed damping at k > r, population case.

    ``|X X^T - M|_F^2 ~ (k - r) lambda^2 / (4 eta^2 t^2)`` once ``s^2 << lambda`` in the redundant directions.

    Derived: a redundant singular value obeys ``s <- s - eta s^3 / (s^2 + lambda)``, which becomes the law of gradient
    descent with eta / lambda for eta (`symmetric_error_squared`): a fixed damping lowers the slow tail and keeps it.

    Parameters
    ----------
    t : array
        Iterations.
    step_size, damping : float
    redundant : int
        Number of redundant directions, see `redundant_directions`.
    """
    return symmetric_error_squared(t, np.asarray(step_size) / np.asarray(damping), redundant)


def imbalance(x: Factors) -> Array:
    """Return ``Delta = F^T F - G^T G``, shape ``(*batch, k, k)``."""
    return transpose(x.left) @ x.left - transpose(x.right) @ x.right


def next_imbalance(x: Factors, residual: Any, step_size: Any) -> Array:
    """Return the imbalance after a step of gradient descent on F and G, from what is known before it.

    ``Delta + eta^2 (G^T R^T R G - F^T R R^T F)``. Derived: the terms of order eta in ``F^T F`` and in ``G^T G`` are the
    same, ``-eta (F^T R G + G^T R^T F)``. An identity: exact for any measurements and any noise.

    Parameters
    ----------
    x : Factors
        Asymmetric.
    residual : array, or Factors
        R, the gradient with respect to ``F G^T``.
    step_size : float or array of batch shape
    """
    moved = Factors(residual @ x.right, transpose(residual) @ x.left)
    return imbalance(x) + per_element(step_size, x) ** 2 * imbalance(moved)


def exact_rank_log_factor(step_size: Any, sigma_r: Any) -> Any:
    """Return the log of the per-step factor of the squared error at k = r, population: ``2 log(1 - eta sigma_r)``.

    Derived: near the solution the off-diagonal block (one index in the truth's range, one outside) of X X^T decays by
    ``1 - eta sigma_r`` and the diagonal block by ``1 - 2 eta sigma_r``.
    """
    return 2.0 * np.log1p(-np.asarray(step_size) * np.asarray(sigma_r))


def asymmetric_log_factor(step_size: Any, sigma_k: Any) -> Any:
    """Return the log of the per-step factor of the squared error of asymmetric gradient descent, population, k > r.

    ``2 log(1 - eta sigma_k(F)^2)`` with F the *limit* left factor. Derived: on the redundant part of G the iteration is
    ``K <- K (I - eta F^T F)``. An identity, not a prediction: it uses the run's own F.

    Parameters
    ----------
    step_size : float
    sigma_k : float
        The smallest singular value of the run's last left factor.
    """
    return 2.0 * np.log1p(-np.asarray(step_size) * np.square(sigma_k))


def rebalanced_log_factor(step_size: Any, beta: Any) -> Any:
    """Return the log of the per-step factor of the squared error after rebalancing: ``2 log(1 - eta beta^2)``.

    Derived, population case: after the modified step F has the singular value beta in every redundant direction.
    """
    return 2.0 * np.log1p(-np.asarray(step_size) * np.square(beta))


def noise_error(noise: Any, n1: Any, n2: Any, rank: Any, m: Any) -> Any:
    """Return the root mean square of ``|estimate - M|_F`` for least squares over matrices of a rank, Gaussian design.

    ``sigma sqrt(p / (m - p - 1))`` with ``p = rank (n1 + n2 - rank)`` degrees of freedom, sigma the standard deviation
    of the noise on one unscaled measurement. Derived: to first order the estimate is ordinary least squares on the
    tangent space at M, whose p coefficients have the covariance ``sigma^2 (B^T B)^-1``, B an m x p Gaussian matrix,
    and ``E tr (B^T B)^-1 = p / (m - p - 1)``. NaN unless m > p + 1.
    """
    p = np.asarray(rank, dtype=np.float64) * (np.asarray(n1) + np.asarray(n2) - np.asarray(rank))
    spare = np.asarray(m) - p - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spare > 0, np.asarray(noise) * np.sqrt(p / spare), np.nan)[()]
