"""The store: one Parquet file per block, named by its content.

A file's name is the hash of its bytes, so a truncated or altered file betrays itself, the same block written twice
is one file, and two runs at once cannot overwrite each other's data. It is written under a temporary name, fsynced
and renamed: what has its name is complete.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import tables
from .experiment import Cell, UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class Entry(NamedTuple):
    """Where a stored cell is."""

    number: int  # of the call that stored it
    file: str
    offset: int
    rows: int
    code: tuple[str, str]  # digests of the lrtheory source and of the experiment's file


@dataclass(frozen=True)
class Failure:
    """A cell that did not give a table.

    Attributes
    ----------
    key, cell
        Which one.
    error : str
        One line.
    traceback : str
        What Python said, or an empty string.
    """

    key: str
    cell: Cell
    error: str
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary for JSON."""
        return {"key": self.key, "cell": self.cell, "error": self.error, "traceback": self.traceback}


class Store:
    """The cells of one experiment under ``folder/cells``.

    For a cell stored twice the older value counts, except that `supersede` makes everything stored before it count
    no longer. Age is the number of the call that stored a file, not a clock.

    Parameters
    ----------
    folder : Path
        The experiment's folder of results.
    read_only : bool
        Report corrupt files, but leave them where they are.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self.folder = folder / "cells"
        self.read_only = read_only
        self.entries: dict[str, Entry] = {}
        self.failures: dict[str, Failure] = {}
        self.corrupt: list[str] = []
        self.files: dict[str, dict[str, Any]] = {}  # what `scan` found: name to metadata
        self.markers: dict[str, tuple[int, list[str]]] = {}  # and what was superseded, by which call
        self.number = 1  # of this call
        self._superseded: dict[str, int] = {}

    def prepare(self) -> None:
        """Create the folder and make sure that it can be written.

        Raises
        ------
        UsageError
            If it cannot.
        """
        make_writable(self.folder)

    def scan(self, keys: Collection[str] | None) -> None:
        """Find which of the cells `keys` (None: all) are stored, and set corrupt files aside.

        Cost: one read and hash of every file.
        """
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*.superseded")):
            data = self._read(path)
            if data is None:
                continue
            number, *superseded = data.decode().split()
            self.number = max(self.number, int(number) + 1)
            self.markers[path.name] = (int(number), superseded)
            for key in superseded:
                self._superseded[key] = max(self._superseded.get(key, 0), int(number))
        found = []
        for path in sorted(self.folder.glob("*.parquet")):
            data = self._read(path)
            if data is None:
                continue
            try:
                metadata = tables.decode_metadata(data)
            except ValueError as error:
                self._set_aside(path, str(error))
                continue
            self.number = max(self.number, metadata["call"] + 1)
            self.files[path.name] = metadata
            found.append((metadata["call"], path.name, metadata))
        for _, name, metadata in sorted(found, key=lambda entry: entry[:2]):
            self._enter(name, metadata, keys)

    def add(self, data: bytes) -> None:
        """Write a block's file and take its cells into the index.

        Raises
        ------
        OSError
            If it cannot be written; the store is as before then.
        """
        metadata = tables.decode_metadata(data)
        name = self._write(data, ".parquet")
        self._enter(name, metadata, None)

    def supersede(self, keys: Sequence[str]) -> None:
        """Make the stored values of the cells `keys` count no longer, for this and every later call."""
        self._write("\n".join([str(self.number), *keys]).encode(), ".superseded")
        for key in keys:
            self._superseded[key] = self.number
            self.entries.pop(key, None)
            self.failures.pop(key, None)

    def read(self, cells: Sequence[Cell], keys: Sequence[str], axes: Sequence[str]) -> pa.Table:
        """Return the rows of the cells in the given order: parameters, then table columns.

        A cell that is not stored is one row whose table columns are null. A file that turns out to be corrupt is set
        aside, and its cells are such rows.
        """
        import numpy as np
        import pyarrow as pa

        files: dict[str, pa.Table | None] = {}
        pieces: list[pa.Table] = []
        for cell, run in self._runs(cells, keys, files):
            if run is None:
                pieces.append(pa.table(tables.parameters([cell], np.ones(1, dtype=np.int64))))
            else:
                file, offset, rows = run
                whole = files[file]
                assert whole is not None
                pieces.append(whole if rows == whole.num_rows else whole.slice(offset, rows))
        return tables.concatenate(pieces, axes)

    def _runs(
        self, cells: Sequence[Cell], keys: Sequence[str], files: dict[str, Any]
    ) -> Iterator[tuple[Cell, tuple[str, int, int] | None]]:
        """Yield stretches of one file that hold consecutive cells, or None for a cell without data."""
        current: tuple[str, int, int] | None = None
        for cell, key in zip(cells, keys, strict=True):
            entry = self.entries.get(key)
            if entry and entry.file not in files:
                data = self._read(self.folder / entry.file)
                files[entry.file] = None if data is None else tables.decode(data)
            if entry is None or files[entry.file] is None:
                if current:
                    yield cell, current
                current = None
                self.entries.pop(key, None)
                yield cell, None
            elif current and current[0] == entry.file and current[1] + current[2] == entry.offset:
                current = (entry.file, current[1], current[2] + entry.rows)
            else:
                if current:
                    yield cell, current
                current = (entry.file, entry.offset, entry.rows)
        if current:
            yield cells[-1], current

    def _enter(self, file: str, metadata: Mapping[str, Any], keys: Collection[str] | None) -> None:
        number = metadata["call"]
        code = (metadata["code"]["lrtheory"], metadata["code"]["experiment"])
        offset = 0
        for key, rows in metadata["cells"]:
            if (keys is None or key in keys) and number >= self._superseded.get(key, 0):
                old = self.entries.get(key)
                if old is None or number < old.number:
                    self.entries[key] = Entry(number, file, offset, rows, code)
                self.failures.pop(key, None)
            offset += rows
        for failed in metadata["failed"]:
            key = failed["key"]
            counts = (keys is None or key in keys) and number >= self._superseded.get(key, 0)
            if counts and key not in self.entries:
                self.failures[key] = Failure(**failed)

    def _write(self, data: bytes, suffix: str) -> str:
        name = hashlib.sha256(data).hexdigest()[:32] + suffix
        write_atomically(self.folder / name, data)
        return name

    def _read(self, path: Path) -> bytes | None:
        """Return the bytes of a file, or None (and set it aside) if they are not those that gave it its name."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest()[:32] == path.stem:
            return data
        self._set_aside(path, "its content does not match its name")
        return None

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(path.name + ".corrupt")
        if self.read_only:
            self.corrupt.append(f"{path} is corrupt ({reason})")
            return
        with suppress(OSError):  # a store that cannot be written is still reported
            path.rename(aside)
        effect = "its cells run again" if path.suffix == ".parquet" else "an earlier --fresh is forgotten"
        self.corrupt.append(f"{path} is corrupt ({reason}); set aside as {aside.name}, {effect}")


def make_writable(folder: Path) -> None:
    """Create a folder and make sure that it can be written, before hours of work are due there.

    Raises
    ------
    UsageError
        If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}-{secrets.token_hex(4)}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name only ever shows complete content, also after a power cut.

    Raises
    ------
    OSError
        If it cannot be written; no temporary file is left.
    """
    # the process id is not enough: another host may share the folder
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # the rename itself is durable once the folder is
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
