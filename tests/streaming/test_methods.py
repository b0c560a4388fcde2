"""From an experiment's cells to estimates: every name makes its method, and what is stored of it is true."""

import numpy as np
import pytest

from lrtheory.random import Stream
from lrtheory.streaming import Oja, instances, metrics
from lrtheory.streaming.methods import METHODS, method
from lrtheory.streaming.trials import judged

MADE = instances.generic(400, 8, 50.0)
CELL = dict(step_size=20.0, n_blocks=4, block_size=None, h_max=5, n_components=1, batch=10, size=6)


@pytest.mark.parametrize("name", METHODS)
def test_every_name_makes_a_method_that_finds_the_direction(name):
    cell = CELL | {"method": name} | ({"block_size": 20} if name == "history" else {})
    cell |= {"step_size": 800.0, "t0": 20.0} if name.endswith("_inv") else {"size": 200} if name == "row_sample" else {}
    found = method(cell, Stream(3)).fit(MADE.rows)
    row = judged(found, MADE.direction)
    assert row["corr2"] == pytest.approx(1 - row["sin2"], abs=1e-12)
    assert row["state_floats"] == found.state_floats_
    # what keeps some rows, or a sketch of few, is only better than a guess
    few = ("heavy_rows", "count_sketch", "row_sample", "geometric_median_oja")
    assert row["corr2"] > (0.3 if name in few else 0.9)


def test_members_of_a_batch_are_judged_one_by_one():
    found = Oja(np.array([[1.0, 20.0], [5.0, 1e-9]])).fit(MADE.rows)
    row = judged(found, MADE.direction)
    np.testing.assert_allclose(row["corr2"], metrics.corr2(found.components_[..., 0, :], MADE.direction))
    assert row["status"].tolist() == [["no_growth", "ok"], ["ok", "no_growth"]]
    np.testing.assert_array_equal(row["state_floats"], np.full((2, 2), found.state_floats_ / 4))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean oja"):
        method({"method": "ojaa"}, Stream(0))
