"""Frequent Directions: a deterministic summary of all rows, in any order, of parts that merge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.random import Stream
from lrtheory.streaming._checks import integer
from lrtheory.streaming._merging import MergeableEstimator, is_dense, sketched_energy, top_of
from lrtheory.streaming.sources import Chunk

SMALL = 128
"""Rows of S from which LAPACK is as fast as the kernel for small matrices."""


class FrequentDirections(MergeableEstimator):
    """Rows are appended to S; when it has 2 ell of them, S <- rows i < ell of (Sigma^2 - delta)^(1/2) V^T [1]_, [2]_.

    Here S = U Sigma V^T and delta = sigma_ell^2, the ell-th. For all rows A of the stream, in whatever order,
    ``0 <= A^T A - S^T S <= error_ I``, and ``error_ <= ||A - A_k||_F^2 / (ell - k)`` for every k < ell.

    Parameters
    ----------
    size : int
        ell >= 2. A stream of rank < ell is kept exactly, up to rounding.
    n_components : int
        k < ell.
    robust : bool
        Estimate A^T A by ``S^T S + alpha I``, alpha half of the error [3]_, in energies: the largest error is halved.
    center, scale, check_finite
        As in `Oja`.
    stream : int or Stream
        Not used: nothing is random.

    Attributes
    ----------
    sketch_ : array ``(p, d)``, p <= 2 ell
        S, in float64; a copy. The first 2 ell rows are kept as they are; a shrinking leaves ell - 1.
    error_ : float
        The sum of all delta.
    alpha_ : float
        error_ / 2, or 0 unless ``robust=True``.

    Notes
    -----
    The others are those of `StreamingEstimator`. Energies without ``robust=True`` are lower bounds: s_i^2 is at most
    ``explained_energy_[i] + error_``; `evidence` is what `certificates.certify` takes. Each shrinking takes delta off
    ell squared singular values at least, so that ``||S||_F^2 <= F^2 - ell error_``: the best bound after the fact.

    A shrinking needs the 2 ell eigenvectors of S S^T and one product: 8 ell d operations a row, CSR or not, in place
    of a singular value decomposition. Its price is that of squaring: where sigma_i falls below some 1e-8 sigma_1, the
    direction that belongs to it is rounded away, and the bounds hold up to some 1e-15 s_1^2 for each shrinking. Rows
    are kept in double precision. Chunks change no bit, merging changes S but no bound.

    References
    ----------
    .. [1] E. Liberty, Simple and deterministic matrix sketching, KDD 2013, arXiv:1206.0594.
    .. [2] M. Ghashami, E. Liberty, J. M. Phillips, D. P. Woodruff, Frequent directions, SIAM J. Comput. 45, 2016,
       arXiv:1501.01711.
    .. [3] L. Luo, C. Chen, Z. Zhang, W.-J. Li, T. Zhang, Robust frequent directions, arXiv:1705.05067.
    """

    checks_first = True

    def __init__(
        self,
        size: int = 20,
        *,
        n_components: int = 1,
        robust: bool = False,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
        stream: int | Stream = 0,
    ) -> None:
        self.size = size
        self.n_components = n_components
        self.robust = robust
        self.center = center
        self.scale = scale
        self.check_finite = check_finite
        self.stream = stream

    def energy(self, v: Any) -> Any:
        """Return the estimate of ``||A v||^2`` for v of shape ``(..., d)``: ``||S v||^2``, plus alpha ``||v||^2``."""
        self._check_begun()
        kept = sketched_energy(self._rows(), v)
        return kept + self.alpha_ * np.sum(np.square(np.asarray(v, dtype=np.float64)), axis=-1)

    def evidence(self) -> dict[str, Any]:
        """Return what `certificates.certify` takes as evidence about any v: F^2, S and its error (of divided rows)."""
        self._check_begun()
        return {"frobenius2": self.frobenius2_, "sketch": self.sketch_, "error": self.error_}

    @property
    def sketch_(self) -> Array:
        self._check_begun()
        return self._rows().copy()

    @property
    def alpha_(self) -> float:
        self._check_begun()
        return self.error_ / 2 if self.robust else 0.0

    def _begin(self, d: int) -> None:
        integer("n_components", self.n_components, 1, integer("size", self.size, 2) - 1)
        if not isinstance(self.robust, (bool, np.bool_)):
            raise TypeError(f"robust must be True or False, got {self.robust!r}")
        self._buffer = np.zeros((2 * self.size, d))
        self._spare = np.empty((self.size - 1, d))
        self._filled = 0
        self.error_ = 0.0

    def _rows(self) -> np.ndarray:
        return self._buffer[: self._filled]

    def _absorb(self, rows: Chunk) -> float:
        kernels = twin("lrtheory.scatter", self._buffer)
        parts = None if is_dense(rows) else kernels.sparse_parts(rows)
        first, m, norm2 = 0, rows.shape[0], 0.0
        while first < m:
            if self._filled == self._buffer.shape[0]:
                self._shrink()
            free = self._buffer[self._filled :]
            last = min(first + free.shape[0], m)
            taken = last - first
            if parts is None:
                free[:taken] = rows[first:last]
            else:
                free[:taken] = 0.0
                kernels.add_sparse_rows(parts, first, last, np.arange(taken), np.ones(taken), free)
            norm2 += float(np.vdot(free[:taken], free[:taken]))
            self._filled += taken
            first = last
        return norm2

    def _shrink(self) -> None:
        """Take the ell-th squared singular value off all of them."""
        ell = self.size
        values, vectors = _eigen(self._buffer @ self._buffer.T)
        delta = max(float(values[ell]), 0.0)  # they rise
        top = vectors[ell + 1 :]
        if delta > 0:
            top *= np.sqrt(1.0 - delta / values[ell + 1 :])[:, None]
        np.matmul(top, self._buffer, out=self._spare)
        self._buffer[: ell - 1] = self._spare
        self._filled = ell - 1
        self.error_ += delta

    def _join(self, other: FrequentDirections) -> None:
        theirs = other.error_  # `other` may be this one
        self._absorb(other.sketch_)
        self.error_ += theirs

    def _components(self) -> Array:
        return top_of(self._padded(), self.n_components)[1]

    def _energies(self) -> Array:
        return top_of(self._padded(), self.n_components)[0] + self.alpha_

    def _padded(self) -> np.ndarray:
        """Return S with k rows at least: components beyond its rank are any that complete the basis."""
        missing = max(self.n_components - self._filled, 0)
        return np.concatenate([self._rows(), np.zeros((missing, self._buffer.shape[1]))])

    def _state_size(self) -> int:
        return self._buffer.size


def _eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rising eigenvalues, and eigenvectors as rows, of a symmetric matrix."""
    n = gram.shape[0]
    largest = float(gram.diagonal().max())
    if not math.isfinite(largest):
        raise ValueError("no eigenvalues: rows with NaN or infinity were taken, since check_finite=False")
    if n <= SMALL:
        scale = math.ldexp(1.0, -math.frexp(largest)[1])
        values, vectors = np.empty(n), np.empty((n, n))
        if twin("lrtheory.streaming.eigen", gram).symmetric_eigen(scale * gram, values, vectors):
            rising = np.argsort(values)
            return values[rising] / scale, vectors[rising]
    values, vectors = np.linalg.eigh(gram)
    return values, np.ascontiguousarray(vectors.T)
