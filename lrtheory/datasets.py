"""Real data as matrices, read from local files; nothing of it is part of the package."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np

VARIABLE = "LRTHEORY_DATA"
MNIST_FILE = "train-images-idx3-ubyte.gz"
MNIST_SHA256 = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"


def digits() -> np.ndarray:
    """Return the 1797 images of handwritten digits that scikit-learn holds, as float64 rows ``(1797, 64)``, 0 to 16.

    Raises ImportError, naming the extra, where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError('the digits are part of scikit-learn: pip install "lrtheory[data]"') from error
    return np.asarray(load_digits().data, dtype=np.float64)


def mnist(directory: str | Path | None = None) -> np.ndarray:
    """Return the 60,000 training images of MNIST as float32 rows ``(60000, 784)``, 0 to 1.

    Parameters
    ----------
    directory : path, optional
        Where `MNIST_FILE` is, in the original idx format. Default: the environment variable LRTHEORY_DATA, or its
        folder ``mnist``.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message says what is looked for.
    ValueError
        If its SHA-256 is not that of the original.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits.
    """
    packed = find(MNIST_FILE, "mnist", directory).read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != MNIST_SHA256:
        raise ValueError(f"{MNIST_FILE} is not the original: SHA-256 {found}, expected {MNIST_SHA256}")
    pixels = np.frombuffer(gzip.decompress(packed), dtype=np.uint8, offset=16)
    return pixels.reshape(60_000, 784).astype(np.float32) / np.float32(255)


def find(file: str, folder: str, directory: str | Path | None) -> Path:
    """Return the path of a data file in a directory, or in that of the environment variable LRTHEORY_DATA."""
    given = directory if directory is not None else os.environ.get(VARIABLE)
    if given is None:
        raise FileNotFoundError(f"no {file}: give its directory, or set {VARIABLE} to it")
    for path in (Path(given) / file, Path(given) / folder / file):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {file} in {str(given)!r} or its folder {folder!r}")
