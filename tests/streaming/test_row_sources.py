"""Every kind of source gives the rows it holds, in the order asked for, and refuses what it cannot give."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from scipy.sparse import coo_array, csr_array

from lrtheory.streaming import Oja, sources
from lrtheory.streaming.sources import CHUNK_ENTRIES, VIEWED_ENTRIES, as_chunk, chunks, row_count

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


@pytest.mark.parametrize(("kind", "piece"), [("npy", 64), ("mapped", 64), ("parquet", 150), ("arrow", 150)])
def test_a_random_order_of_a_file_shuffles_pieces_and_the_rows_within(kind, piece, tmp_path):
    given = np.load(saved("npy", tmp_path), mmap_mode="r") if kind == "mapped" else saved(kind, tmp_path)
    found = list(chunks(given, chunk_rows=64, order="random", stream=4))
    numbers = [np.argmin(np.abs(chunk[:, :1] - ROWS[:, 0]), axis=1) for chunk in found]
    pieces = [np.unique(n // piece) for n in numbers]
    assert all(p.size == 1 for p in pieces)  # read in one go
    assert all(np.any(np.diff(n) < 0) for n in numbers if n.size > 4)
    assert np.any(np.diff(np.concatenate(pieces)) < 0)


def test_files_of_a_list_are_shuffled_each_in_its_own_way(tmp_path):
    path = saved("npy", tmp_path)
    first, second = chunks([path, path], order="random")
    np.testing.assert_array_equal(first[np.lexsort(first.T)], second[np.lexsort(second.T)])
    assert not np.array_equal(first, second)


def test_a_random_order_in_memory_is_uniform():
    """Where the first of three rows goes, over 600 streams: chi-square with two degrees of freedom, level .1 %."""
    rows = np.arange(3.0)[:, None]
    places = [int(np.argmin(np.concatenate(list(chunks(rows, order="random", stream=s))))) for s in range(600)]
    counts = np.bincount(places, minlength=3)
    assert np.sum((counts - 200.0) ** 2 / 200) < 13.8


def test_single_rows_are_gathered():
    assert [chunk.shape[0] for chunk in chunks(iter(ROWS))] == [256, 256, 188]
    assert [chunk.shape[0] for chunk in chunks([ROWS[0], ROWS[1], ROWS[2:9], ROWS[9]])] == [2, 7, 1]


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


def test_a_file_may_be_larger_than_memory(tmp_path):
    """A file with a hole four times as large as the memory of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    n = 4 * memory // (8 * 1000)
    with open(tmp_path / "rows.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (n, 1000)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + n * 8000)
        file.seek(start)
        file.write(np.arange(1000.0).tobytes())
    assert row_count(tmp_path / "rows.npy") == n
    found = chunks(tmp_path / "rows.npy", chunk_rows=100)
    first = next(found)
    np.testing.assert_array_equal(first[0], np.arange(1000.0))
    assert not first[1:].any()
    assert next(chunks(tmp_path / "rows.npy", chunk_rows=100, order="random")).shape == (100, 1000)


def test_large_arrays_come_in_pieces():
    """Those that are parts of the array in longer ones than those that are copies."""
    rows = np.zeros((VIEWED_ENTRIES // 1000 + 5, 1000), dtype=np.float32)
    assert [chunk.shape[0] for chunk in chunks(rows)] == [VIEWED_ENTRIES // 1000, 5]
    bits = np.zeros((CHUNK_ENTRIES // 1000 + 5, 1000), dtype=np.int8)
    assert [chunk.shape[0] for chunk in chunks(bits)] == [CHUNK_ENTRIES // 1000, 5]
    assert [chunk.shape[0] for chunk in chunks(bits[:9].astype(float)[:, ::2])] == [9]
    shuffled = chunks(rows[: CHUNK_ENTRIES // 1000 + 5], order="random")
    assert [chunk.shape[0] for chunk in shuffled] == [CHUNK_ENTRIES // 1000, 5]


def test_sparse_chunks_hold_so_many_stored_entries_and_rows(monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_ENTRIES", 100)
    assert {chunk.shape[0] for chunk in chunks(csr_array(ROWS))} == {20}
    assert {chunk.shape[0] for chunk in chunks(csr_array((700, 5)))} == {100}


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
    np.testing.assert_array_equal(chunk.indices, [1, 4, 0])
    np.testing.assert_array_equal(chunk.data, [5, 1, 4])
    np.testing.assert_array_equal(chunk.toarray(), [[0, 5, 0, 0, 1], [4, 0, 0, 0, 0]])
    as_chunk(rows)
    np.testing.assert_array_equal(rows.data, [1, 2, 3, 4])  # the given one stays as it is
    np.testing.assert_array_equal(rows.indices, [4, 1, 1, 0])


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
        ([ROWS[:2][None]], r"\(1, 2, 5\)"),
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


@pytest.mark.parametrize("name", ["text.npy", "archive.npy", "object.npy", "vector.npy", "scalar.npy", "text.parquet",
                                  "text.arrow", "none.parquet", "lists.parquet", "missing.parquet"])  # fmt: skip
@pytest.mark.parametrize("read", [lambda path: list(chunks(path)), row_count])
def test_files_that_hold_no_matrix_are_named(name, read, tmp_path):
    path = tmp_path / name
    made = {"object": np.array([[1, "a"]], dtype=object), "vector": np.ones(5), "scalar": np.float64(3)}
    tables = {
        "none": pa.table({}),
        "lists": pa.table({"a": [[1.0, 2.0], [3.0, 4.0]]}),
        "missing": pa.table({"a": pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))}),
    }
    if path.stem in made:
        np.save(path, made[path.stem])
    elif path.stem in tables:
        parquet.write_table(tables[path.stem], path)
    elif path.stem == "archive":
        with open(path, "wb") as file:
            np.savez(file, ROWS)
    else:
        path.write_text("1 2 3")
    if path.stem in tables and read is row_count:
        assert row_count(path) == tables[path.stem].num_rows
        return
    with pytest.raises(ValueError, match=f"{path.name}': "):
        read(path)


def test_truth_values_in_a_table_are_numbers(tmp_path):
    table = pa.table({"a": pa.array([True, None, False]), "b": pa.array([1, 2, 3], pa.int8())})
    parquet.write_table(table, tmp_path / "rows.parquet")
    np.testing.assert_array_equal(next(chunks(tmp_path / "rows.parquet")), [[1, 1], [np.nan, 2], [0, 3]])


def test_masked_rows_are_refused():
    with pytest.raises(TypeError, match="masked"):
        chunks(np.ma.masked_array(ROWS, mask=ROWS > 2))


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


def test_as_chunk_leaves_what_is_one_alone():
    assert as_chunk(ROWS) is ROWS
