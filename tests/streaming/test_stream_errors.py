"""What is no stream, and parameters that do not fit, are refused by a sentence that names them."""

import numpy as np
import pytest

from lrtheory.streaming import CountSketch, FrequentDirections, GeometricMedianOja, HeavyRows, HistoryPCA, Oja, OjaGrid
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
