"""Gradient descent on factors with the inverse Gram matrix of a factor as preconditioner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, is_numpy, namespace, per_element, to_numpy
from lrtheory.factors import Factors, transpose
from lrtheory.first_order import check_step_size
from lrtheory.low_rank.guard import GuardedState, guarded
from lrtheory.operators.loops import repeat_step
from lrtheory.random import Stream
from lrtheory.solve import State

SMALL = 1024  # entries of a factor up to which the kernel beats LAPACK and the calls around it


def dual_factor(factor: Array, damping: Any = 0.0, rcond: float | None = None) -> Array:
    """Return ``G (G^T G + damping I)^-1`` for the factor G, or with a pseudo-inverse.

    Parameters
    ----------
    factor : array ``(*batch, n, k)``
        G, with n >= k.
    damping : float or array of batch shape
        Not negative.
    rcond : float, optional
        With it, eigenvalues of ``G^T G + damping I`` up to `rcond` times the largest count as zero and the inverse is
        a pseudo-inverse. Without it, an element whose matrix is singular to rounding (the smallest eigenvalue at most k
        eps times the largest) gives NaN: the direction of a singular value below sqrt(eps) is that of rounding.

    Notes
    -----
    From the singular value decomposition ``G = U S V^T``, as ``U S (S^2 + damping)^-1 V^T``: neither the Gram matrix,
    whose condition number is the square of G's, nor an inverse of it is formed, and one element of a batch that is
    singular or not finite (NaN comes out) is no affair of the others. O(n k^2).
    """
    if is_numpy(factor) and factor.shape[-2] * factor.shape[-1] <= SMALL:
        return _kernel(factor, damping, rcond)
    return plain_dual_factor(factor, damping, rcond)


def plain_dual_factor(factor: Array, damping: Any = 0.0, rcond: float | None = None) -> Array:
    """`dual_factor` as an expression of any array library."""
    xp = namespace(factor)
    u, s, vt = _singular_vectors(factor)
    eigenvalues = s * s + per_element(damping, s)
    if rcond is None:
        weights = xp.where(_singular(eigenvalues, factor), xp.nan, s / eigenvalues)
    else:
        kept = eigenvalues > rcond * eigenvalues[..., :1]
        weights = xp.where(kept, s / xp.where(kept, eigenvalues, 1.0), 0.0 * s)
    return (u * weights[..., None, :]) @ vt


def _kernel(factor: np.ndarray, damping: Any, rcond: float | None) -> np.ndarray:
    from lrtheory.low_rank import _cpu

    dtype = factor.dtype
    flat = np.require(factor, dtype, ["C", "W"]).reshape(-1, *factor.shape[-2:])
    damped = np.empty(flat.shape[0], dtype)
    damped[:] = damping if np.ndim(damping) == 0 else np.reshape(damping, -1)
    out = np.empty(flat.shape, dtype)
    _cpu.dual_factor(flat, damped, -1.0 if rcond is None else float(rcond), _cutoff(factor), out)
    return out.reshape(factor.shape)


def _singular_vectors(factor: Array) -> tuple[Array, Array, Array]:
    """Return U, S, V^T of a factor; S of one that is not finite is NaN (LAPACK would raise)."""
    xp = namespace(factor)
    finite = xp.all(xp.isfinite(factor), axis=(-2, -1))[..., None]
    u, s, vt = xp.linalg.svd(xp.where(finite[..., None], factor, xp.zeros_like(factor)), full_matrices=False)
    return u, xp.where(finite, s, xp.full_like(s, xp.nan)), vt


def _singular(eigenvalues: Array, factor: Array) -> Array:
    """Return which elements have no inverse to rounding: shape ``(*batch, 1)``."""
    return eigenvalues[..., -1:] <= _cutoff(factor) * eigenvalues[..., :1]


def _cutoff(factor: Array) -> float:
    """Return the ratio of eigenvalues below which a Gram matrix counts as singular."""
    return float(namespace(factor).finfo(factor.dtype).eps) * factor.shape[-1]


@dataclass(frozen=True, eq=False)
class ScaledGradientDescent:
    """Scaled gradient descent: each factor's gradient times the inverse Gram matrix of the other factor.

    ``F <- F - eta R G (G^T G + damping I)^-1`` and ``G <- G - eta R^T F (F^T F + damping I)^-1`` at once; on
    ``Factors(X)``, ``X <- X - eta R X (X^T X + damping I)^-1``. Without damping this is ScaledGD [1]_, made for k = r;
    with it, ScaledGD(lambda) [2]_, made for k >= r from a small random start.

    Parameters
    ----------
    step_size : float or array of batch shape
        eta. A rate that depends on no condition number wants 1/2 and a spectral start without damping [1]_, about 0.3
        and a small start with it.
    damping : float or array of batch shape
        lambda >= 0, a small multiple of sigma_r. Too large a one slows, too small a one blows up.

    Raises
    ------
    ValueError
        For a hyper-parameter out of range, or k > min(n1, n2), where no Gram matrix has an inverse.

    Notes
    -----
    One pass over the data and O((n1 + n2) k^2) a step. For k > r the redundant singular values of the factors tend to
    zero. With a fixed damping they do so by a power law, as they shrink by ``1 - eta s^2 / lambda`` a step once s^2 is
    below lambda: the squared error ends in ``(k - r) lambda^2 / (4 eta^2 t^2)`` (symmetric factors, population case;
    `lrtheory.sensing.theory.damped_error_squared`). Where a factor without damping has lost rank to rounding its
    inverse does not exist: that element ends as "diverged" at the last iterate, and `Result.events["rank_deficient"]`
    holds its step. With too large a step it diverges for good (`lrtheory.low_rank.guard.GuardedState` says when).

    References
    ----------
    .. [1] T. Tong, C. Ma, Y. Chi, Accelerating ill-conditioned low-rank matrix estimation via scaled gradient descent,
       JMLR 22 (2021), arXiv:2005.08898.
    .. [2] X. Xu, Y. Shen, Y. Chi, C. Ma, The power of preconditioning in overparameterized low-rank matrix sensing,
       ICML 2023, arXiv:2302.01186.
    """

    step_size: float | Array = 0.5
    damping: float | Array = 0.0

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        values = to_numpy(self.damping) if is_array(self.damping) else np.asarray(self.damping)
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"damping must be finite and not negative, a number or an array, got {self.damping!r}")

    def init(self, problem: Any, x: Factors, stream: Stream) -> GuardedState:
        check_factors(x)
        return GuardedState.first(problem, x)

    def step(self, problem: Any, state: GuardedState) -> GuardedState:
        x = state.x
        value, residual = problem.matrix_gradient(x)
        direction = preconditioned(problem, residual, x.map(lambda factor: dual_factor(factor, self.damping)))
        x = x - direction * per_element(self.step_size, x)
        return replace(state, x=guarded(value, state, x), t=state.t + 1)

    def advance(self, problem: Any, state: State, n_steps: int, active: np.ndarray) -> Any:
        return repeat_step(self, problem, state, n_steps, active)

    def events(self, state: State) -> dict[str, Array]:
        return {"rank_deficient": rank_lost_at(state, self.damping)}


@dataclass(frozen=True, eq=False)
class PreconditionedGradientDescent:
    """PrecGD: damped scaled gradient descent whose damping follows the loss.

    ``X <- X - eta R X (X^T X + lambda_t I)^-1`` with ``lambda_t = sqrt(f_t)``, ``f = 1/2 |A(X X^T) - y|^2`` [1]_. On
    ``Factors(F, G)`` both factors share one preconditioner, ``F <- F - eta R G (F^T F + G^T G + lambda_t I)^-1`` and
    ``G <- G - eta R^T F (F^T F + G^T G + lambda_t I)^-1`` [2]_.

    Parameters
    ----------
    step_size : float or array of batch shape
        eta.

    Raises
    ------
    ValueError
        For a step size out of range, or k > min(n1, n2).

    Notes
    -----
    One pass over the data and O((n1 + n2) k^2) a step. At an exact solution lambda_t is 0, and for k > r the Gram
    matrix is singular: its zero eigenvalues, whose gradient is zero too, are left out.

    References
    ----------
    .. [1] J. Zhang, S. Fattahi, R. Y. Zhang, Preconditioned gradient descent for over-parameterized nonconvex matrix
       factorization, NeurIPS 2021; JMLR 24 (2023).
    .. [2] The asymmetric baseline of X. Jia, F. Feng, D. Meng, D. Sun, NeurIPS 2024 (appendix).
    """

    step_size: float | Array = 0.3

    def __post_init__(self) -> None:
        check_step_size(self.step_size)

    def init(self, problem: Any, x: Factors, stream: Stream) -> GuardedState:
        check_factors(x)
        return GuardedState.first(problem, x)

    def step(self, problem: Any, state: GuardedState) -> GuardedState:
        x = state.x
        xp = namespace(x.left)
        value, residual = problem.matrix_gradient(x)
        both = x.left if x.symmetric else xp.concat([x.left, x.right], axis=-2)
        dual = dual_factor(both, xp.sqrt(value), rcond=0.0)
        n1 = x.shape[0]
        duals = Factors(dual) if x.symmetric else Factors(dual[..., :n1, :], dual[..., n1:, :])
        direction = preconditioned(problem, residual, duals)
        x = x - direction * per_element(self.step_size, x)
        return replace(state, x=guarded(value, state, x), t=state.t + 1)

    def advance(self, problem: Any, state: State, n_steps: int, active: np.ndarray) -> Any:
        return repeat_step(self, problem, state, n_steps, active)


def preconditioned(problem: Any, residual: Any, duals: Factors) -> Factors:
    """Return ``R`` times the right dual and ``R^T`` times the left one; ``sym(R)`` times the only one, if symmetric."""
    left = residual @ duals.right
    if not duals.symmetric:
        return Factors(left, transpose(residual) @ duals.left)
    return Factors(left if problem.operator.symmetric else (left + transpose(residual) @ duals.left) / 2)


def check_factors(x: Any, asymmetric: bool = False) -> None:
    """Raise ValueError unless x is Factors (of an asymmetric product, if asked for) with k <= min(n1, n2)."""
    if not isinstance(x, Factors) or (asymmetric and x.symmetric):
        kind = "asymmetric factors (F, G): start with rho, or with GivenFactors(F, G)" if asymmetric else "Factors"
        raise ValueError(f"the method needs {kind}, got {x!r}")
    if x.k > min(x.shape):
        raise ValueError(f"k must be <= min(n1, n2) = {min(x.shape)} for a method that inverts or truncates, got {x.k}")


def rank_lost_at(state: State, damping: Any = 0.0) -> Array:
    """Return t of the elements whose x has a factor with a (damped) Gram matrix singular to rounding, -1 elsewhere."""
    xp, x, lost = namespace(state.t), state.x, state.t < 0
    for factor in (x.left,) if x.symmetric else (x.left, x.right):
        _, s, _ = _singular_vectors(factor)
        lost = lost | _singular(s * s + per_element(damping, s), factor)[..., 0]
    return xp.where(lost, state.t, -1)
