"""check_algorithm passes what is right and names the law that a planted fault breaks."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from lrtheory.backend import namespace, per_element
from lrtheory.factors import Factors
from lrtheory.first_order import GradientDescent
from lrtheory.low_rank import RandomFactors, RebalancedGradientDescent, SpectralFactors
from lrtheory.sensing import gaussian_problem, population_problem
from lrtheory.solve import State
from lrtheory.testing import check_algorithm, strategies


@pytest.mark.parametrize("form", strategies.FORMS, ids=str)
@pytest.mark.parametrize("rho", [None, 0.5])
def test_gradient_descent_on_every_form(form, rho):
    check_algorithm(GradientDescent(0.1), gaussian_problem(5, 2, 60, **form), RandomFactors(3, 0.5, rho=rho))


def test_gradient_descent_on_other_problems_and_points():
    check_algorithm(GradientDescent(0.1))
    check_algorithm(GradientDescent(0.1), start=RandomFactors(3, 0.5))
    check_algorithm(GradientDescent(0.1), start=SpectralFactors(3))
    check_algorithm(GradientDescent(0.1), population_problem(5, 2, n2=3), stream=4, n_steps=5)
    check_algorithm(GradientDescent(0.1), start=lambda problem, stream: stream.normal((6, 6)))


@pytest.mark.parametrize("kind", ["flat", "lift"])
@pytest.mark.parametrize("options", [{"at": 3}, {"trigger": 2.0}, {"rank": 2}, {"beta": 0.5, "at": 0}, {}], ids=str)
def test_rebalanced_gradient_descent(kind, options):
    check_algorithm(RebalancedGradientDescent(0.1, kind=kind, **options))


# -- algorithms that are right ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HeavyBallState(State):
    velocity: Any


@dataclass(frozen=True, eq=False)
class HeavyBall:
    """A user's own algorithm, with a field of its own."""

    step_size: float = 0.05
    momentum: float = 0.5

    def init(self, problem, x, stream):
        return HeavyBallState(x, State.first(problem, x).t, x * 0.0)

    def step(self, problem, state):
        velocity = state.velocity * self.momentum - problem.gradient(state.x) * per_element(self.step_size, state.x)
        return replace(state, x=state.x + velocity, velocity=velocity, t=state.t + 1)


@dataclass(frozen=True, eq=False)
class NoisyState(State):
    stream: Any


@dataclass(frozen=True, eq=False)
class NoisyDescent:
    """Random steps from the stream, keyed by t: reproducible."""

    step_size: float = 0.05

    def init(self, problem, x, stream):
        return NoisyState(x, State.first(problem, x).t, stream)

    def noise(self, state):
        return state.stream.at(np.asarray(state.t)).normal(state.x.left.shape[-2:])

    def step(self, problem, state):
        x = state.x - problem.gradient(state.x) * self.step_size
        noise = namespace(x.left).asarray(self.noise(state))
        return replace(state, x=Factors(x.left + 0.01 * noise, x.right), t=state.t + 1)


def test_users_own_algorithms():
    check_algorithm(HeavyBall())
    check_algorithm(NoisyDescent())


# -- planted faults ---------------------------------------------------------------------------------------------------


class Mutating(HeavyBall):
    def step(self, problem, state):
        x = state.x.left
        x -= 0.05 * problem.gradient(state.x).left
        return replace(state, x=Factors(x, state.x.right), t=state.t + 1)


class RemembersInItself(HeavyBall):
    def step(self, problem, state):
        object.__setattr__(self, "momentum", self.momentum * 0.9)
        return super().step(problem, state)


class GlobalRandom(NoisyDescent):
    def noise(self, state):
        return np.random.standard_normal(state.x.left.shape[-2:])  # noqa: NPY002


class OwnRandom(NoisyDescent):
    generator = np.random.default_rng(0)

    def noise(self, state):
        return self.generator.standard_normal(state.x.left.shape[-2:])


class SharedNoise(NoisyDescent):
    """The same noise for every element of a batch, from the whole batch's keys."""

    def noise(self, state):
        drawn = super().noise(state)
        return drawn.mean(axis=0) if drawn.ndim > 2 else drawn


class NormaliseOverTheBatch(HeavyBall):
    def step(self, problem, state):
        g = problem.gradient(state.x)
        size = namespace(g.left).max(namespace(g.left).abs(g.left))
        return replace(state, x=state.x - g * (0.05 / float(size)), t=state.t + 1)


class ForgetsTime(HeavyBall):
    def step(self, problem, state):
        return replace(super().step(problem, state), t=state.t)


class CountsTwice(HeavyBall):
    def step(self, problem, state):
        return replace(super().step(problem, state), t=state.t + 2)


class FloatTime(HeavyBall):
    def init(self, problem, x, stream):
        state = super().init(problem, x, stream)
        return replace(state, t=np.zeros(x.batch_shape))


class NumpyOnly(HeavyBall):
    def step(self, problem, state):
        x = state.x - problem.gradient(state.x) * 0.05
        return replace(state, x=Factors(np.clip(x.left, -10, 10), x.right), t=state.t + 1)


class LeavesItsLibrary(HeavyBall):
    def step(self, problem, state):
        new = super().step(problem, state)
        return replace(new, velocity=Factors(np.asarray(new.velocity.left), np.asarray(new.velocity.right)))


class NoBatchAxes(HeavyBall):
    def init(self, problem, x, stream):
        return HeavyBallState(x, State.first(problem, x).t, np.zeros(3))

    def step(self, problem, state):
        return replace(state, x=state.x - problem.gradient(state.x) * 0.05, velocity=state.velocity, t=state.t + 1)


class PlainNumber(HeavyBall):
    def init(self, problem, x, stream):
        return HeavyBallState(x, State.first(problem, x).t, 0.05)

    def step(self, problem, state):
        x = state.x - problem.gradient(state.x) * state.velocity
        return replace(state, x=x, velocity=state.velocity * 0.9, t=state.t + 1)


class MovesAtInit(HeavyBall):
    def init(self, problem, x, stream):
        return super().init(problem, x * 1.1, stream)


class WrongAdvance(GradientDescent):
    def advance(self, problem, state, n_steps, active):
        return GradientDescent(self.step_size * 1.0001).advance(problem, state, n_steps, active)


class AdvanceOneTooMany(GradientDescent):
    def advance(self, problem, state, n_steps, active):
        return super().advance(problem, state, max(n_steps, 1), active)


class AdvanceIgnoresActive(GradientDescent):
    def advance(self, problem, state, n_steps, active):
        return super().advance(problem, state, n_steps, np.ones_like(active))


class AdvanceInPlace(GradientDescent):
    def advance(self, problem, state, n_steps, active):
        new = super().advance(problem, state, n_steps, active)
        state.x.left[...] = new.x.left
        return new


class AdvanceByChunks(GradientDescent):
    """The first step of every chunk is a little shorter: chunk ends change numbers."""

    def advance(self, problem, state, n_steps, active):
        if n_steps == 0:
            return super().advance(problem, state, 0, active)
        first = GradientDescent(self.step_size * (1 - 1e-11)).advance(problem, state, 1, active)
        return super().advance(problem, first, n_steps - 1, active)


class Raises(HeavyBall):
    def step(self, problem, state):
        new = super().step(problem, state)
        if not np.isfinite(np.asarray(new.x.left)).all():
            raise FloatingPointError("not finite")
        return new


class DependsOnMetrics(GradientDescent):
    """Its step size is set by how often metrics were recorded."""

    def advance(self, problem, state, n_steps, active):
        return NotImplemented

    def step(self, problem, state):
        return GradientDescent(0.1 + 1e-3 * problem.calls[0]).step(problem, state)


@pytest.mark.parametrize(
    ("algorithm", "law"),
    [
        (MovesAtInit(), "init starts at x with t = 0"),
        (FloatTime(), "init starts at x with t = 0"),
        (NoBatchAxes(), "every array field of the state has the batch axes first"),
        (PlainNumber(), "every array field of the state has the batch axes first"),
        (Mutating(), "step is pure"),
        (RemembersInItself(), "step is pure"),
        (GlobalRandom(), "step is pure"),
        (OwnRandom(), "step is deterministic"),
        (ForgetsTime(), "step adds one to t"),
        (CountsTwice(), "step adds one to t"),
        (NormaliseOverTheBatch(), "an element of a batch has the numbers that it has alone"),
        (SharedNoise(), "an element of a batch has the numbers that it has alone"),
        (NumpyOnly(), "step uses the array library of its input"),
        (LeavesItsLibrary(), "step uses the array library of its input"),
        (WrongAdvance(0.1), "advance equals repeated step"),
        (AdvanceOneTooMany(0.1), "advance equals repeated step"),
        (AdvanceIgnoresActive(0.1), "advance equals repeated step"),
        (AdvanceInPlace(0.1), "advance equals repeated step"),
        (AdvanceByChunks(0.1), "advance equals repeated step"),
        (Raises(), "divergence is a status"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_planted_faults_are_named(algorithm, law):
    with pytest.raises(AssertionError, match=f"{type(algorithm).__name__} breaks the law '{law}'"):
        check_algorithm(algorithm)


def test_a_run_that_depends_on_its_records_is_caught():
    base = population_problem(6, 2)

    @dataclass(frozen=True, eq=False)
    class Watched(type(base)):
        calls = [0]  # noqa: RUF012

        def metrics(self, x):
            self.calls[0] += 1
            return super().metrics(x)

    problem = Watched(base.operator, base.observations, base.truth)
    with pytest.raises(AssertionError, match="records"):
        check_algorithm(DependsOnMetrics(), problem)


def test_a_broken_solve_is_caught(monkeypatch):
    """Laws 10 to 12 hold `solve` and the algorithm together: a fault in freezing or saving shows."""
    from lrtheory import solve as solving

    monkeypatch.setattr(solving, "select", lambda mask, new, old: new)
    with pytest.raises(AssertionError, match=r"finished element|divergence"):
        check_algorithm(HeavyBall())
    monkeypatch.undo()
    monkeypatch.setattr(solving._Run, "SAVED", tuple(s for s in solving._Run.SAVED if s != "state"))
    with pytest.raises(AssertionError, match="resumed"):
        check_algorithm(HeavyBall())


def test_arguments():
    with pytest.raises(TypeError, match=r"instance.*GradientDescent\(\.\.\.\)"):
        check_algorithm(GradientDescent)
    with pytest.raises(ValueError, match="n_steps"):
        check_algorithm(GradientDescent(), n_steps=1)
    with pytest.raises(ValueError, match=r"algorithm .*batch"):
        check_algorithm(GradientDescent(np.array([0.1, 0.2])))
    with pytest.raises(ValueError, match=r"start .*batch"):
        check_algorithm(GradientDescent(), start=RandomFactors(2, np.array([0.1, 0.2]), rho=0.5))
