"""Tables and the store."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrtheory.sweep import UsageError, tables
from lrtheory.sweep.store import Store, write_atomically


def block(cells: dict[str, dict], call: int = 1, failed: tuple = (), code: str = "a") -> bytes:
    """A block's file: key to columns."""
    params = [{"k": int(key[1:])} for key in cells]
    columns = [tables.as_columns(table, param) for table, param in zip(cells.values(), params, strict=True)]
    rows = [len(next(iter(table.values()), ())) for table in columns]
    metadata = {
        "call": call,
        "code": {"lrtheory": code, "experiment": code},
        "cells": [[key, count] for key, count in zip(cells, rows, strict=True)],
        "failed": [{"key": key, "cell": {"k": int(key[1:])}, "error": "bad", "traceback": ""} for key in failed],
    }
    return tables.encode(params, columns, metadata)


def opened(folder: Path, *keys: str) -> Store:
    store = Store(folder)
    store.prepare()
    store.scan(frozenset(keys))
    return store


def values(store: Store, *keys: str) -> list:
    table = store.read([{"k": int(key[1:])} for key in keys], keys, ("k",))
    return table.column("y").to_pylist() if "y" in table.column_names else [None] * table.num_rows


def test_a_table_is_columns_of_one_length_with_scalars_repeated() -> None:
    found = tables.as_columns({"t": range(3), "y": np.float32(2), "s": "a", "l": [1, 2, 3]}, {"k": 1})
    assert {name: column.tolist() for name, column in found.items()} == {
        "t": [0, 1, 2],
        "y": [2.0] * 3,
        "s": ["a"] * 3,
        "l": [1, 2, 3],
    }
    assert tables.as_columns({"y": 1.0}, {})["y"].tolist() == [1.0]
    assert tables.as_columns({}, {}) == {}


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (3, "dict of columns"),
        ({"y": [1, 2], "t": [1]}, "one length"),
        ({"y": np.ones((2, 2))}, "one-dimensional"),
        ({"y": [1j]}, "complex"),
        ({"k": [1]}, "parameter"),
        ({1: [1]}, "strings"),
    ],
)
def test_other_tables_are_refused(table: object, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        tables.as_columns(table, {"k": 1})


def test_a_file_gives_back_what_went_in_and_tells_null_from_nan() -> None:
    cells = [{"k": 3, "m": 600}, {"k": 5, "m": float("inf"), "s": "a"}]
    columns = [
        tables.as_columns({"t": [0, 1], "y": [1.5, np.nan], "w": ["u", "v"]}, cells[0]),
        tables.as_columns({"t": [7], "n": [2], "b": [True]}, cells[1]),
    ]
    data = tables.encode(cells, columns, {"x": [1, {"y": None}]})
    assert data == tables.encode(cells, columns, {"x": [1, {"y": None}]})
    assert tables.decode_metadata(data) == {"x": [1, {"y": None}]}
    found = tables.decode(data)
    assert found.schema.metadata is None
    found_columns = found.to_pydict()
    assert np.isnan(found_columns["y"].pop(1))
    assert found_columns == {
        "k": [3, 3, 5],
        "m": [600.0, 600.0, float("inf")],
        "s": [None, None, "a"],
        "t": [0, 1, 7],
        "y": [1.5, None],
        "w": ["u", "v", None],
        "n": [None, None, 2],
        "b": [None, None, True],
    }


def test_text_and_numbers_in_one_column_are_refused() -> None:
    columns = [tables.as_columns({"y": ["a"]}, {}), tables.as_columns({"y": [1.0]}, {})]
    with pytest.raises(TypeError, match="'y' mixes types"):
        tables.encode([{"k": 1}, {"k": 2}], columns, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([True], [np.nan]),
        ([True, False], [3]),
        ([2**60], [0.5]),
        (np.array([2**64 - 1], dtype=np.uint64), np.array([-1])),
        (np.array([1.5], dtype=np.float32), [0.1]),
    ],
)
def test_a_column_has_the_type_in_several_files_that_it_has_in_one(tmp_path: Path, one: object, other: object) -> None:
    together, apart = opened(tmp_path / "together"), opened(tmp_path / "apart")
    together.add(block({"k1": {"y": one}, "k2": {"y": other}}))
    apart.add(block({"k1": {"y": one}}))
    apart.add(block({"k2": {"y": other}}))
    pieces = [store.read([{"k": 1}, {"k": 2}, {"k": 3}], ["k1", "k2", "k3"], ("k",)) for store in (together, apart)]
    assert pieces[0]["y"].type == pieces[1]["y"].type
    assert [repr(value) for value in pieces[0]["y"].to_pylist()] == [
        repr(value) for value in pieces[1]["y"].to_pylist()
    ]


def test_text_and_numbers_in_one_column_of_two_files_are_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(block({"k1": {"y": ["a"]}}))
    store.add(block({"k2": {"y": [1.0]}}))
    with pytest.raises(UsageError, match=r"column 'y' is not of one type in all cells, but double, string"):
        values(store, "k1", "k2")
    assert values(store, "k1") == ["a"]


def test_a_file_without_cells_is_a_file() -> None:
    data = block({}, failed=("k1",))
    assert tables.decode(data).num_rows == 0
    assert tables.decode_metadata(data)["failed"][0]["key"] == "k1"


def test_files_of_others_are_refused() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    for data in (sink.getvalue().to_pybytes(), b"", b"PAR1 nonsense PAR1"):
        with pytest.raises(ValueError):
            tables.decode_metadata(data)


def test_cells_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(block({"k1": {"y": [1.0, 1.5]}, "k2": {"y": [2.0]}, "k3": {"y": []}}))
    store.add(block({"k4": {"y": [4.0]}}))
    for again in (store, opened(tmp_path, "k1", "k2", "k3", "k4")):
        assert values(again, "k1", "k2", "k3", "k4") == [1.0, 1.5, 2.0, 4.0]
        assert values(again, "k4", "k2", "k1") == [4.0, 2.0, 1.0, 1.5]
        assert values(again, "k2", "k9", "k4") == [2.0, None, 4.0]
        assert values(again, "k3", "k2") == [2.0]
    assert list(opened(tmp_path, "k2").entries) == ["k2"]


def test_the_older_value_counts_until_superseded(tmp_path: Path) -> None:
    store = opened(tmp_path, "k1")
    store.add(block({"k1": {"y": [1.0]}}, call=2))
    store.add(block({"k1": {"y": [2.0]}}, call=3))
    assert values(store, "k1") == [1.0]
    store = opened(tmp_path, "k1")
    assert store.number == 4
    assert values(store, "k1") == [1.0]
    store.supersede(["k1"])
    assert values(store, "k1") == [None]
    assert values(opened(tmp_path, "k1"), "k1") == [None]
    store.add(block({"k1": {"y": [3.0]}}, call=4))
    store.add(block({"k1": {"y": [4.0]}}, call=5))
    assert values(store, "k1") == values(opened(tmp_path, "k1"), "k1") == [3.0]
    assert opened(tmp_path, "k1").number == 6


def test_failures_stay_until_the_cell_succeeds(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(block({"k2": {"y": [2.0]}}, failed=("k1",)))
    assert list(opened(tmp_path, "k1", "k2").failures) == ["k1"]
    store.add(block({"k1": {"y": [1.0]}}, call=2))
    assert not store.failures
    assert not opened(tmp_path, "k1", "k2").failures


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "foreign"])
@pytest.mark.parametrize("suffix", ["parquet", "superseded"])
def test_corrupt_files_are_named_and_set_aside(tmp_path: Path, damage: str, suffix: str) -> None:
    store = opened(tmp_path)
    store.add(block({"k1": {"y": np.arange(50.0)}}))
    store.supersede(["k1"])
    (path,) = store.folder.glob(f"*.{suffix}")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 3] ^= 4
    path.write_bytes({"truncate": data[:-7], "flip": data, "empty": b"", "foreign": b"x" * 99}[damage])
    looked = Store(tmp_path, read_only=True)
    looked.scan(frozenset(["k1"]))
    assert path.exists()
    again = opened(tmp_path, "k1")
    assert len(again.corrupt) == len(looked.corrupt) == 1
    assert path.name in again.corrupt[0]
    assert not path.exists()
    assert path.with_name(path.name + ".corrupt").exists()
    assert opened(tmp_path, "k1").corrupt == []


def test_a_file_that_breaks_between_scan_and_read_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.add(block({"k1": {"y": [1.0]}}))
    next(store.folder.glob("*.parquet")).write_bytes(b"")
    assert values(store, "k1") == [None]
    assert store.corrupt
    assert not store.entries


def test_the_same_block_twice_is_one_file(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for _ in range(2):
        store.add(block({"k1": {"y": [1.0]}}))
    assert len(list(store.folder.iterdir())) == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a", b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        Store(tmp_path / "file").prepare()
