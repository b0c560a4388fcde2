"""The search itself, on margins that are known in closed form."""

import math
import sys
import time

import pytest

from lrtheory.falsify import Choices, Floats, Ints, Search, find_counterexample
from lrtheory.falsify.proposing import Proposals
from lrtheory.sweep import Experiment, UsageError, grid

BOUNDS = {"k": Ints(1, 20), "alpha": Floats(0, 1), "kind": Choices(["flat", "lift"])}


def toy(margin, cells=lambda point: [point], bounds=BOUNDS, run=None):
    """An experiment whose margin is a function of the (first) cell."""

    def plain(cells, device):
        for cell in cells:
            yield cell, {"x": [0.0, 1.0]}

    def of_frame(frame):
        return margin(frame.iloc[0])

    search = Search(bounds, cells, of_frame, "a toy claim")
    preset = grid(k=[1, 2], alpha=0.5, kind=["flat", "lift"])
    return Experiment(name="toy", presets={"small": preset}, run=run or plain, falsify={"C": search})


def find(margin, evaluations=400, **keywords):
    settings = {name: keywords.pop(name) for name in ("seed", "budget", "watch") if name in keywords}
    return find_counterexample(toy(margin, **keywords), "C", **{"evaluations": evaluations, "budget": 30, **settings})


def rare(row):
    """Violated on 0.2 % of the domain, and the margin leads there."""
    return 20 - row["k"] + 10 * abs(row["alpha"] - 0.7) - 0.2 + (row["kind"] == "flat")


def test_a_rare_counterexample_is_found_and_shrunk():
    found = find(rare, 1000)
    assert (found.stopped, found.minimal) == ("found", True)
    assert found.margin < 0
    assert found.point == {"k": 20, "alpha": 0.7, "kind": "lift"}
    assert found.cells == ({"k": 20, "alpha": 0.7, "kind": "lift"},)
    assert find(lambda row: rare(row) + 1, 300).point is None


def test_same_seed_and_number_of_evaluations_same_search():
    def tried(seed, pause):
        points = []

        def margin(row):
            points.append((row["k"], row["alpha"], row["kind"]))
            time.sleep(pause)
            return rare(row)

        return find(margin, 60, seed=seed).closest, points

    first = tried(0, 0)
    assert first == tried(0, 0.002)
    assert first[1][1:] != tried(1, 0)[1][1:]
    assert len(first[1]) == 60


def test_nan_is_no_counterexample():
    found = find(lambda row: math.nan, 30)
    assert (found.point, found.stopped, found.counts["no verdict"]) == (None, "evaluations", 30)
    assert found.closest is None
    assert found.largest_share == 1.0  # nothing was learnt
    # nor is a point without verdict accepted while shrinking
    found = find(lambda row: math.nan if row["k"] < 7 else -1.0)
    assert found.minimal
    assert found.point["k"] == 7


def test_minus_infinity_is_a_counterexample_and_zero_is_none():
    assert find(lambda row: -math.inf).point == {"k": 1, "alpha": 0.0, "kind": "flat"}
    assert find(lambda row: 0.0, 20).point is None


def test_a_finite_domain_is_exhausted():
    bounds = {"k": Ints(1, 20), "kind": Choices(["flat", "lift"])}
    found = find(lambda row: 1.0, None, bounds=bounds)
    assert (found.stopped, found.searched, found.counts["judged"]) == ("exhausted", 40, 40)
    # the one bad point is always found
    found = find(lambda row: -1.0 if (row["k"], row["kind"]) == (13, "lift") else 1.0, None, bounds=bounds)
    assert found.point == {"k": 13, "kind": "lift"}


def test_points_outside_the_domain_are_not_run():
    def cells(point):
        return [point] if point["k"] > 10 else []

    found = find(lambda row: 1.0 if row["k"] > 10 else -1.0, 100, cells=cells)
    assert found.point is None
    assert found.counts["outside"] > 10
    assert found.counts["judged"] + found.counts["outside"] == 100


def test_uniform_points_bound_the_share():
    found = find(lambda row: 1.0, 401)
    assert found.uniform == 100
    # 95 % of the time a violated share p shows in 100 uniform points: 1 - (1 - p)^100 = 0.95
    assert 1 - (1 - found.largest_share) ** 100 == pytest.approx(0.95)


def test_uniform_points_are_uniform():
    proposals = Proposals(BOUNDS, 3)
    drawn = [point for point, uniform in (proposals.next() for _ in range(4000)) if uniform]
    assert len(drawn) == 1000
    for name, expected, spread in (("k", 10.5, 5.77), ("alpha", 0.5, 0.289)):
        mean = sum(point[name] for point in drawn) / 1000
        assert abs(mean - expected) < 4 * spread / math.sqrt(1000)


def test_no_point_comes_twice():
    proposals = Proposals({"k": Ints(1, 30), "kind": Choices("abc"[i] for i in range(3))}, 0)
    points = []
    while not proposals.exhausted:
        points.append(tuple(proposals.next()[0].values()))
        proposals.tell({"k": points[-1][0], "kind": points[-1][1]}, points[-1][0])
    assert len(points) == len(set(points)) == 90


def test_a_long_evaluation_does_not_overrun_the_budget():
    start = time.monotonic()
    found = find(lambda row: time.sleep(20) or 1.0, budget=0.5)
    assert time.monotonic() - start < 2
    assert (found.stopped, found.searched) == ("budget", 0)


def test_what_was_found_before_the_budget_ran_out_is_kept():
    violations = []

    def margin(row):
        if len(violations) == 2:  # the second while shrinking
            time.sleep(20)
        if row["k"] > 9:
            violations.append(row["k"])
        return 9.5 - row["k"]

    found = find(margin, budget=1.0)
    assert (found.stopped, found.cut, found.minimal) == ("found", "budget", False)
    assert (found.point["k"], found.margin) == (violations[1], 9.5 - violations[1])
    assert found.first["k"] == violations[0]


def test_evaluations_count_search_and_shrinking():
    found = find(rare, 1000)
    short = find(rare, found.searched + 3)
    assert (short.cut, short.searched, short.shrinking) == ("evaluations", found.searched, 3)
    assert short.first == found.first


def test_errors_are_counted_and_no_counterexamples():
    def margin(row):
        if row["k"] % 2:
            raise RuntimeError("odd")
        return 1.0

    found = find(margin, 50)
    assert found.point is None
    assert found.counts["failed"] > 10
    assert found.error.startswith("RuntimeError: odd (test_falsify_search.py:")
    assert find(lambda row: sys.exit(3), 5).error.startswith("SystemExit: 3 (")
    hopeless = find(lambda row: row["no_such_column"], 500)
    assert (hopeless.stopped, hopeless.searched) == ("failing", 20)


def test_a_run_that_leaves_cells_out_fails():
    found = find(lambda row: -1.0, 5, run=lambda cells, device: iter(()))
    assert found.point is None
    assert "0 tables for 1 cells" in found.error


def test_cells_that_run_together_do_and_the_margin_sees_all():
    sizes = []

    def run(cells, device):
        sizes.append(len(cells))
        for cell in cells:
            yield cell, {"x": cell["seed"]}

    experiment = Experiment(
        name="toy",
        presets={"small": grid(k=1, seed=0)},
        run=run,
        together=("seed",),
        falsify={
            "C": Search({"k": Ints(1, 9)}, lambda p: grid(**p, seed=range(5)), lambda frame: frame["x"].sum() - 9)
        },
    )
    found = find_counterexample(experiment, "C", budget=30)
    assert (found.stopped, set(sizes)) == ("exhausted", {5})
    assert found.closest[1] == 1.0


def test_wrong_usage():
    experiment = toy(lambda row: 1.0)
    with pytest.raises(UsageError, match=r"declares no search for 'D'.*there are: C"):
        find_counterexample(experiment, "D")
    for budget in (0, -1, math.inf, math.nan):
        with pytest.raises(UsageError, match="budget must be positive"):
            find_counterexample(experiment, "C", budget=budget)
    with pytest.raises(UsageError, match="evaluations must be at least 1"):
        find_counterexample(experiment, "C", evaluations=0)


def test_an_interrupt_brings_what_was_found():
    def margin(row):
        if row["alpha"] < 0.05 and row["k"] > 1:
            raise KeyboardInterrupt
        return -1.0 if row["k"] > 9 else 1.0

    with pytest.raises(KeyboardInterrupt) as caught:
        find(margin)
    finding = caught.value.finding
    assert finding.stopped == "interrupted" or finding.cut == "interrupted"
