"""Summaries that add up: parts of the rows are read apart, anywhere, and their summaries merged, in pairs or a tree."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Self

import numpy as np

from lrtheory.backend import is_array
from lrtheory.random import Stream, as_stream
from lrtheory.streaming._checks import reals
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming.partitions import fit_tree
from lrtheory.streaming.sources import Chunk, chunks, is_dask_array, is_file_list


class MergeableEstimator(StreamingEstimator):
    """Base of the estimators of which two, of disjoint sets of rows, make one of all those rows.

    A subclass defines `_join`, which takes the state of another into its own and leaves that one unchanged; parameters
    that the two need not share are named in `_own_parameters`.
    """

    n_seen_: int
    n_features_in_: int
    frobenius2_: float
    scale_: float
    mean_: np.ndarray

    _own_parameters: tuple[str, ...] = ()

    @abstractmethod
    def _join(self, other: Any) -> None: ...

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        chunk_rows: int | None = None,
        order: Any = "stored",
        order_stream: int | Stream = 0,
    ) -> Self:
        """Forget what was seen and read a source once; parts of one are read apart, and their summaries merged.

        Parameters
        ----------
        X : source
            See `lrtheory.streaming.sources.chunks`. A dask array and a list of paths are read in parts, see
            `lrtheory.streaming.partitions.fit_tree`, in the stored order.
        y : ignored
        chunk_rows, order, order_stream
            See `StreamingEstimator.fit`.
        """
        if not (is_dask_array(X) or is_file_list(X)):
            return super().fit(X, chunk_rows=chunk_rows, order=order, order_stream=order_stream)
        if is_array(order) or order != "stored":
            raise ValueError(f"parts are summarised as they are stored: order must be 'stored', got {order!r}")
        found = fit_tree(self, X, chunk_rows)
        self._forget()
        given = self._names()
        self.__dict__.update({name: value for name, value in vars(found).items() if name not in given})
        self._check_seen()
        return self

    def _part(self, part: Any, i: int, first_row: int, chunk_rows: int | None) -> Self:
        """Return a fresh estimator of the same parameters that has seen part i."""
        params = self.get_params()
        if "partition" in params:  # each part has its own random numbers
            params["partition"] = (params["partition"], i)
        fresh = type(self)(**params)
        fresh._first_row = first_row
        fresh._take_all(chunks(part, chunk_rows=chunk_rows))
        return fresh

    def merge(self, other: Self) -> Self:
        """Take the rows that `other` has seen, by its state alone; `other` stays as it is.

        With ``center=True`` the rows of both are centered about their common mean: one more row,
        ``sqrt(n m / (n + m)) (mean - other's mean)``, makes the sum of outer products exact.

        Where a task may be run twice on one object, as by a scheduler that lost a worker, merge into a copy:
        ``copy.deepcopy(a).merge(b)``.

        Raises
        ------
        TypeError
            If `other` is of another class.
        ValueError
            If it has other parameters, columns or scale, or rows with the same random numbers.
        """
        self._check_same(other)
        if not other.__sklearn_is_fitted__():
            return self
        if not self.__sklearn_is_fitted__():
            self._start(other.n_features_in_, other._dtype)
        if self.n_features_in_ != other.n_features_in_:
            raise ValueError(
                f"both must have the same number of columns, got {self.n_features_in_} and {other.n_features_in_}"
            )
        # a scale that no row has set yet is NaN
        if not (self.scale_ == other.scale_ or math.isnan(self.scale_) or math.isnan(other.scale_)):
            raise ValueError(
                f"rows were divided by {self.scale_} here and {other.scale_} there: give both one number as scale"
            )
        self._check_join(other)
        n, m = self.n_seen_, other.n_seen_
        norm2 = other.frobenius2_
        other_mean = other.mean_.copy() if self.center else None
        self._join(other)
        if other_mean is not None and n and m:
            gap = other_mean - self.mean_
            norm2 += float(self._absorb(gap[None, :] * math.sqrt(n * m / (n + m))))
        if other_mean is not None and m:
            self.mean_ = self.mean_ + (other_mean - self.mean_) * (m / (n + m))
        self.n_seen_ += m
        self.frobenius2_ += norm2
        self._dtype = np.result_type(self._dtype, other._dtype)
        self.scale_ = other.scale_ if math.isnan(self.scale_) else self.scale_
        return self

    def _check_join(self, other: Any) -> None:
        """Raise ValueError where the states of the two cannot be joined."""

    def _check_same(self, other: Any) -> None:
        if type(other) is not type(self):
            raise TypeError(f"other must be a {type(self).__name__}, got {type(other).__name__}")
        theirs = other.get_params()
        for name, mine in self.get_params().items():
            if name not in self._own_parameters and not _equal(name, mine, theirs[name]):
                raise ValueError(f"{name} must be the same in both, got {mine!r} and {theirs[name]!r}")


class RandomSummary(MergeableEstimator):
    """Base of mergeable estimators that draw random numbers for each row.

    The numbers of row i of partition p are a function of (stream, p, i): parts of the rows that have other partitions
    have independent numbers, whichever machine reads them, and chunks change nothing.
    """

    partition: Any

    _own_parameters = ("partition",)

    def _begin(self, d: int) -> None:
        if isinstance(self.partition, bool) or not isinstance(self.partition, (int, np.integer, str, tuple)):
            raise TypeError(f"partition must be an integer, a string or a tuple of them, got {self.partition!r}")
        self._own_stream = as_stream(self.stream).child(type(self).__name__, self.partition)
        if self._own_stream.batch_shape != ():
            raise ValueError(f"stream must name one stream, got a batch of shape {self._own_stream.batch_shape}")
        self._drawn = 0  # rows of this partition; those merged have their own numbers
        self.partitions_ = (self.partition,)

    def _check_join(self, other: Any) -> None:
        common = set(self.partitions_) & set(other.partitions_)
        if common:
            raise ValueError(
                f"partition must differ between parts that are merged, or their random numbers are the same: both have "
                f"{sorted(common, key=repr)[0]!r}"
            )

    def _join(self, other: Any) -> None:
        self.partitions_ = self.partitions_ + other.partitions_


def top_of(sketch: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k squared singular values and right singular vectors of a sketch of at least k rows."""
    _, s, vectors = np.linalg.svd(sketch, full_matrices=False)
    return s[:k] ** 2, vectors[:k]


def sketched_energy(sketch: np.ndarray, v: Any) -> Any:
    """Return ``||S v||^2`` for v ``(..., d)``."""
    v = np.asarray(reals("v", v))
    if v.shape[-1:] != sketch.shape[1:]:
        raise ValueError(f"v must have shape (..., {sketch.shape[1]}), got {v.shape}")
    return np.sum(np.square(v @ sketch.T), axis=-1)


def is_dense(rows: Chunk) -> bool:
    """Return True for a chunk that is an array, False for CSR."""
    return isinstance(rows, np.ndarray)


def _equal(name: str, a: Any, b: Any) -> bool:
    if name == "stream" and not (is_array(a) or is_array(b)):
        return as_stream(a).path == as_stream(b).path
    return np.array_equal(a, b) if is_array(a) or is_array(b) else bool(a == b)
