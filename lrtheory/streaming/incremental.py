"""A low-rank approximation that is carried along (incremental SVD), and averages that are (CCIPCA)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.backend import Array, twin
from lrtheory.streaming._checks import integer, reals
from lrtheory.streaming._estimator import StreamingEstimator, squared_norm
from lrtheory.streaming._merging import top_of
from lrtheory.streaming._products import dense_parts
from lrtheory.streaming.sources import Chunk


class IncrementalSVD(StreamingEstimator):
    """[S; Y] = U diag(s) V^T,  S <- the first `rank` rows of diag(s) V^T, for each batch Y of rows [1]_ [2]_.

    What scikit-learn's IncrementalPCA does, here about no mean by default.

    Parameters
    ----------
    n_components : int
        k, what is reported.
    rank : int, optional
        Rows of S, at least k. Default k.
    batch_size : int
        Rows of Y. A result takes the rows of an open batch as a batch, and leaves it open.
    center, scale, check_finite
        As of `Oja`.

    Notes
    -----
    The attributes are those of `StreamingEstimator`. Exact while the rows have rank `rank` at most. What a batch adds
    beyond it is thrown away, not paid back: a direction that is weak in each batch alone may never be found, and there
    is no worst-case bound; see `FrequentDirections`, which shrinks what it keeps. Through the Gram matrix of [S; Y],
    where that is the smaller: squared singular values to some eps s_1^2. Cost: O((rank + batch_size) d) operations a
    row; ``(rank + batch_size) d`` numbers. Not mergeable.

    References
    ----------
    .. [1] M. Brand, Incremental singular value decomposition of uncertain data with missing values, ECCV 2002.
    .. [2] D. A. Ross, J. Lim, R.-S. Lin, M.-H. Yang, Incremental learning for robust visual tracking, IJCV 77, 2008.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        rank: int | None = None,
        batch_size: int = 100,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
    ) -> None:
        self.n_components = n_components
        self.rank = rank
        self.batch_size = batch_size
        self.center = center
        self.scale = scale
        self.check_finite = check_finite

    checks_first = True

    def _begin(self, d: int) -> None:
        self._rank = self.n_components if self.rank is None else integer("rank", self.rank, self.n_components)
        self._kept = np.zeros((0, d))
        self._open = np.empty((integer("batch_size", self.batch_size), d))
        self._count = 0

    def _absorb(self, rows: Chunk) -> float:
        first, m = 0, rows.shape[0]
        while first < m:
            taken = min(m - first, self._open.shape[0] - self._count)
            part = rows[first : first + taken]
            self._open[self._count : self._count + taken] = part if isinstance(part, np.ndarray) else part.toarray()
            self._count += taken
            first += taken
            if self._count == self._open.shape[0]:
                self._kept, self._count = truncated(np.concatenate([self._kept, self._open]), self._rank), 0
        return squared_norm(rows)

    def _all(self) -> np.ndarray:
        return np.concatenate([self._kept, self._open[: self._count]])

    def _components(self) -> Array:
        found = top_of(self._all(), self.n_components)[1]
        if found.shape[0] < self.n_components:
            raise ValueError(f"n_components={self.n_components}, but only {found.shape[0]} rows came so far")
        return found

    def _energies(self) -> Array:
        return top_of(self._all(), self.n_components)[0]

    def _state_size(self) -> int:
        return self._rank * self._open.shape[1] + self._open.size


def truncated(rows: np.ndarray, rank: int) -> np.ndarray:
    """Return diag(s) V^T of the first `rank` singular values of rows ``(m, d)``, through the smaller Gram matrix."""
    m, d = rows.shape
    if m <= rank:
        return rows
    if m > d:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        return np.sqrt(np.maximum(values[::-1][:rank], 0.0))[:, None] * vectors[:, ::-1][:, :rank].T
    return np.asarray(np.linalg.eigh(rows @ rows.T)[1][:, ::-1][:, :rank].T @ rows)


class CCIPCA(StreamingEstimator):
    """v <- (1 - w) v + w a <a, v / ||v||>, w = (1 + l) / t; the next v takes a <- a - <a, v / ||v||> v / ||v|| [1]_.

    Candid covariance-free incremental PCA: v / ||v|| is the direction and ||v|| the eigenvalue of a row's second
    moment. Component j begins with the j-th row that leaves something, deflated.

    Parameters
    ----------
    n_components : int
        k.
    amnesic : float
        l >= 0: earlier rows, seen with worse directions, weigh less. The weight (1 + l) / t is at most 1.
    center, scale, check_finite
        As of `Oja`.

    Notes
    -----
    The attributes are those of `StreamingEstimator`; components are orthogonal in the limit only, deflated by what
    the others were. Oja's method with the rate (1 + l) / (lambda_1 t), lambda_1 estimated on the way: see
    `theory.ccipca_sin2`. It needs rows in random order. Cost: 6 k d operations a row; k d numbers; CSR rows are made
    dense, some at a time. Not mergeable.

    References
    ----------
    .. [1] J. Weng, Y. Zhang, W.-S. Hwang, Candid covariance-free incremental principal component analysis, IEEE TPAMI
       25, 2003.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        amnesic: float = 2.0,
        center: bool = False,
        scale: float | str = 1.0,
        check_finite: bool = True,
    ) -> None:
        self.n_components = n_components
        self.amnesic = amnesic
        self.center = center
        self.scale = scale
        self.check_finite = check_finite

    checks_first = True

    def _begin(self, d: int) -> None:
        reals("amnesic", self.amnesic, 0.0)
        self._v = np.zeros((self.n_components, d))
        self._lengths = np.zeros(self.n_components)
        self._ages = np.zeros(self.n_components, dtype=np.int64)

    def _absorb(self, rows: Chunk) -> float:
        kernels: Any = twin("lrtheory.streaming.average", self._v)
        for part in dense_parts(rows):
            kernels.average(part, float(self.amnesic), self._ages, self._v, self._lengths)
        return squared_norm(rows)

    def _components(self) -> Array:
        if not self._lengths.all():
            begun = np.count_nonzero(self._lengths)
            raise ValueError(f"n_components={self.n_components}, but the rows so far span {begun} only")
        return self._v.copy()

    def _energies(self) -> Array:
        return self._lengths * self.n_seen_

    def _state_size(self) -> int:
        return self._v.size + self._lengths.size + self._ages.size
