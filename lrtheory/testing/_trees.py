"""States, problems and algorithms as trees of arrays: compare, copy and convert them whatever their fields are."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace, to_numpy
from lrtheory.factors import Factors


def is_leaf_array(leaf: Any) -> bool:
    """Return True for arrays and for NumPy's scalars, which are 0-d arrays that were computed with."""
    return is_array(leaf) or isinstance(leaf, np.generic)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of dataclasses, Factors, tuples, lists and dicts; the leaves are everything else."""
    if isinstance(value, Factors):
        parts = {"left": value.left} if value.symmetric else {"left": value.left, "right": value.right}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, dict):
        parts = {str(name): part for name, part in value.items()}
    elif isinstance(value, (tuple, list)):
        parts = {str(i): part for i, part in enumerate(value)}
    else:
        yield path, value
        return
    for name, part in parts.items():
        yield from leaves(part, f"{path}.{name}" if path else name)


def map_arrays(f: Callable[[Any], Any], value: Any) -> Any:
    """Return a copy of a tree, or of a plain object, with `f` applied to its arrays."""
    if is_leaf_array(value):
        return f(value)
    if isinstance(value, Factors):
        return value.map(f)
    if isinstance(value, dict):
        return {name: map_arrays(f, part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map_arrays(f, part) for part in value)
    if isinstance(value, type) or not hasattr(value, "__dict__") or callable(value):
        return value
    twin = copy.copy(value)
    twin.__dict__.update({name: map_arrays(f, part) for name, part in vars(value).items()})
    return twin


def snapshot(value: Any) -> dict[str, Any]:
    """Copies of the arrays and numbers of a tree or of an object's fields (caches apart), by path."""
    if not dataclasses.is_dataclass(value) and hasattr(value, "__dict__"):
        value = vars(value)
    return {path: copy.deepcopy(leaf) for path, leaf in leaves(value) if is_leaf_array(leaf) or np.isscalar(leaf)}


def convert(value: Any, library: Any) -> Any:
    """Return a copy with the arrays of another library."""
    return map_arrays(lambda a: library.asarray(to_numpy(a) if is_array(a) else a), value)


def element(state: Any, index: int) -> Any:
    """Return the state of one element of a batch."""
    return map_arrays(lambda a: a[index, ...], state)


def stack(points: list[Any]) -> Any:
    """Return the batch of the given points."""

    def side_by_side(*arrays: Array) -> Array:
        return namespace(*arrays).stack(list(arrays))

    first, *others = points
    return first.map(side_by_side, *others) if isinstance(first, Factors) else side_by_side(*points)


def difference(got: Any, expected: Any, rtol: float = 0.0) -> str | None:
    """Return a description of the first difference between two trees, or None where they agree (rtol=0: to the bit)."""
    left, right = dict(leaves(got)), dict(leaves(expected))
    if left.keys() != right.keys():
        return f"fields {sorted(left)} against {sorted(right)}"
    for path, b in right.items():
        a = left[path]
        if not is_leaf_array(b):
            if isinstance(b, (bool, int, float, complex, str)) and a != b:
                return f"{path} is {a!r}, expected {b!r}"
            continue
        if not is_leaf_array(a):
            return f"{path} is {type(a).__name__}, expected an array"
        a, b = to_numpy(a), to_numpy(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{path} is {a.dtype} {a.shape}, expected {b.dtype} {b.shape}"
        if np.array_equal(a, b, equal_nan=b.dtype.kind in "fc"):
            continue
        if b.dtype.kind not in "fc":
            return f"{path} is {a.tolist()}, expected {b.tolist()}"
        size = float(np.max(np.abs(b)))
        error = float(np.max(np.abs(a - b)))
        if not error <= rtol * size:
            return f"{path} is off by {error:.3g}, entries are up to {size:.3g} (relative tolerance {rtol:g})"
    return None
