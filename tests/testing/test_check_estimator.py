"""check_estimator passes what is right and names the law that a planted fault breaks."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory import streaming
from lrtheory.random import Stream
from lrtheory.testing import check_estimator

PUBLISHED = [
    streaming.Oja(0.01),
    streaming.Oja(np.geomspace(1e-3, 1e-1, 20)),
    streaming.Oja(0.01, n_components=2, center=True),
    streaming.Krasulina(0.01),
    streaming.MatrixKrasulina(0.01),
    streaming.AdaOja(),
    streaming.AdaOja(batch_size=7, n_components=2),
    streaming.OjaGrid(),
    streaming.BlockPower(block_size=20, scale=2.0),
    streaming.HistoryPCA(),
    streaming.HistoryPCA(7, inner=2, n_components=2),
    streaming.HeavyRows(8),
    streaming.HeavyBlockPower(5, block_size=20),
    streaming.HeavyHistory(5),
    streaming.FrequentDirections(4, robust=True, n_components=2),
    streaming.IncrementalSVD(2, batch_size=7),
    streaming.CCIPCA(2),
    streaming.CountSketch(16),
    streaming.GaussianSketch(16),
    streaming.RowSampler(16),
    streaming.ClippedOja(0.01),
    streaming.GeometricMedianOja(0.01, n_runs=3),
    streaming.Oja(0.01, check_finite=False),
]


@pytest.mark.parametrize("made", PUBLISHED, ids=lambda made: type(made).__name__)
def test_published_estimators_obey_the_laws(made):
    check_estimator(made)


class Own(streaming.StreamingEstimator):
    """Oja's method, row by row."""

    checks_first = True
    takes_sparse = False

    def __init__(self, step_size=0.01, *, stream=0):
        self.step_size, self.stream = step_size, stream

    def _begin(self, d):
        self._w = Stream(self.stream, "start").normal((d,))

    def _absorb(self, rows):
        for a in rows.astype(np.float64):
            w = self._w + self.step_size * (a @ self._w) * a
            self._w = w / np.linalg.norm(w)
        return float(np.sum(rows.astype(np.float64) ** 2))

    def _components(self):
        return self._w[None] / np.linalg.norm(self._w)

    def _energies(self):
        return np.full(1, np.nan)

    def _state_size(self):
        return self._w.size


def test_an_estimator_of_a_users_own():
    check_estimator(Own())
    check_estimator(Own(0.02, stream=3), np.random.default_rng(1).standard_normal((150, 4)) * [2, 1, 1, 1])
    with pytest.raises(TypeError, match="Own takes dense rows only, got CSR"):
        Own().fit(csr_array(np.eye(3)))
    assert repr(Own(0.5)) == "Own(step_size=0.5)"


def test_rows_that_cannot_be_tested_with_are_refused():
    for rows in (np.ones((5, 3)), np.full((200, 3), np.nan), np.ones(200)):
        with pytest.raises(ValueError, match="rows must be finite, of shape"):
            check_estimator(Own(), rows)


# -- planted faults ---------------------------------------------------------------------------------------------------


class ChunkMean(Own):
    """A step a chunk: the result depends on how the stream is cut."""

    def _absorb(self, rows):
        w = self._w + self.step_size * rows.T @ (rows @ self._w)
        self._w = w / np.linalg.norm(w)
        return float(np.sum(rows * rows))


class NotReset(Own):
    seen = 0

    def _begin(self, d):
        self.seen += 1
        self._w = Stream(self.stream, "start", self.seen).normal((d,))


class OwnRandom(Own):
    generator = np.random.default_rng(0)

    def _begin(self, d):
        self._w = self.generator.standard_normal(d)


class Rounded(Own):
    def __init__(self, step_size=0.01, *, stream=0):
        super().__init__(float(step_size) + 0.0, stream=int(stream) + 1000)


class WrongNorm(Own):
    def _absorb(self, rows):
        super()._absorb(rows)
        return float(np.sum(np.abs(rows)))


class LongRows(Own):
    def _components(self):
        return 2 * super()._components()


class NoEnergies(Own):
    def _energies(self):
        return np.nan


class ChangesRows(Own):
    def _absorb(self, rows):
        norm2 = super()._absorb(rows)
        rows *= 2
        return norm2


class ReadingCounts(Own):
    def _components(self):
        self._w = self._w + 0.1
        return super()._components()


class Sparse(Own):
    """Takes CSR rows, of which it forgets a half."""

    takes_sparse = True

    def _absorb(self, rows):
        return super()._absorb(rows if isinstance(rows, np.ndarray) else rows.toarray() * np.array([1, 0, 1, 0, 1, 0]))


class Shared(Own):
    """Copies share their state."""

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (ChunkMean, "how a stream is cut"),
        (NotReset, "same bits"),
        (OwnRandom, "how a stream is cut|same bits"),
        (Rounded, "stored as they were given"),
        (WrongNorm, "frobenius2_"),
        (LongRows, "unit rows"),
        (NoEnergies, "one number a component"),
        (ChangesRows, "left alone"),
        (ReadingCounts, "reading a result"),
        (Sparse, "CSR rows"),
        (Shared, "copies go on"),
    ],
)
def test_a_planted_fault_is_named(fault, law):
    with pytest.raises(AssertionError, match=rf"{fault.__name__} breaks the law: .*({law})"):
        check_estimator(fault())


def test_a_row_that_is_not_refused_is_named():
    class LetsNaNPass(Own):
        def _check_total(self, norm2, chunk):
            """Never refuses."""

        _check_norm = _check_total

    with pytest.raises(AssertionError, match="a row with nan is refused"):
        check_estimator_of_local_class(LetsNaNPass())


def check_estimator_of_local_class(made):
    """Without the law of copies: a local class cannot be pickled."""
    from lrtheory.testing.estimators import _Laws

    _Laws(made, np.random.default_rng(0).standard_normal((240, 6)), 1e-8).refusals()
