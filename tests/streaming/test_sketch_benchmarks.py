"""The benchmarks of summaries: what is timed side by side gives the same, and a row comes of each."""

import pytest

from benchmarks import streaming_sketches
from lrtheory.random import Stream
from lrtheory.streaming import FrequentDirections


def test_the_plain_frequent_directions_takes_off_as_much():
    rows = Stream(0, "rows").normal((300, 30))
    assert streaming_sketches.plain_directions(rows, 5) == pytest.approx(
        FrequentDirections(5).fit(rows).error_, rel=1e-12
    )


def test_rows():
    rows = [
        *streaming_sketches.count_sketch(50, 6, 1),
        streaming_sketches.sparse_count_sketch(50, 20, 3, 1),
        streaming_sketches.directions(60, 30, 4, 5.0, 1),
        streaming_sketches.gaussian_sketch(50, 6, 1),
        streaming_sketches.row_sample(50, 6, 1),
    ]
    assert all(row.ratio > 0 and row.floor_s > 0 for row in rows)
