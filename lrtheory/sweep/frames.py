"""What claims and figures do with an experiment's frame: rows by condition, by case, by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

SEEDS = ("seed", "init_seed")
"""The axes over which statistics are formed."""


def complete(frame: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return the frame with a column for every axis (a preset or ``--set`` may leave sub-grids out)."""
    return frame.reindex(columns=[*axes, *(name for name in frame.columns if name not in axes)])


def finished(frame: pd.DataFrame, column: str = "iteration") -> pd.DataFrame:
    """Return the rows of the cells that did not fail: those with a value in a column that every table has."""
    return frame.dropna(subset=column) if column in frame else frame


def where(frame: pd.DataFrame, **conditions: Any) -> pd.DataFrame:
    """Return the rows that agree with every condition (numbers to rounding, relative to their size)."""
    keep = np.ones(len(frame), dtype=bool)
    for name, value in conditions.items():
        column = frame[name]
        text = isinstance(value, str)
        keep &= (column == value) if text else np.isclose(column.astype(float), value, rtol=1e-9, atol=0.0)
    return frame[keep]


def cases(
    rows: pd.DataFrame, axes: Sequence[str], free: Sequence[str], named: Sequence[str] = ()
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Group rows that agree in every axis outside `free`: nothing that a statement does not name is ever averaged.

    Parameters
    ----------
    rows : DataFrame
        With a column for each axis.
    axes : sequence of str
        All axes of the experiment.
    free : sequence of str
        The axes over which the rows of a case differ.
    named : sequence of str
        Axes that are always told; others are where they vary among rows that agree in these. An axis that a case does
        not have is not told of it.

    Yields
    ------
    end : str
        The end of a claim's id, for example ``.k5.m600``.
    words : str
        The case in words, for example ``, k = 5, m = 600``.
    rows : DataFrame
    """
    fixed = [axis for axis in axes if axis not in free]
    for _, group in rows.groupby(list(named), dropna=False) if len(named) else [((), rows)]:
        told = [*named, *(axis for axis in fixed if axis not in named and group[axis].nunique() > 1)]
        for _, part in group.groupby(fixed, dropna=False):
            values = {axis: part[axis].iloc[0] for axis in told if part[axis].notna().all()}
            end = "".join(f".{v}" if isinstance(v, str) else f".{axis}{v:.6g}" for axis, v in values.items())
            words = "".join(f", {v}" if isinstance(v, str) else f", {axis} = {v:.6g}" for axis, v in values.items())
            yield end, words, part


def per_cell(
    frame: pd.DataFrame, axes: Sequence[str], found: Sequence[str], measure: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """Return one row for each cell: its axes, and what ``measure(cell's rows)`` says, by the names in `found`.

    NaN for a cell without rows (it failed).
    """
    rows = []
    for key, cell in complete(frame, axes).groupby(list(axes), dropna=False, sort=True):
        has_table = cell.drop(columns=list(axes)).notna().any(axis=None)
        rows.append(dict(zip(axes, key, strict=True)) | (measure(cell) if has_table else {}))
    return pd.DataFrame(rows, columns=[*axes, *found])


def largest(rows: pd.DataFrame, axes: Sequence[str], free: Sequence[str]) -> pd.DataFrame:
    """Return, of the cases that agree in every axis outside `free` and the seeds, the one with most rows.

    What a panel draws: panels pool none.
    """
    fixed = [axis for axis in axes if axis not in (*free, *SEEDS)]
    return max((part for _, part in rows.groupby(fixed, dropna=False)), key=len, default=rows)


def by_seed(rows: pd.DataFrame, value: Any) -> pd.Series:
    """Return the values as a Series indexed by seed, as claims take them; `value` is a column's name or the values."""
    value = rows[value] if isinstance(value, str) else value
    return pd.Series(np.asarray(value, dtype=float), index=pd.Index(rows["seed"], name="seed"))
