"""Every kind of source gives the rows it holds, in the order asked for, and refuses what it cannot give."""

import math
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from scipy.sparse import coo_array, csr_array

from lrtheory.streaming import CountSketch, FrequentDirections, HistoryPCA, Oja
from lrtheory.streaming.sources import CHUNK_ENTRIES, as_chunk, chunks, row_count

ROWS = np.random.default_rng(0).standard_normal((700, 5))


def saved(kind, folder, rows=ROWS):
    path = folder / f"rows.{kind}"
    names = [f"c{j}" for j in range(rows.shape[1])]
    table = pa.table(dict(zip(names, rows.T, strict=True)))
    if kind == "npy":
        np.save(path, rows)
    elif kind == "parquet":
        parquet.write_table(table, path, row_group_size=150)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=150)
    return path


def source(kind, folder):
    made = {
        "array": lambda: ROWS,
        "frame": lambda: pd.DataFrame(ROWS),
        "fortran": lambda: np.asfortranarray(ROWS),
        "big-endian": lambda: ROWS.astype(">f8"),
        "csr": lambda: csr_array(ROWS),
        "rows": lambda: iter(ROWS),
        "lists": lambda: (list(row) for row in ROWS),
        "chunks": lambda: iter([ROWS[:1], ROWS[1:1], ROWS[1:500], ROWS[500:]]),
        "mixed": lambda: iter([ROWS[0], ROWS[1:300], csr_array(ROWS[300:600]), *ROWS[600:]]),
        "callable": lambda: lambda generator: iter([ROWS[:100], ROWS[100:]]),
        "files": lambda: [str(saved("npy", folder, ROWS)), *([saved("parquet", folder, ROWS[:0])] * 0)],
    }
    return saved(kind, folder) if kind in ("npy", "parquet", "arrow", "feather") else made[kind]()


KINDS = [
    "array", "frame", "fortran", "big-endian", "csr", "rows", "lists", "chunks", "mixed", "callable", "files", "npy",
    "parquet", "arrow", "feather",
]  # fmt: skip


def dense(chunk):
    return chunk if isinstance(chunk, np.ndarray) else chunk.toarray()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_rows", [None, 64])
def test_rows_come_whole_and_in_order(kind, chunk_rows, tmp_path):
    found = list(chunks(source(kind, tmp_path), chunk_rows=chunk_rows))
    np.testing.assert_array_equal(np.concatenate([dense(chunk) for chunk in found]), ROWS)
    assert all(chunk.dtype == np.float64 for chunk in found)
    assert all(chunk.flags.c_contiguous for chunk in found if isinstance(chunk, np.ndarray))
    if kind in ("array", "csr", "npy", "parquet", "arrow"):
        assert max(chunk.shape[0] for chunk in found) == (
            64 if chunk_rows else 150 if kind in ("parquet", "arrow") else 700
        )


@pytest.mark.parametrize("kind", ["array", "csr", "npy", "parquet", "arrow", "files"])
def test_a_random_order_has_every_row_once_and_is_its_streams(kind, tmp_path):
    given = source(kind, tmp_path)

    def read(stream):
        return np.concatenate([dense(c) for c in chunks(given, chunk_rows=64, order="random", stream=stream)])

    first = read(1)
    assert not np.array_equal(first, ROWS)
    np.testing.assert_array_equal(first[np.lexsort(first.T)], ROWS[np.lexsort(ROWS.T)])
    np.testing.assert_array_equal(read(1), first)
    assert not np.array_equal(read(2), first)


def test_a_random_order_in_memory_is_uniform():
    """Where the first of three rows goes, over 600 streams: chi-square with two degrees of freedom, level .1 %."""
    rows = np.arange(3.0)[:, None]
    places = [int(np.argmin(np.concatenate(list(chunks(rows, order="random", stream=s))))) for s in range(600)]
    counts = np.bincount(places, minlength=3)
    assert np.sum((counts - 200.0) ** 2 / 200) < 13.8


def test_an_order_of_row_numbers_may_repeat_and_leave_out():
    order = np.array([5, 5, 0])
    for given in (ROWS, csr_array(ROWS)):
        np.testing.assert_array_equal(dense(next(chunks(given, order=order))), ROWS[order])


def test_read_only_and_contiguous_rows_are_not_copied(tmp_path):
    fixed = ROWS.copy()
    fixed.flags.writeable = False
    assert np.shares_memory(next(chunks(fixed)), fixed)
    mapped = np.load(saved("npy", tmp_path), mmap_mode="r")
    assert np.shares_memory(next(chunks(mapped, chunk_rows=10)), mapped)


def test_large_arrays_come_in_pieces():
    rows = np.zeros((CHUNK_ENTRIES // 1000 + 5, 1000), dtype=np.float32)
    assert [chunk.shape[0] for chunk in chunks(rows)] == [CHUNK_ENTRIES // 1000, 5]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", "float32"), ("float16", "float32"), ("int8", "float64"), ("bool", "float64"), (">f4", "float32")],
)
def test_numbers_are_float64_or_float32(dtype, expected):
    rows = (ROWS > 0).astype(dtype)
    for given in (rows, csr_array(rows.astype("float32" if dtype == "float16" else rows.dtype.newbyteorder("=")))):
        assert next(chunks(given)).dtype == expected


def test_csr_rows_with_duplicates_and_unsorted_indices_are_summed():
    rows = csr_array(
        (np.array([1.0, 2, 3, 4]), np.array([4, 1, 1, 0], dtype=np.int64), np.array([0, 3, 4])), shape=(2, 5)
    )
    chunk = next(chunks(rows))
    assert chunk.has_canonical_format
    np.testing.assert_array_equal(chunk.toarray(), [[0, 5, 0, 0, 1], [4, 0, 0, 0, 0]])
    assert rows.nnz == 4  # the given one stays as it is


def test_one_column_of_lists_is_a_matrix(tmp_path):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 5)
    parquet.write_table(pa.table({"row": lists}), tmp_path / "rows.parquet")
    np.testing.assert_array_equal(next(chunks(tmp_path / "rows.parquet")), ROWS)


@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow"])
def test_files_tell_their_rows(kind, tmp_path):
    path = saved(kind, tmp_path)
    assert row_count(path) == 700
    assert row_count([path, path]) == 1400


def test_a_callable_is_called_until_it_has_no_more():
    def source(generator, left=[3]):  # noqa: B006 - the state of the source
        left[0] -= 1
        return generator.standard_normal((4, 2)) if left[0] >= 0 else None

    assert [chunk.shape for chunk in chunks(source)] == [(4, 2)] * 3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (ROWS[0], r"X\[None, :\]"),
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\)"),
        (np.zeros((3, 0)), "column"),
        (ROWS.astype(complex), "complex128"),
        (ROWS.astype(object), "object"),
        (np.zeros((2, 2), dtype=np.longdouble), "float128|longdouble"),
        (coo_array(ROWS), "COO"),
        ([ROWS[:2], ROWS[:2, :3]], "5 and then 3"),
        ([ROWS[0], ROWS[1][:3]], "5 and 3"),
        ([[1.0, 2.0], [3.0]], "2 and 1"),
        ("rows.txt", "npy"),
        ("none.npy", "no file"),
    ],
)
def test_bad_sources_are_named(given, named):
    with pytest.raises(ValueError, match=named):
        list(chunks(given))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(chunk_rows=0), "chunk_rows"),
        (dict(chunk_rows=1.5), "chunk_rows"),
        (dict(order="sorted"), "order"),
        (dict(order=np.array([0, 700])), "0 to 699"),
        (dict(order=np.array([0.5])), "order"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        list(chunks(ROWS, **options))


def test_what_has_no_other_order_says_so():
    with pytest.raises(ValueError, match="'stored'"):
        chunks(iter(ROWS), order="random")
    with pytest.raises(TypeError, match="got int"):
        chunks(3)


def test_missing_values_in_a_table_are_named_by_their_row(tmp_path):
    column = pa.array([1.0, 2.0, None, 4.0])
    parquet.write_table(pa.table({"a": column, "b": pa.array(np.arange(4.0))}), tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="row 2 of the stream"):
        Oja(0.1).fit(tmp_path / "rows.parquet")
    feather.write_feather(pa.table({"a": pa.array(["x", "y"])}), tmp_path / "rows.feather", compression="uncompressed")
    with pytest.raises(ValueError, match="'a' of string"):
        Oja(0.1).fit(tmp_path / "rows.feather")


# What all estimators owe, through four of them.

ESTIMATORS = [Oja(0.01), HistoryPCA(), FrequentDirections(4), CountSketch(64)]


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_and_leaves_no_trace(made, form, value):
    bad = ROWS[:100].copy()
    bad[37, 2] = value
    fresh = type(made)(**made.get_params()).partial_fit(form(ROWS[:60]))
    with pytest.raises(ValueError, match="row 97 of the stream is not finite"):
        fresh.partial_fit(form(bad))
    assert fresh.n_seen_ == 60
    expected = type(made)(**made.get_params()).partial_fit(ROWS[:60]).partial_fit(ROWS[60:])
    fresh.partial_fit(ROWS[60:])
    np.testing.assert_allclose(fresh.components_, expected.components_, atol=1e-12)


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_results_are_snapshots_and_copies_go_on_alike(made):
    fresh = type(made)(**made.get_params()).partial_fit(ROWS[:300])
    first = fresh.components_
    kept = first.copy()
    copied = pickle.loads(pickle.dumps(fresh))
    fresh.partial_fit(ROWS[300:])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(copied.partial_fit(ROWS[300:]).components_, fresh.components_)
    again = fresh.components_
    np.testing.assert_array_equal(fresh.components_, again)


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_attributes_are_those_of_the_rows(made):
    found = type(made)(**made.get_params()).fit(ROWS.astype(np.float32))
    assert found.components_.shape == (1, 5)
    assert found.components_.dtype == np.float32
    assert (found.n_seen_, found.n_features_in_) == (700, 5)
    assert found.frobenius2_ == pytest.approx(np.sum(ROWS.astype(np.float32).astype(float) ** 2), rel=1e-12)
    v = found.components_[0]
    assert v[np.argmax(np.abs(v))] > 0
    assert found.state_floats_ >= 5
    assert found.fit(ROWS[:10]).n_seen_ == 10


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_large_and_small_rows_are_served_by_a_scale(made):
    plain = type(made)(**made.get_params()).fit(ROWS)
    for unit in (2.0**520, 2.0**-600):
        with pytest.raises(ValueError, match="scale"):
            type(made)(**made.get_params()).fit(ROWS * unit)
        found = type(made)(**made.get_params() | {"scale": unit}).fit(ROWS * unit)
        np.testing.assert_allclose(found.components_, plain.components_, atol=1e-13)
        by_itself = type(made)(**made.get_params() | {"scale": "first_row"}).fit(ROWS * unit)
        assert by_itself.scale_ == unit * 2.0 ** math.frexp(np.abs(ROWS[0]).max())[1]


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_streams_without_a_direction_are_refused(made):
    for nothing in (np.zeros((0, 5)), iter([])):
        with pytest.raises(ValueError, match="no rows"):
            type(made)(**made.get_params()).fit(nothing)
    with pytest.raises(ValueError, match="all 8 rows are zero"):
        type(made)(**made.get_params()).fit(np.zeros((8, 5)))
    with pytest.raises(AttributeError, match="no rows"):
        type(made)(**made.get_params()).components_  # noqa: B018 - the property raises
    with pytest.raises(ValueError, match="5 and then 4"):
        type(made)(**made.get_params()).partial_fit(ROWS).partial_fit(ROWS[:, :4])


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_rows_one_by_one_give_what_chunks_give(made):
    single = type(made)(**made.get_params())
    for row in ROWS[:90]:
        single.partial_fit(row[None])
    whole = type(made)(**made.get_params()).fit(ROWS[:90])
    np.testing.assert_allclose(single.components_, whole.components_, atol=1e-12)


@pytest.mark.parametrize("made", [HistoryPCA(center=True), FrequentDirections(6, center=True)])
def test_centred_rows_have_the_covariance_of_all(made):
    shifted = ROWS * np.array([3.0, 1, 1, 1, 1]) + 7
    found = made.fit(shifted)
    np.testing.assert_allclose(found.mean_, shifted.mean(0), rtol=1e-12)
    assert found.frobenius2_ == pytest.approx(np.sum((shifted - shifted.mean(0)) ** 2), rel=1e-10)
    v = np.linalg.svd(shifted - shifted.mean(0))[2][0]
    assert (found.components_[0] @ v) ** 2 > 0.99
    with pytest.raises(ValueError, match="sparse"):
        made.fit(csr_array(shifted))


@pytest.mark.parametrize("made", ESTIMATORS, ids=lambda made: type(made).__name__)
def test_parameters_are_scikit_learns(made):
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    copied = base.clone(made)
    assert copied is not made
    assert repr(copied) == repr(made)
    with pytest.raises(ValueError, match="n_component"):
        copied.set_params(n_component=2)
    with pytest.raises(ValueError, match="n_components must be"):
        copied.set_params(n_components=6).fit(ROWS)
    with pytest.raises(TypeError, match="check_finite"):
        base.clone(made).set_params(check_finite="no").fit(ROWS)


def test_as_chunk_leaves_what_is_one_alone():
    assert as_chunk(ROWS) is ROWS
