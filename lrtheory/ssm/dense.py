"""Systems with a dense state matrix: the oracle that structured systems are held against, and how to diagonalise one.

Everything here is computed on the host in double precision and returned in the library and precision of A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, like, namespace, to_numpy

from ._checks import count, positive, real_numbers
from .discretization import _parameter, check_rule
from .systems import DiagonalSSM


@dataclass(frozen=True, eq=False)
class DenseSSM:
    """The real linear system x' = A x + B u, y = C x with a dense A, one input and one output for each channel.

    Its kernel is K(t) = C exp(t A) B.

    Parameters
    ----------
    A : real array ``(..., N, N)``
    B, C : real array ``(..., N)``
        The leading axes are channels, and broadcast.
    dt : float or array ``(...)``
        Step of the discretisation.
    discretization : str or float
        See `lrtheory.ssm.discretize`.

    Raises
    ------
    TypeError
        If A, B or C is not an array, or complex.
    ValueError
        If shapes do not broadcast, an entry is not finite, dt is not positive, or the rule is unknown.
    """

    A: Array
    B: Array
    C: Array
    dt: Any = 1.0
    discretization: str | float = "zoh"

    def __post_init__(self) -> None:
        for name in ("A", "B", "C"):
            object.__setattr__(self, name, real_numbers(name, getattr(self, name)))
        object.__setattr__(self, "dt", positive("dt", self.dt))
        shapes = [tuple(v.shape) for v in (self.A, self.B, self.C)]
        sizes = {*shapes[0][-2:], *shapes[1][-1:], *shapes[2][-1:]}
        if min(len(shapes[0]) - 1, len(shapes[1]), len(shapes[2])) < 1 or len(sizes) != 1 or 0 in sizes:
            raise ValueError("A must be (..., N, N), B and C (..., N), got {}, {} and {}".format(*shapes))
        steps = tuple(self.dt.shape) if is_array(self.dt) else ()
        try:
            np.broadcast_shapes(shapes[0][:-2], shapes[1][:-1], shapes[2][:-1], steps)
        except ValueError:
            raise ValueError(
                "the channels of A (without its last two axes), B, C (without the last) and dt must broadcast, got "
                "{}, {}, {} and {}".format(*shapes, steps)
            ) from None
        check_rule(self.discretization)

    def discretize(self) -> tuple[Array, Array]:
        """Return Abar ``(..., N, N)`` and Bbar ``(..., N)``: x_k = Abar x_{k-1} + Bbar u_k.

        ZOH comes from one exponential, exp(dt [[A, B], [0, 0]]) = [[Abar, Bbar], [0, 1]], so that A may be singular.

        Raises
        ------
        ValueError
            If the rule's own pole is an eigenvalue of dt A.
        """
        return self._out(*self._discrete())

    def kernel(self, length: int) -> Array:
        """Return K_l = C Abar^l Bbar, l < length, ``(..., length)``.

        By doubling, [Bbar .. Abar^(2m-1) Bbar] = [X, Abar^m X]: O(N^2 L + N^3 log L) operations, O(N L) memory.
        """
        length = count("length", length)
        power, b = self._discrete()
        columns = b[..., None]
        while columns.shape[-1] < length:
            if columns.shape[-1] > 1:
                power = power @ power
            more = power @ columns[..., : length - columns.shape[-1]]
            columns = np.concatenate([np.broadcast_to(columns, more.shape[:-1] + columns.shape[-1:]), more], axis=-1)
        return self._out((_double(self.C)[..., None, :] @ columns)[..., 0, :])[0]

    def impulse_response(self, t: Array) -> Array:
        """Return C exp(t_j A) B for times t ``(T,)``: ``(..., T)``. O(N^3) for each time."""
        from scipy.linalg import expm

        t = np.asarray(to_numpy(real_numbers("t", t)), dtype=np.float64)
        if t.ndim != 1 or (t < 0).any():
            raise ValueError(f"t must be (T,) without negative times, since the kernel is causal, got {t!r}")
        A, B, C = (_double(v) for v in (self.A, self.B, self.C))
        states = [expm(s * A) @ B[..., None] for s in t]
        return self._out(np.stack([(C[..., None, :] @ x)[..., 0, 0] for x in states], axis=-1))[0]

    def freqresp(self, w: Array) -> Array:
        """Return C (i w_j - A)^-1 B for angular frequencies w ``(F,)``: complex ``(..., F)``.

        By a Schur decomposition and back substitution for all frequencies at once: O(N^3 + N^2 F).
        """
        from scipy.linalg import schur

        w = np.asarray(to_numpy(real_numbers("w", w)), dtype=np.float64)
        A, B, C = (_double(v) for v in (self.A, self.B, self.C))
        lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-1], C.shape[:-1])
        A, B, C = (np.broadcast_to(v, lead + v.shape[-k:]) for v, k in ((A, 2), (B, 1), (C, 1)))
        response = np.empty((*lead, len(w)), dtype=np.complex128)
        for i in np.ndindex(lead):
            T, Q = schur(A[i], output="complex")
            x = np.repeat((Q.conj().T @ B[i])[:, None], len(w), axis=1)
            for n in reversed(range(len(x))):
                x[n] = (x[n] + T[n, n + 1 :] @ x[n + 1 :]) / (1j * w - T[n, n])
            response[i] = (C[i] @ Q) @ x
        xp = namespace(self.A)
        return like(response, self.A, dtype=xp.complex64 if self.A.dtype == xp.float32 else xp.complex128)

    def diagonalize(self, pairs: bool = False) -> Diagonalization:
        """Return the diagonal system with the same kernel, by A = V diag(a) V^-1: b = V^-1 B, c = C V.

        Almost every A has one, but its digits are lost in proportion to the condition number of V.

        Parameters
        ----------
        pairs : bool
            Keep one mode of each conjugate pair (and real modes with half of their weight): the cheaper form, for a
            single A. Otherwise all N modes are kept.

        Raises
        ------
        ValueError
            If V has no correct digit (its condition number exceeds 1 / eps), or pairs are asked for of a batch.

        References
        ----------
        .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space
           models, NeurIPS 2022, arXiv:2206.11893.
        """
        a, V = np.linalg.eig(_double(self.A))
        a, V = a.astype(np.complex128), V.astype(np.complex128)
        condition = np.linalg.cond(V)
        if not np.all(condition < 1 / np.finfo(np.float64).eps):
            raise ValueError(
                f"A has eigenvectors of condition number {np.max(condition):.1e}: no digit of them is right "
                "(perturb_then_diagonalize diagonalises a matrix nearby)"
            )
        b = np.linalg.solve(V, np.broadcast_to(_double(self.B), V.shape[:-1])[..., None].astype(np.complex128))[..., 0]
        c = (_double(self.C)[..., None, :] @ V)[..., 0, :]
        if pairs:
            if V.ndim > 2:
                raise ValueError(f"pairs need a single A, got the shape {tuple(self.A.shape)}")
            kept = a.imag >= 0
            a, b, c, V = a[kept], b[..., kept], np.where(a.imag == 0, c / 2, c)[..., kept], V[:, kept]
        xp = namespace(self.A)
        dtype = xp.complex64 if self.A.dtype == xp.float32 else xp.complex128
        a, b, c, V = (like(v, self.A, dtype=dtype) for v in (a, b, c, V))
        system = DiagonalSSM(
            a, b, c, self.dt, discretization=self.discretization, conjugate_pairs=pairs, allow_unstable=True
        )
        return Diagonalization(system, V, float(condition) if condition.ndim == 0 else condition)

    def _discrete(self) -> tuple[np.ndarray, np.ndarray]:
        A, B = _double(self.A), _double(self.B)
        dt = np.asarray(to_numpy(self.dt) if is_array(self.dt) else self.dt, dtype=np.float64)
        N = A.shape[-1]
        lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-1], dt.shape)
        A = np.broadcast_to(A, (*lead, N, N)) * dt[..., None, None]
        B = np.broadcast_to(B, (*lead, N)) * dt[..., None]
        if self.discretization in ("zoh", "impulse"):
            from scipy.linalg import expm

            if self.discretization == "impulse":
                return expm(A), B
            both = np.zeros((*lead, N + 1, N + 1))
            both[..., :N, :N], both[..., :N, N] = A, B
            both = expm(both)
            return both[..., :N, :N], both[..., :N, N]
        p = _parameter(self.discretization)
        right = np.concatenate([np.eye(N) + (1 - p) * A, B[..., None]], axis=-1)
        try:
            both = np.linalg.solve(np.eye(N) - p * A, right)
        except np.linalg.LinAlgError:
            raise ValueError(f"dt A has the eigenvalue {1 / p:g}, where the rule has its pole") from None
        return both[..., :N], both[..., N]

    def _out(self, *arrays: np.ndarray) -> tuple[Array, ...]:
        return tuple(like(v, self.A, dtype=self.A.dtype) for v in arrays)


@dataclass(frozen=True, eq=False)
class Diagonalization:
    """A diagonal system, the eigenvectors V ``(..., N, M)`` in its columns, of norm 1, and the condition number of V.

    With ``pairs`` V holds the kept columns; the condition number is that of all of them.
    """

    system: DiagonalSSM
    V: Array
    condition: Any


def companion(denominator: Array, numerator: Array, dt: Any = 1.0, discretization: str | float = "zoh") -> DenseSSM:
    """Return the system with the transfer function q(s) / p(s) in companion form.

    p(s) = s^N + p_{N-1} s^{N-1} + ... + p_0 and q(s) = q_{N-1} s^{N-1} + ... + q_0: A has ones above its diagonal and
    -p in its last row, B is the last unit vector and C = q.

    Parameters
    ----------
    denominator, numerator : real array ``(..., N)``
        p_0 .. p_{N-1} and q_0 .. q_{N-1}, the lowest order first.

    Raises
    ------
    ValueError
        If their last axes differ in length or are empty.
    """
    given = (("denominator", denominator), ("numerator", numerator))
    p, q = (_double(real_numbers(name, v)) for name, v in given)
    if p.ndim < 1 or q.ndim < 1 or p.shape[-1] != q.shape[-1] or p.shape[-1] < 1:
        raise ValueError(f"denominator and numerator must have N >= 1 coefficients each, got {p.shape} and {q.shape}")
    N = p.shape[-1]
    A = np.zeros((*p.shape, N))
    A[...] = np.eye(N, k=1)
    A[..., -1, :] = -p
    return DenseSSM(A, np.eye(N)[-1], q, dt, discretization)


def _double(value: Array) -> np.ndarray:
    return np.asarray(to_numpy(value), dtype=np.float64)
