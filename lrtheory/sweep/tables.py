"""Tables of cells as Parquet: what `run` returned, with the cell's parameters as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .experiment import Cell, UsageError

_METADATA = "lrtheory"

Columns = dict[str, np.ndarray]
"""Equal-length 1-d arrays."""


def as_columns(table: Any, cell: Cell) -> Columns:
    """Return the table of one cell as equal-length 1-d host arrays (a scalar is repeated).

    Raises
    ------
    TypeError, ValueError
        If it is no mapping of names to real or text columns of one length, or a column has the name of a parameter.
    """
    if not hasattr(table, "items"):
        hint = {"Result": ": give result.trace.table()", "Trace": ": give trace.table()"}
        kind = type(table).__name__
        raise TypeError(f"run must give a dict of columns for each cell, got {kind}{hint.get(kind, '')}")
    columns: Columns = {}
    for name, values in table.items():
        if not isinstance(name, str):
            raise TypeError(f"column names are strings, got {name!r}")
        if name in cell:
            raise ValueError(f"column {name!r} has the name of a parameter of the cell")
        column = _host(values)
        if column.ndim > 1:
            raise ValueError(f"column {name!r} must be one-dimensional, got shape {column.shape}")
        if column.dtype.kind == "c":
            raise TypeError(f"column {name!r} is complex: store its real and imaginary parts as two columns")
        columns[name] = column
    lengths = {name: column.size for name, column in columns.items() if column.ndim}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a cell must have one length, got {lengths}")
    length = next(iter(lengths.values()), 1)
    return {name: np.broadcast_to(column, (length,)) for name, column in columns.items()}


def _host(values: Any) -> np.ndarray:
    if isinstance(values, (np.ndarray, np.generic, list, tuple, range, int, float, str)):
        return np.asarray(values)
    from lrtheory import backend

    return backend.to_numpy(values)


def encode(cells: Sequence[Cell], tables: Sequence[Columns], metadata: Mapping[str, Any]) -> bytes:
    """Return one Parquet file: the rows of all cells, parameters first, and `metadata` as JSON.

    A parameter or column that a cell does not have is null there, which is not NaN.

    Raises
    ------
    TypeError
        If a column is text in one cell and a number in another.
    """
    rows = np.array([len(next(iter(table.values()), ())) for table in tables], dtype=np.int64)
    columns = parameters(cells, rows)
    for name in dict.fromkeys(name for table in tables for name in table):
        column = _join(name, [table.get(name) for table in tables], rows)
        columns[name] = column if name not in columns else pc_coalesce(columns[name], column)
    sink = pa.BufferOutputStream()
    block = pa.table(columns)
    with pq.ParquetWriter(sink, block.schema) as writer:
        writer.write_table(block)
        writer.add_key_value_metadata({_METADATA: json.dumps(metadata, separators=(",", ":"))})
    return sink.getvalue().to_pybytes()


def pc_coalesce(first: pa.Array, second: pa.Array) -> pa.Array:
    """Return `first` where it is not null, else `second` (a name that is a parameter here and a column there)."""
    import pyarrow.compute as pc

    return pc.coalesce(first, second)


def parameters(cells: Sequence[Cell], rows: np.ndarray) -> dict[str, pa.Array]:
    """Return the parameters of the cells as columns, cell i repeated ``rows[i]`` times."""
    repeat = pa.array(np.repeat(np.arange(len(cells)), rows))
    names = dict.fromkeys(name for cell in cells for name in cell)
    return {name: _scalars([cell.get(name) for cell in cells]).take(repeat) for name in names}


def _scalars(values: list[Any]) -> pa.Array:
    if any(isinstance(value, float) for value in values):
        values = [value if value is None else float(value) for value in values]
    return pa.array(values, from_pandas=False)


def _join(name: str, pieces: list[np.ndarray | None], rows: np.ndarray) -> pa.Array:
    present = [piece for piece in pieces if piece is not None]
    if any(piece.dtype.kind in "OUST" for piece in present):
        flat: list[Any] = []
        for piece, count in zip(pieces, rows, strict=True):
            flat += [None] * int(count) if piece is None else piece.tolist()
        try:
            return pa.array(flat, from_pandas=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"column {name!r} mixes types: {error}") from None
    if len(present) == len(pieces):
        return pa.array(np.concatenate(present), from_pandas=False)
    dtype = np.result_type(*present)
    filled = [
        np.zeros(int(count), dtype) if piece is None else piece for piece, count in zip(pieces, rows, strict=True)
    ]
    absent = np.repeat([piece is None for piece in pieces], rows)
    return pa.array(np.concatenate(filled), mask=absent, from_pandas=False)


def decode_metadata(data: bytes) -> dict[str, Any]:
    """Return the metadata of a file that `encode` made.

    Raises
    ------
    ValueError
        If it is no such file (`pyarrow.ArrowInvalid` is a ValueError).
    """
    try:
        found = pq.read_metadata(pa.BufferReader(data)).metadata or {}
    except OSError as error:
        raise ValueError(str(error)) from None
    if _METADATA.encode() not in found:
        raise ValueError("no cells of a sweep in it")
    return json.loads(found[_METADATA.encode()])


def decode(data: bytes) -> pa.Table:
    """Return the rows of a file that `encode` made."""
    return pq.read_table(pa.BufferReader(data), use_threads=False).replace_schema_metadata(None)


def concatenate(pieces: Sequence[pa.Table], first: Sequence[str]) -> pa.Table:
    """Return the pieces as one table, with the columns `first` in front.

    A column has the type that NumPy gives its types together, as within a piece.

    Raises
    ------
    UsageError
        If a column is text in one piece and a number in another.
    """
    found: dict[str, set[pa.DataType]] = {}
    for piece in pieces:
        for field in piece.schema:
            if not pa.types.is_null(field.type):
                found.setdefault(field.name, set()).add(field.type)
    wanted = {name: _common(name, types) for name, types in found.items() if len(types) > 1}
    whole = pa.concat_tables([_cast(piece, wanted) for piece in pieces], promote_options="permissive")
    names = [name for name in first if name in whole.column_names]
    return whole.select(names + [name for name in whole.column_names if name not in names])


def _common(name: str, types: set[pa.DataType]) -> pa.DataType:
    if not all(pa.types.is_primitive(kind) and not pa.types.is_temporal(kind) for kind in types):
        words = ", ".join(sorted(str(kind) for kind in types))
        raise UsageError(
            f"column {name!r} is not of one type in all cells, but {words}: change `run` and raise `version`"
        )
    return pa.from_numpy_dtype(np.result_type(*(kind.to_pandas_dtype() for kind in types)))


def _cast(piece: pa.Table, wanted: Mapping[str, pa.DataType]) -> pa.Table:
    for i, name in enumerate(piece.column_names):
        if name in wanted and piece.column(i).type != wanted[name]:
            # unsafe: a whole number beyond 2**53 becomes the nearest float, as in NumPy
            piece = piece.set_column(i, name, piece.column(i).cast(wanted[name], safe=False))
    return piece
