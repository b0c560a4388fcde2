"""Coordinates: which values they take, and how a counterexample becomes simple."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.falsify import Choices, Floats, Ints, Search
from lrtheory.falsify.bounds import _Decimals, _Significant, nearest_holding
from lrtheory.falsify.shrinking import shrink

BOUNDS = [
    Ints(3, 9),
    Ints(1, 1000, scale="log"),
    Ints(-5, 5, simplest=0),
    Floats(-1, 2),
    Floats(1e-3, 1, scale="log"),
    Choices(["a", "b", "c"]),
    Choices([True, None, 2.5]),
]
units = st.floats(0, 1, exclude_max=True)


@given(st.sampled_from(BOUNDS), units)
def test_every_position_is_a_value_of_the_domain(bound, unit):
    value = bound.at(unit)
    assert bound.checked(value) == value
    again = bound.at(bound.position(value))
    assert again == value or (isinstance(value, float) and math.isclose(again, value, rel_tol=2e-6, abs_tol=1e-5))


@pytest.mark.parametrize("bound", [Ints(3, 9), Choices(["ab", "c"]), Ints(1, 4, scale="log")])
def test_all_values_of_a_finite_bound_are_drawn(bound):
    drawn = {bound.at(i / 1000) for i in range(1000)}
    assert drawn == set(bound.values())
    assert len(drawn) == bound.size


def test_equal_lengths_are_equal_shares():
    counts = [sum(Ints(0, 4).at((i + 0.5) / 1000) == value for i in range(1000)) for value in range(5)]
    assert counts == [200] * 5
    middle = Floats(0.01, 1, scale="log").at(0.5)
    assert middle == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ints(3, 2), "low <= simplest <= high"),
        (lambda: Ints(0, 2, simplest=3), "low <= simplest <= high"),
        (lambda: Ints(0.5, 2), "low must be a whole number"),
        (lambda: Ints(0, 2, scale="log"), "log scale needs low > 0"),
        (lambda: Floats(1, 1), "low < high"),
        (lambda: Floats(0, math.inf), "high must be a finite number"),
        (lambda: Floats(0, 1, scale="cubic"), "scale must be"),
        (lambda: Choices([]), "must not be empty"),
        (lambda: Choices("abc"), "sequence of values"),
        (lambda: Search({}, list, float), "bounds must map"),
        (lambda: Search({"k": (1, 2)}, list, float), "bounds\\['k'\\] must be"),
        (lambda: Search({"k": Ints(1, 2)}, list, 0.5), "margin must be a function"),
    ],
)
def test_bad_declarations_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


SEARCH = Search({"k": Ints(3, 6), "alpha": Floats(0.1, 1), "kind": Choices(["flat", "lift"])}, list, float)


def test_points_are_checked():
    assert list(SEARCH.checked({"kind": "lift", "alpha": 1, "k": 4.0}).items()) == [
        ("k", 4),
        ("alpha", 1.0),
        ("kind", "lift"),
    ]
    for change, message in [
        ({"k": 7}, "coordinate k: 7 lies outside"),
        ({"k": 3.5}, "coordinate k: a whole number"),
        ({"alpha": math.nan}, "coordinate alpha"),
        ({"kind": "none"}, "coordinate kind: 'none' is none of flat, lift"),
        ({"n": 3}, "no coordinate 'n'"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            SEARCH.checked({"k": 3, "alpha": 0.5, "kind": "flat", **change})
    with pytest.raises(ValueError, match="no alpha, kind"):
        SEARCH.checked({"k": 3})


@given(st.floats(1e-6, 10), st.sampled_from([_Decimals(3), _Decimals(0), _Significant(1), _Significant(3)]))
def test_grids_of_short_numbers(value, grid):
    below, above = (grid.number(grid.index(value, way)) for way in (ROUND_FLOOR, ROUND_CEILING))
    assert below <= value <= above
    assert grid.index(above, ROUND_FLOOR) - grid.index(below, ROUND_FLOOR) == (0 if below == value else 1)
    digits = f"{above:.2e}" if isinstance(grid, _Significant) else f"{above:.{grid.decimals}f}"
    assert float(digits) == above


# -- shrinking --------------------------------------------------------------------------------------------------------


@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 600))
def test_whole_numbers_stop_at_the_edge(value, target, threshold):
    """What holds from some distance on is shrunk to exactly that distance, in few trials."""
    trials = []

    def holds(number):
        trials.append(number)
        return abs(number - target) >= threshold

    found = nearest_holding(value, target, holds)
    assert abs(found - target) == min(threshold, abs(value - target))
    assert min(value, target) <= found <= max(value, target)
    assert len(trials) <= 2 * math.log2(abs(value - target) + 2) + 2


@pytest.mark.parametrize(
    ("bound", "value", "holds", "simple"),
    [
        (Floats(0, 1), 0.734215, lambda x: True, 0.0),
        (Floats(0, 1), 0.734215, lambda x: x > 0.42, 1.0),
        (Floats(0, 1), 0.734215, lambda x: 0.42 < x < 0.76, 0.5),
        (Floats(0, 1), 0.734215, lambda x: 0.714 < x < 0.755, 0.72),
        (Floats(0, 1, simplest=1), 0.734215, lambda x: 0.714 < x < 0.755, 0.75),
        (Floats(0.1, 1, simplest=0.5), 0.234215, lambda x: x < 0.45, 0.4),
        (Floats(-1, 1, simplest=0), -0.734215, lambda x: -1 < x < -0.42, -0.5),
        (Floats(0, 5e5), 123456.7, lambda x: x > 7e4, 1e5),
        (Floats(1e-6, 1e-3, scale="log"), 4.56789e-5, lambda x: x > 1.3e-5, 2e-5),
        (Floats(1e-6, 1e-3, scale="log"), 4.56789e-5, lambda x: 3.21e-5 < x < 3.9e-5 or x > 4.1e-5, 5e-5),
        (Floats(1e-6, 1e-3, scale="log"), 3.456789e-5, lambda x: 3.21e-5 < x < 3.9e-5, 3.3e-5),
        (Floats(1e-6, 1, scale="log", simplest=1), 3.4e-5, lambda x: x < 0.0123, 0.01),
        (Floats(0, 1), 0.734215, lambda x: x == 0.734215, 0.734215),
        (Choices("abcd"[i] for i in range(4)), "d", lambda x: x in "bd", "b"),
    ],
)
def test_numbers_become_short_then_close_to_the_simplest(bound, value, holds, simple):
    assert bound.simplify(value, holds) == simple


def test_known_minimal_point():
    """k >= 7, seed >= 123, 0.42 < alpha < 1, kind at least the third: the margin says so, and shrinking finds it."""
    bounds = {
        "k": Ints(1, 50),
        "seed": Ints(0, 9999),
        "alpha": Floats(0, 1),
        "kind": Choices(["a", "b", "c", "d"]),
    }

    def violates(point):
        return point["k"] >= 7 and point["seed"] >= 123 and 0.42 < point["alpha"] < 1 and point["kind"] in "cd"

    start = {"k": 33, "seed": 7321, "alpha": 0.861742, "kind": "d"}
    assert shrink(bounds, start, violates) == {"k": 7, "seed": 123, "alpha": 0.5, "kind": "c"}


def test_coordinates_that_depend_on_each_other_are_shrunk_in_order():
    """n + k >= 60: the first coordinate becomes simple first, and the pass is repeated until nothing moves."""
    bounds = {"n": Ints(1, 100), "k": Ints(1, 40)}
    found = shrink(bounds, {"n": 90, "k": 35}, lambda point: point["n"] + point["k"] >= 60)
    assert found == {"n": 25, "k": 35}
    found = shrink(dict(reversed(bounds.items())), {"n": 90, "k": 35}, lambda point: point["n"] + point["k"] >= 60)
    assert found == {"n": 59, "k": 1}


@given(st.sets(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1), st.randoms())
def test_shrunk_is_minimal_for_any_set_of_counterexamples(bad, random):
    """No move of one coordinate is left, and every point that was accepted on the way was simpler than the last."""
    bounds = {"a": Ints(0, 15), "b": Ints(0, 15, simplest=5)}
    start = dict(zip("ab", random.choice(sorted(bad)), strict=True))
    accepted = [start]

    def violates(point):
        if (point["a"], point["b"]) in bad:
            accepted.append(point)
            return True
        return False

    found = shrink(bounds, start, violates)
    assert (found["a"], found["b"]) in bad
    for name, bound in bounds.items():
        distance = abs(found[name] - bound.simplest)
        sign = 1 if found[name] > bound.simplest else -1
        for shorter in {0, 1, 2, 4, 8, distance - 1} & set(range(distance)):
            other = {**found, name: bound.simplest + sign * shorter}
            assert (other["a"], other["b"]) not in bad
    totals = [point["a"] + abs(point["b"] - 5) for point in accepted]
    assert totals == sorted(totals, reverse=True)
