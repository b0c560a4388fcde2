"""The one loop: grids, records, watch, stop, status, time limit, checkpoints."""

import dataclasses
import time
import warnings
from dataclasses import dataclass, replace

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory import solve as solving
from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import GivenFactors, RandomFactors, RebalancedGradientDescent
from lrtheory.operators import Identity
from lrtheory.random import Stream
from lrtheory.sensing import SensingProblem, gaussian_problem, population_problem
from lrtheory.solve import Below, State, geometric_grid, record_grid, solve


@dataclass(frozen=True, eq=False)
class Quadratic:
    """f(x) = |x|^2 / 2, with the metrics that a test asks for."""

    resolution = {"size": 1e-300}  # noqa: RUF012

    def gradient(self, x):
        return x

    def metrics(self, x):
        size = np.sqrt(np.sum(x * x, axis=-1))
        return {"size": size, "absent": np.where(size < 0.5, np.nan, size)}


@dataclass(frozen=True, eq=False)
class Steps:
    """Plain gradient descent without a compiled loop, and what can go wrong in it."""

    factor: object = 0.9
    blow_up_at: object = None
    pause: float = 0.0

    def init(self, problem, x, stream):
        return State.first(problem, x)

    def step(self, problem, state):
        time.sleep(self.pause)
        x = state.x * np.reshape(self.factor, np.shape(self.factor) + (1,) * (state.x.ndim - np.ndim(self.factor)))
        if self.blow_up_at is not None:
            bad = np.asarray(state.t + 1 == self.blow_up_at)
            x = np.where(bad[..., None], np.nan, x)
        return replace(state, x=x, t=state.t + 1)


def ones(problem, stream):
    return np.ones(1)


def ones_of_three(problem, stream):
    return np.ones((3, 1))


# -- grids ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**7))
def test_geometric_grid_has_thirty_a_decade_and_both_ends(max_steps):
    grid = geometric_grid(max_steps)
    assert grid[0] == 0
    assert grid[-1] == max_steps
    assert (np.diff(grid) > 0).all()
    body = grid[(grid >= 100) & (grid < max_steps)]
    if body.size > 1:  # neighbours 10^(1/30) apart, up to the rounding of both to integers
        ratio = body[1:] / body[:-1]
        assert np.abs(ratio / 10 ** (1 / 30) - 1).max() <= 1.0 / 100
    if max_steps >= 10**4:
        assert np.isin([1, 10, 100, 1000, 10**4], grid).all()
        assert np.sum((grid > 1000) & (grid <= 10**4)) - (max_steps < 10**4) == 30


def test_record_grids():
    assert np.array_equal(record_grid("all", 3), [0, 1, 2, 3])
    assert np.array_equal(record_grid([0, 2], 3), [0, 2])
    assert np.array_equal(record_grid(np.array([3], dtype=np.uint8), 3), [3])
    linear = record_grid("linear", 1000)
    assert linear.size == 101
    assert np.array_equal(np.unique(np.diff(linear)), [10])
    assert np.array_equal(record_grid("linear", 3), [0, 1, 2, 3])


@pytest.mark.parametrize(
    "record",
    ["log", [], [0, 5], [-1, 2], [2, 1], [1, 1], [0.5], [True, False], [[0, 1]], None, 3],
)
def test_bad_record_grids_are_refused(record):
    with pytest.raises(ValueError, match="record"):
        solve(Quadratic(), Steps(), start=ones, max_steps=4, record=record)


# -- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", ["geometric", "linear", "all", [3, 17]])
def test_records_are_the_iteration_at_the_right_time(record):
    result = solve(Quadratic(), Steps(0.9), start=ones, max_steps=50, record=record)
    expected = np.cumprod(np.concatenate([[1.0], np.full(50, 0.9)]))
    np.testing.assert_allclose(result.trace.metrics["size"], expected[result.trace.iteration], rtol=1e-14)
    assert np.array_equal(result.trace.iteration, record_grid(record, 50))
    assert np.array_equal(result.trace.passes, result.trace.iteration)
    assert result.status == "running"
    assert result.state.t == 50
    np.testing.assert_allclose(result.x, expected[-1:], rtol=1e-14)
    assert result.backend == "numpy, plain"
    assert (np.diff(result.trace.seconds) >= 0).all()


def test_no_steps_at_all():
    result = solve(Quadratic(), Steps(), start=ones, max_steps=0, watch={"size": 2.0})
    assert result.trace.iteration.tolist() == [0]
    assert result.first_below["size"] == 0
    assert (result.status, result.state.t) == ("running", 0)


def test_the_callback_sees_every_record():
    seen = []
    result = solve(
        Quadratic(),
        Steps(0.5),
        start=ones,
        max_steps=20,
        callback=lambda t, state, metrics: seen.append((t, int(state.t), float(state.x[0]), float(metrics["size"]))),
    )
    assert [t for t, *_ in seen] == result.trace.iteration.tolist()
    assert all(t == taken and x == size == 0.5**t for t, taken, x, size in seen)


def test_an_algorithm_can_count_several_passes_a_step():
    class Twice(Steps):
        passes_per_step = 2

    result = solve(Quadratic(), Twice(), start=ones, max_steps=10, record=[5])
    assert result.trace.passes.tolist() == [10.0]


# -- batch shapes -----------------------------------------------------------------------------------------------------


def test_the_batch_shape_is_the_broadcast_of_all_shapes():
    problem = population_problem(4, 1, seed=np.arange(2))
    one = GivenFactors(np.random.default_rng(0).normal(size=(4, 2)) * 0.3)
    for start, step, stream, shape in (
        (one, 0.1, 0, (2,)),
        (one, np.array([[0.1], [0.2], [0.05]]), 0, (3, 2)),
        (one, 0.1, np.arange(3)[:, None], (3, 2)),
        (RandomFactors(2, np.array([0.1, 0.2])), 0.1, np.arange(3)[:, None], (3, 2)),
    ):
        result = solve(problem, GradientDescent(step), start=start, max_steps=3, stream=stream)
        assert result.status.shape == result.x.batch_shape == result.state.t.shape == shape
        assert result.trace.metrics["error"].shape[1:] == shape


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("sizes", [[0.05, 0.1], [[0.05], [0.1]], [[0.05, 0.1], [0.1, 0.2]]])
def test_hyperparameters_broadcast_against_the_batch_from_the_right(compiled, sizes):
    problem = population_problem(4, 1)
    sizes = np.array(sizes)
    algorithm = GradientDescent(sizes)
    if not compiled:
        algorithm = PlainDescent(sizes)
    keys = np.array([[5, 6], [7, 8]])
    result = solve(problem, algorithm, start=RandomFactors(2, 0.5), max_steps=20, stream=keys)
    for index in np.ndindex(2, 2):
        size = float(np.broadcast_to(sizes, (2, 2))[index])
        alone = solve(
            problem, GradientDescent(size), start=RandomFactors(2, 0.5), max_steps=20, stream=int(keys[index])
        )
        np.testing.assert_allclose(result.x.left[index], alone.x.left, rtol=1e-11, atol=1e-13)


@dataclass(frozen=True, eq=False)
class PlainDescent:
    """GradientDescent without its compiled loop."""

    step_size: object = 0.1

    def init(self, problem, x, stream):
        return State.first(problem, x)

    def step(self, problem, state):
        return GradientDescent(self.step_size).step(problem, state)


@pytest.mark.parametrize("algorithm", [GradientDescent(0.2), PlainDescent(0.2)], ids=["compiled", "plain"])
@pytest.mark.parametrize(
    "problem",
    [
        population_problem(5, 2),
        gaussian_problem(4, 1, 40),
        gaussian_problem(4, 1, 40, symmetric=True, form="packed"),
        gaussian_problem(4, 1, 40, symmetric=True, form="gram"),
    ],
    ids=["population", "dense", "packed", "gram"],
)
@pytest.mark.parametrize("rho", [None, 1 / 3])
def test_any_grouping_of_a_batch_gives_the_same_numbers(problem, algorithm, rho):
    start = RandomFactors(3, 0.4, rho=rho)

    def run(keys):
        return solve(problem, algorithm, start=start, max_steps=60, stream=keys)

    together = run(np.arange(6))
    pairs = [run(np.array(keys)) for keys in ([0, 1], [2, 3], [4, 5])]
    alone = [run(key) for key in range(6)]
    square = run(np.arange(6).reshape(2, 3))
    for name, values in together.trace.metrics.items():
        if name == "loss":
            continue  # the square of the others
        size = values[0].max()
        for key in range(6):
            # to 1e-10 before the noise floor (P14)
            options = {"rtol": 1e-10, "atol": 1e-13 * size}
            np.testing.assert_allclose(alone[key].trace.metrics[name], values[:, key], **options)
            np.testing.assert_allclose(pairs[key // 2].trace.metrics[name][:, key % 2], values[:, key], **options)
            np.testing.assert_allclose(square.trace.metrics[name][:, key // 3, key % 3], values[:, key], **options)


def test_the_same_call_gives_the_same_bytes():
    def run():
        problem = gaussian_problem(5, 2, 60, noise=0.1, seed=3)
        return solve(problem, GradientDescent(0.1), start=RandomFactors(3, 0.5), max_steps=40, stream=np.arange(4))

    a, b = run(), run()
    assert a.x.left.tobytes() == b.x.left.tobytes()
    assert all(a.trace.metrics[name].tobytes() == b.trace.metrics[name].tobytes() for name in a.trace.metrics)


# -- watch and stop ---------------------------------------------------------------------------------------------------


@given(st.floats(0.05, 0.999), st.integers(1, 400), st.floats(1e-6, 2.0))
def test_watch_finds_the_first_step_below(factor, max_steps, threshold):
    result = solve(Quadratic(), Steps(factor), start=ones, max_steps=max_steps, watch={"size": threshold})
    every = solve(Quadratic(), Steps(factor), start=ones, max_steps=max_steps, record="all")
    below = np.flatnonzero(every.trace.metrics["size"] < threshold)
    assert result.first_below["size"] == (below[0] if below.size else -1)


def test_watch_goes_back_one_segment_only():
    calls = []

    class Counted(Steps):
        def step(self, problem, state):
            calls.append(1)
            return super().step(problem, state)

    result = solve(Quadratic(), Counted(0.99), start=ones, max_steps=1000, watch={"size": 1e-3})
    assert result.first_below["size"] == int(np.log(1e-3) / np.log(0.99)) + 1
    assert 1000 < len(calls) < 1000 + 2 * 0.08 * 688  # the segment, halved again and again


@pytest.mark.parametrize("record", ["geometric", "all", [0]])
def test_watch_of_a_batch_is_each_elements_own(record):
    problem = population_problem(5, 2)
    options = {"start": RandomFactors(3, 0.5), "max_steps": 800, "stream": np.arange(6).reshape(3, 2)}
    watch = {"error": 0.05, "relative_error": 0.2, "loss": 1e-30}
    algorithm = GradientDescent(np.array([0.2, 0.1]))
    result = solve(problem, algorithm, watch=watch, record=record, **options)
    every = solve(problem, algorithm, record="all", **options)
    for name, threshold in watch.items():
        below = every.trace.metrics[name] < threshold
        expected = np.where(below.any(axis=0), below.argmax(axis=0), -1)
        assert np.array_equal(result.first_below[name], expected)
    assert (result.first_below["loss"] == -1).all()
    assert len(np.unique(result.first_below["error"])) > 2


def test_watching_and_recording_change_no_number():
    problem = gaussian_problem(4, 1, 30)
    options = {"start": RandomFactors(2, 0.5, rho=0.3), "max_steps": 300, "stream": np.arange(2)}
    plain = solve(problem, GradientDescent(0.1), record=[300], **options)
    watched = solve(problem, GradientDescent(0.1), record="all", watch={"error": 0.1, "loss": 1e-5}, **options)
    assert np.array_equal(plain.x.left, watched.x.left)
    assert np.array_equal(plain.x.right, watched.x.right)


def test_chunk_ends_never_change_a_number(monkeypatch):
    def run():
        return solve(
            population_problem(5, 2), GradientDescent(0.1), start=RandomFactors(3, 0.5), max_steps=500, record=[500]
        )

    whole = run()
    monkeypatch.setattr(solving, "CHUNK_SECONDS", 1e-9)
    assert np.array_equal(run().x.left, whole.x.left)


def test_stop_is_seen_on_the_grid_of_thirty_a_decade():
    factors = np.array([0.5, 0.9, 0.999])
    result = solve(
        Quadratic(), Steps(factors), start=ones_of_three, max_steps=100, stop=Below("size", 0.1), record=[0, 50, 100]
    )
    assert result.status.tolist() == ["converged", "converged", "running"]
    grid = geometric_grid(100)
    expected = [grid[np.flatnonzero(f**grid < 0.1)[0]] for f in factors[:2]]
    assert result.state.t.tolist() == [*expected, 100]
    np.testing.assert_allclose(result.x[:, 0], factors ** np.array([*expected, 100.0]), rtol=1e-12)
    # later records of finished elements are absent
    assert result.trace.recorded.tolist() == [[True] * 3, [False, False, True], [False, False, True]]
    assert np.isnan(result.trace.metrics["size"][1:, :2]).all()


def test_several_stop_rules():
    rules = [Below("size", 1e-3), Below("absent", 0.6)]
    result = solve(Quadratic(), Steps(0.9), start=ones, max_steps=100, stop=rules)
    assert (result.status, result.state.t) == ("converged", 5)  # 0.9^5 = 0.59


def test_nan_metrics_are_recorded_and_trigger_nothing():
    result = solve(
        Quadratic(),
        Steps(0.5),
        start=ones,
        max_steps=10,
        record="all",
        watch={"absent": 0.4},
        stop=Below("absent", 0.4),
    )
    assert result.status == "running"
    assert result.first_below["absent"] == -1
    assert np.isnan(result.trace.metrics["absent"][2:]).all()
    assert not np.isnan(result.trace.metrics["absent"][:2]).any()
    assert result.trace.recorded.all()


def test_nothing_else_stops_a_run():
    at_rest = solve(Quadratic(), Steps(1.0), start=ones, max_steps=3000)
    assert (at_rest.status, at_rest.state.t) == ("running", 3000)


# -- divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad_step", [1, 2, 16, 17, 40, 50])
@pytest.mark.parametrize("record", ["geometric", "all", [0, 50], [50]])
def test_divergence_keeps_the_last_finite_iterate(bad_step, record):
    result = solve(Quadratic(), Steps(0.9, blow_up_at=bad_step), start=ones, max_steps=50, record=record)
    assert result.status == "diverged"
    assert result.state.t == bad_step - 1
    np.testing.assert_allclose(result.x, [0.9 ** (bad_step - 1)], rtol=1e-13)
    recorded = result.trace.recorded
    assert np.array_equal(recorded, result.trace.iteration[: recorded.size] < bad_step)


def test_divergence_of_some_elements():
    blow_up = np.array([7, -1, 30])
    result = solve(
        Quadratic(), Steps(0.9, blow_up_at=blow_up), start=ones_of_three, max_steps=50, watch={"size": 0.9**20 * 1.01}
    )
    assert result.status.tolist() == ["diverged", "running", "diverged"]
    assert result.state.t.tolist() == [6, 50, 29]
    np.testing.assert_allclose(result.x[:, 0], 0.9 ** np.array([6.0, 50.0, 29.0]), rtol=1e-12)
    assert result.first_below["size"].tolist() == [-1, 20, 20]


@pytest.mark.parametrize("algorithm", [GradientDescent, PlainDescent])
@pytest.mark.parametrize(
    "problem",
    [
        population_problem(5, 2),
        gaussian_problem(4, 1, 40),
        gaussian_problem(4, 1, 40, symmetric=True, form="packed", storage="float32"),
        gaussian_problem(4, 1, 40, form="gram"),
        gaussian_problem(4, 1, 40, symmetric=True, form="gram"),
    ],
    ids=["population", "dense", "packed", "gram", "packed gram"],
)
@pytest.mark.parametrize("rho", [None, 0.5])
@pytest.mark.filterwarnings("ignore:step_size")
def test_gradient_descent_that_diverges(algorithm, problem, rho):
    options = {"start": RandomFactors(2, 0.5, rho=rho), "max_steps": 200, "stream": np.zeros(2, dtype=int)}
    result = solve(problem, algorithm(np.array([0.05, 4.0])), **options)
    assert result.status.tolist() == ["running", "diverged"]
    taken = int(result.state.t[1])
    assert 3 < taken < 50
    assert np.isfinite(result.x.left).all()
    # it is the last finite one: up to there the run is that of the plain step, and one more step is not finite
    state = GradientDescent(4.0).init(problem, result.x.map(lambda a: a[1]), Stream(0))
    with np.errstate(all="ignore"):
        after = GradientDescent(4.0).step(problem, state).x
    assert not (np.isfinite(after.left).all() and np.isfinite(after.right).all())
    calm = solve(problem, algorithm(0.05), start=options["start"], max_steps=200)
    np.testing.assert_allclose(result.x.left[0], calm.x.left, rtol=1e-10, atol=1e-13)


@pytest.mark.filterwarnings("ignore:step_size")
@pytest.mark.parametrize("seed", range(5))
def test_rebalancing_that_diverges_raises_nothing(seed, capfd):
    problem = population_problem(4, 2, seed=seed)
    for size in (1.0, 1e50, 1e120):
        start = RandomFactors(3, size, rho=1e-3)
        result = solve(problem, RebalancedGradientDescent(5.0), start=start, max_steps=30, stream=np.arange(3))
        assert (result.status == "diverged").all()
        assert np.isfinite(result.x.left).all()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""  # LAPACK writes there what it thinks of infinities


def test_a_start_that_is_not_finite_is_refused():
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="start"):
            solve(Quadratic(), Steps(), start=lambda problem, stream, v=value: np.full(1, v), max_steps=5)


# -- time limit and checkpoints ---------------------------------------------------------------------------------------


def test_time_limit():
    factors = np.array([0.1, 0.999])  # the slow one would need 14 s
    result = solve(
        Quadratic(),
        Steps(factors, pause=0.002),
        start=lambda problem, stream: np.ones((2, 1)),
        max_steps=10**6,
        stop=Below("size", 1e-3),
        time_limit=0.15,
    )
    assert result.status.tolist() == ["converged", "timed out"]
    taken = result.state.t[1]
    assert 1 <= taken < 1000
    np.testing.assert_allclose(result.x[1], 0.999**taken, rtol=1e-9)
    assert result.trace.iteration[-1] <= taken


def test_a_run_that_is_done_in_time_is_not_timed_out():
    result = solve(Quadratic(), Steps(pause=0.02), start=ones, max_steps=3, time_limit=1e-3)
    assert result.state.t == 3 or result.status == "timed out"
    done = solve(Quadratic(), Steps(), start=ones, max_steps=3, time_limit=100.0)
    assert (done.status, done.state.t) == ("running", 3)


class Interrupted(Exception):
    pass


def interrupt_at(step):
    def callback(t, state, metrics):
        if t >= step:
            raise Interrupted

    return callback


CASES = {
    "plain": (Quadratic(), Steps(np.array([0.9, 0.99, 0.5])), ones_of_three, {"size": 0.05}),
    "population": (
        population_problem(5, 2),
        GradientDescent(np.array([0.1, 0.2, 0.05])),
        RandomFactors(3, 0.5),
        {"error": 0.1},
    ),
    "dense": (gaussian_problem(4, 1, 30), GradientDescent(0.1), RandomFactors(2, 0.5, rho=0.3), {"error": 0.1}),
    "rebalanced": (
        population_problem(4, 2),
        RebalancedGradientDescent(0.1),
        RandomFactors(3, 0.3, rho=0.3),
        {"error": 1e-6},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stop_at", [0, 1, 40, 199])
def test_resumed_equals_uninterrupted(case, stop_at, tmp_path):
    problem, algorithm, start, watch = CASES[case]
    options = {
        "start": start,
        "max_steps": 200,
        "watch": watch,
        "stream": np.arange(3),
        "stop": Below(next(iter(watch)), 1e-12),
    }
    whole = solve(problem, algorithm, **options)
    checkpoint = (tmp_path / "run", 0.0)
    with pytest.raises(Interrupted):
        solve(problem, algorithm, checkpoint=checkpoint, callback=interrupt_at(stop_at), **options)
    assert stop_at == 0 or (tmp_path / "run").exists()
    resumed = solve(problem, algorithm, checkpoint=checkpoint, **options)
    assert leaves(resumed.state) == leaves(whole.state)
    assert np.array_equal(resumed.status, whole.status)
    assert np.array_equal(resumed.trace.iteration, whole.trace.iteration)
    assert np.array_equal(resumed.trace.recorded, whole.trace.recorded)
    for name, values in whole.trace.metrics.items():
        assert np.array_equal(resumed.trace.metrics[name], values, equal_nan=True)
    for name in watch:
        assert np.array_equal(resumed.first_below[name], whole.first_below[name])
        assert (whole.first_below[name] > 0).any()
    assert all(np.array_equal(resumed.events[name], whole.events[name]) for name in whole.events)


def leaves(state):
    parts = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        parts += [value.left.tobytes(), value.right.tobytes()] if isinstance(value, Factors) else [value.tobytes()]
    return parts


def test_a_resumed_run_does_not_start_again(tmp_path):
    calls = []

    class Counted(Steps):
        def step(self, problem, state):
            calls.append(int(state.t))
            return super().step(problem, state)

    with pytest.raises(Interrupted):
        solve(
            Quadratic(),
            Counted(),
            start=ones,
            max_steps=100,
            checkpoint=(tmp_path / "c", 0.0),
            callback=interrupt_at(50),
        )
    calls.clear()
    solve(Quadratic(), Counted(), start=ones, max_steps=100, checkpoint=(tmp_path / "c", 0.0))
    assert min(calls) >= 40


@pytest.mark.parametrize("every", [0.0, 1000.0])
def test_a_run_that_ran_out_of_time_can_be_resumed(every, tmp_path):
    options = {"start": ones, "max_steps": 200, "checkpoint": (tmp_path / "run", every)}
    first = solve(Quadratic(), Steps(pause=0.002), time_limit=0.1, **options)
    assert first.status == "timed out"
    assert (tmp_path / "run").exists()
    second = solve(Quadratic(), Steps(pause=0.002), **options)
    assert (second.status, second.state.t) == ("running", 200)
    whole = solve(Quadratic(), Steps(pause=0.0), start=ones, max_steps=200)
    assert np.array_equal(second.x, whole.x)
    assert np.array_equal(second.trace.metrics["size"], whole.trace.metrics["size"])


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run"
    options = {"start": ones, "max_steps": 50, "checkpoint": (path, 0.0)}
    solve(Quadratic(), Steps(0.9), **options)
    for algorithm, changed in (
        (Steps(0.8), {}),
        (Steps(0.9), {"max_steps": 60}),
        (Steps(0.9), {"record": "all"}),
        (Steps(0.9), {"watch": {"size": 0.1}}),
        (Steps(0.9), {"stop": Below("size", 0.1)}),
        (Steps(0.9), {"start": lambda problem, stream: np.full(1, 2.0)}),
    ):
        with pytest.raises(ValueError, match=r"checkpoint .* is of another run"):
            solve(Quadratic(), algorithm, **(options | changed))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04}\x94."])
def test_a_corrupt_checkpoint_is_named(content, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint .*run cannot be read"):
        solve(Quadratic(), Steps(), start=ones, max_steps=5, checkpoint=(path, 0.0))


# -- other libraries --------------------------------------------------------------------------------------------------


def test_solve_in_another_library():
    problem = population_problem(4, 1)
    strict = strict_copy(problem)
    start = RandomFactors(2, 0.5)
    options = {"start": start, "max_steps": 120, "stream": np.arange(3), "watch": {"error": 0.2}}
    options["stop"] = Below("error", 0.05)
    expected = solve(problem, GradientDescent(np.array([0.1, 0.2, 0.3])), **options)
    for sizes in (np.array([0.1, 0.2, 0.3]), array_api_strict.asarray([0.1, 0.2, 0.3])):
        got = solve(strict, GradientDescent(sizes), **options)
        assert type(got.x.left) is type(array_api_strict.asarray([1.0]))
        assert got.backend == "array_api_strict, plain"
        assert np.array_equal(got.status, expected.status)
        assert np.array_equal(got.first_below["error"], expected.first_below["error"])
        np.testing.assert_allclose(np.asarray(got.x.left), expected.x.left, rtol=1e-11, atol=1e-14)
        for name, values in expected.trace.metrics.items():
            np.testing.assert_allclose(got.trace.metrics[name], values, rtol=1e-11, atol=1e-14)


def strict_copy(problem):
    def convert(x):
        return x.map(array_api_strict.asarray)

    return replace(problem, observations=convert(problem.observations), truth=convert(problem.truth))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_steps": -1}, ValueError, "max_steps .*-1"),
        ({"max_steps": 2.0}, ValueError, "max_steps .*2.0"),
        ({"max_steps": True}, ValueError, "max_steps"),
        ({"time_limit": 0}, ValueError, "time_limit"),
        ({"time_limit": -1.0}, ValueError, "time_limit"),
        ({"time_limit": np.nan}, ValueError, "time_limit"),
        ({"watch": {"sise": 1.0}}, ValueError, r"watch .*'size'.*got 'sise'"),
        ({"stop": Below("sise", 1.0)}, ValueError, r"stop .*got 'sise'"),
        ({"stop": "size"}, TypeError, "stop"),
        ({"stop": [0.1]}, TypeError, "stop"),
        ({"stream": np.ones(2)}, TypeError, "stream"),
        ({"stream": None}, TypeError, "stream"),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        solve(Quadratic(), Steps(), **({"start": ones, "max_steps": 5} | options))


def test_select_takes_whole_states_apart():
    mask = np.array([True, False])
    new = State(Factors(np.ones((2, 3, 1))), np.array([5, 5]))
    old = State(Factors(np.zeros((2, 3, 1))), np.array([1, 2]))
    got = solving.select(mask, new, old)
    assert got.t.tolist() == [5, 2]
    assert got.x.left[:, 0, 0].tolist() == [1.0, 0.0]
    # without batch axes NumPy's arithmetic makes scalars of 0-d arrays
    got = solving.select(np.array(False), State(np.ones(2), np.int64(5)), State(np.zeros(2), np.int64(4)))
    assert got.t == 4
    assert got.x.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (dict(watch={"error": "a"}), "watch"),
        (dict(watch={"error": np.nan}), "watch"),
        (dict(watch=["error"]), "watch must map metrics"),
        (dict(checkpoint="file"), "checkpoint"),
        (dict(start=3), "start"),
    ],
)
def test_solve_names_what_is_wrong(argument, message):
    problem = population_problem(4, 1)
    with pytest.raises((TypeError, ValueError), match=message):
        solve(problem, GradientDescent(0.1), **(dict(start=RandomFactors(1), max_steps=3) | argument))


@pytest.mark.parametrize(
    ("problem", "algorithm", "message"),
    [
        (population_problem(4, 1), GradientDescent, r"algorithm must be an instance.*GradientDescent\(\.\.\.\)"),
        (population_problem(4, 1), object(), "algorithm must have the methods init, step; object lacks init"),
        (
            GradientDescent(0.1),
            population_problem(4, 1),
            "problem must have the methods metrics; GradientDescent lacks",
        ),
    ],
)
def test_solve_tells_what_problem_and_algorithm_are(problem, algorithm, message):
    with pytest.raises(TypeError, match=message):
        solve(problem, algorithm, start=RandomFactors(1), max_steps=3)


def test_a_step_without_return_is_told():
    class Forgets(Steps):
        def step(self, problem, state):
            super().step(problem, state)

    with pytest.raises(TypeError, match=r"Forgets\.step must return a State, got NoneType"):
        solve(Quadratic(), Forgets(), start=ones, max_steps=3)


def test_results_print_in_one_line():
    result = solve(population_problem(4, 1), GradientDescent(0.1), start=RandomFactors(1, [0.1, 0.2]), max_steps=3)
    assert repr(result).startswith("<Result: 2 running; <Trace: 4 records of ")
    assert "batch (2,)" in repr(result)
    assert "\n" not in repr(result)


def test_a_checkpoint_belongs_to_its_stream(tmp_path):
    problem, start = population_problem(4, 1), GivenFactors(np.ones((4, 1)))
    arguments = dict(start=start, max_steps=5, checkpoint=(tmp_path / "c", 0.0))
    solve(problem, GradientDescent(0.1), stream=1, **arguments)
    with pytest.raises(ValueError, match="another run"):
        solve(problem, GradientDescent(0.1), stream=2, **arguments)


def test_thresholds_below_rounding_are_told():
    """float32 resolves relative errors down to 2e-6."""
    rng = np.random.default_rng(0)
    truth = Factors(rng.standard_normal((6, 2)).astype(np.float32))
    problem = SensingProblem(Identity(6), truth, truth)
    start = GivenFactors(rng.standard_normal((6, 2)).astype(np.float32))
    for rule in (dict(stop=Below("relative_error", 1e-6)), dict(watch={"relative_error": 1e-6})):
        with pytest.warns(UserWarning, match="below 1e-06 is asked for, but rounding hides it below 1.9e-06"):
            solve(problem, GradientDescent(0.01), start=start, max_steps=2, **rule)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(problem, GradientDescent(0.01), start=start, max_steps=2, watch={"relative_error": 1e-5, "error": 0.0})
