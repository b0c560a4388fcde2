"""Searches for counterexamples: a claim's domain, the cells of a point in it, and by how much the claim holds there.

On the command line ``python -m lrtheory.falsify NAME``; in an experiment file::

    falsify={"T1": Search(bounds={"k": Ints(4, 6), "alpha": Floats(0.3, 1.0)}, cells=cells, margin=margin)}

``docs/falsify.md`` says how to write one, and how to read "none found".
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .bounds import Bound, Choices, Floats, Ints, Point
from .declaring import Search

if TYPE_CHECKING:
    from .session import Finding, find_counterexample

# pandas comes only with these
_LAZY = {"Finding": "session", "find_counterexample": "session"}

__all__ = ["Bound", "Choices", "Finding", "Floats", "Ints", "Point", "Search", "find_counterexample"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
