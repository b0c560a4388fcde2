"""Kernels against the plain expression they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lrtheory.backend import is_array, to_numpy


def check_kernel_twins(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    cases: Iterable[tuple[Any, ...]],
    *,
    rtol: float = 1e-12,
) -> int:
    """Hold a kernel against a reference of the same signature.

    Parameters
    ----------
    kernel, reference : callable
        Each gets its own copies of the arguments. What they return is compared, and so is every array argument
        afterwards, since kernels overwrite.
    cases : iterable of tuples
        Arguments.
    rtol : float
        Allowed difference, relative to the largest number of the array compared. Infinities and NaN must agree in
        place; integers and booleans must be equal.

    Returns
    -------
    int
        Number of cases.

    Raises
    ------
    AssertionError
        Naming the case and what differs; also if there is no case.
    """
    count = 0
    for count, case in enumerate(cases, start=1):
        ours, theirs = _copy(case), _copy(case)
        got, expected = kernel(*ours), reference(*theirs)
        _compare(f"case {count}, result", got, expected, rtol)
        for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if is_array(a):
                _compare(f"case {count}, argument {position} afterwards", a, b, rtol)
    if count == 0:
        raise AssertionError("no case was given")
    return count


def _copy(case: tuple[Any, ...]) -> list[Any]:
    return [a.copy() if is_array(a) else a for a in case]


def _compare(what: str, got: Any, expected: Any, rtol: float) -> None:
    if isinstance(expected, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            raise AssertionError(f"{what}: {len(expected)} values are due, got {got!r}")
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            _compare(f"{what}[{i}]", a, b, rtol)
        return
    if expected is None and got is None:
        return
    a, b = (
        to_numpy(got) if is_array(got) else np.asarray(got),
        to_numpy(expected) if is_array(expected) else np.asarray(expected),
    )
    if a.shape != b.shape or a.dtype != b.dtype:
        raise AssertionError(f"{what}: {a.dtype}{a.shape} where {b.dtype}{b.shape} is due")
    if a.dtype.kind not in "fc":
        if not np.array_equal(a, b):
            raise AssertionError(f"{what}: {a!r} where {b!r} is due")
        return
    usual = np.isfinite(b)
    if not np.array_equal(usual, np.isfinite(a)) or not np.array_equal(a[~usual], b[~usual], equal_nan=True):
        raise AssertionError(f"{what}: NaN or infinities differ")
    size = np.max(np.abs(b[usual]), initial=0.0)
    error = np.max(np.abs(a[usual] - b[usual]), initial=0.0)
    if not error <= rtol * size:
        raise AssertionError(f"{what}: off by {error:.3g} where {rtol * size:.3g} is allowed")
