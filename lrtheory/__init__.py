"""A laboratory for the theory of low-rank learning.

Sub-modules load on first use, so that ``import lrtheory as lrt`` stays quick::

    lrt.sensing.gaussian_problem, lrt.solve.solve, lrt.first_order.GradientDescent, lrt.sweep.Experiment, ...
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = frozenset(
    {
        "backend",
        "factors",
        "falsify",
        "first_order",
        "low_rank",
        "operators",
        "plotting",
        "random",
        "rates",
        "sensing",
        "solve",
        "spectra",
        "sweep",
        "testing",
        "trace",
    }
)


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_ROOMS | {"__version__"})
