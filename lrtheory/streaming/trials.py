"""From an experiment's cells to estimates: one pass over a stream, and what is known of the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.streaming.metrics import corr2, sin2


def judged(estimator: Any, direction: Any) -> dict[str, Any]:
    """Return what a sweep stores of an estimator's present result, each value of its batch shape.

    ``corr2`` and ``sin2`` of the first component and a direction ``(d,)``, ``status``, and ``state_floats``, the
    numbers that one member of the batch keeps.
    """
    v = estimator.components_[..., 0, :]
    members = int(np.prod(v.shape[:-1]))
    return {
        "corr2": corr2(v, direction),
        "sin2": sin2(v, direction),
        "status": estimator.status_,
        "state_floats": np.full(v.shape[:-1], estimator.state_floats_ / members),
    }
