"""Which point to try next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from .bounds import Bound, Point
from .declaring import point_key

T = TypeVar("T")

_KEPT = 5  # points of the smallest margins, whose neighbourhoods are searched
_RETRIES = 50  # draws of a point that was not tried before
_MOST_LISTED = 10_000  # points of a finite domain that are enumerated once draws repeat


class Proposals:
    """Points to try, one after the other; which is next depends on the seed and on the margins so far, not on time.

    The first point is the simplest. Then half of the points are drawn from the domain, in turn uniformly (these say
    how much of the domain can violate the claim) and with many coordinates at their ends, and half are variations of
    the points with the smallest margins. No point comes twice.

    Parameters
    ----------
    bounds : dict of str to Bound
    seed : int
    purpose : str
        Points for other purposes, such as another claim, are drawn independently.
    """

    def __init__(self, bounds: Mapping[str, Bound], seed: int, purpose: str = "") -> None:
        self._bounds, self._key = bounds, f"{seed}/{purpose}"
        self._size = math.prod(bound.size for bound in bounds.values())
        self._tried: set[str] = set()
        self._best: list[tuple[float, int, Point]] = []
        self._count = 0

    @property
    def exhausted(self) -> bool:
        """True if every point of the domain was proposed."""
        return len(self._tried) >= self._size

    def next(self) -> tuple[Point, bool]:
        """Return a new point, and whether it was drawn uniformly from the domain. Not to be called once exhausted."""
        random = Random(f"{self._key}/{self._count}")  # of its own for each point; a text is hashed the same everywhere
        point, uniform = self._draw(random)
        for _ in range(_RETRIES):
            if point_key(point) not in self._tried:
                break
            point, uniform = self._draw(random)
        else:
            if self._size <= _MOST_LISTED:
                point, uniform = self._untried(), False
        self._tried.add(point_key(point))
        self._count += 1
        return point, uniform

    def tell(self, point: Point, margin: float) -> None:
        """Take note of the margin at a point (NaN: none)."""
        if not math.isnan(margin):
            self._best = sorted([*self._best, (margin, self._count, point)], key=lambda entry: entry[:2])[:_KEPT]

    def _draw(self, random: Random) -> tuple[Point, bool]:
        if self._count == 0:
            return {name: bound.simplest for name, bound in self._bounds.items()}, False
        turn = self._count % 4
        if turn in (1, 3) and self._best:
            return self._variation(random), False
        if turn == 2:
            return {name: bound.at(random.random()) for name, bound in self._bounds.items()}, True
        return {
            name: _one(bound.ends, random) if random.random() < 0.5 else bound.at(random.random())
            for name, bound in self._bounds.items()
        }, False

    def _variation(self, random: Random) -> Point:
        point = dict(_one(self._best, random)[2])
        names = sorted(self._bounds, key=lambda name: random.random())
        count = 1
        while count < len(names) and random.random() < 0.4:
            count += 1
        for name in names[:count]:
            bound = self._bounds[name]
            if random.random() < 0.3:
                point[name] = bound.at(random.random())
            else:  # a step of any size, from a thousandth of the range
                step = 10.0 ** (-3 * random.random())
                unit = bound.position(point[name]) + (step if random.random() < 0.5 else -step)
                point[name] = bound.at(min(max(unit, 0.0), 1.0))
        return point

    def _untried(self) -> Point:
        points = itertools.product(*(bound.values() for bound in self._bounds.values()))
        named = (dict(zip(self._bounds, values, strict=True)) for values in points)
        return next(point for point in named if point_key(point) not in self._tried)


def _one(options: Sequence[T], random: Random) -> T:
    """Return one of the options; only `Random.random` draws the same numbers in every version of Python."""
    return options[int(random.random() * len(options))]
