"""Real data: what is read is what the sources say it is."""

import gzip
import hashlib
import os

import numpy as np
import pytest

from lrtheory import datasets


def test_digits_are_those_of_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn (extra data) is not installed")
    rows = datasets.digits()
    assert rows.shape == (1797, 64)
    assert rows.dtype == np.float64
    assert (rows.min(), rows.max()) == (0, 16)


def test_mnist_has_the_published_mean_and_deviation():
    if datasets.VARIABLE not in os.environ:
        pytest.skip(f"MNIST is not part of the project: set {datasets.VARIABLE} to a directory that holds it")
    rows = datasets.mnist()
    assert rows.shape == (60_000, 784)
    assert rows.dtype == np.float32
    assert rows.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert rows.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match=f"{datasets.MNIST_FILE}.*{datasets.VARIABLE}"):
        datasets.mnist()
    with pytest.raises(FileNotFoundError, match=f"{datasets.MNIST_FILE} in"):
        datasets.mnist(tmp_path)
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{datasets.MNIST_FILE} in"):
        datasets.mnist()


def test_an_idx_file_is_read_after_its_header(tmp_path, monkeypatch):
    """A file of the right size whose checksum is taken for the original's, in the directory that is given."""
    pixels = np.zeros((60_000, 784), dtype=np.uint8)
    pixels[0, 0], pixels[1, 2], pixels[-1, -1] = 255, 51, 102
    packed = gzip.compress(bytes(16) + pixels.tobytes(), compresslevel=1)
    monkeypatch.setattr(datasets, "MNIST_SHA256", hashlib.sha256(packed).hexdigest())
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "elsewhere"))
    (tmp_path / datasets.MNIST_FILE).write_bytes(packed)
    rows = datasets.mnist(tmp_path)
    assert (rows.shape, rows.dtype) == ((60_000, 784), np.float32)
    np.testing.assert_allclose(rows[[0, 1, -1], [0, 2, -1]], [1, 0.2, 0.4], rtol=1e-7)
    assert np.count_nonzero(rows) == 3


def test_another_file_of_that_name_is_refused(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / datasets.MNIST_FILE).write_bytes(b"not it")
    with pytest.raises(ValueError, match="not the original"):
        datasets.mnist(tmp_path)
