"""What is no stream, and parameters that do not fit, are refused by a sentence that names them."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrtheory.streaming import (
    CountSketch,
    FrequentDirections,
    GeometricMedianOja,
    HeavyRows,
    HistoryPCA,
    Oja,
    OjaGrid,
    instances,
    metrics,
    offline,
)
from lrtheory.streaming._estimator import NotFittedError
from lrtheory.streaming.sources import chunks, row_count

ROWS = np.random.default_rng(0).standard_normal((700, 5))


def test_orders_directories_and_kinds_of_files_are_named(tmp_path):
    with pytest.raises(TypeError, match="order must be 'stored', 'random' or an array of row numbers, got list"):
        chunks(ROWS, order=[0, 1])
    with pytest.raises(ValueError, match="is a directory: give the paths of its files as a list"):
        chunks(tmp_path)
    with pytest.raises(ValueError, match=r"no kind of file '\.npz', of 'rows\.npz'; did you mean \.npy"):
        chunks("rows.npz")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([1.0, 2.0], "item 1.0"),
        ({"a": ROWS}, "item 'a'"),
        (iter([None]), "item None"),
        (lambda generator: 3, "callable .* got int"),
    ],
)
def test_what_holds_no_rows_is_named(given, named):
    with pytest.raises(TypeError, match=named):
        list(chunks(given))


@pytest.mark.parametrize("content", [b"", b"no rows", b"PAR1 and nothing else PAR1"])
@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow"])
def test_a_broken_file_is_named(kind, content, tmp_path):
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(content)
    for read in (lambda: list(chunks(path)), lambda: row_count(path)):
        with pytest.raises(ValueError, match=rf"broken\.{kind}'"):
            read()


def test_a_file_of_other_than_rows_is_named(tmp_path):
    np.save(tmp_path / "vector.npy", ROWS[0])
    with pytest.raises(ValueError, match=r"vector\.npy.*\(5,\)"):
        chunks(tmp_path / "vector.npy")
    np.savez(tmp_path / "several.npz", ROWS, ROWS)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    with pytest.raises(ValueError, match=r"several\.npy"):
        chunks(tmp_path / "several.npy")
    np.save(tmp_path / "objects.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects\.npy"):
        chunks(tmp_path / "objects.npy")


@pytest.mark.parametrize(
    ("made", "kind", "named"),
    [
        (lambda: Oja([[0.1], [0.2, 0.3]]), TypeError, "step_size"),
        (lambda: Oja([0.1, 0.2, 0.3], stream=np.arange(2)), ValueError, r"step_size .* \(3,\), stream \(2,\)"),
        (lambda: Oja([0.1, 0.2, 0.3], start=np.ones((2, 1, 5))), ValueError, r"\(3,\), start .* \(2,\)"),
        (lambda: Oja(0.1, start=[[1.0], [2.0, 3.0]]), ValueError, r"start must have shape \(\.\.\., 1, 5\)"),
        (lambda: Oja(0.1, start=np.zeros(5)), ValueError, "start must not be zero"),
        (lambda: Oja(0.1, start=np.ones((2, 5)), n_components=2), ValueError, "start must have 2 linearly independent"),
        (lambda: OjaGrid(stream=np.arange(3)), ValueError, r"stream must name one stream, .* \(3,\)"),
    ],
)
def test_parameters_that_do_not_fit_are_named(made, kind, named):
    with pytest.raises(kind, match=named):
        made().fit(ROWS)


@pytest.mark.parametrize(
    "made",
    [Oja(0.01), HistoryPCA(), FrequentDirections(4), HeavyRows(), GeometricMedianOja(0.1)],
    ids=lambda made: type(made).__name__,
)
def test_no_result_before_the_first_row(made):
    fresh = type(made)(**made.get_params())
    for name in ("components_", "explained_energy_", "status_", "state_floats_"):
        with pytest.raises(NotFittedError, match="has seen no rows yet"):
            getattr(fresh, name)


@pytest.mark.parametrize("made", [FrequentDirections(4), FrequentDirections(4, robust=True), CountSketch(64)], ids=repr)
def test_an_energy_is_asked_of_vectors(made):
    found = type(made)(**made.get_params()).fit(ROWS)
    for v, kind, named in (
        ("a", TypeError, "v must be a real"),
        (np.ones(3), ValueError, r"v must have shape \(\.\.\., 5\), got \(3,\)"),
        (np.full(5, np.nan), ValueError, "v must be finite"),
    ):
        with pytest.raises(kind, match=named):
            found.energy(v)


@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda: offline.top_directions(ROWS * 1j), TypeError, "rows must hold real numbers, got dtype complex128"),
        (lambda: offline.top_directions(csr_array(ROWS * 1j)), TypeError, "rows must hold real numbers"),
        (lambda: offline.top_directions(ROWS[0]), ValueError, r"rows must have shape \(n, d\), got \(5,\)"),
        (lambda: offline.top_directions("rows"), TypeError, "rows must be an array or a sparse matrix, got str"),
        (lambda: metrics.energy(np.ones(5), None), TypeError, "rows must be an array or a sparse matrix"),
        (lambda: metrics.energy(np.ones(4), ROWS), ValueError, r"rows must have shape \(n, 4\), got \(700, 5\)"),
        (lambda: metrics.sin2("a", [1, 0]), TypeError, "v must be a real"),
        (lambda: metrics.sin2([1, 0], None), TypeError, "truth must be a real"),
        (lambda: metrics.near_top_mass(np.ones(2), [1.0], [[1.0, 0.0]], 0.5), TypeError, "must be arrays, got list"),
        (lambda: instances.row_order(ROWS[0], "random"), ValueError, r"rows must have shape \(n, d\)"),
        (lambda: instances.row_order(ROWS, "v1_first", np.ones(3)), ValueError, r"direction must have shape \(5,\)"),
        (lambda: instances.row_order(ROWS, "random", stream=np.arange(2)), ValueError, "stream must name one stream"),
        (lambda: instances.generic(50, 10, 4.0, stream=np.arange(2)), ValueError, "stream must name one stream"),
        (lambda: instances.carried(50, 10, 4.0, stream=np.arange(2)), ValueError, "stream must name one stream"),
    ],
)
def test_what_instances_metrics_and_the_offline_answer_cannot_use_is_named(call, kind, named):
    with pytest.raises(kind, match=named):
        call()


def test_lists_and_integers_are_numbers():
    assert metrics.sin2(np.array([1, 0]), [0, 1]) == 1.0
    rows = [[3.0, 0.0], [0.0, 1.0]]
    np.testing.assert_allclose(offline.top_directions(rows)[0], [9.0])
    assert metrics.energy([1, 0], rows) == 9.0
    assert sorted(instances.row_order(rows, "norm_ascending")) == [0, 1]
