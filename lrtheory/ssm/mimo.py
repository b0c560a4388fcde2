"""Diagonal systems with many inputs and outputs that share one state (S5, LRU), applied by a scan over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace
from lrtheory.random import as_stream

from ._checks import as_complex, as_double, boolean, count, function, numbers, positive, real_numbers
from .discretization import check_rule, log_discretize
from .initialization import draw_steps, input_normalization, poles
from .legs import legs_spectrum
from .scans import sequential_scan


@dataclass(frozen=True, eq=False)
class MIMODiagonalSSM:
    """The linear system x' = diag(A) x + B u, y = s Re(C x) + D u with H_in inputs, H_out outputs and one state.

    s = 2 with ``conjugate_pairs`` (a stored mode stands for its conjugate too) and 1 without.

    Parameters
    ----------
    A : array ``(M,)``
        Poles.
    B : array ``(M, H_in)``
    C : array ``(H_out, M)``
    dt : float or array ``(M,)``
        Step of the discretisation; an array has one for each mode.
    D : array ``(H_out,)``, optional
        Feed-through of each input to the output of the same index, H_in = H_out.
    discretization : str or float
        See `lrtheory.ssm.discretize`.
    conjugate_pairs : bool

    Raises
    ------
    TypeError
        If A, B, C or D is not an array, or D is complex.
    ValueError
        If shapes do not match, an entry is not finite, dt is not positive, or a pole is unstable: it has a real part
        of 0 or more, or the rule moves it out of the unit circle.

    References
    ----------
    .. [1] J. T. H. Smith, A. Warrington, S. W. Linderman, Simplified state space layers for sequence modeling, ICLR
       2023, arXiv:2208.04933.
    """

    A: Array
    B: Array
    C: Array
    dt: Any = 1.0
    D: Array | None = None
    discretization: str | float = "zoh"
    conjugate_pairs: bool = True

    def __post_init__(self) -> None:
        for name in ("A", "B", "C"):
            object.__setattr__(self, name, numbers(name, getattr(self, name)))
        object.__setattr__(self, "dt", positive("dt", self.dt))
        if self.D is not None:
            object.__setattr__(self, "D", real_numbers("D", self.D))
        shapes = [tuple(v.shape) for v in (self.A, self.B, self.C)]
        if [len(s) for s in shapes] != [1, 2, 2] or not shapes[0][0] == shapes[1][0] == shapes[2][1]:
            raise ValueError(f"A, B and C must be (M,), (M, H_in) and (H_out, M), got {', '.join(map(str, shapes))}")
        if is_array(self.dt) and tuple(self.dt.shape) not in ((), shapes[0]):
            raise ValueError(f"dt must be a number or have the shape {shapes[0]} of A, got {tuple(self.dt.shape)}")
        if self.D is not None and not tuple(self.D.shape) == (shapes[2][0],) == shapes[1][1:]:
            raise ValueError(
                f"D must be (H,) with H inputs and H outputs, got {tuple(self.D.shape)} for "
                f"{shapes[1][1]} inputs and {shapes[2][0]} outputs"
            )
        check_rule(self.discretization)
        boolean("conjugate_pairs", self.conjugate_pairs)
        xp = namespace(self.A)
        if bool(xp.any(xp.real(as_complex(self.A)) >= 0)):
            raise ValueError("the real parts of A must be negative")
        if bool(xp.any(xp.real(self.log_discretize()[0]) > 0)):
            raise ValueError(
                f"the rule {self.discretization!r} moves a stable pole out of the unit circle: it needs a smaller dt"
            )

    def log_discretize(self) -> tuple[Array, Array]:
        """Return log abar ``(M,)`` and Bbar ``(M, H_in)`` in double precision: x_k = abar x_{k-1} + Bbar u_k."""
        xp = namespace(self.A, self.B)
        ones = xp.ones((self.A.shape[0], 1), dtype=xp.complex128)
        x, factor = log_discretize(as_double(self.A)[:, None], ones, self.dt, self.discretization)
        return x[:, 0], factor * as_double(self.B)

    def kernel(self, length: int) -> Array:
        """Return the kernel K_l = s Re(C abar^l Bbar), ``(length, H_out, H_in)``. M H_out H_in L operations."""
        length = count("length", length)
        xp = namespace(self.A, self.B, self.C)
        x, b = self.log_discretize()
        powers = xp.exp(x * xp.arange(length, dtype=xp.float64)[:, None])
        kernel = xp.real((self._outputs() * powers[:, None, :]) @ b)
        return xp.astype(kernel, self._dtype(), copy=False)

    def apply(
        self,
        u: Array,
        scan: Callable[..., Array] = sequential_scan,
        *,
        state: Array | None = None,
        return_state: bool = False,
    ) -> Any:
        """Return the outputs y_k = s Re(C x_k) + D u_k of x_k = abar x_{k-1} + Bbar u_k.

        Parameters
        ----------
        u : real array ``(..., L, H_in)``
        scan : callable
            `sequential_scan` or `associative_scan`.
        state : complex array ``(..., M)``, optional
            x_{-1}; default 0. With ``return_state`` one can apply the system to a sequence in parts.
        return_state : bool
            Return x_{L-1} too.

        Returns
        -------
        y : real array ``(..., L, H_out)``
        state : complex array ``(..., M)``
            If asked for.

        Raises
        ------
        TypeError
            If u is complex: the system is real and linear, so the response to Re u and that to Im u are two calls.
        ValueError
            If u is empty along time or has another number of inputs, the state another number of modes, or an entry is
            not finite.

        Notes
        -----
        2 M (H_in + H_out) L operations in matrix products and the scan's, O(M L) memory.
        """
        function("scan", scan, "lrtheory.ssm.scans")
        u = real_numbers("u", u)
        if u.ndim < 2 or u.shape[-1] != self.B.shape[1] or u.shape[-2] < 1:
            raise ValueError(f"u must be (..., L, {self.B.shape[1]}) with L >= 1, got {tuple(u.shape)}")
        if state is not None:
            state = numbers("state", state)
            if state.ndim < 1 or state.shape[-1] != self.A.shape[0]:
                raise ValueError(f"state must be (..., {self.A.shape[0]}), got {tuple(state.shape)}")
        xp = namespace(self.A, self.B, self.C, u)
        x, b = self.log_discretize()
        values = xp.astype(u, xp.float64, copy=False)
        b = xp.matrix_transpose(b)
        states = scan(x, values @ xp.real(b) + 1j * (values @ xp.imag(b)), state)
        c = xp.matrix_transpose(self._outputs())
        y = xp.real(states) @ xp.real(c) - xp.imag(states) @ xp.imag(c)
        if self.D is not None:
            y = y + xp.astype(self.D, xp.float64, copy=False) * values
        y = xp.astype(y, self._dtype(), copy=False)
        return (y, states[..., -1, :]) if return_state else y

    def _outputs(self) -> Array:
        return (2 if self.conjugate_pairs else 1) * as_double(self.C)

    def _dtype(self) -> Any:
        xp = namespace(self.A, self.B, self.C)
        single = xp.result_type(self.A.dtype, self.B.dtype, self.C.dtype) in (xp.float32, xp.complex64)
        return xp.float32 if single else xp.float64


def s5(
    N: int = 64,
    H: int = 64,
    *,
    blocks: int = 1,
    dt: str | float | Array = "log-uniform",
    dt_min: float = 1e-3,
    dt_max: float = 1e-1,
    discretization: str | float = "zoh",
    stream: Any = 0,
) -> MIMODiagonalSSM:
    """Return an S5 system at its initialisation: the normal part of HiPPO-LegS with H inputs and H outputs.

    The state matrix is block-diagonal with `blocks` copies of the normal part of LegS of size N / blocks, whose
    eigenvectors V are in closed form (`legs_spectrum`): B = V^* B0 and C = C0 V with real normal B0 ``(N, H)`` of
    variance 1 / H and C0 ``(H, N)`` of variance 1 / N; D is standard normal.

    Parameters
    ----------
    N : int
        Real state size: N / 2 modes and their conjugates. 2 blocks divides it.
    H : int
        Number of inputs, and of outputs.
    blocks : int
    dt : {"log-uniform", "geometric"}, float or array ``(N / 2,)``
        One step for each mode, as `s4d` draws one for each channel.
    dt_min, dt_max : float
    discretization : str or float
    stream : int or Stream

    Raises
    ------
    ValueError
        If N is not a positive multiple of 2 blocks, H < 1, or a step is out of range.

    References
    ----------
    .. [1] J. T. H. Smith, A. Warrington, S. W. Linderman, Simplified state space layers for sequence modeling, ICLR
       2023, arXiv:2208.04933.
    """
    for name, value in (("N", N), ("H", H), ("blocks", blocks)):
        count(name, value)
    if N % (2 * blocks):
        raise ValueError(f"N must be a multiple of 2 blocks = {2 * blocks}, got {N}")
    stream = as_stream(stream)
    size = N // blocks
    w, _, V = legs_spectrum(size, vectors=True)
    b0 = stream.child("B").normal((blocks, size, H)) / math.sqrt(H)
    c0 = stream.child("C").normal((H, blocks, size)) / math.sqrt(N)
    B = (V.conj().T @ b0).reshape(N // 2, H)
    C = (c0 @ V).reshape(H, N // 2)
    steps = draw_steps(dt, dt_min, dt_max, (N // 2,), stream)
    D = stream.child("D").normal((H,))
    return MIMODiagonalSSM(np.tile(-0.5 + 1j * w, blocks), B, C, steps, D, discretization)


def lru(
    M: int = 64,
    H: int = 64,
    *,
    ring: tuple[float, float, float] = (0.0, 1.0, 2 * math.pi),
    stream: Any = 0,
) -> MIMODiagonalSSM:
    """Return a linear recurrent unit at its initialisation: x_k = abar x_{k-1} + gamma B u_k, y_k = Re(C x_k) + D u_k.

    abar is uniform on a ring, and gamma = sqrt(1 - |abar|^2) makes the stationary variance of each state under white
    noise that of its input B u, however slowly it decays. B and C are complex normal of variances 1 / H and 2 / M (so
    that the real part of the output has that of M real modes), D is standard normal.

    Parameters
    ----------
    M : int
        Number of complex modes; they have no conjugates.
    H : int
        Number of inputs, and of outputs.
    ring : tuple of float
        (r_min, r_max, max_phase): r_min <= |abar| <= r_max, 0 <= arg abar <= max_phase.
    stream : int or Stream

    Returns
    -------
    MIMODiagonalSSM
        With dt = 1 and the rule ``"impulse"``: abar = exp(A) and Bbar = B, which contains gamma.

    Raises
    ------
    ValueError
        If M < 1, H < 1, or the ring is out of range.

    References
    ----------
    .. [1] A. Orvieto et al., Resurrecting recurrent neural networks for long sequences, ICML 2023, arXiv:2303.06349.
    """
    M, H = count("M", M), count("H", H)
    stream = as_stream(stream)
    a = poles(2 * M, "lru", ring=ring, stream=stream)
    b, c = (stream.child(name).normal((2, M, H)) / math.sqrt(2.0) for name in ("B", "C"))
    B = input_normalization(a)[:, None] * (b[0] + 1j * b[1]) / math.sqrt(H)
    C = (c[0] + 1j * c[1]).T * math.sqrt(2.0 / M)
    D = stream.child("D").normal((H,))
    return MIMODiagonalSSM(a, B, C, 1.0, D, "impulse", conjugate_pairs=False)
