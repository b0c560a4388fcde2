"""States and batches of iterates: what `lrtheory.solve` needs to freeze, compare and broadcast them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrtheory.backend import Array, is_array, namespace
from lrtheory.factors import Factors


@dataclass(frozen=True, eq=False)
class State:
    """What an algorithm remembers between steps. Algorithms subclass it (frozen).

    Attributes
    ----------
    x : array or Factors
        The iterate, all that a problem sees.
    t : int array of batch shape
        Steps taken.

    Every array field, `t` and flags included, has the batch axes first, so that `solve` can freeze finished elements.
    """

    x: Any
    t: Array

    @classmethod
    def first(cls, problem: Any, x: Any, **fields: Any) -> Any:
        """Return the state before the first step: `x`, t = 0, and the given further fields."""
        array = x.left if isinstance(x, Factors) else x
        t = namespace(array).zeros(batch_shape(problem, x), dtype=namespace(array).int64, device=array.device)
        return cls(x, t, **fields)


def batch_shape(problem: Any, x: Any) -> tuple[int, ...]:
    """Return the batch shape of an iterate; a point that is an array has ``problem.point_ndim`` (default 1) axes."""
    if isinstance(x, Factors):
        return x.batch_shape
    return tuple(x.shape[: x.ndim - getattr(problem, "point_ndim", 1)])


def select(mask: Array, new: Any, old: Any) -> Any:
    """Return `new` where `mask` (batch shape) is True and `old` elsewhere, for arrays, Factors and States."""
    if isinstance(new, Factors):
        return new.map(lambda a, b: select(mask, a, b), old)
    if dataclasses.is_dataclass(new) and not isinstance(new, type):
        fields = {f.name: select(mask, getattr(new, f.name), getattr(old, f.name)) for f in dataclasses.fields(new)}
        return dataclasses.replace(new, **fields)
    if isinstance(new, np.generic):  # NumPy turns a 0-d array into a scalar as soon as one computes with it
        new = np.asarray(new)
    if not is_array(new):
        return new
    xp = namespace(new)
    return xp.where(xp.reshape(mask, tuple(mask.shape) + (1,) * (new.ndim - mask.ndim)), new, old)


def finite(x: Any, batch_ndim: int) -> Array:
    """Return which elements of the batch are free of NaN and infinities."""
    if isinstance(x, Factors):
        left = finite(x.left, batch_ndim)
        return left if x.symmetric else left & finite(x.right, batch_ndim)
    xp = namespace(x)
    return xp.all(xp.isfinite(x), axis=tuple(range(batch_ndim, x.ndim)))


def check_methods(name: str, value: Any, *methods: str) -> None:
    """Raise TypeError unless the argument `name` is an object, no class, that has the methods."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be an instance, got the class {value.__name__}: call it, {value.__name__}(...)")
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise TypeError(f"{name} must have the methods {', '.join(methods)}; {type(value).__name__} lacks {missing[0]}")


def fields_of(algorithm: Any) -> dict[str, Any]:
    """Return an algorithm's hyper-parameters by name."""
    if dataclasses.is_dataclass(algorithm):
        return {f.name: getattr(algorithm, f.name) for f in dataclasses.fields(algorithm)}
    return dict(vars(algorithm))


def hyperparameter_shape(algorithm: Any) -> tuple[int, ...]:
    """Return the batch shape of an algorithm: the broadcast shape of its array hyper-parameters."""
    shapes = []
    for value in fields_of(algorithm).values():
        if is_array(value):
            shapes.append(tuple(value.shape))
        elif dataclasses.is_dataclass(value):
            shapes.append(hyperparameter_shape(value))
    return np.broadcast_shapes(*shapes)


def broadcast_hyperparameters(algorithm: Any, batch: tuple[int, ...]) -> Any:
    """Return the algorithm with its arrays in the full batch shape, so that `per_element` finds each element's own."""
    changed: dict[str, Any] = {}
    for name, value in fields_of(algorithm).items():
        if is_array(value) and value.ndim and tuple(value.shape) != batch:
            changed[name] = namespace(value).broadcast_to(value, batch)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed[name] = broadcast_hyperparameters(value, batch)
    if changed and not dataclasses.is_dataclass(algorithm):
        raise TypeError(f"{type(algorithm).__name__} has array hyper-parameters and so must be a (frozen) dataclass")
    return dataclasses.replace(algorithm, **changed) if changed else algorithm


def broadcast(problem: Any, x: Any, batch: tuple[int, ...]) -> Any:
    """Return x with the full batch shape, as arrays of its own."""
    own = batch_shape(problem, x)

    def expand(a: Array) -> Array:
        xp = namespace(a)
        core = tuple(a.shape[len(own) :])
        a = xp.reshape(a, (1,) * (len(batch) - len(own)) + tuple(a.shape))
        return xp.asarray(xp.broadcast_to(a, batch + core), copy=True)

    return x.map(expand) if isinstance(x, Factors) else expand(x)
