"""The benchmarks of streams on a device, with NumPy in the device's place and no PyTorch."""

import importlib

import numpy as np
import pytest

from benchmarks import ssm_cuda, streaming_cuda


@pytest.fixture
def setting(monkeypatch):
    found = importlib.import_module

    def import_module(name, package=None):
        if name == "torch":
            raise ImportError(name)
        return found(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(streaming_cuda.transfers, "on_device", lambda rows, device, chunk_rows: rows)
    return ssm_cuda.Setting(np, "cpu", 1, lambda: None)


def test_rows(setting):
    found = [
        *streaming_cuda.passes(setting, 64, 5, 1),
        *streaming_cuda.passes(setting, 64, 5, 3),
        *streaming_cuda.history(setting, 64, 5, size=10),
        *streaming_cuda.side_by_side(setting, 3, 64, 5),
        *streaming_cuda.copied(setting, 64, 5),
    ]
    missing = [row for row in found if "not installed" in row.peer]
    assert len(missing) == 4 * 2  # PyTorch, and what it compiles
    assert all(row.ours_s > 0 and row.floor_s > 0 for row in found)
    assert all(row.peer_s > 0 for row in found if row not in missing)


def test_other_work_is_not_timed(setting, monkeypatch):
    right = streaming_cuda.row_loop
    monkeypatch.setattr(streaming_cuda, "row_loop", lambda x, w, eta: right(x, w, 1.5 * eta))
    for rows in (streaming_cuda.passes(setting, 64, 5, 3), streaming_cuda.side_by_side(setting, 3, 64, 5)):
        with pytest.raises(AssertionError, match="loop of CuPy over rows does not do the same work"):
            list(rows)
