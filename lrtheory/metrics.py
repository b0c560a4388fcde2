"""Metrics that are computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyMetrics(Mapping[str, Any]):
    """A mapping from names to metrics, each computed at its first use.

    What `problem.metrics(x)` may return instead of a dict: between records `solve` reads only the metrics that `watch`
    and `stop` name, and a pass over the data for another one would cost as much as a step.

    Parameters
    ----------
    formulas : mapping from names to callables without arguments
    """

    def __init__(self, formulas: Mapping[str, Callable[[], Any]]) -> None:
        self._formulas = dict(formulas)
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._formulas[name]()
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._formulas)

    def __len__(self) -> int:
        return len(self._formulas)

    def __repr__(self) -> str:
        return f"LazyMetrics({', '.join(self._formulas)})"
