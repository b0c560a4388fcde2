"""What is to be swept: grids of cells, and the experiment that runs them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Scalar = bool | int | float | str | None
"""A value on an axis."""

Cell = dict[str, Scalar]
"""One point of a grid: everything that `Experiment.run` reads, by name."""

_LARGEST_INT = 2**53  # beyond it a table column with missing values, and JSON elsewhere, would round


class UsageError(ValueError):
    """A mistake of the user: the command line prints its message on one line and exits with 2."""


def scalar(axis: str, value: Any) -> Scalar:
    """Return `value` as a plain Python scalar.

    NumPy scalars are converted, so that a cell is the same whichever library made it.

    Raises
    ------
    TypeError
        If it is no number, string, bool or None.
    ValueError
        If it is NaN (equal to nothing, so no cell could be found again) or an integer beyond 2**53.
    """
    if not isinstance(value, (bool, int, float, str)) and value is not None and hasattr(value, "item"):
        with suppress(ValueError):  # an array of several values is refused below
            value = value.item()
    if isinstance(value, float):
        value = float(value)  # numpy.float64 is a float with another repr
        if math.isnan(value):
            raise ValueError(f"axis {axis!r}: NaN cannot be a value of a cell")
    elif isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise ValueError(f"axis {axis!r}: whole numbers go up to 2**53, got {value}")
    elif not (value is None or isinstance(value, (int, str))):
        raise TypeError(f"axis {axis!r}: values are numbers, strings, bools or None, got {type(value).__name__}")
    return value


def canonical(value: Scalar) -> str:
    """Return the text of a value that cell keys are made of: 3, 3.0 and NumPy's 3 are the same cell."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= _LARGEST_INT:
            return str(int(value))
        return repr(value)  # the shortest text that reads back as the same float, on every platform
    return json.dumps(value) if isinstance(value, str) else str(value)


def kind(value: Scalar) -> str:
    """Return what an axis is made of: ``"bool"``, ``"number"``, ``"string"`` or ``"none"``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def _values(axis: str, given: Any) -> tuple[Scalar, ...]:
    if isinstance(given, Mapping):
        raise TypeError(f"axis {axis!r}: give a value or a sequence of values, got a mapping")
    single = isinstance(given, str) or not hasattr(given, "__iter__") or getattr(given, "ndim", 1) == 0
    values = [scalar(axis, value) for value in ([given] if single else given)]
    distinct: dict[str, Scalar] = {}
    for value in values:
        distinct.setdefault(canonical(value), value)
    return tuple(distinct.values())


@dataclass(frozen=True)
class Grid:
    """A union of products of axes; iterating gives its distinct cells as dictionaries.

    Make one with `grid`; ``+`` unites two grids. A cell that two of them hold counts once.

    Attributes
    ----------
    parts : tuple of dict
        The products: axis name to its values.
    """

    parts: tuple[dict[str, tuple[Scalar, ...]], ...]

    def __add__(self, other: Grid) -> Grid:
        if not isinstance(other, Grid):
            return NotImplemented
        return Grid(self.parts + other.parts)

    def __iter__(self) -> Iterator[Cell]:
        seen = set()
        for part in self.parts:
            for values in itertools.product(*part.values()):
                cell = dict(zip(part, values, strict=True))
                key = tuple(sorted((name, canonical(value)) for name, value in cell.items()))
                if key not in seen:
                    seen.add(key)
                    yield cell

    def __len__(self) -> int:
        if len(self.parts) == 1:
            return math.prod(len(values) for values in self.parts[0].values())
        return sum(1 for _ in self)

    @property
    def axes(self) -> dict[str, tuple[Scalar, ...]]:
        """The distinct values of every axis over all parts, axes in order of appearance."""
        axes: dict[str, dict[str, Scalar]] = {}
        for part in self.parts:
            for name, values in part.items():
                distinct = axes.setdefault(name, {})
                for value in values:
                    distinct.setdefault(canonical(value), value)
        return {name: tuple(values.values()) for name, values in axes.items()}

    def with_axis(self, name: str, values: Sequence[Scalar]) -> Grid:
        """Return the grid with other values of one axis, on the parts that have it."""
        new = _values(name, values)
        return Grid(tuple({**part, name: new} if name in part else part for part in self.parts))


def grid(**axes: Any) -> Grid:
    """Return the product of axes.

    Parameters
    ----------
    **axes : scalar or iterable of scalars
        The values of each parameter; a scalar is an axis of one value. Repeated values count once.

    Examples
    --------
    >>> len(grid(k=[3, 5], seed=range(4)) + grid(k=3, seed=range(6)))
    10
    """
    if not axes:
        raise ValueError("grid needs at least one axis, for example grid(k=[3, 5], seed=range(5))")
    part = {}
    for name, given in axes.items():
        part[name] = _values(name, given)
        if not part[name]:
            raise ValueError(f"axis {name!r} has no values")
    return Grid((part,))


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment:
    """An experiment: which cells there are, how they run, and what is made of the data.

    Parameters
    ----------
    name : str
        Names the folder of its results: letters, digits, ``_`` and ``-``.
    version : int
        Part of every cell's key: raise it when the meaning of a cell changes, and old cells are not used any more.
    title, paper : str
        One line in words; where it comes from.
    presets : dict of str to Grid
        ``small`` is what runs by default.
    run : callable ``(cells, device) -> iterable of (cell, table)``
        Runs a list of cells that differ only in the `together` axes. A table is a dict of equal-length 1-d arrays
        (a scalar is repeated). It must read nothing but the cells.
    together : tuple of str
        Cells that differ only in these axes run in one call of `run`.
    figure : callable ``DataFrame -> matplotlib Figure``, optional
    claims : callable ``DataFrame -> list of Claim``, optional
        Both get one row per table row, with the cell's parameters as columns. A cell that failed is one row whose
        table columns are missing.
    falsify : dict of str to lrtheory.falsify.Search, optional
        Claim id to the search for a counterexample.
    batch : int
        Most cells in one call of `run`.
    block : int
        Cells that consecutive calls fill a block up to: the unit that is stored, and sent to a worker.
    dtype : str
        Part of every cell's key.
    timing : bool
        The data are times: cells run one after the other in one process and belong to this machine.
    prepare : callable ``device -> None``, optional
        Called once before worker processes start: the place to compile kernels into the cache that they share.
    """

    name: str
    version: int = 1
    title: str = ""
    presets: dict[str, Grid]
    run: Callable[[list[Cell], str], Iterable[tuple[Cell, Any]]]
    paper: str = ""
    together: tuple[str, ...] = ()
    figure: Callable[[Any], Any] | None = None
    claims: Callable[[Any], list[Any]] | None = None
    falsify: dict[str, Any] = field(default_factory=dict)
    batch: int = 256
    block: int = 64
    dtype: str = "float64"
    timing: bool = False
    prepare: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", str(self.name)):
            raise ValueError(f"name must consist of letters, digits, _ and -, got {self.name!r}")
        for name in ("version", "batch", "block"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not self.presets or not all(isinstance(preset, Grid) for preset in self.presets.values()):
            raise TypeError("presets must map names to grids, for example {'small': grid(k=[3, 5], seed=range(5))}")
        if isinstance(self.together, str):
            raise TypeError(f"together must be a tuple of axis names, got the string {self.together!r}")
        kinds: dict[str, str] = {}
        for preset in self.presets.values():
            for axis, values in preset.axes.items():
                for found in {kind(value) for value in values} - {"none"}:
                    # a table column holds one type
                    if kinds.setdefault(axis, found) != found:
                        raise TypeError(f"axis {axis!r} mixes {kinds[axis]} and {found} values")
                kinds.setdefault(axis, "none")
        for axis in self.together:
            if axis not in kinds:
                raise ValueError(f"together names {axis!r}, which is no axis: {', '.join(kinds)}")
