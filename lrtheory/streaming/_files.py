"""Files of rows: which kinds there are, and how they are opened, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lrtheory.names import nearest

SUFFIXES = (".arrow", ".feather", ".npy", ".parquet")


def file_rows(path: Path) -> int:
    """Return the number of rows in a file, without reading them."""
    check_file(path)
    if path.suffix == ".npy":
        return int(mapped_rows(path).shape[0])
    with opened_table(path) as file:
        if path.suffix == ".parquet":
            return int(file.metadata.num_rows)
        return sum(file.get_batch(g).num_rows for g in range(file.num_record_batches))


def check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a directory: give the paths of its files as a list")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"no kind of file {path.suffix!r}, of {str(path)!r}{nearest(path.suffix, SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}")


def mapped_rows(path: Path) -> np.ndarray:
    """Return a file's rows, mapped: copy-on-write, since read-only rows would need a copy for the kernels."""
    with _naming(path):
        rows = np.load(path, mmap_mode="c")
        if not isinstance(rows, np.ndarray):
            raise ValueError("it holds several arrays")
        if rows.ndim != 2:
            raise ValueError(f"rows must have shape (m, d), got {rows.shape}")
    return rows


@contextmanager
def opened_table(path: Path) -> Iterator[Any]:
    """Open a Parquet or an Arrow file."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        with _naming(path):
            found = ParquetFile(path)
        with found:
            yield found
        return
    import pyarrow

    with ExitStack() as opened:
        with _naming(path):
            mapped = opened.enter_context(pyarrow.memory_map(str(path)))
            found = opened.enter_context(pyarrow.ipc.open_file(mapped))
        yield found


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in the errors of the libraries that open it."""
    try:
        yield
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a {path.suffix} file: {error}") from None
