"""The benchmarks of diagonal systems on a device, with NumPy in the device's place and no peers."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ssm_cuda

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setting(monkeypatch):
    found = importlib.import_module

    def import_module(name, package=None):
        if name in ("torch", "jax"):
            raise ImportError(name)
        return found(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    return ssm_cuda.Setting(np, "cpu", 1, lambda: None)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows(setting, dtype):
    dt = np.geomspace(1e-3, 1e-1, 2)
    found = [
        *ssm_cuda.kernels(setting, 2, 128, dt, 1e-20, dtype),
        *ssm_cuda.gradients(setting, 2, 64, dtype),
        *ssm_cuda.responses(setting, 2, 64, dtype),
    ]
    missing = [row for row in found if "not installed" in row.peer]
    assert len(missing) == 3 * 3  # a row for PyTorch, for what it compiles and for JAX
    assert all(row.peer_s is None for row in missing)
    assert all(row.ours_s > 0 and row.floor_s > 0 for row in found)
    assert all(row.peer_s > 0 for row in found if row not in missing)
    peers = [row.peer.split(" (")[0] for row in found if row not in missing]
    assert peers == ["plain CuPy", "recurrence", "CuPy FFT, kernel given", "chunked", "fft", "associative"]


def test_other_work_is_not_timed(setting, monkeypatch):
    right = ssm_cuda.application.chunked

    def wrong(*arguments):
        y, state = right(*arguments)
        return 1.01 * y, state

    wrong.__name__ = "chunked"
    monkeypatch.setattr(ssm_cuda.application, "chunked", wrong)
    with pytest.raises(AssertionError, match="chunked does not do the same work"):
        list(ssm_cuda.responses(setting, 2, 64, np.float64))


def test_a_device_that_is_not_there_is_one_line():
    hidden = "import sys; sys.modules['cupy'] = None; sys.argv = ['benchmarks', 'ssm', '--device', 'cuda']\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + "from benchmarks.__main__ import main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: device 'cuda' needs CuPy: install the extra lrtheory[cuda12] or lrtheory[cuda13]\n"
