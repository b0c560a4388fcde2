"""Rows by condition: numbers agree to rounding, relative to their size."""

import pandas as pd

from lrtheory.sweep.frames import where


def test_small_numbers_are_told_apart():
    """Scales and noises of 1e-9 and 1e-10 are two values, which a tolerance of 1e-8 would pool."""
    frame = pd.DataFrame({"noise": [0.0, 1e-10, 1e-9, 0.1 + 0.2], "name": list("abcd")})
    assert where(frame, noise=1e-9)["name"].tolist() == ["c"]
    assert where(frame, noise=0.0)["name"].tolist() == ["a"]
    assert where(frame, noise=0.3)["name"].tolist() == ["d"]
    assert where(frame, name="b", noise=1e-10)["name"].tolist() == ["b"]
