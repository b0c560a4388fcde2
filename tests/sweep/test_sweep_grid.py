"""Grids and ``--set``."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.sweep import Experiment, Grid, UsageError, grid
from lrtheory.sweep.experiment import canonical
from lrtheory.sweep.overrides import apply, parse


def test_a_grid_is_a_product_of_axes() -> None:
    cells = list(grid(k=[3, 5], seed=range(3), eta=0.1))
    assert len(cells) == 6
    assert cells[0] == {"k": 3, "seed": 0, "eta": 0.1}
    assert len(grid(k=[3, 5], seed=range(3), eta=0.1)) == 6


def test_a_sum_is_a_union() -> None:
    union = grid(k=[3, 5], seed=range(4)) + grid(k=3, seed=range(6))
    assert len(union) == len(list(union)) == 10
    assert len(union + grid(m=100)) == 11


def test_values_are_plain_scalars() -> None:
    cell = next(
        iter(grid(k=np.int64(3), alpha=np.linspace(0, 1, 2), flag=np.bool_(True), m=math.inf, rho=None, s="ab"))
    )
    assert cell == {"k": 3, "alpha": 0.0, "flag": True, "m": math.inf, "rho": None, "s": "ab"}
    assert [type(value) for value in cell.values()] == [int, float, bool, float, type(None), str]


def test_equal_values_count_once_whatever_their_type() -> None:
    assert grid(k=[3, 3.0, np.float32(3), 5]).parts[0]["k"] == (3, 5)
    assert canonical(3.0) == canonical(3) == "3"
    assert canonical(-0.0) == canonical(0)
    assert len({canonical(value) for value in (1, True, "1", "true", None, "null", 1.5)}) == 7


@pytest.mark.parametrize(
    ("axes", "error", "match"),
    [
        ({}, ValueError, "at least one axis"),
        ({"k": []}, ValueError, "'k' has no values"),
        ({"k": math.nan}, ValueError, "NaN"),
        ({"k": [(1, 2)]}, TypeError, "tuple"),
        ({"k": [np.ones(2)]}, TypeError, "ndarray"),
        ({"k": {"a": 1}}, TypeError, "mapping"),
        ({"k": 2**60}, ValueError, "2\\*\\*53"),
    ],
)
def test_bad_axes_are_refused(axes: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        grid(**axes)


def make(**changes: object) -> Experiment:
    settings = {
        "name": "x",
        "version": 1,
        "title": "",
        "presets": {"small": grid(k=3)},
        "run": lambda cells, device: [],
    }
    return Experiment(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "a/b"}, "name"),
        ({"version": 0}, "version"),
        ({"batch": 0}, "batch"),
        ({"block": 1.5}, "block"),
        ({"presets": {}}, "presets"),
        ({"presets": {"small": [1]}}, "presets"),
        ({"together": "seed"}, "together"),
        ({"together": ("sed",)}, "sed"),
        ({"presets": {"small": grid(k=3), "paper": grid(k="auto")}}, "'k' mixes number and string"),
    ],
)
def test_bad_experiments_are_refused(changes: dict, match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        make(**changes)


BASE = grid(k=[3, 5], alpha=[0.5, 1.0], m=[600, math.inf], flag=[True, False], kind=["a", "b"], rho=[None, 1.0], seed=0)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("k=7", [7]),
        ("k=3,7,9", [3, 7, 9]),
        ("k=0:4", [0, 1, 2, 3]),
        ("k=0:10:4,99", [0, 4, 8, 99]),
        ("k=log:1:100:3", [1, 10, 100]),
        ("alpha=log:1e-3:1:4", [1e-3, 1e-2, 1e-1, 1.0]),
        ("alpha=1", [1.0]),
        ("m=inf,1200", [math.inf, 1200]),
        ("flag=true", [True]),
        ("kind=c,d", ["c", "d"]),
        ("kind=1", ["1"]),
        ("rho=none,2", [None, 2.0]),
    ],
)
def test_set_reads_values_of_the_axis_type(setting: str, values: list) -> None:
    name = setting.partition("=")[0]
    found = list(apply(BASE, [setting]).axes[name])
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["alhpa=1"], "did you mean alpha"),
        (["zzz=1"], "there are: alpha, flag, k"),
        (["k"], "AXIS=VALUES"),
        (["k=3", "k=5"], "twice"),
        (["k=3.5"], "whole numbers"),
        (["k=inf"], "whole numbers"),
        (["k=abc"], "a number expected"),
        (["k=nan"], "NaN"),
        (["k=5:5"], "empty"),
        (["k=3,,5"], "empty value"),
        (["k="], "empty value"),
        (["alpha=0:1:0.1"], "no range"),
        (["alpha=log:0:1:3"], "no log grid"),
        (["alpha=log:1:2"], "no log grid"),
        (["alpha=log:1:2:9999999999"], "no log grid"),
        (["seed=0:9999999999"], "at most 1000000"),
        ({"seed": "0:9999999999"}, "at most 1000000"),
        (["flag=1"], "true or false"),
        ({"k": "x"}, "a number expected"),
        ({"k": [3.5]}, "whole numbers"),
        ({"k": []}, "no values"),
        ({"kind": 3}, "string expected"),
        ({"k": None}, "None"),
    ],
)
def test_bad_settings_are_refused(settings: list | dict, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        apply(BASE, settings)


def test_set_acts_on_the_parts_that_have_the_axis_and_makes_products() -> None:
    union = grid(k=[3, 5], seed=0) + grid(m=100, seed=[0, 1])
    found = list(apply(union, ["k=7", "seed=0:3"]))
    assert found == [{"k": 7, "seed": s} for s in range(3)] + [{"m": 100, "seed": s} for s in range(3)]


def test_set_takes_python_values() -> None:
    found = apply(BASE, {"k": range(2), "alpha": np.array([0.25]), "m": "600"})
    assert found.axes["k"] == (0, 1)
    assert found.axes["alpha"] == (0.25,)
    assert found.axes["m"] == (600,)


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5, unique=True))
def test_lists_of_integers_read_back(values: list[int]) -> None:
    assert parse("k", ",".join(map(str, values)), (1,)) == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_lists_of_floats_read_back(values: list[float]) -> None:
    assert parse("a", ",".join(map(repr, values)), (0.5,)) == values


@given(st.integers(-50, 50), st.integers(1, 40), st.integers(1, 7))
def test_ranges_are_pythons(low: int, width: int, step: int) -> None:
    assert parse("k", f"{low}:{low + width}:{step}", (1,)) == list(range(low, low + width, step))


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 30))
def test_log_grids_have_their_ends_and_one_ratio(low: float, high: float, count: int) -> None:
    values = parse("a", f"log:{low!r}:{high!r}:{count}", (0.5,))
    assert np.allclose(values, np.geomspace(low, high, count), rtol=1e-10)


LARGE = st.sampled_from(["0", "-3", "7", "1e300", "inf", str(2**53), str(2**53 + 2), str(2**63), "9" * 20, "9" * 400])


@given(
    st.text(max_size=20)
    | st.lists(LARGE, min_size=1, max_size=4).map(":".join)
    | st.builds("log:{}:{}:{}".format, LARGE, LARGE, LARGE)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert all(type(value) is int for value in apply(BASE, {"k": text}).axes["k"])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 3), min_size=1), min_size=1))
def test_iteration_gives_the_distinct_cells(axes: dict[str, list[int]]) -> None:
    made = grid(**axes)
    assert len(list(made)) == len(made) == math.prod(len(set(values)) for values in axes.values())
    assert len(made + made) == len(made)
    assert isinstance(made + made, Grid)
