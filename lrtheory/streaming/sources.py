"""Where rows come from: one reader for arrays, files and generators, chunk by chunk.

==============================  ==========================================================================
source                          chunks
==============================  ==========================================================================
2-d array, pandas DataFrame     slices, views where the array is C-contiguous and of a floating type
path of an .npy file            slices of the mapped file, which may be larger than memory
scipy CSR array or matrix       slices in CSR form, with sorted indices and without duplicates
path of a Parquet/Arrow file    its row groups or record batches, cut to the chunk's size
list of paths                   those of one file after the other
dask array                      its blocks of rows, computed one after the other, cut to the chunk's size
iterable of rows                `BUFFERED_ROWS` rows at a time
iterable of chunks              as they come, of any number of rows
callable                        see `chunks`
==============================  ==========================================================================

Rows are float64 or float32; booleans and integers become float64, half precision becomes float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lrtheory.backend import is_array, is_cupy, to_numpy
from lrtheory.names import check_name, nearest
from lrtheory.random import Stream, as_stream

Chunk = Any
"""A C-contiguous array ``(m, d)`` or a CSR array, of float64 or float32."""

ORDERS = ("stored", "random")
SUFFIXES = (".arrow", ".feather", ".npy", ".parquet")
CHUNK_ENTRIES = 1 << 21
BUFFERED_ROWS = 256


def chunks(
    source: Any, *, chunk_rows: int | None = None, order: Any = "stored", stream: int | Stream = 0
) -> Iterator[Chunk]:
    """Yield the rows of a source as 2-d chunks, in order; sparse rows stay sparse.

    Parameters
    ----------
    source : array ``(n, d)``, CSR array, path, iterable or callable
        A callable is given a NumPy generator, that of `stream`, and returns either an iterable of rows or chunks, or
        one chunk; in the second case it is called again until it returns None.
    chunk_rows : int, optional
        Rows of a chunk at most. Default: some two million entries. Iterables and callables decide themselves.
    order : str or integer array
        ``"stored"``; ``"random"``; or, for arrays and CSR in memory, the row numbers. A random order is uniform for
        what is in memory. Of a mapped file the chunks, of a Parquet or Arrow file the row groups or record batches, are
        shuffled, then the rows within each chunk: an approximation that reads the disk in large pieces. So are the
        files of a list and the blocks of a dask array, and what they hold. Iterables and callables have the stored
        order alone.
    stream : int or Stream
        Of the random order and of the callable's generator.

    Raises
    ------
    TypeError
        If the source is none of these, or lies on a device.
    ValueError
        If it is not 2-d, has no column, is complex or holds objects; if chunks differ in width; if the order, the
        file's kind or `chunk_rows` is not among those accepted.
    """
    if chunk_rows is not None and (
        isinstance(chunk_rows, bool) or not isinstance(chunk_rows, (int, np.integer)) or chunk_rows < 1
    ):
        raise ValueError(f"chunk_rows must be an integer >= 1 or None, got {chunk_rows!r}")
    if isinstance(order, str):
        check_name("order", order, ORDERS)
    elif not is_array(order):
        raise TypeError(f"order must be 'stored', 'random' or an array of row numbers, got {type(order).__name__}")
    stream = as_stream(stream)
    if isinstance(source, (str, Path)):
        return _of_file(Path(source), chunk_rows, order, stream)
    if _is_sparse(source):
        return _of_sparse(_checked_sparse(source), chunk_rows, order, stream)
    if is_file_list(source) or is_dask_array(source):
        if is_array(order):
            raise ValueError("the order of a source in parts must be 'stored' or 'random', got an array")
        return _same_width(_of_parts(source, chunk_rows, order, stream))
    if is_array(source) or hasattr(source, "__array__"):
        return _of_array(_two_d(host_array(source)), chunk_rows, order, stream, isinstance(source, np.memmap))
    if is_array(order) or order != "stored":
        raise ValueError(f"an iterable or a callable has its own order: order must be 'stored', got {order!r}")
    if callable(source):
        return _same_width(_of_items(_called(source, stream.child("source").generator())))
    if isinstance(source, Iterable):
        return _same_width(_of_items(source))
    raise TypeError(
        "rows come from a 2-d array, a scipy CSR array, the path of a file, an iterable of rows or chunks, or a "
        f"callable, got {type(source).__name__}"
    )


def as_chunk(rows: Any) -> Chunk:
    """Return rows as a chunk: a 2-d C-contiguous floating array, or CSR with sorted indices without duplicates.

    What is one already is returned as it is, read-only or not. Raises as `chunks` does.
    """
    if not _is_sparse(rows):
        return np.ascontiguousarray(_floating(_two_d(host_array(rows))))
    _checked_sparse(rows)
    values = _floating(rows.data)
    if values is not rows.data:
        rows = _csr(values, rows.indices, rows.indptr, rows.shape)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def host_array(rows: Any) -> np.ndarray:
    """Return an array of any library as one of NumPy. Raises TypeError for one on a device."""
    if is_cupy(rows):
        raise TypeError("rows must be in the host's memory, got a CuPy array")
    if isinstance(rows, np.ma.MaskedArray):
        raise TypeError("rows must not be masked: fill what is missing; with NaN, its row is named")
    if is_array(rows):
        return to_numpy(rows)
    try:
        return np.asarray(rows)
    except ValueError as error:  # NumPy's words for ragged lists
        raise ValueError(f"rows must all have the same number of columns: {error}") from None


def first_not_finite(chunk: Chunk) -> int | None:
    """Return the number within the chunk of the first row with a NaN or an infinity, or None."""
    if _is_sparse(chunk):
        bad = np.flatnonzero(~np.isfinite(chunk.data))
        return int(np.searchsorted(chunk.indptr, bad[0], side="right") - 1) if bad.size else None
    for i in range(0, chunk.shape[0], BUFFERED_ROWS):
        bad = np.flatnonzero(~np.isfinite(chunk[i : i + BUFFERED_ROWS]).all(-1))
        if bad.size:
            return i + int(bad[0])
    return None


def is_dask_array(source: Any) -> bool:
    """Return True for a dask array; does not import dask."""
    return hasattr(source, "dask") and hasattr(source, "to_delayed") and hasattr(source, "chunks")


def is_file_list(source: Any) -> bool:
    """Return True for a list or tuple of paths."""
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(s, (str, Path)) for s in source)


def row_count(source: Any, order: Any = "stored") -> int | None:
    """Return the number of rows that `chunks` would give, or None where only reading tells."""
    if is_array(order):
        return int(order.shape[0])
    if is_file_list(source):
        return sum(file_rows(Path(path)) for path in source)
    if isinstance(source, (str, Path)):
        return file_rows(Path(source))
    shape: tuple[Any, ...] = getattr(source, "shape", ())
    return int(shape[0]) if len(shape) == 2 and shape[0] == shape[0] else None  # dask's may be NaN


def file_rows(path: Path) -> int:
    """Return the number of rows in a file, without reading them."""
    _check_file(path)
    with _named(path):
        if path.suffix == ".npy":
            return int(_mapped(path).shape[0])
        if path.suffix == ".parquet":
            from pyarrow.parquet import read_metadata

            return int(read_metadata(path).num_rows)
        import pyarrow

        with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_file(mapped) as file:
            return sum(file.get_batch(g).num_rows for g in range(file.num_record_batches))


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a directory: give the paths of its files as a list")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"no kind of file {path.suffix!r}, of {str(path)!r}{nearest(path.suffix, SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in what is raised within."""
    try:
        yield
    except ValueError as error:  # Arrow's own errors are among them
        raise ValueError(f"{str(path)!r}: {error}") from error


def _mapped(path: Path) -> np.ndarray:
    """Return the matrix of an .npy file, mapped, not read."""
    try:  # copy-on-write: nothing is ever written, and kernels copy read-only rows
        rows = np.lib.format.open_memmap(path, mode="c")
    except OSError:  # refused by Linux where the file is larger than memory
        rows = np.lib.format.open_memmap(path, mode="r")
    return _two_d(rows)


def _is_sparse(rows: Any) -> bool:
    return hasattr(rows, "format") and hasattr(rows, "nnz")  # without importing scipy


def _checked_sparse(rows: Any) -> Any:
    if rows.format != "csr":
        raise ValueError(f"sparse rows must be in CSR form, got {rows.format.upper()}: convert them by .tocsr()")
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"rows must have shape (m, d) with d >= 1, got {rows.shape}")
    _check_dtype(rows.dtype)
    return rows


def _two_d(rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 2:
        hint = "; one row is X[None, :]" if rows.ndim == 1 else ""
        raise ValueError(f"rows must have shape (m, d), got {rows.shape}{hint}")
    if rows.shape[1] == 0:
        raise ValueError(f"rows must have at least one column, got shape {rows.shape}")
    _check_dtype(rows.dtype)
    return rows


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"rows must be real numbers of at most double precision, got dtype {dtype}")


def _floating(a: np.ndarray) -> np.ndarray:
    """Return native float64 or float32."""
    _check_dtype(a.dtype)
    return a.astype(np.float32 if a.dtype.kind == "f" and a.dtype.itemsize <= 4 else np.float64, copy=False)


def _csr(values: np.ndarray, indices: np.ndarray, pointers: np.ndarray, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((values, indices, pointers), shape=shape)


def _row_numbers(order: Any, n: int, stream: Stream) -> np.ndarray | None:
    """Return the order of n rows as numbers, or None for the stored one."""
    if not is_array(order):
        return stream.child("order", n).generator().permutation(n) if order == "random" else None
    order = to_numpy(order)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise ValueError(f"an order must be a 1-d array of row numbers, got {order.dtype} of shape {order.shape}")
    if order.size and not (order.min() >= 0 and order.max() < n):
        raise ValueError(f"an order must hold row numbers from 0 to {n - 1}, got {order.min()} to {order.max()}")
    return order


def _of_array(
    rows: np.ndarray, chunk_rows: int | None, order: Any, stream: Stream, from_file: bool
) -> Iterator[np.ndarray]:
    n, d = rows.shape
    m = chunk_rows or max(1, CHUNK_ENTRIES // d)
    firsts = np.arange(0, n, m)
    if from_file and not is_array(order) and order == "random":
        generator = stream.child("order", n).generator()
        for first in generator.permutation(firsts):
            chunk = as_chunk(rows[first : first + m])
            yield chunk[generator.permutation(chunk.shape[0])]
        return
    numbers = _row_numbers(order, n, stream)
    for first in firsts if numbers is None else range(0, numbers.size, m):
        yield as_chunk(rows[first : first + m] if numbers is None else rows[numbers[first : first + m]])


def _of_sparse(rows: Any, chunk_rows: int | None, order: Any, stream: Stream) -> Iterator[Any]:
    n, d = rows.shape
    m = chunk_rows or max(1, n * CHUNK_ENTRIES // max(rows.nnz, n, 1))
    numbers = _row_numbers(order, n, stream)
    for first in range(0, n if numbers is None else numbers.size, m):
        if numbers is not None:
            yield as_chunk(rows[numbers[first : first + m]])
            continue
        pointers = rows.indptr[first : first + m + 1]
        held = slice(pointers[0], pointers[-1])  # scipy's slices copy
        chunk = _csr(rows.data[held], rows.indices[held], pointers - pointers[0], (pointers.size - 1, d))
        if rows.has_canonical_format:  # looked up once for all
            chunk.has_canonical_format = True
        yield as_chunk(chunk)


def _of_file(path: Path, chunk_rows: int | None, order: Any, stream: Stream) -> Iterator[np.ndarray]:
    _check_file(path)
    if path.suffix == ".npy":
        with _named(path):
            rows = _mapped(path)
        return _of_array(rows, chunk_rows, order, stream, True)
    if is_array(order):
        raise ValueError(f"the order of a {path.suffix} file must be 'stored' or 'random', got an array")
    return _of_table(path, chunk_rows, order == "random", stream)


def _of_table(path: Path, chunk_rows: int | None, shuffled: bool, stream: Stream) -> Iterator[np.ndarray]:
    with _named(path):
        yield from _of_columns(path, chunk_rows, shuffled, stream)


def _of_columns(path: Path, chunk_rows: int | None, shuffled: bool, stream: Stream) -> Iterator[np.ndarray]:
    """Yield the rows of a table: its columns are those of the matrix, or it has one column of fixed-size lists."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:

            def batches(g: int, m: int) -> Iterable[Any]:
                return file.iter_batches(batch_size=m, row_groups=[g])

            yield from _of_groups(batches, file.num_row_groups, _width(file.schema_arrow), chunk_rows, shuffled, stream)
        return
    import pyarrow

    with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_file(mapped) as file:

        def slices(g: int, m: int) -> Iterable[Any]:
            batch = file.get_batch(g)
            return (batch.slice(i, m) for i in range(0, batch.num_rows, m))

        yield from _of_groups(slices, file.num_record_batches, _width(file.schema), chunk_rows, shuffled, stream)


def _of_parts(source: Any, chunk_rows: int | None, order: str, stream: Stream) -> Iterator[Chunk]:
    parts = dask_blocks(source) if is_dask_array(source) else source
    numbers = np.arange(len(parts))
    for i in stream.child("order", len(parts)).generator().permutation(numbers) if order == "random" else numbers:
        part = parts[i].compute() if hasattr(parts[i], "compute") else parts[i]
        yield from chunks(part, chunk_rows=chunk_rows, order=order, stream=stream.child("part", int(i)))


def dask_blocks(source: Any) -> list[Any]:
    """Return the blocks of rows of a dask array, each to be computed."""
    if source.ndim != 2:
        raise ValueError(f"rows must have shape (m, d), got a dask array of shape {source.shape}")
    return list(source.rechunk({1: -1}).to_delayed()[:, 0])


def _width(schema: Any) -> int:
    if not len(schema):
        raise ValueError("rows must have at least one column, got a table without columns")
    return schema[0].type.list_size if _one_list(schema) else len(schema)


def _one_list(schema: Any) -> bool:
    import pyarrow.types

    return len(schema) == 1 and pyarrow.types.is_fixed_size_list(schema[0].type)


def _of_groups(
    batches: Callable[[int, int], Iterable[Any]],
    groups: int,
    d: int,
    chunk_rows: int | None,
    shuffled: bool,
    stream: Stream,
) -> Iterator[np.ndarray]:
    m = chunk_rows or max(1, CHUNK_ENTRIES // max(d, 1))  # lists may be of length 0
    generator = stream.child("order", groups).generator()
    for g in generator.permutation(groups) if shuffled else range(groups):
        for batch in batches(int(g), m):
            chunk = as_chunk(_matrix(batch))
            yield chunk[generator.permutation(chunk.shape[0])] if shuffled else chunk


def _matrix(batch: Any) -> np.ndarray:
    """Return a record batch as an array; missing values become NaN, which the estimators name by their row."""
    import pyarrow.types

    if _one_list(batch.schema):
        column = batch.column(0)
        if column.null_count:
            raise ValueError(f"column {batch.schema[0].name!r} has missing lists")
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), batch.schema[0].type.list_size)
    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pyarrow.types.is_boolean(field.type):
            column = column.cast(pyarrow.uint8())
        elif not (pyarrow.types.is_integer(field.type) or pyarrow.types.is_floating(field.type)):
            raise ValueError(
                f"columns must be numbers (or one column of fixed-size lists), got {field.name!r} of {field.type}"
            )
        columns.append(column.to_numpy(zero_copy_only=False))
    return np.stack(columns, axis=-1)


def _called(source: Callable[[np.random.Generator], Any], generator: np.random.Generator) -> Iterator[Any]:
    found = source(generator)
    if not (_is_sparse(found) or is_array(found)):
        if found is not None and not isinstance(found, Iterable):
            raise TypeError(f"a callable must return rows, chunks of rows or None, got {type(found).__name__}")
        yield from () if found is None else found
        return
    while found is not None:
        yield found
        found = source(generator)


def _of_items(items: Iterable[Any]) -> Iterator[Chunk]:
    """Yield chunks as they come, and single rows `BUFFERED_ROWS` at a time."""
    held: list[np.ndarray] = []
    for item in items:
        row = None if _is_sparse(item) else host_array(item)
        if row is not None and row.ndim == 0:
            raise TypeError(f"an iterable must give rows (d,) or chunks (m, d), got an item {item!r}")
        if row is not None and row.ndim == 1:
            if held and row.shape != held[0].shape:
                raise ValueError(f"rows must all have the same width, got {held[0].size} and {row.size} columns")
            held.append(row)
            if len(held) == BUFFERED_ROWS:
                yield as_chunk(np.stack(held))
                held = []
            continue
        if held:
            yield as_chunk(np.stack(held))
            held = []
        yield as_chunk(item if row is None else row)
    if held:
        yield as_chunk(np.stack(held))


def _same_width(found: Iterator[Chunk]) -> Iterator[Chunk]:
    d = None
    for chunk in found:
        d = chunk.shape[1] if d is None else d
        check_width(chunk, d)
        yield chunk


def check_width(chunk: Chunk, d: int) -> None:
    """Raise ValueError, naming both widths, unless the chunk has d columns."""
    if chunk.shape[1] != d:
        raise ValueError(f"rows must all have the same width, got {d} and then {chunk.shape[1]} columns")
