"""Array namespaces, devices and threads.

Results live where inputs live: NumPy in, NumPy out; CuPy in, CuPy out. Any other array-API library takes the plain
expressions. Nothing here is a global switch except the number of kernel threads of the process.
"""

from __future__ import annotations

import importlib
import os
import re
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

from lrtheory.names import nearest

Array = Any
"""An array of any array-API library."""

_NUMPY = array_api_compat.array_namespace(np.empty(0))  # a look-up for each call would cost more than small sums do

DEVICES = ("cpu", "cuda", "cuda:<index>")


def namespace(*arrays: Array) -> Any:
    """Return the array-API namespace that the given arrays share (Python scalars and None are ignored)."""
    for a in arrays:
        if type(a) is not np.ndarray:
            return array_api_compat.array_namespace(*arrays)
    return _NUMPY if arrays else array_api_compat.array_namespace()


def is_numpy(*arrays: Array) -> bool:
    """Return True if every argument is a NumPy array."""
    return all(isinstance(a, np.ndarray) for a in arrays)


def is_cupy(*arrays: Array) -> bool:
    """Return True if every argument is a CuPy array."""
    return all(array_api_compat.is_cupy_array(a) for a in arrays)


def twin(name: str, *arrays: Array) -> Any:
    """Return the module with the kernels for the given arrays, or None for a library without kernels.

    Parameters
    ----------
    name : str
        ``"package.family"`` with twins ``package._cpu_family`` (Numba) and ``package._gpu_family`` (CuPy), or
        ``"package."`` for ``package._cpu`` and ``package._gpu``. Functions of both have one name and signature.
    *arrays
        What the kernels will be given: all NumPy, or all CuPy. A mixture has no kernels.
    """
    kind = "_cpu" if is_numpy(*arrays) else "_gpu" if is_cupy(*arrays) else None
    return None if kind is None else _module(name, kind)


@cache
def _module(name: str, kind: str) -> Any:
    package, _, family = name.rpartition(".")
    return importlib.import_module(f"{package}.{kind}_{family}" if family else f"{package}.{kind}")


def is_array(x: Any) -> bool:
    """Return True for an array of any supported library (Python and NumPy scalars are not arrays)."""
    return array_api_compat.is_array_api_obj(x) and not isinstance(x, np.generic)


def to_numpy(x: Array) -> np.ndarray:
    """Return `x` as a NumPy array on the host (no copy where it is one already)."""
    if isinstance(x, np.ndarray):
        return x
    if array_api_compat.is_cupy_array(x):
        return x.get()
    return np.asarray(x)


def check_device(device: str) -> str:
    """Return the device name if it can be used here.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:<index>"``.

    Raises
    ------
    ValueError
        If the name is unknown, CuPy is not installed, or the machine has no such CUDA device.
    """
    if device == "cpu":
        return device
    if not isinstance(device, str) or re.fullmatch(r"cuda(:[0-9]+)?", device) is None:
        raise ValueError(f"no device {device!r}{nearest(str(device), DEVICES)}")
    index = device.partition(":")[2]
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        raise ValueError(
            f"device {device!r} needs CuPy: install the extra lrtheory[cuda12] or lrtheory[cuda13]"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # the runtime's own error type is not importable without CuPy
        raise ValueError(f"device {device!r} asked for, but CUDA reports no usable device: {error}") from None
    if int(index or 0) >= count:
        raise ValueError(f"device {device!r} asked for, but this machine has {count} CUDA device(s)")
    return device


def as_array(x: Any, device: str = "cpu", dtype: Any = None) -> Array:
    """Move host data to `device` (``"cpu"`` gives NumPy, ``"cuda"`` gives CuPy)."""
    if check_device(device) == "cpu":
        return np.asarray(x, dtype=dtype)
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)):
        return cupy.asarray(x, dtype=dtype)


def like(value: Any, x: Array, dtype: Any = None) -> Array:
    """Return `value` (scalar, host array or array) as an array in the library, device and dtype of `x`.

    ``dtype=None`` takes the dtype of `x`.
    """
    xp = namespace(x)
    if is_array(value) and not isinstance(value, np.ndarray) and namespace(value) is not xp:
        value = to_numpy(value)
    return xp.asarray(value, dtype=x.dtype if dtype is None else dtype, device=array_api_compat.device(x))


def per_element(value: Any, x: Any) -> Any:
    """Shape a hyper-parameter so that it multiplies each batch element of `x`.

    Parameters
    ----------
    value : float or array of the batch shape
        A scalar is returned as a float.
    x : array ``(*batch, ...)`` or Factors
        What it will multiply.

    Returns
    -------
    float or array
        The array has the dtype and library of `x` and trailing axes of length one.

    Raises
    ------
    ValueError
        If the array's shape is not that of the leading axes of `x`.
    """
    if not is_array(value) or value.ndim == 0:
        return float(value)
    x = getattr(x, "left", x)
    if tuple(value.shape) != tuple(x.shape[: value.ndim]):
        raise ValueError(
            f"a hyper-parameter must have the batch shape: got {tuple(value.shape)} for iterates {tuple(x.shape)}"
        )
    value = like(value, x)
    return namespace(x).reshape(value, value.shape + (1,) * (x.ndim - value.ndim))


def threads() -> int:
    """Return the number of kernel threads of this process (see `set_threads`)."""
    return _threads


def set_threads(n: int) -> None:
    """Set the number of kernel threads of this process, for the package's kernels and for BLAS alike.

    BLAS libraries that are loaded later take it from the environment variables that are set here too.

    Raises
    ------
    ValueError
        If `n` is not a positive integer.
    """
    global _threads, _blas_limit
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"threads must be an integer >= 1, got {n!r}")
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(n)
    if _blas_limit is not None:
        _blas_limit.restore_original_limits()
    _blas_limit = threadpool_limits(limits=n)
    _threads = n


_threads: int = 1
_blas_limit: Any = None
