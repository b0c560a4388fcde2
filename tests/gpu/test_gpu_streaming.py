"""On a device: estimators over a stream against the host's, from rows that lie there and from rows that are copied."""

import numpy as np
import pytest

from lrtheory.backend import as_array
from lrtheory.streaming import AdaOja, BlockPower, HistoryPCA, Krasulina, ManyStreams, Oja, transfers

pytestmark = pytest.mark.gpu

MADE = (
    Oja(0.01),
    Oja(np.geomspace(1e-4, 1e-1, 200)),
    Oja(0.5, schedule="inv", t0=9.0),
    Krasulina(0.01),
    AdaOja(),
    BlockPower(6, n_rows=5000),
    HistoryPCA(100, n_components=3),
)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("made", MADE, ids=range(len(MADE)))
def test_estimators_agree_with_the_host(made, dtype):
    rows = (np.random.default_rng(0).standard_normal((5000, 33)) * np.geomspace(3, 1, 33)).astype(dtype)
    expected = type(made)(**made.get_params()).fit(rows)
    tolerance = 1e-9 if dtype == np.float64 else 1e-5
    for source in (as_array(rows, "cuda"), transfers.on_device(rows, chunk_rows=700)):
        found = type(made)(**made.get_params()).fit(source)
        np.testing.assert_allclose(found.components_, expected.components_, atol=tolerance)
        np.testing.assert_allclose(found.explained_energy_, expected.explained_energy_, rtol=1e-6)


def test_rows_that_are_not_finite_are_named():
    rows = np.ones((300, 4))
    rows[217, 1] = np.nan
    with pytest.raises(ValueError, match="row 217 of the stream is not finite"):
        Oja(0.01).fit(as_array(rows, "cuda"))


@pytest.mark.parametrize("d", [3, 64, 500, 2000, 4096, 4100])
@pytest.mark.parametrize("made", [Oja(0.01), Krasulina(1e-4), AdaOja()], ids=["oja", "krasulina", "adaoja"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_streams_agree_with_the_host(made, dtype, d):
    rows = (np.random.default_rng(0).standard_normal((20, 150, d)) * np.geomspace(3, 1, d)).astype(dtype)
    expected = ManyStreams(made).fit(rows)
    found = ManyStreams(made)
    for part in (rows[:, :70], rows[:, 70:]):
        found.partial_fit(as_array(np.ascontiguousarray(part), "cuda"))
    np.testing.assert_allclose(found.components_, expected.components_, atol=1e-9 if dtype == np.float64 else 1e-5)
    np.testing.assert_allclose(found.log_growth_, expected.log_growth_, rtol=1e-9, atol=1e-9)
    rows[7, 33, 1] = np.nan
    with pytest.raises(ValueError, match="row 33 of stream 7 is not finite"):
        ManyStreams(made).fit(as_array(rows, "cuda"))
