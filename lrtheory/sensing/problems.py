"""Instances of matrix sensing: what is to be solved, the truth, and the metrics."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lrtheory.backend import Array, as_array, is_array, like, namespace, to_numpy
from lrtheory.factors import Factors, as_matrix, transpose
from lrtheory.keep import Keep
from lrtheory.metrics import LazyMetrics
from lrtheory.operators import Gram, Identity, gaussian
from lrtheory.random import Stream
from lrtheory.spectra import distance, norm, orthonormal, singular_values
from lrtheory.spectra import spectrum as singular_value_profile

FORMS = ("dense", "packed", "gram")


@dataclass(frozen=True, eq=False)
class SensingProblem:
    """Recover M from ``y = scale A(M) + noise`` by least squares.

    The loss is ``1/4 |scale A(X X^T) - y|^2`` at ``Factors(X)``, with gradient ``sym(R) X``, and
    ``1/2 |scale A(F G^T) - y|^2`` at ``Factors(F, G)``, with gradients ``R G`` and ``R^T F``; at an array Z of shape
    ``(*batch, n1, n2)`` it is ``1/2 |scale A(Z) - y|^2`` with gradient R. ``R = scale A*(scale A(estimate) - y)``.

    Attributes
    ----------
    operator
        Unscaled linear map with adjoint, from `lrtheory.operators`.
    observations : array ``(*batch, m)``, or Factors
        y; for the identity and the Gram form the matrix itself.
    truth : Factors
        M, symmetric factors when M is positive semi-definite.
    scale : float
        1/sqrt(m) for random measurements.
    link : str
        Least squares: ``"residual"``.

    Notes
    -----
    Metrics: ``error = |estimate - M|_F`` (through QR factors, no cancellation), ``relative_error = error / |M|_F``,
    ``loss``, and for finitely many measurements ``relative_residual = |scale A(estimate) - y| / |y|``. A ratio to 0
    (M = 0 or y = 0) is NaN.
    """

    operator: Any
    observations: Any
    truth: Factors
    scale: float = 1.0
    link: str = "residual"

    point_ndim = 2  # a point that is an array is a matrix

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive and finite, got {self.scale!r}")
        if self.link != "residual":
            raise ValueError(f'link must be "residual" (least squares), got {self.link!r}')
        if not isinstance(self.truth, Factors):
            raise TypeError(f"truth must be Factors, got {type(self.truth).__name__}")
        _check_real("truth", self.truth)
        if self.truth.shape != tuple(self.operator.matrix_shape):
            raise ValueError(f"truth is {self.truth.shape}, the operator takes {tuple(self.operator.matrix_shape)}")
        y, m = self.observations, self.operator.m
        _check_real("observations", y)
        if isinstance(y, Factors) != math.isinf(m):
            raise ValueError(f"observations must be {'Factors' if math.isinf(m) else 'an array'} for m = {m}")
        if not isinstance(y, Factors) and tuple(y.shape[-1:]) != (m,):
            raise ValueError(f"observations must have shape (..., m) with m = {m}, got {tuple(y.shape)}")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n1, n2) of the matrix."""
        return self.truth.shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        y = self.observations
        own = y.batch_shape if isinstance(y, Factors) else tuple(y.shape[:-1])
        return np.broadcast_shapes(self.truth.batch_shape, own)

    @property
    def r(self) -> int:
        """True rank (as many columns as the truth's factors have)."""
        return self.truth.k

    @property
    def prototype(self) -> Array:
        """An array whose library, device and dtype a start should have."""
        return self.truth.left

    @cached_property
    def _truth_norm(self) -> Array:
        return norm(self.truth)

    @cached_property
    def step_size_limit(self) -> float:
        """1 / (2 sigma_1): above it gradient descent tends to diverge (infinite for M = 0)."""
        if self.r == 0:
            return math.inf
        sigma = float(namespace(self.prototype).max(singular_values(self.truth)))
        return (1 + 1e-9) / (2 * sigma) if sigma > 0 else math.inf

    @property
    def resolution(self) -> dict[str, Any]:
        """Below these a metric is rounding noise."""
        xp = namespace(self.prototype)
        eps = float(xp.finfo(self.prototype.dtype).eps)
        size = np.maximum(to_numpy(self._truth_norm), np.finfo(np.float64).tiny)
        loss = {"loss": (64 * eps * size) ** 2}
        return {"error": 16 * eps * size, "relative_error": 16 * eps, "relative_residual": 64 * eps} | loss

    def matrix_gradient(self, x: Any) -> tuple[Array, Any]:
        """Return ``1/2 |scale A(estimate) - y|^2`` and its gradient R with respect to the estimate.

        R is an array ``(*batch, n1, n2)``; at factors it may be Factors or a sparse matrix, as the operator has it
        (`lrtheory.factors.as_matrix` makes it an array). One pass over the data.
        """
        return self.operator.residual_and_gradient(x, self.observations, scale=self.scale, link=self.link)

    def value_and_gradient(self, x: Any, sample: Any = None) -> tuple[Array, Any]:
        """Return loss and gradient at Factors or at a matrix, in one fused pass (all data: `sample` must be None)."""
        if sample is not None:
            raise ValueError(f"sensing problems take the full sample only, got {sample!r}")
        if isinstance(x, Factors) and hasattr(self.operator, "factor_gradient"):
            value, gradient = self.operator.factor_gradient(x, self.observations, scale=self.scale, link=self.link)
            return (value / 2 if x.symmetric else value), gradient
        value, residual = self.matrix_gradient(x)
        if not isinstance(x, Factors):
            return value, residual
        if x.symmetric:
            gradient = residual @ x.left
            if not self.operator.symmetric:
                gradient = (gradient + transpose(residual) @ x.left) / 2
            return value / 2, Factors(gradient)
        return value, Factors(residual @ x.right, transpose(residual) @ x.left)

    def loss(self, x: Any) -> Array:
        return self.value_and_gradient(x)[0]

    def gradient(self, x: Any) -> Any:
        return self.value_and_gradient(x)[1]

    def curvature(self, direction: Any) -> Array:
        """Return ``|scale A(direction)|^2``, shape ``batch``: the second derivative of the squares along a direction.

        For a matrix ``(*batch, n1, n2)`` or Factors; an exact line search divides by it. One pass over the data.
        """
        if isinstance(self.operator, Identity):
            if isinstance(direction, Factors):
                return norm(direction) ** 2
            return namespace(direction).sum(direction * direction, axis=(-2, -1))
        image = self.operator.forward(direction)
        if isinstance(self.operator, Gram):
            return self.operator.observation_inner(image, image)
        return self.scale**2 * namespace(image).sum(image * image, axis=-1)

    def backprojection(self) -> Array:
        """Return ``scale A*(y)``, shape ``(*batch, n1, n2)``."""
        if isinstance(self.operator, Identity):
            return as_matrix(self.observations)
        if isinstance(self.operator, Gram):
            return self.operator.apply(as_matrix(self.observations))
        return self.scale * self.operator.adjoint(self.observations)

    def metrics(self, x: Any) -> LazyMetrics:
        """Return error, relative error, loss and (finitely many measurements) relative residual, each batch-shaped.

        Loss and residual share a pass over the data, which is made only if one of them is read.
        """

        def error() -> Array:
            if isinstance(x, Factors):
                return distance(x, self.truth)
            difference = x - as_matrix(self.truth)
            return namespace(difference).linalg.matrix_norm(difference)

        def relative_residual() -> Array:
            twice = found["loss"] * (4 if isinstance(x, Factors) and x.symmetric else 2)
            size = namespace(twice).linalg.vector_norm(self.observations, axis=-1)
            return _ratio(namespace(twice).sqrt(twice), size)

        found = LazyMetrics({"error": error, "loss": lambda: self.loss(x)})
        formulas = {
            "error": lambda: found["error"],
            "relative_error": lambda: _ratio(found["error"], self._truth_norm),
            "loss": lambda: found["loss"],
        }
        if not isinstance(self.observations, Factors):
            formulas["relative_residual"] = relative_residual
        return LazyMetrics(formulas)

    def gram(self, normal: Gram | None = None) -> SensingProblem:
        """Return the same problem in normal form: ``H = scale^2 A^T A`` formed once, iterated on ``estimate - M``.

        Worth it from m > d/2 on (d: columns of the operator). Noise-free problems only, whose loss it equals.

        Parameters
        ----------
        normal : Gram, optional
            H, where it has been formed already.

        Raises
        ------
        ValueError
            If the observations are not those of the truth.
        """
        clean = self.scale * self.operator.forward(self.truth)
        xp = namespace(clean)
        if bool(xp.any(xp.abs(clean - self.observations) > 1e-12 * xp.max(xp.abs(clean)))):
            raise ValueError("the Gram form needs noise-free observations")
        normal = Gram.of(self.operator, self.scale) if normal is None else normal
        return replace(self, operator=normal, observations=self.truth, scale=1.0)


def _check_real(name: str, value: Any) -> None:
    """Raise unless an array or both factors are real, floating point and finite."""
    for array in (value.left, value.right) if isinstance(value, Factors) else (value,):
        if not is_array(array):
            raise TypeError(f"{name} must be an array or Factors, got {type(array).__name__}")
        xp = namespace(array)
        if not xp.isdtype(array.dtype, "real floating"):
            raise ValueError(f"{name} must be real floating point, got dtype {array.dtype}")
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinity")


def _ratio(value: Array, unit: Array) -> Array:
    """Return value / unit, NaN where the unit is 0: nothing is large or small compared with nothing."""
    xp = namespace(value)
    return xp.where(unit > 0, value / xp.where(unit > 0, unit, xp.ones_like(unit)), xp.nan)


def ground_truth(
    n1: int,
    r: int,
    *,
    n2: int | None = None,
    kappa: float = 1.0,
    spectrum: str = "linear",
    seed: int | np.ndarray = 0,
    device: str = "cpu",
) -> Factors:
    """Return M of rank r with Haar-distributed singular vectors.

    Parameters
    ----------
    n1, r : int
        Size and rank; r = 0 gives M = 0.
    n2 : int, optional
        Gives a rectangular M, ``Factors(U S^1/2, V S^1/2)``. Default: positive semi-definite, ``Factors(U S^1/2)``.
    kappa : float
        Condition number; singular values fall from 1 to 1/kappa.
    spectrum : {"linear", "geometric"}
    seed : int or integer array
        An array gives a batch of truths.
    device : str

    Raises
    ------
    ValueError
        For sizes, ranks, names or devices out of range.
    """
    square = n2 is None
    n2 = n1 if n2 is None else n2
    for name, value in (("n1", n1), ("n2", n2)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
    if not isinstance(r, (int, np.integer)) or isinstance(r, bool) or not 0 <= r <= min(n1, n2):
        raise ValueError(f"r must be an integer in 0..min(n1, n2) = {min(n1, n2)}, got {r!r}")
    root = np.sqrt(singular_value_profile(r, kappa, spectrum))
    stream = Stream(seed, "truth")
    left = as_array(orthonormal(n1, r, stream.child("left", n1, r)) * root, device)
    if square:
        return Factors(left)
    return Factors(left, as_array(orthonormal(n2, r, stream.child("right", n2, r)) * root, device))


def observe(
    operator: Any, truth: Factors, *, scale: float | None = None, noise: float = 0.0, seed: int = 0
) -> SensingProblem:
    """Return the problem of recovering `truth` from ``y = scale (A(M) + noise * N(0, I))``.

    Parameters
    ----------
    operator
        From `lrtheory.operators`, or a user's own that passes `lrtheory.testing.check_operator`.
    truth : Factors
        M, from `ground_truth` or a user's own. Warns where the measurements are fewer than its degrees of freedom.
    scale : float, optional
        Default: the operator's ``unit_scale``, for which ``E |scale A(Z)|^2 = |Z|_F^2``.
    noise : float
        Standard deviation of the noise on one unscaled measurement.
    seed : int
        Draws the noise, from a stream of its own.

    Raises
    ------
    ValueError
        If the shapes differ, or `noise` is negative or not finite.
    """
    if isinstance(noise, bool) or not isinstance(noise, (int, float, np.number)) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be finite and not negative, got {noise!r}")
    if truth.shape != tuple(operator.matrix_shape):
        raise ValueError(f"truth is {truth.shape}, the operator takes {tuple(operator.matrix_shape)}")
    r, m = truth.k, operator.m
    freedom = r * truth.shape[0] - r * (r - 1) // 2 if truth.symmetric else r * (sum(truth.shape) - r)
    if m < freedom:
        warnings.warn(f"m = {m} measurements cannot identify {freedom} degrees of freedom", stacklevel=2)
    if math.isinf(m):
        if noise:
            raise ValueError("infinitely many measurements average the noise out: give noise=0")
        return SensingProblem(operator, truth, truth)
    scale = operator.unit_scale if scale is None else float(scale)
    observations = scale * operator.forward(truth)
    if noise:
        draws = Stream(seed, "noise", m).normal((m,))
        observations = observations + like(scale * noise * draws, observations)
    return SensingProblem(operator, observations, truth, scale)


def population_problem(
    n1: int,
    r: int,
    *,
    n2: int | None = None,
    kappa: float = 1.0,
    spectrum: str = "linear",
    seed: int | np.ndarray = 0,
    device: str = "cpu",
) -> SensingProblem:
    """Return sensing with infinitely many measurements: A is the identity, the loss that of factorising M.

    Parameters
    ----------
    n1, r : int
        Size and true rank of M; r = 0 gives M = 0.
    n2 : int, optional
        Gives a rectangular n1 x n2 matrix. Default: a positive semi-definite n1 x n1 matrix.
    kappa : float
        Condition number; singular values fall from 1 to 1/kappa.
    spectrum : {"linear", "geometric"}
    seed : int or integer array
        An array gives a batch of truths.
    device : str

    Notes
    -----
    A step never forms an n1 x n2 matrix: ``R X = X (X^T X) - U S (U^T X)`` costs O(n k (k + r)).
    """
    truth = ground_truth(n1, r, n2=n2, kappa=kappa, spectrum=spectrum, seed=seed, device=device)
    return SensingProblem(Identity(*truth.shape), truth, truth)


def gaussian_problem(
    n1: int,
    r: int,
    m: int,
    *,
    n2: int | None = None,
    kappa: float = 1.0,
    spectrum: str = "linear",
    symmetric: bool = False,
    form: str = "dense",
    storage: str = "float64",
    noise: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    keep: Keep | None = None,
) -> SensingProblem:
    """Return sensing by m Gaussian matrices, ``y_i = <A_i, M> / sqrt(m) + noise * N(0, 1) / sqrt(m)``.

    Parameters
    ----------
    n1, r, n2, kappa, spectrum
        The truth, as in `population_problem`; without `n2` it is positive semi-definite.
    m : int
        Number of measurements. Warns where they are fewer than the degrees of freedom.
    symmetric : bool
        Symmetrised measurements ``(A + A^T) / 2``: another operator for ``F G^T``, the same problem for ``X X^T``.
    form : {"dense", "packed", "gram"}
        How the operator is kept, none of which changes the iterates beyond rounding: m x n1 x n2 numbers; the
        n(n+1)/2 columns that a symmetric estimate needs (with `symmetric`); or the normal form (see
        `SensingProblem.gram`), of the packed columns with `symmetric`.
    storage : {"float64", "float32", "int8"}
        Precision of the stored numbers; arithmetic is float64 always. float32 is the rounded operator *as* operator,
        int8 that of multiples of one number (`lrtheory.operators.gaussian`).
    noise : float
        Standard deviation before the scaling by 1/sqrt(m).
    seed : int
        Draws truth, operator and noise, each from a stream of its own.
    device : str
    keep : Keep, optional
        Where the operator is looked for and kept: problems of a sweep share it.

    Raises
    ------
    ValueError
        For sizes, ranks, names or dtypes out of range.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    if form == "packed" and not symmetric:
        raise ValueError('form="packed" serves symmetric measurements only: give symmetric=True')
    if not isinstance(m, (int, np.integer)) or isinstance(m, bool) or m < 1:
        raise ValueError(f"m must be an integer >= 1, got {m!r} (population_problem is the case m = infinity)")
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise ValueError(f"seed must be an integer (one operator is drawn from it), got {type(seed).__name__}")
    if symmetric and n2 is not None and n2 != n1:
        raise ValueError(f"symmetric measurements need a square matrix, got {n1} x {n2}")
    truth = ground_truth(n1, r, n2=n2, kappa=kappa, spectrum=spectrum, seed=seed, device=device)
    kept = Keep(0) if keep is None else keep
    packed = symmetric and form in ("packed", "gram")
    drawn: dict[str, Any] = {"symmetric": symmetric, "storage": storage, "packed": packed, "device": device}
    key = ("gaussian", m, *truth.shape, seed, *drawn.values())
    operator = kept.get(key, lambda: gaussian(m, *truth.shape, stream=Stream(seed, "operator"), **drawn))
    problem = observe(operator, truth, noise=noise, seed=seed)
    if form != "gram":
        return problem
    return problem.gram(kept.get((*key, "gram"), lambda: Gram.of(operator, problem.scale)))


def reduce_population(problem: SensingProblem, x: Factors) -> tuple[SensingProblem, Factors]:
    """Reduce a population problem and a start to r + k rows, exactly.

    Gradient descent stays in the span of the truth's and the start's columns. In an orthonormal basis Q of that span
    the iterates are ``Q X'`` with X' the iterates of the same problem for ``Q^T U`` from ``Q^T X_0``: every error and
    loss is the same, and a step costs O((r + k)^2 k) whatever n is.

    Parameters
    ----------
    problem : SensingProblem
        With the identity as operator.
    x : Factors

    Returns
    -------
    SensingProblem, Factors
    """
    if not isinstance(problem.operator, Identity):
        raise ValueError("only the population case reduces to r + k rows")

    def rotate(truth: Array, factor: Array) -> tuple[Array, Array]:
        xp = namespace(truth, factor)
        batch = np.broadcast_shapes(tuple(truth.shape[:-2]), tuple(factor.shape[:-2]))
        parts = [xp.broadcast_to(a, batch + tuple(a.shape[-2:])) for a in (truth, factor)]
        basis = transpose(xp.linalg.qr(xp.concat(parts, axis=-1))[0])
        return basis @ truth, basis @ factor

    left, x_left = rotate(problem.truth.left, x.left)
    if x.symmetric and problem.truth.symmetric:
        truth, x = Factors(left), Factors(x_left)
    elif x.symmetric:
        raise ValueError("a symmetric start needs a symmetric truth")
    else:
        right, x_right = rotate(problem.truth.right, x.right)
        truth, x = Factors(left, right), Factors(x_left, x_right)
    return SensingProblem(Identity(*truth.shape), truth, truth), x
