"""Rules that end a run: thresholds are in test_solve.py, here floors, tails and plateaus."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lrtheory.solve import Above, Below, Stalled, State, geometric_grid, solve


@dataclass(frozen=True, eq=False)
class Values:
    """The metric "size" of x = t is a given function of t, one for each element."""

    laws: tuple

    def gradient(self, x):
        return x

    def metrics(self, x):
        t = np.asarray(x)[..., 0]
        if t.ndim == 0:
            return {"size": np.asarray(self.laws[0](float(t)))}
        return {"size": np.array([law(float(s)) for law, s in zip(self.laws, t, strict=True)])}

    resolution = {"size": 0.0}  # noqa: RUF012


@dataclass(frozen=True, eq=False)
class Count:
    def init(self, problem, x, stream):
        return State.first(problem, x)

    def step(self, problem, state):
        return replace(state, x=state.x + 1, t=state.t + 1)


def run(*laws, max_steps=20_000, **options):
    return solve(
        Values(laws),
        Count(),
        start=lambda problem, stream: np.zeros((len(laws), 1)),
        max_steps=max_steps,
        record=[0, max_steps],
        **options,
    )


def floor(t):
    return max(0.97**t, 1e-3)


def test_a_floor_is_a_stall_and_power_laws_are_not():
    laws = [floor, *(lambda t, p=p: (1 + t) ** -p for p in (2.0, 1.0, 0.1)), lambda t: 0.999**t]
    result = run(*laws, stop=Stalled("size"))
    assert result.status.tolist() == ["stopped"] + ["running"] * 4
    assert result.state.t.tolist()[1:] == [20_000] * 4
    assert result.trace.recorded[-1].tolist() == [False] + [True] * 4
    # the floor is reached at log(1e-3) / log(0.97) = 226.8 and is the whole window from 2,268 on
    grid = geometric_grid(20_000)
    first = next(t for t in grid if t >= 1000 and floor(t) > 0.9 * floor(grid[grid <= t / 10][-1]))
    assert result.state.t[0] == first
    assert 2000 < first < 2600


@pytest.mark.parametrize("factor", [0.2, 0.6])
@pytest.mark.parametrize("window", [3.0, 100.0])
def test_window_and_factor(factor, window):
    laws = [lambda t, p=p: (1 + t) ** -p for p in (0.05, 0.3, 1.0)]
    result = run(*laws, max_steps=5000, stop=Stalled("size", factor, window))
    predicted = [window**-p > factor for p in (0.05, 0.3, 1.0)]
    assert (result.status == "stopped").tolist() == predicted


def plateau(t):
    """A saddle that is left at t = 500."""
    return 1.0 if t < 500 else max(0.9 ** (t - 500), 1e-12)


def test_a_plateau_that_is_escaped_needs_min_steps():
    early = run(plateau, stop=Stalled("size", min_steps=50))
    assert (early.status[0], early.state.t[0]) == ("stopped", 50)
    # 0.9^(t - 500) is at its floor at t = 763; at t = 1000 it is compared with t = 100, on the plateau
    late = run(plateau, stop=Stalled("size", min_steps=1000))
    assert late.status[0] == "stopped"
    assert late.state.t[0] > 5000


def test_nan_and_zero_never_stall():
    assert run(lambda t: np.nan, lambda t: 0.0, stop=Stalled("size")).status.tolist() == ["running"] * 2


def test_the_first_rule_that_is_reached_counts():
    rules = [Stalled("size"), Below("size", 1e-2)]
    result = run(floor, lambda t: 1.0, stop=rules)
    assert result.status.tolist() == ["converged", "stopped"]
    assert result.state.t[1] == 1000


def test_above_ends_an_element_as_diverged_where_the_grid_first_sees_it():
    """Growth by 2 % a step reaches 1e6 at t = 698 and would take 36,000 steps to overflow; NaN compares as nothing."""
    result = run(lambda t: 1.02**t, lambda t: 1.0, lambda t: np.nan, max_steps=3000, stop=Above("size", 1e6))
    assert result.status.tolist() == ["diverged", "running", "running"]
    assert result.state.t[0] == next(t for t in geometric_grid(3000) if t >= 698)
    assert np.isnan(result.trace.metrics["size"][-1, 0])


class Interrupted(Exception):
    pass


def test_a_resumed_run_remembers_what_was_seen(tmp_path):
    def interrupt(t, state, metrics):
        if t >= 1500:
            raise Interrupted

    options = dict(stop=Stalled("size"), stream=0)
    start, problem = (lambda problem, stream: np.zeros((1, 1))), Values((floor,))
    arguments = dict(start=start, max_steps=20_000, checkpoint=(tmp_path / "run", 0.0), **options)
    with pytest.raises(Interrupted):
        solve(problem, Count(), callback=interrupt, **arguments)
    resumed = solve(problem, Count(), **arguments)
    whole = run(floor, **options)
    assert (resumed.status[0], resumed.state.t[0]) == ("stopped", whole.state.t[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stalled("size", 0.0), "factor of Stalled .*0.0"),
        (lambda: Stalled("size", 1.0), "factor"),
        (lambda: Stalled("size", "half"), "factor .*'half'"),
        (lambda: Stalled("size", window=1.0), "window .*1.0"),
        (lambda: Stalled("size", window=np.inf), "window"),
        (lambda: Stalled("size", min_steps=-1), "min_steps .*-1"),
        (lambda: Below("size", np.nan), "threshold of Below .*nan"),
        (lambda: Below("size", "small"), "threshold"),
        (lambda: Above("size", np.nan), "threshold of Above .*nan"),
        (lambda: Above("size", True), "threshold of Above .*True"),
    ],
)
def test_bad_rules(make, message):
    with pytest.raises(ValueError, match=message):
        make()
