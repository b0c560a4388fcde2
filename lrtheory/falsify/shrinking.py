"""From a counterexample to a simple one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .bounds import Bound, Holds, Point


def shrink(bounds: Mapping[str, Bound], point: Point, violates: Callable[[Point], bool]) -> Point:
    """Return a minimal counterexample: no coordinate alone can be made simpler by one move.

    The moves of a coordinate are: to its simplest value; for whole numbers one step towards that (and to the distances
    1, 2, 4, ... from it); for choices to any earlier one; for floats to the two neighbours with any smaller number of
    decimals (of significant digits on a log scale), and one unit of the last digit towards the simplest value.

    Parameters
    ----------
    bounds : dict of str to Bound
        Coordinates are made simple in this order, again and again until none moves.
    point : dict
        A counterexample.
    violates : callable ``point -> bool``
        Whether a point is a counterexample. Each point for which it answers True is simpler than the one before, so a
        search that is broken off by an exception may keep the last.
    """
    current = point
    moved = True
    while moved:
        moved = False
        for name, bound in bounds.items():
            value = bound.simplify(current[name], _along(current, name, violates))
            moved = moved or value != current[name]
            current = {**current, name: value}
    return current


def _along(point: Point, name: str, violates: Callable[[Point], bool]) -> Holds:
    return lambda value: violates({**point, name: value})
