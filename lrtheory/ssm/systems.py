"""Diagonal state-space models: what they are, in continuous and in discrete time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, like, namespace
from lrtheory.ssm import application, vandermonde

from ._checks import (
    as_complex,
    as_double,
    boolean,
    count,
    function,
    positive,
    positive_number,
    real_values,
    signal,
    vector,
)
from ._matrices import multiplication, parts, readout
from .discretization import check_rule, discretize, log_discretize

LONGEST_EXPONENT = {"float32": 88.0, "float64": 700.0}  # exp of more overflows


class AliasingWarning(UserWarning):
    """Modes lie beyond the Nyquist frequency of their step."""


@dataclass(frozen=True, eq=False)
class DiagonalSSM:
    """The linear system x' = A x + B u, y = C x + D u with a diagonal A, one input and one output for each channel.

    Its kernel is K(t) = s Re sum_n C_n B_n exp(t A_n), where s = 2 with ``conjugate_pairs`` (a stored mode stands for
    itself and its conjugate, so that the real state size is N = 2 M) and s = 1 without (N = M). In discrete time

        x_k = abar x_{k-1} + bbar u_k,   y_k = s Re sum_n C_n x_{k,n} + D u_k,   K_l = s Re sum_n C_n bbar_n abar_n^l.

    Parameters
    ----------
    A, B, C : array ``(..., M)``
        Poles, input weights and output weights; the leading axes are channels, and broadcast. Integers become float64.
    dt : float or array ``(...)``
        Step of the discretisation, in units of time.
    D : float or array ``(...)``, optional
        Feed-through of the input, real. It is not part of the kernel.
    discretization : str or float
        See `discretize`.
    conjugate_pairs : bool
        Whether the conjugates of the modes belong to the system. False for real poles.
    allow_unstable : bool
        Admit poles with a real part of 0 or more, and rules that move a pole out of the unit circle.

    Raises
    ------
    TypeError, ValueError
        If shapes do not broadcast, an entry is not finite, dt is not positive, or a pole is unstable.

    Notes
    -----
    Results are float32 (complex64) where A, B and C, and the input, are of that precision, and float64 otherwise.
    Exponentials, and states that are carried along, are in double precision in any case.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893.
    """

    A: Array
    B: Array
    C: Array
    dt: Any = 1.0
    D: Any = None
    discretization: str | float = "zoh"
    conjugate_pairs: bool = True
    allow_unstable: bool = False

    def __post_init__(self) -> None:
        for name in ("A", "B", "C"):
            object.__setattr__(self, name, vector(name, getattr(self, name)))
        object.__setattr__(self, "dt", positive("dt", self.dt))
        if self.D is not None:
            object.__setattr__(self, "D", real_values("D", self.D))
        check_rule(self.discretization)
        boolean("conjugate_pairs", self.conjugate_pairs)
        boolean("allow_unstable", self.allow_unstable)
        _ = self.channels
        xp = namespace(self.A, self.B, self.C)
        if self.allow_unstable:
            return
        if bool(xp.any(_re(self.A) >= 0)):
            worst = float(xp.max(_re(self.A))) + 0.0  # no -0
            raise ValueError(
                f"the real parts of A must be negative, got up to {worst:g}; allow_unstable=True admits them"
            )
        if bool(xp.any(xp.real(self.log_nodes()[1]) > 0)):
            raise ValueError(
                f"the rule {self.discretization!r} moves a stable pole out of the unit circle: it needs a smaller dt; "
                "allow_unstable=True admits this one"
            )

    @property
    def modes(self) -> int:
        """M, the number of stored modes."""
        return int(self.A.shape[-1])

    @property
    def state_size(self) -> int:
        """N, the dimension of the real state."""
        return 2 * self.modes if self.conjugate_pairs else self.modes

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """The common (broadcast) shape of the channels."""
        vectors = {name: tuple(getattr(self, name).shape) for name in ("A", "B", "C")}
        shapes = ", ".join(f"{name} {shape}" for name, shape in vectors.items())
        if len({shape[-1] for shape in vectors.values()}) != 1:
            raise ValueError(f"A, B and C must have one number of modes, got shapes {shapes}")
        scalars = {name: tuple(value.shape) for name in ("dt", "D") if is_array(value := getattr(self, name))}
        try:
            return np.broadcast_shapes(*(shape[:-1] for shape in vectors.values()), *scalars.values())
        except ValueError:
            more = "".join(f", {name} {shape}" for name, shape in scalars.items())
            raise ValueError(
                f"the channels of A, B, C (without the last axis), dt and D must broadcast, got {shapes}{more}"
            ) from None

    @cached_property
    def dtype(self) -> Any:
        """The dtype of kernels: float32 if A, B and C have single precision, else float64."""
        xp = namespace(self.A, self.B, self.C)
        kind = xp.result_type(self.A.dtype, self.B.dtype, self.C.dtype)
        return xp.float32 if kind in (xp.float32, xp.complex64) else xp.float64

    @property
    def poles(self) -> Array:
        """The N poles of the real system, ``(..., N)``: A, and after it the conjugates where they belong to it."""
        xp = namespace(self.A)
        return xp.concat([as_complex(self.A), xp.conj(as_complex(self.A))], axis=-1) if self.conjugate_pairs else self.A

    # discrete time

    def discretize(self) -> tuple[Array, Array]:
        """Return the discrete poles and input weights, ``(..., M)`` each (see `discretize`)."""
        return discretize(self.A, self.B, self.dt, self.discretization)

    def log_nodes(self, rate: float = 1.0) -> tuple[Array, Array]:
        """Return (w, x) with K_l = Re sum_n w_n exp(l x_n): w = s C bbar, x = log abar, at the step ``rate * dt``."""
        dt = self.dt if rate == 1 else self.dt * positive_number("rate", rate)
        x, bbar = log_discretize(self.A, self.B, dt, self.discretization)
        return self._scale * self.C * bbar, x

    def at_rate(self, rate: float) -> DiagonalSSM:
        """Return the system at the step ``rate * dt``: the same function of time, sampled more or less often.

        Warns (`AliasingWarning`) if modes alias at the new step that do not at the present one.
        """
        rate = positive_number("rate", rate)
        changed = replace(self, dt=self.dt * rate)
        xp = namespace(self.A, self.C)
        more = int(xp.count_nonzero(changed.aliased & ~self.aliased))
        if more:
            warnings.warn(
                f"at {rate:g} times the step, {more} of {math.prod(changed.aliased.shape)} modes that were below the "
                "Nyquist frequency alias; bandlimit() removes aliased modes",
                AliasingWarning,
                stacklevel=2,
            )
        return changed

    @property
    def aliased(self) -> Array:
        """Which modes with a weight C lie beyond the Nyquist frequency, dt |Im A| > pi: boolean ``(..., M)``.

        The rules of the bilinear family fold nothing, they bend the frequency axis; they have no aliased modes.
        """
        xp = namespace(self.A, self.C)
        if self.discretization not in ("zoh", "impulse"):
            return xp.zeros_like(self.C * _re(self.A), dtype=xp.bool)
        return (self._turns() > 0.5) & (self.C != 0)

    def bandlimit(self, fraction: float = 1.0) -> DiagonalSSM:
        """Return the system with C = 0 for modes with ``dt |Im A| / (2 pi) >= fraction / 2``; 1 is Nyquist's frequency.

        References
        ----------
        .. [1] E. Nguyen et al., S4ND: modeling images and videos as multidimensional signals using state spaces,
           NeurIPS 2022, arXiv:2210.06583.
        """
        fraction = positive_number("fraction", fraction)
        xp = namespace(self.A, self.C)
        return replace(self, C=xp.where(self._turns() < fraction / 2, self.C, xp.zeros_like(self.C)))

    def kernel(self, length: int, algorithm: Callable[..., Array] = vandermonde.fastest, *, rate: float = 1.0) -> Array:
        """Return the kernel's first `length` samples, ``(..., length)``: y_k = sum_l K_l u_{k-l}.

        Parameters
        ----------
        length : int
        algorithm : callable
            One of `lrtheory.ssm.vandermonde`: ``algorithm(w, x, length)``.
        rate : float
            Sample at the step ``rate * dt`` (see `at_rate`).

        Raises
        ------
        ValueError
            If length < 1.
        OverflowError
            If an unstable mode outgrows the dtype.
        """
        if rate != 1:
            return self.at_rate(rate).kernel(length, algorithm)
        length = count("length", length)
        function("algorithm", algorithm, "lrtheory.ssm.vandermonde")
        self._check_growth(length, self.dtype)
        w, x = self.log_nodes()
        xp = namespace(w, x)
        kernel = xp.astype(algorithm(as_complex(w), x, length), self.dtype, copy=False)
        return _broadcast(kernel, (*self.channels, length))

    def apply(
        self,
        u: Array,
        x0: Array | None = None,
        algorithm: Callable[..., tuple[Array, Array | None]] = application.fastest,
        *,
        return_state: bool = False,
    ) -> Any:
        """Return the response y to the input u; with `return_state` also the state after the last sample.

        Parameters
        ----------
        u : real array ``(..., L)``
            Its leading axes broadcast against the channels. Left alone.
        x0 : array ``(..., M)``, optional
            State before the first sample; 0 by default.
        algorithm : callable
            One of `lrtheory.ssm.application`; the default takes the one that `application.choose` recommends.
        return_state : bool

        Returns
        -------
        y : array ``(..., L)``
        state : complex array ``(..., M)``
            Only with `return_state`. ``apply(u[..., k:], state)`` after ``apply(u[..., :k])`` continues the signal.

        Raises
        ------
        TypeError
            If u is complex: the system is real and linear, so the response to Re u and that to Im u are two calls.
        ValueError
            If shapes do not broadcast, u has no sample, or an entry is not finite.
        OverflowError
            If an unstable mode outgrows the dtype.
        """
        function("algorithm", algorithm, "lrtheory.ssm.application")
        u, state, batch = self._signal(u, x0)
        y, last = algorithm(*self._response(u.dtype), u, state, return_state)
        if self.D is not None:
            y = y + self._feed(u) * u
        y = _broadcast(y, (*batch, u.shape[-1]))
        return (y, _broadcast(last, (*batch, self.modes))) if return_state else y

    def choose(self, u: Array) -> application.Choice:
        """Return which algorithm `apply` takes for the input u by itself, what it expects of each, and why."""
        u, _, _ = self._signal(u, None)
        return application.chosen(*self._response(u.dtype), u)

    def forward_state(self, u: Array, x0: Array | None = None) -> Array:
        """Return the state after the last sample of u, ``(..., M)``: abar^L x_0 + sum_l abar^(L-1-l) bbar u_l.

        Parameters and errors are those of `apply`. Two real matrix products, 4 M L operations a channel.
        """
        u, state, batch = self._signal(u, x0)
        x, b, _ = self._response(u.dtype)
        return _broadcast(application.final_state(x, b, u, state), (*batch, self.modes))

    def step(self, u: Any, x: Array | None = None) -> tuple[Array, Array]:
        """Return (y, x) after one more sample: x <- abar x + bbar u, y = s Re sum_n C_n x_n + D u.

        Parameters
        ----------
        u : float or real array ``(...)``
        x : array ``(..., M)``, optional
            State, 0 by default.
        """
        if not is_array(u):
            u = like(real_values("u", u), _re(self.A), dtype=self.dtype)
        u, state, batch = self._signal(u[..., None], x, "x")
        xp = namespace(u)
        abar, b, c = self._step_weights
        now = b * u if state is None else abar * state + b * u
        y = xp.astype(xp.sum(xp.real(c * now), axis=-1), u.dtype, copy=False)
        if self.D is not None:
            y = y + (self._feed(u) * u)[..., 0]
        return _broadcast(y, batch), _broadcast(now, (*batch, self.modes))

    # continuous time

    def basis(self, t: Array) -> Array:
        """Return the basis kernels K_n(t) = B_n exp(t A_n) at times t >= 0 ``(..., T)``: complex ``(..., M, T)``."""
        xp = namespace(self.A, self.B)
        t = self._grid("t", t)
        if bool(xp.any(t < 0)):
            raise ValueError("t must not be negative: the kernel is causal")
        values = as_double(self.B)[..., None] * xp.exp(as_double(self.A)[..., None] * t[..., None, :])
        return xp.astype(values, self._complex_dtype)

    def impulse_response(self, t: Array) -> Array:
        """Return K(t) = s Re sum_n C_n B_n exp(t A_n) at times t >= 0 ``(..., T)``: real ``(..., T)``."""
        xp = namespace(self.A, self.C)
        values = self._scale * xp.real(xp.sum(as_complex(self.C)[..., None] * self.basis(t), axis=-2))
        return xp.astype(values, self.dtype, copy=False)

    def freqresp(self, w: Array, *, discrete: bool = False) -> Array:
        """Return the transfer function at angular frequencies w ``(..., F)`` (radians per unit of time), D included.

        G(i w), the Laplace transform of the kernel; or with `discrete` sum_l K_l exp(-i l w dt), that of its samples.
        """
        xp = namespace(self.A, self.B, self.C)
        w = self._grid("w", w)[..., None, :]
        if discrete:
            weights, x = (as_double(v)[..., None] for v in self.log_nodes())
            turn = 1j * w * (like(self.dt, w)[..., None, None] if is_array(self.dt) else self.dt)
            terms = -weights / xp.expm1(x - turn) - xp.conj(weights) / xp.expm1(xp.conj(x) - turn)
        else:
            weights, a = (self._scale * as_double(self.C) * as_double(self.B))[..., None], as_double(self.A)[..., None]
            terms = weights / (1j * w - a) + xp.conj(weights) / (1j * w - xp.conj(a))
        response = xp.sum(terms, axis=-2) / 2
        if self.D is not None:
            response = response + self._feed(xp.real(response))
        return xp.astype(response, self._complex_dtype)

    def dc_gain(self, *, discrete: bool = False) -> Array:
        """Return the response to a constant input in the long run, ``(...)``: -s Re sum_n C_n B_n / A_n + D.

        With `discrete`, that of the discretised system, sum_l K_l + D = s Re sum_n C_n bbar_n / (1 - abar_n) + D; the
        zero-order hold and the bilinear family keep the gain.

        Raises
        ------
        ValueError
            If a pole is unstable or on the border of stability: then no such response exists.
        """
        xp = namespace(self.A, self.B, self.C)
        w, x = (as_double(v) for v in self.log_nodes())
        if bool(xp.any((xp.real(x) if discrete else _re(self.A)) >= 0)):
            raise ValueError("an unstable system has no DC gain: the real parts of A must be negative")
        terms = (
            -w / xp.expm1(x) if discrete else -self._scale * as_double(self.C) * as_double(self.B) / as_double(self.A)
        )
        gain = xp.real(xp.sum(terms, axis=-1))
        if self.D is not None:
            gain = gain + self._feed(gain[..., None])[..., 0]
        return xp.astype(xp.broadcast_to(gain, self.channels), self.dtype)

    def to_dense(self, *, discrete: bool = False) -> tuple[Array, Array, Array, Array]:
        """Return real matrices (A, B, C, D) of the same input and output, as `scipy.signal.StateSpace` takes them.

        The state is (Re x, Im x), of size 2 M; or x, of size M, without conjugates and with real A, B, C. A mode and
        its conjugate count twice in it also where the pole is real.

        Parameters
        ----------
        discrete : bool
            The discretised system, for ``StateSpace(..., dt=dt)``. SciPy's output y_k = C v_k + D u_k reads the state
            before sample k, so its matrices are C abar and D + C bbar.

        Returns
        -------
        A, B, C, D : arrays ``(..., N, N)``, ``(..., N, 1)``, ``(..., 1, N)``, ``(..., 1, 1)``
        """
        xp = namespace(self.A, self.B, self.C)
        a, b, c = (as_double(as_complex(v)) for v in (self.A, self.B, self._scale * self.C))
        feed = xp.zeros((*self.channels, 1), dtype=xp.float64)
        if self.D is not None:
            feed = feed + self._feed(feed)
        if discrete:
            x, b = (as_double(as_complex(v)) for v in log_discretize(self.A, self.B, self.dt, self.discretization))
            feed = feed + xp.sum(xp.real(c * b), axis=-1)[..., None]
            a = xp.exp(x)
            c = c * a
        a, b, c = (xp.broadcast_to(v, (*self.channels, self.modes)) for v in (a, b, c))
        real = not any(xp.isdtype(v.dtype, "complex floating") for v in (self.A, self.B, self.C))
        if real and not self.conjugate_pairs:
            dense, column, row = xp.real(a)[..., None] * xp.eye(self.modes, dtype=xp.float64), xp.real(b), xp.real(c)
        else:
            dense, column, row = multiplication(a), parts(b), readout(c)
        matrices = dense, column[..., :, None], row[..., None, :], feed[..., None]
        return tuple(xp.astype(m, self.dtype) for m in matrices)

    # what the methods share

    @property
    def _scale(self) -> int:
        return 2 if self.conjugate_pairs else 1

    @property
    def _complex_dtype(self) -> Any:
        xp = namespace(self.A)
        return xp.complex64 if self.dtype == xp.float32 else xp.complex128

    @cached_property
    def _nodes(self) -> tuple[Array, Array, Array]:
        """(x, bbar, s C), what `application`'s functions take."""
        x, bbar = log_discretize(self.A, self.B, self.dt, self.discretization)
        return x, as_complex(bbar), self._scale * as_complex(self.C)

    @cached_property
    def _step_weights(self) -> tuple[Array, Array, Array]:
        x, b, c = self._nodes
        return namespace(x).exp(x), as_double(b), as_double(c)

    def _response(self, dtype: Any) -> tuple[Array, Array, Array]:
        """`_nodes` with weights of the precision of `dtype`."""
        x, b, c = self._nodes
        xp = namespace(x)
        kind = xp.complex64 if dtype == xp.float32 else xp.complex128
        return x, xp.astype(b, kind, copy=False), xp.astype(c, kind, copy=False)

    def _signal(self, u: Array, x0: Array | None, name: str = "x0") -> tuple[Array, Array | None, tuple[int, ...]]:
        """Return the checked input and state, and the batch shape."""
        u, x0, batch = signal(u, x0, self.A, self.dtype, self.channels, name)
        self._check_growth(u.shape[-1], u.dtype)
        return u, x0, batch

    def _check_growth(self, length: int, dtype: Any) -> None:
        if not self.allow_unstable:
            return
        x = self._nodes[0]
        xp = namespace(x)
        exponent = float(xp.max(xp.real(x))) * length if math.prod(x.shape) else 0.0
        kind = "float32" if dtype == xp.float32 else "float64"
        limit = LONGEST_EXPONENT[kind]
        if exponent > limit:
            raise OverflowError(
                f"an unstable mode grows by exp({exponent:.4g}) over {length} samples; {kind} holds exp({limit:g})"
            )

    def _feed(self, like_this: Array) -> Array:
        """D with an axis for the samples, as an array of the precision of `like_this`."""
        return like(self.D, like_this)[..., None]

    def _grid(self, name: str, values: Any) -> Array:
        """Points at which a function of time or frequency is asked for, in double precision."""
        reference = _re(self.A)
        grid = like(real_values(name, values), reference, dtype=namespace(reference).float64)
        return grid[None] if grid.ndim == 0 else grid

    def _turns(self) -> Array:
        """dt |Im A| / (2 pi), turns in a step."""
        xp = namespace(self.A)
        im = xp.abs(xp.imag(as_complex(as_double(self.A))))
        steps = like(self.dt, im)[..., None] if is_array(self.dt) else self.dt
        return im * steps / (2 * math.pi)


def _re(a: Array) -> Array:
    return namespace(a).real(as_complex(a))


def _broadcast(a: Array, shape: tuple[int, ...]) -> Array:
    return a if a.shape == shape else namespace(a).broadcast_to(a, shape)
