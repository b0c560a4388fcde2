"""Streams of sampled rows: a spiked covariance, heavy-tailed rows, a direction that drifts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.names import check_name
from lrtheory.random import Stream, as_stream
from lrtheory.spectra import orthonormal

from ._checks import integer, one_stream, reals, spectrum
from .instances import StreamInstance
from .offline import top_directions

DTYPES = ("float64", "float32")


@dataclass(frozen=True, eq=False)
class SpikedRows:
    """Chunks of Gaussian rows a = V diag(lambda)^{1/2} z, never all of them at once; can be read again.

    Parameters
    ----------
    n : int
        Rows.
    eigenvalues : array ``(d,)``
        lambda_1 > lambda_2 >= ... >= 0, of the covariance of one row.
    stream : int or Stream
    rotate : bool
        V is Haar-distributed (d x d, from the same stream), else the identity.
    chunk_rows : int
        Part of the key: other chunks hold other rows.
    dtype : {"float64", "float32"}
    """

    n: int
    eigenvalues: np.ndarray
    stream: Any = 0
    rotate: bool = False
    chunk_rows: int = 4096
    dtype: str = "float64"

    def __post_init__(self) -> None:
        integer("n", self.n)
        integer("chunk_rows", self.chunk_rows)
        check_name("dtype", self.dtype, DTYPES)
        object.__setattr__(self, "eigenvalues", spectrum(self.eigenvalues))

    @property
    def d(self) -> int:
        return self.eigenvalues.size

    @property
    def basis(self) -> np.ndarray | None:
        """V ``(d, d)``, eigenvectors in columns; None for the identity."""
        return orthonormal(self.d, self.d, self._stream.child("basis")) if self.rotate else None

    @property
    def direction(self) -> np.ndarray:
        """The top eigenvector of the covariance ``(d,)``."""
        basis = self.basis
        return np.eye(1, self.d)[0] if basis is None else basis[:, 0].copy()

    @property
    def energies(self) -> tuple[float, float]:
        """The expected s_1^2 and s_2^2, ``n lambda_1`` and ``n lambda_2``."""
        return self.n * float(self.eigenvalues[0]), self.n * float(self.eigenvalues[1])

    @property
    def _stream(self) -> Stream:
        return as_stream(self.stream).child("spiked", self.d)

    def __iter__(self) -> Iterator[np.ndarray]:
        root, basis = np.sqrt(self.eigenvalues), self.basis
        for index, start in enumerate(range(0, self.n, self.chunk_rows)):
            # whole chunks are drawn, so that a shorter stream is the beginning of a longer one
            rows = self._stream.child("chunk", self.chunk_rows, index).normal((self.chunk_rows, self.d)) * root
            rows = rows[: self.n - start]
            yield (rows if basis is None else rows @ basis.T).astype(self.dtype, copy=False)


def spiked(
    n: int, eigenvalues: Any, stream: Any = 0, *, rotate: bool = False, dtype: str = "float64"
) -> StreamInstance:
    """Return n independent Gaussian rows of a covariance with the given eigenvalues, all chunks of `SpikedRows`.

    Its truth is that of the covariance: v_1, ``n lambda_1`` and ``n lambda_2``.
    """
    chunks = SpikedRows(n, eigenvalues, stream, rotate, dtype=dtype)
    return StreamInstance(np.concatenate(list(chunks)), chunks.direction, chunks.energies)


def student(n: int, eigenvalues: Any, freedom: float, stream: Any = 0) -> StreamInstance:
    """Return n rows of a multivariate t distribution with the given covariance: heavy tails of index `freedom` > 2.

    ``a = sqrt((nu - 2) / chi2_nu) diag(lambda)^{1/2} z``. Its truth is that of the covariance. For nu <= 4 the sample
    covariance has no finite variance.
    """
    eigenvalues = spectrum(eigenvalues)
    freedom = float(reals("freedom", freedom))
    if not freedom > 2:
        raise ValueError(f"freedom must be above 2, where a covariance exists, got {freedom!r}")
    gaussian = spiked(n, eigenvalues, stream)
    chi2 = one_stream(stream).child("student", freedom, n).generator().chisquare(freedom, n)
    rows = gaussian.rows * np.sqrt((freedom - 2) / chi2)[:, None]
    return StreamInstance(rows, gaussian.direction, gaussian.energies)


def pareto(n: int, d: int, stream: Any = 0, *, spike: float = 2.5, tail: float = 1.5) -> StreamInstance:
    """Return Gaussian rows, the first coordinate times `spike`, each row times 1 + a Pareto variable of index `tail`.

    The factor F has P(F > t) = t^{-tail}, t >= 1: no variance for tail <= 2, a few rows carry most of the energy. Its
    truth is that of the sampled matrix itself, from `top_directions`.
    """
    n, d = integer("n", n), integer("d", d, 2)
    spike, tail = (float(reals(name, value, 0.0, strict=True)) for name, value in (("spike", spike), ("tail", tail)))
    stream = one_stream(stream).child("pareto", n, d)
    rows = stream.child("rows").normal((n, d))
    rows[:, 0] *= spike
    rows *= 1 + stream.child("factors", tail).generator().pareto(tail, n)[:, None]
    energies, directions = top_directions(rows, min(2, n))
    return StreamInstance(rows, directions[0], (float(energies[0]), float(energies[1]) if n > 1 else 0.0))


@dataclass(frozen=True, eq=False)
class DriftingInstance(StreamInstance):
    """A stream whose top direction turns by `rate` radians a row; `direction` is that of the last row."""

    rate: float

    def direction_at(self, t: Any) -> np.ndarray:
        """Return the top direction at rows t (0-based), ``(*t.shape, d)``."""
        angle = np.asarray(t, dtype=np.float64) * self.rate
        found = np.zeros((*angle.shape, self.d))
        found[..., 0], found[..., 1] = np.cos(angle), np.sin(angle)
        return found


def drift(n: int, eigenvalues: Any, rate: float, stream: Any = 0) -> DriftingInstance:
    """Return n independent Gaussian rows whose covariance turns in the plane of the first two axes, by `rate` a row.

    ``a_t = Q_t diag(lambda)^{1/2} z_t`` with Q_t the rotation by ``t rate``, t = 0, 1, ... See `theory.drift_sin2`.
    """
    rate = float(reals("rate", rate))
    still = spiked(n, eigenvalues, one_stream(stream).child("drift"))
    rows, angle = still.rows, rate * np.arange(n)
    first, second = rows[:, 0].copy(), rows[:, 1].copy()
    rows[:, 0] = np.cos(angle) * first - np.sin(angle) * second
    rows[:, 1] = np.sin(angle) * first + np.cos(angle) * second
    last = np.zeros(still.d)
    last[:2] = math.cos(rate * (n - 1)), math.sin(rate * (n - 1))
    return DriftingInstance(rows, last, still.energies, rate)
