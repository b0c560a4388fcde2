"""The coordinates of a claim's domain: which values each takes, and which of them are simple."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Protocol

from lrtheory.sweep.experiment import Scalar, canonical, scalar

Point = dict[str, Scalar]
"""One point of a domain: a value for each coordinate."""

Holds = Callable[[Any], bool]
"""Says whether the counterexample stands when the coordinate has this value instead."""

_DIGITS = 6  # significant digits of a float that is drawn: short enough to be typed again
_SCALES = ("linear", "log")


class Bound(Protocol):
    """The values of one coordinate."""

    @property
    def simplest(self) -> Scalar:
        """The value that shrinking tries first."""

    @property
    def size(self) -> float:
        """How many values there are; inf for an interval."""

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values at the border, where claims like to fail."""

    def at(self, unit: float) -> Scalar:
        """The value at a position in [0, 1); equal lengths of [0, 1) are equal shares of the domain."""

    def position(self, value: Any) -> float:
        """A position in [0, 1) whose value is `value`."""

    def checked(self, value: Any) -> Scalar:
        """`value` with the type of the coordinate; ValueError or TypeError if it lies outside."""

    def values(self) -> Iterable[Scalar]:
        """All values, if there are finitely many."""

    def simplify(self, value: Any, holds: Holds) -> Scalar:
        """The simplest value for which `holds`, as far as the moves of this coordinate reach; `value` holds."""


def _scale(scale: str, low: float) -> None:
    if scale not in _SCALES:
        raise ValueError(f"scale must be 'linear' or 'log', got {scale!r}")
    if scale == "log" and not low > 0:
        raise ValueError(f"a log scale needs low > 0, got {low!r}")


@dataclass(frozen=True)
class Ints:
    """Whole numbers from `low` to `high`, both included.

    Parameters
    ----------
    low, high : int
    scale : "linear" or "log"
        How points are spread.
    simplest : int, optional
        What shrinking moves towards; default `low`.
    """

    low: int
    high: int
    scale: str = "linear"
    simplest: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.simplest is None:
            object.__setattr__(self, "simplest", self.low)
        for name in ("low", "high", "simplest"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
            scalar(name, value)
        if not self.low <= self.simplest <= self.high:
            raise ValueError(f"low <= simplest <= high expected, got {self.low}, {self.simplest}, {self.high}")
        _scale(self.scale, self.low)

    @property
    def size(self) -> float:
        return self.high - self.low + 1

    @property
    def ends(self) -> tuple[Scalar, ...]:
        return (self.low, self.high)

    def at(self, unit: float) -> int:
        if self.scale == "log":
            value = self.low * ((self.high + 1) / self.low) ** unit
        else:
            value = self.low + (self.high + 1 - self.low) * unit
        return min(max(math.floor(value), self.low), self.high)

    def position(self, value: int) -> float:
        middle = value + 0.5
        if self.scale == "log":
            return math.log(middle / self.low) / math.log((self.high + 1) / self.low)
        return (middle - self.low) / (self.high + 1 - self.low)

    def checked(self, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"a whole number expected, got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} lies outside [{self.low}, {self.high}]")
        return value

    def values(self) -> Iterable[int]:
        return range(self.low, self.high + 1)

    def simplify(self, value: int, holds: Holds) -> int:
        return nearest_holding(value, self.simplest, holds)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}" + (" (log)" if self.scale == "log" else "")


@dataclass(frozen=True)
class Floats:
    """Real numbers in [`low`, `high`]. Those that are drawn have six significant digits.

    Parameters
    ----------
    low, high : float
    scale : "linear" or "log"
        How points are spread.
    simplest : float, optional
        The value that shrinking tries first; then numbers with few decimals (few significant digits on a log scale),
        of these the closest to it. Default `low`.
    """

    low: float
    high: float
    scale: str = "linear"
    simplest: float = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.simplest is None:
            object.__setattr__(self, "simplest", self.low)
        for name in ("low", "high", "simplest"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise TypeError(f"{name} must be a finite number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if not (self.low <= self.simplest <= self.high and self.low < self.high):
            raise ValueError(
                f"low < high, low <= simplest <= high expected, got {self.low}, {self.simplest}, {self.high}"
            )
        _scale(self.scale, self.low)

    @property
    def size(self) -> float:
        return math.inf

    @property
    def ends(self) -> tuple[Scalar, ...]:
        return (self.low, self.high)

    def at(self, unit: float) -> float:
        if self.scale == "log":
            value = self.low * (self.high / self.low) ** unit
        else:
            value = self.low + (self.high - self.low) * unit
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def position(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def checked(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"a number expected, got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{value!r} lies outside [{self.low:g}, {self.high:g}]")
        return float(value)

    def values(self) -> Iterable[float]:
        raise TypeError("an interval cannot be enumerated")

    def simplify(self, value: float, holds: Holds) -> float:
        if value == self.simplest or holds(self.simplest):
            return self.simplest
        for grid in _grids(value, self):
            below, above = grid.index(value, ROUND_FLOOR), grid.index(value, ROUND_CEILING)
            for index in dict.fromkeys((above, below) if value < self.simplest else (below, above)):
                number = grid.number(index)
                if self.low <= number <= self.high and (number == value or holds(number)):
                    end = grid.index(self.simplest, ROUND_FLOOR if number < self.simplest else ROUND_CEILING)
                    return grid.number(nearest_holding(index, end, _on(grid, holds)))
        return value

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]" + (" (log)" if self.scale == "log" else "")


@dataclass(frozen=True)
class _Decimals:
    """The numbers with so many decimals."""

    decimals: int

    def index(self, value: float, rounding: str) -> int:
        return int(Decimal(repr(value)).scaleb(self.decimals).to_integral_value(rounding))

    def number(self, index: int) -> float:
        return float(Decimal(index).scaleb(-self.decimals))


@dataclass(frozen=True)
class _Significant:
    """The positive numbers with so many significant digits."""

    digits: int

    def index(self, value: float, rounding: str) -> int:
        exact = Decimal(repr(value))
        exponent = exact.adjusted()
        first = 10 ** (self.digits - 1)
        return 9 * first * exponent + int(exact.scaleb(self.digits - 1 - exponent).to_integral_value(rounding)) - first

    def number(self, index: int) -> float:
        first = 10 ** (self.digits - 1)
        exponent, rest = divmod(index, 9 * first)
        return float(Decimal(first + rest).scaleb(exponent - self.digits + 1))


def _grids(value: float, bound: Floats) -> list[_Decimals] | list[_Significant]:
    """Return the grids of ever longer numbers, up to the one that `value` is on."""
    exact = Decimal(repr(value)).normalize()
    if bound.scale == "log":
        return [_Significant(digits) for digits in range(1, len(exact.as_tuple().digits) + 1)]
    most = -int(exact.as_tuple().exponent)
    least = -max(abs(Decimal(repr(end))).adjusted() for end in (bound.low, bound.high))
    return [_Decimals(decimals) for decimals in range(min(least, most), most + 1)]


def _on(grid: _Decimals | _Significant, holds: Holds) -> Holds:
    return lambda index: holds(grid.number(index))


@dataclass(frozen=True)
class Choices:
    """One of several values, the simplest first.

    Parameters
    ----------
    options : sequence of scalars
    """

    options: tuple[Scalar, ...]

    def __init__(self, options: Iterable[Scalar]) -> None:
        if isinstance(options, str) or not hasattr(options, "__iter__"):
            raise TypeError(f"options must be a sequence of values, got {options!r}")
        found = {canonical(value): value for value in (scalar("options", option) for option in options)}
        if not found:
            raise ValueError("options must not be empty")
        object.__setattr__(self, "options", tuple(found.values()))

    @property
    def simplest(self) -> Scalar:
        return self.options[0]

    @property
    def size(self) -> float:
        return len(self.options)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        return self.options

    def at(self, unit: float) -> Scalar:
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def position(self, value: Scalar) -> float:
        return (self._index(value) + 0.5) / len(self.options)

    def checked(self, value: Any) -> Scalar:
        return self.options[self._index(value)]

    def _index(self, value: Any) -> int:
        texts = [canonical(option) for option in self.options]
        if not isinstance(value, (bool, int, float, str)) and value is not None:
            raise TypeError(f"one of {self} expected, got {value!r}")
        if canonical(value) not in texts:
            raise ValueError(f"{value!r} is none of {self}")
        return texts.index(canonical(value))

    def values(self) -> Iterable[Scalar]:
        return self.options

    def simplify(self, value: Scalar, holds: Holds) -> Scalar:
        return next((option for option in self.options[: self._index(value)] if holds(option)), value)

    def __str__(self) -> str:
        return ", ".join(str(option) for option in self.options)


def nearest_holding(value: int, target: int, holds: Holds) -> int:
    """Return a whole number between `target` and `value` that holds while its neighbour towards `target` does not.

    Distances 0, 1, 2, 4, ... from the target are tried in turn, and between the last that does not hold and the first
    that does it bisects: the closest one where whatever holds stays so farther away. `value` itself is known to hold.

    Cost: some 2 log2(distance) trials.
    """
    sign = 1 if value > target else -1
    far = abs(value - target)
    failed, trial = -1, 0
    while trial < far:
        if holds(target + sign * trial):
            far = trial
            break
        failed, trial = trial, max(1, 2 * trial)
    while far - failed > 1:
        middle = (far + failed) // 2
        if holds(target + sign * middle):
            far = middle
        else:
            failed = middle
    return target + sign * far
