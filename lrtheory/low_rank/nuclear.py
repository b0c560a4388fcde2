"""The convex relaxation: least squares with the nuclear norm as penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, like, namespace, per_element
from lrtheory.factors import as_matrix, transpose
from lrtheory.proximal import soft_threshold, truncated_svd
from lrtheory.random import Stream
from lrtheory.solve import State

POWER_STEPS = 30  # of the power method for the Lipschitz constant


@dataclass(frozen=True, eq=False)
class NuclearNormState(State):
    """`State` with the last iterate, what is known at both, momentum and penalty.

    Attributes
    ----------
    previous : array ``(*batch, n1, n2)``
        The iterate before x.
    gradient, previous_gradient : array ``(*batch, n1, n2)``
        R at x and at the iterate before.
    value, nuclear_norm : array of batch shape
        ``1/2 |A(x) - y|^2`` and ``|x|_*``.
    momentum : array of batch shape
        The t of FISTA, 1 after a restart.
    penalty, last_penalty : array of batch shape
        lambda, and the one that it falls to.
    lipschitz : array of batch shape
        The largest eigenvalue of ``A^* A``.
    restarts : int array of batch shape
        How often the objective rose.
    """

    previous: Array
    gradient: Array
    previous_gradient: Array
    value: Array
    nuclear_norm: Array
    momentum: Array
    penalty: Array
    last_penalty: Array
    lipschitz: Array
    restarts: Array


@dataclass(frozen=True, eq=False)
class NuclearNorm:
    """Minimise ``lambda |Z|_* + 1/2 |A(Z) - y|^2`` [1]_ by FISTA [2]_ with restarts [3]_, for falling lambda.

    ``W = Z + ((t_old - 1) / t) (Z - Z_old)``, ``Z <- prox(W - R(W) / L)``, where prox thresholds singular values at
    ``lambda / L``, L is the largest eigenvalue of ``A^* A`` and ``t = (1 + sqrt(1 + 4 t_old^2)) / 2``. The momentum
    starts again (t = 1) when the objective has risen and when lambda falls. From ``|A*(y)|_2`` on Z = 0 is the
    solution; the first lambda is `decrease` times that. lambda falls by this factor as soon as a step changes Z by at
    most `tolerance` relative to its norm, down to `final` times ``|A*(y)|_2``, which is kept.

    Parameters
    ----------
    final : float
        The last lambda over ``|A*(y)|_2``, ``0 < final <= 1``. Small for data without noise, as lambda biases the
        solution by about as much.
    decrease : float
        ``0 < decrease < 1``.
    tolerance : float
        Positive. Smaller: each lambda is solved for more exactly.

    Raises
    ------
    ValueError
        For a hyper-parameter out of range.

    Notes
    -----
    The iterate is a matrix; a start that is Factors is multiplied out. `init` takes some thirty passes over the data,
    for L. A step takes one, and a singular value decomposition, O(n1 n2 min(n1, n2)): the gradient is affine, so that R
    at W follows from R at the iterates, where the objective is needed anyway. L is a slight underestimate, as the power
    method's always is; the iteration tolerates one by a quarter. `Result.events` holds ``penalty``, where lambda
    stands, and ``restarts``. Near the minimiser, where rounding decides whether the objective rose, restarts pile up.

    References
    ----------
    .. [1] B. Recht, M. Fazel, P. Parrilo, Guaranteed minimum-rank solutions of linear matrix equations via nuclear norm
       minimization, SIAM Review 52 (2010).
    .. [2] A. Beck, M. Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse problems, SIAM J.
       Imaging Sci. 2 (2009).
    .. [3] B. O'Donoghue, E. Candes, Adaptive restart for accelerated gradient schemes, Found. Comput. Math. 15 (2015).
    """

    final: float = 1e-6
    decrease: float = 0.5
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        for name, largest in (("final", 1.0), ("decrease", np.nextafter(1.0, 0.0)), ("tolerance", np.inf)):
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not (number and 0 < value <= largest and np.isfinite(value)):
                limits = {"final": " and at most 1", "decrease": " and below 1", "tolerance": " and finite"}[name]
                raise ValueError(f"{name} must be a number above 0{limits}, got {value!r}")

    def init(self, problem: Any, x: Any, stream: Stream) -> NuclearNormState:
        x = as_matrix(x)
        value, gradient = problem.matrix_gradient(x)
        gradient = as_matrix(gradient)
        state = State.first(problem, x)
        batch = tuple(state.t.shape)
        xp = namespace(x)
        one = xp.ones(batch, dtype=x.dtype, device=x.device)
        back = problem.backprojection()
        largest = one * truncated_svd(back, 1)[1][..., 0]
        return NuclearNormState(
            x,
            state.t,
            previous=x,
            gradient=gradient,
            previous_gradient=gradient,
            value=value,
            nuclear_norm=xp.sum(truncated_svd(x)[1], axis=-1),
            momentum=one,
            penalty=max(self.decrease, self.final) * largest,
            last_penalty=self.final * largest,
            lipschitz=one * lipschitz(problem, back, stream),
            restarts=xp.zeros_like(state.t),
        )

    def step(self, problem: Any, state: NuclearNormState) -> NuclearNormState:
        xp = namespace(state.x)
        t = (1 + xp.sqrt(1 + 4 * state.momentum**2)) / 2
        share = per_element((state.momentum - 1) / t, state.x)
        ahead = state.x + share * (state.x - state.previous)
        gradient = state.gradient + share * (state.gradient - state.previous_gradient)

        length = 1 / state.lipschitz
        u, s, v = truncated_svd(ahead - gradient * per_element(length, gradient))
        s = soft_threshold(s, state.penalty * length)
        x = (u * s[..., None, :]) @ transpose(v)
        nuclear_norm = xp.sum(s, axis=-1)
        value, gradient = problem.matrix_gradient(x)

        rose = value + state.penalty * nuclear_norm > state.value + state.penalty * state.nuclear_norm
        norm = xp.linalg.matrix_norm
        small = norm(x - state.x) <= self.tolerance * norm(x)
        falls = small & (state.penalty > state.last_penalty)
        penalty = xp.where(falls, self.decrease * state.penalty, state.penalty)
        return NuclearNormState(
            x,
            state.t + 1,
            previous=state.x,
            gradient=as_matrix(gradient),
            previous_gradient=state.gradient,
            value=value,
            nuclear_norm=nuclear_norm,
            momentum=xp.where(rose | falls, xp.ones_like(t), t),
            penalty=xp.where(penalty < state.last_penalty, state.last_penalty, penalty),
            last_penalty=state.last_penalty,
            lipschitz=state.lipschitz,
            restarts=state.restarts + xp.astype(rose, state.restarts.dtype),
        )

    def events(self, state: NuclearNormState) -> dict[str, Array]:
        return {"penalty": state.penalty, "restarts": state.restarts}


def lipschitz(problem: Any, back: Array, stream: Stream) -> Array:
    """Return the largest eigenvalue of ``A^* A`` by the power method from a random matrix, shape ``batch``.

    ``A^* A Z = R(Z) + A*(y)`` with ``back = A*(y)``, at Z of the size of the latter lest one of the terms drown.
    """
    xp = namespace(back)

    def size(a: Array) -> Array:
        return xp.linalg.matrix_norm(a, keepdims=True)

    unit = size(back)
    unit = xp.where(unit > 0, unit, xp.ones_like(unit))
    z = like(stream.normal(tuple(problem.shape)), back)
    for _ in range(POWER_STEPS):
        z = z * (unit / size(z))
        z = as_matrix(problem.matrix_gradient(z)[1]) + back
    return (size(z) / unit)[..., 0, 0]
