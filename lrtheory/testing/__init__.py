"""Public tests: the laws of algorithms, operators and kernels, and Hypothesis strategies to draw problems from.

Users hold their own code against the same laws::

    from lrtheory.testing import check_algorithm
    check_algorithm(MyAlgorithm())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrtheory.testing import strategies
    from lrtheory.testing.algorithms import check_algorithm
    from lrtheory.testing.estimators import check_estimator
    from lrtheory.testing.kernels import check_kernel_twins
    from lrtheory.testing.operators import check_operator

__all__ = ["check_algorithm", "check_estimator", "check_kernel_twins", "check_operator", "strategies"]

_HOMES = {
    "check_algorithm": "algorithms",
    "check_estimator": "estimators",
    "check_kernel_twins": "kernels",
    "check_operator": "operators",
}


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return importlib.import_module(f"{__name__}.strategies")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
