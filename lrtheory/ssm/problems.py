"""System identification by gradient: the parameters of a diagonal system whose kernel is to match a given one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import device

from lrtheory.backend import Array, as_array, is_array, like, namespace
from lrtheory.metrics import LazyMetrics
from lrtheory.names import check_name
from lrtheory.random import as_stream

from ._checks import vector
from ._slopes import NAMES, weights
from .systems import DiagonalSSM
from .transforms import TRANSFORMS, real_part, real_part_parameter, real_part_slope
from .vandermonde import gemm, vandermonde_vjp

PARTS = ("A", "C", "dt")

_LARGEST = 1e150  # weights, and growth of a pole over the length, beyond which an element has diverged


@dataclass(frozen=True, eq=False)
class KernelFit:
    """Match a kernel in least squares, ``1/2 |K - K*|^2 / |K*|^2``, by the poles, output weights and step of a system.

    A point is a flat real vector ``(*batch, P)`` of log dt, theta (M), Im A (M), Re C (M) and Im C (M), where
    ``Re A = -f(theta)`` (`lrtheory.ssm.real_part`); with real poles Im A and Im C are left out. `point` makes one from
    a system, `system` makes a system from it.

    Parameters
    ----------
    target : real array ``(*batch, L)``
        K*, not zero.
    transform : str
        f, see `lrtheory.ssm.real_part`.
    discretization : str or float
        See `lrtheory.ssm.discretize`; or ``"softmax"``, the normalisation of DSS [2]_, for which K depends on L:

            K_l = s Re sum_n C_n B_n / A_n (exp(dt A_n) - 1) exp(l dt A_n) / (exp(L dt A_n) - 1).

    real_poles : bool
        Real A and C, s = 1. Otherwise each mode stands for its conjugate too, s = 2.
    trainable : tuple of str
        Which of "A", "C" and "dt" have a gradient; that of the others is 0.
    input_weights : array ``(*batch, M)``, optional
        B, which stays as it is. Default: ones.

    Raises
    ------
    TypeError, ValueError
        If the target is not real floating point, not finite or zero, or a name is unknown.

    Notes
    -----
    The gradient is the adjoint, written by hand: through `lrtheory.ssm.vandermonde.vandermonde_vjp` to the weights and
    log poles of the kernel, and from there by the chain rule to the parameters. O(M L) operations, in float64.

    Metrics: ``relative_error = |K - K*| / |K*|`` and ``loss``, half its square.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893. The parameters and transforms are those of its ablations.
    .. [2] A. Gupta, A. Gu, J. Berant, Diagonal state spaces are as effective as structured state spaces, NeurIPS 2022,
       arXiv:2203.14343.
    """

    target: Array
    transform: str = "exp"
    discretization: str | float = "zoh"
    real_poles: bool = False
    trainable: tuple[str, ...] = PARTS
    input_weights: Array | None = None

    def __post_init__(self) -> None:
        target = self.target
        if not is_array(target) or not namespace(target).isdtype(target.dtype, "real floating"):
            raise TypeError(f"target must be a real floating-point array, got {getattr(target, 'dtype', target)!r}")
        if target.ndim == 0 or target.shape[-1] == 0:
            raise ValueError(f"target must have an axis of samples, got shape {tuple(target.shape)}")
        if not bool(namespace(target).all(namespace(target).isfinite(target))):
            raise ValueError("target must be finite, got NaN or infinity")
        if not bool(namespace(target).all(self._size > 0)):
            raise ValueError("target must not be zero: the error is measured relative to it")
        check_name("transform", self.transform, TRANSFORMS)
        rule, b = self.discretization, self.input_weights
        if isinstance(rule, str):
            check_name("discretization", rule, NAMES)
        elif isinstance(rule, bool) or not 0 <= rule <= 1:
            raise ValueError(f"discretization must be a name or a number in [0, 1], got {rule!r}")
        if isinstance(self.trainable, str):
            raise TypeError(f"trainable must be a tuple of names, got {self.trainable!r}")
        for part in self.trainable:
            check_name("trainable part", part, PARTS)
        if b is not None:
            object.__setattr__(self, "input_weights", vector("input_weights", b))
            if self.real_poles and namespace(b).isdtype(b.dtype, "complex floating"):
                raise TypeError(f"input_weights must be real where the poles are, got dtype {b.dtype}")

    @property
    def batch_shape(self) -> tuple[int, ...]:
        own = () if self.input_weights is None else tuple(self.input_weights.shape[:-1])
        return np.broadcast_shapes(tuple(self.target.shape[:-1]), own)

    @property
    def prototype(self) -> Array:
        """An array whose library, device and dtype a start should have."""
        return self.target

    @property
    def length(self) -> int:
        """L, the number of samples."""
        return int(self.target.shape[-1])

    @property
    def resolution(self) -> dict[str, float]:
        """Below these a metric is rounding noise: the phase of a sample is up to pi L."""
        eps = float(namespace(self.target).finfo(self.target.dtype).eps)
        return {"relative_error": 4 * self.length * eps, "loss": (4 * self.length * eps) ** 2 / 2}

    @cached_property
    def _size(self) -> Array:
        return namespace(self.target).linalg.vector_norm(self.target, axis=-1)

    def point(self, system: DiagonalSSM) -> Array:
        """Return the parameters ``(*channels, P)`` of a system; its B must be the problem's, or 1.

        Raises
        ------
        ValueError
            If the poles are real and the problem's are not, or the other way round.
        """
        if system.conjugate_pairs == self.real_poles:
            raise ValueError(f"real_poles is {self.real_poles}, but the system's conjugate_pairs too")
        shape = (*system.channels, system.modes)
        xp = namespace(system.A, system.C)
        a, c = (xp.broadcast_to(v, shape) for v in (system.A, system.C))
        steps = xp.broadcast_to(like(system.dt, xp.real(c) if not self.real_poles else c), shape[:-1])
        re = real_part_parameter(a if self.real_poles else xp.real(a), self.transform)
        parts = [re, c] if self.real_poles else [re, xp.imag(a), xp.real(c), xp.imag(c)]
        return like(xp.concat([xp.log(steps)[..., None], *parts], axis=-1), self.target)

    def system(self, x: Array) -> DiagonalSSM:
        """Return the system with these parameters; with the softmax, that whose zero-order hold has the kernel."""
        xp = namespace(x)
        dt, a, c, _ = self._parameters(x)
        rule = self.discretization
        if rule == "softmax":
            c, rule = c / (xp.exp(self.length * dt[..., None] * a) - 1), "zoh"
        b = xp.ones_like(c) if self.input_weights is None else self.input_weights
        return DiagonalSSM(a, b, c, dt, None, rule, conjugate_pairs=not self.real_poles, allow_unstable=True)

    def _parameters(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """Return dt ``(*batch,)``, A and C ``(*batch, M)`` and theta, in double precision."""
        xp = namespace(x)
        kinds = 2 if self.real_poles else 4
        if (x.shape[-1] - 1) % kinds:
            raise ValueError(f"a point must have {kinds} M + 1 entries, got {x.shape[-1]}")
        x = xp.astype(x, xp.float64, copy=False)
        dt = xp.exp(x[..., 0])
        theta, *others = _split(x[..., 1:], kinds)
        re = real_part(theta, self.transform)
        if self.real_poles:
            return dt, re, others[0], theta
        return dt, re + 1j * others[0], others[1] + 1j * others[2], theta

    def kernel(self, x: Array) -> Array:
        """Return K ``(*batch, L)`` at a point, in double precision; NaN where it would overflow."""
        dt, a, c, _ = self._parameters(x)
        nodes, factor, *_ = weights(dt[..., None] * a, self.discretization, self.length)
        w, nodes, mark = _within_range(c * self._gain(c, dt) * factor, nodes, self.length)
        return gemm(w, nodes, self.length) * mark

    def _gain(self, c: Array, dt: Array) -> Array:
        """Return s B dt, what C is multiplied by besides the rule's factor."""
        gain = (1 if self.real_poles else 2) * dt[..., None]
        return gain if self.input_weights is None else gain * like(self.input_weights, c)

    def value_and_gradient(self, x: Array, sample: Any = None) -> tuple[Array, Array]:
        """Return the loss ``(*batch,)`` and its gradient ``(*batch, P)`` (all data: `sample` must be None)."""
        if sample is not None:
            raise ValueError(f"kernel fits take the full sample only, got {sample!r}")
        xp = namespace(x)
        x = xp.broadcast_to(x, (*np.broadcast_shapes(self.batch_shape, tuple(x.shape[:-1])), x.shape[-1]))
        dt, a, c, theta = self._parameters(x)
        z, gain = dt[..., None] * a, self._gain(c, dt)
        nodes, factor, nodes_slope, factor_slope = weights(z, self.discretization, self.length)
        w, nodes, mark = _within_range(c * gain * factor, nodes, self.length)
        size = xp.astype(self._size, xp.float64, copy=False)[..., None]
        difference = (gemm(w, nodes, self.length) - self.target) / size
        value = xp.sum(difference * difference, axis=-1, keepdims=True) / 2 * mark

        # gradients of a real function of complex numbers: real and imaginary parts are the two derivatives
        to_w, to_nodes = vandermonde_vjp(w, nodes, difference / size)
        to_z = xp.conj(nodes_slope) * to_nodes + xp.conj(c * gain * factor_slope) * to_w
        to_c = xp.conj(gain * factor) * to_w
        to_log_dt = xp.sum(xp.real(xp.conj(to_z) * z + xp.conj(to_w) * w), axis=-1, keepdims=True)
        to_a = dt[..., None] * to_z
        to_theta = xp.real(to_a) * real_part_slope(theta, self.transform)
        blocks = [("dt", to_log_dt), ("A", to_theta), ("C", xp.real(to_c))]
        if not self.real_poles:
            blocks = [*blocks[:2], ("A", xp.imag(to_a)), blocks[2], ("C", xp.imag(to_c))]
        gradient = xp.concat([g if part in self.trainable else xp.zeros_like(g) for part, g in blocks], axis=-1)
        return xp.astype(value[..., 0], x.dtype, copy=False), xp.astype(gradient * mark, x.dtype, copy=False)

    def loss(self, x: Array) -> Array:
        return self._relative_error(x) ** 2 / 2

    def gradient(self, x: Array) -> Array:
        return self.value_and_gradient(x)[1]

    def _relative_error(self, x: Array) -> Array:
        xp = namespace(x)
        error = xp.linalg.vector_norm(self.kernel(x) - self.target, axis=-1) / self._size
        return xp.astype(error, x.dtype, copy=False)

    def metrics(self, x: Array) -> LazyMetrics:
        """Return relative error and loss, each batch-shaped."""
        found = LazyMetrics({"relative_error": lambda: self._relative_error(x)})
        return LazyMetrics(
            {"relative_error": lambda: found["relative_error"], "loss": lambda: found["relative_error"] ** 2 / 2}
        )

    def best_readout(self, x: Array) -> Array:
        """Return the point with the poles and step of x and the output weights that minimise the loss (least squares).

        By the pseudo-inverse of the triangular factor of the basis kernels, ``(*batch, L, 2 M)``: O(L M^2).
        """
        xp = namespace(x)
        dt, a, c, _ = self._parameters(x)
        nodes, factor, *_ = weights(dt[..., None] * a, self.discretization, self.length)
        steps = xp.arange(self.length, dtype=xp.float64, device=device(x))
        basis = (self._gain(c, dt) * factor)[..., None] * xp.exp(nodes[..., None] * steps)
        rows = [xp.real(basis)] if self.real_poles else [xp.real(basis), -xp.imag(basis)]
        q, r = xp.linalg.qr(xp.matrix_transpose(xp.concat(rows, axis=-2)))
        target = xp.astype(self.target, xp.float64, copy=False)
        found = xp.linalg.pinv(r) @ (xp.matrix_transpose(q) @ target[..., None])
        found = xp.astype(found[..., 0], x.dtype, copy=False)
        kept = x[..., : x.shape[-1] - found.shape[-1]]
        return xp.concat([xp.broadcast_to(kept, (*found.shape[:-1], kept.shape[-1])), found], axis=-1)


def _within_range(w: Array, x: Array, length: int) -> tuple[Array, Array, Array]:
    """Return w, x and 1, or harmless numbers and NaN in elements whose kernel would overflow: these have diverged."""
    xp = namespace(w, x)
    fits = xp.isfinite(w) & (xp.abs(w) < _LARGEST) & xp.isfinite(x) & (length * xp.real(x) < math.log(_LARGEST))
    fits = xp.all(fits, axis=-1, keepdims=True)
    mark = xp.where(fits, 1.0, xp.asarray(xp.nan, dtype=xp.float64, device=device(x)))
    return xp.where(fits, w, xp.zeros_like(w)), xp.where(fits, x, -xp.ones_like(x)), mark


def _split(a: Array, parts: int) -> list[Array]:
    """Return the equal parts of the last axis."""
    width = a.shape[-1] // parts
    return [a[..., i * width : (i + 1) * width] for i in range(parts)]


def random_kernel(
    length: int,
    pairs: int = 8,
    *,
    memory: tuple[float, float] = (1 / 32, 1 / 2),
    turns: tuple[float, float] = (1.0, 1 / 8),
    stream: Any = 0,
    device: str = "cpu",
) -> Array:
    """Return a kernel with ``2 * pairs`` random poles, of norm 1.

    Its modes exp(-l / tau + i omega l) have complex standard normal weights; tau and omega are log-uniform.

    Parameters
    ----------
    length : int
        L.
    pairs : int
        Poles in the upper half-plane; each has its conjugate.
    memory : (float, float)
        Smallest and largest tau, in units of L.
    turns : (float, float)
        Smallest omega / (2 pi), in turns over the length L; largest, in turns a step.
    stream : int, integer array or Stream
        Source of randomness; a batch of streams gives a batch of kernels.
    device : str

    Raises
    ------
    ValueError
        For a parameter out of range.
    """
    for name, value in (("length", length), ("pairs", pairs)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if not 0 < memory[0] <= memory[1]:
        raise ValueError(f"memory must be 0 < smallest <= largest, got {memory!r}")
    if not 0 < turns[0] / length <= turns[1] <= 0.5:
        raise ValueError(f"turns must satisfy 0 < turns[0] / length <= turns[1] <= 1/2, got {turns!r}")
    stream = as_stream(stream).child("random kernel", length, pairs)

    def log_uniform(purpose: str, low: float, high: float) -> np.ndarray:
        return low * (high / low) ** stream.child(purpose).draw(lambda generator: generator.random(pairs))

    tau = length * log_uniform("memory", *memory)
    omega = 2 * math.pi * log_uniform("turns", turns[0] / length, turns[1])
    weight = stream.child("weights").normal((2, pairs))
    steps = np.arange(length)[:, None]
    modes = np.exp(steps * (-1 / tau + 1j * omega)[..., None, :])
    kernel = np.real(modes @ (weight[..., 0, :] + 1j * weight[..., 1, :])[..., None])[..., 0]
    return as_array(kernel / np.linalg.norm(kernel, axis=-1, keepdims=True), device)
