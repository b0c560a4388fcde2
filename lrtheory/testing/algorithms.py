"""The laws that every algorithm obeys: ``check_algorithm(MyAlgorithm())``."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrtheory import solve as solving
from lrtheory.backend import namespace, to_numpy
from lrtheory.random import Stream, as_stream
from lrtheory.testing import _trees as trees

KEYS = (3, 5, 11)  # children of the stream: one for each element of the batches


def check_algorithm(
    algorithm: Any,
    problem: Any = None,
    start: Callable[[Any, Stream], Any] | None = None,
    *,
    n_steps: int = 12,
    rtol: float = 1e-9,
    stream: int | Stream = 0,
) -> None:
    """Hold an algorithm against the laws that `lrtheory.solve.solve` builds on.

    The laws, in this order:

    1. ``init`` starts at x with t = 0;
    2. every array field of the state has the batch axes first (and a plain number never changes);
    3. ``step`` is pure: state, problem, algorithm and NumPy's global generator stay as they were;
    4. ``step`` is deterministic: the same state and stream give the same bits;
    5. ``step`` adds one to t;
    6. an element of a batch has the numbers that it has alone, whatever else is in the batch;
    7. ``step`` uses the array library of its input (tried with array-api-strict);
    8. ``advance`` equals repeated ``step``, in any chunks, and leaves finished elements alone;
    9. the grid of records changes no number;
    10. a finished element keeps its state while the others go on;
    11. divergence is a status: no exception, and the last finite iterate is kept;
    12. a run resumed from its checkpoint equals the uninterrupted one.

    Parameters
    ----------
    algorithm
        Has ``init(problem, x, stream)`` and ``step(problem, state)``, optionally ``advance(...)``; scalar
        hyper-parameters, such that a few steps from `start` stay finite.
    problem : optional
        Default: a population sensing problem, 6 x 6 of rank 2. Without batch axes.
    start : callable ``(problem, stream) -> x``, optional
        Default: asymmetric Gaussian factors of rank 3.
    n_steps : int
        Steps taken under each law, at least 4.
    rtol : float
        Largest difference, relative to the largest entry of an array, where rounding may differ (laws 6, 7 and 8).
        Elsewhere bits are compared.
    stream : int or Stream

    Raises
    ------
    AssertionError
        Names the first law that is broken and what was seen. An exception under a law is reported so, too.
    TypeError
        For a class in place of an instance.
    ValueError
        For an algorithm, problem or start with a batch axis of its own, or too few steps.

    Examples
    --------
    >>> from lrtheory.first_order import GradientDescent
    >>> check_algorithm(GradientDescent(0.1))
    """
    if isinstance(algorithm, type):
        raise TypeError(f"algorithm must be an instance, got the class: check_algorithm({algorithm.__name__}(...))")
    if problem is None:
        from lrtheory.sensing import population_problem

        problem = population_problem(6, 2)
    if start is None:
        from lrtheory.low_rank import RandomFactors

        start = RandomFactors(3, 0.5, rho=0.5)
    if not isinstance(n_steps, int) or n_steps < 4:
        raise ValueError(f"n_steps must be an integer >= 4, got {n_steps!r}")
    case = _Case(algorithm, problem, start, n_steps, rtol, as_stream(stream))
    for name, value in (("algorithm", solving.hyperparameter_shape(algorithm)), ("start", case.point_shape())):
        if value != ():
            raise ValueError(f"{name} must have no batch axes of its own, got the batch shape {value}")
    for law, check in LAWS:
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                check(case)
        except _BrokenLaw as broken:
            raise AssertionError(f"{type(algorithm).__name__} breaks the law '{law}': {broken}") from None
        except Exception as error:
            raise AssertionError(
                f"{type(algorithm).__name__} breaks the law '{law}': it raised {type(error).__name__}: {error}"
            ) from error


class _BrokenLaw(Exception):
    pass


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise _BrokenLaw(message)


@dataclass(frozen=True)
class _Case:
    """The algorithm with something to run it on."""

    algorithm: Any
    problem: Any
    start: Any
    n_steps: int
    rtol: float
    stream: Stream

    def key(self, element: Any = 0) -> Stream:
        """The stream of one element (int), or of a batch (sequence of element numbers)."""
        keys = np.asarray(KEYS)[element]
        return self.stream.child(keys if keys.ndim else int(keys))

    def point(self, element: int = 0) -> Any:
        """The start of one element; every element has a scale of its own, even where the start is deterministic."""
        x = self.start(self.problem, self.key(element).child("start"))
        return x * (1.0 - element / 8)

    def points(self, elements: Any) -> Any:
        return trees.stack([self.point(e) for e in elements])

    def point_shape(self) -> tuple[int, ...]:
        return solving.batch_shape(self.problem, self.point())

    def begin(self, element: Any = 0) -> Any:
        """The state before the first step, of one element or of a batch of them."""
        x = self.point(element) if np.ndim(element) == 0 else self.points(element)
        return self.algorithm.init(self.problem, x, self.key(element).child("algorithm"))

    def steps(self, state: Any, n: int) -> Any:
        for _ in range(n):
            state = self.algorithm.step(self.problem, state)
        return state

    def solve(self, elements: Any = 0, **options: Any) -> Any:
        x = self.point(elements) if np.ndim(elements) == 0 else self.points(elements)
        options.setdefault("max_steps", self.n_steps)
        stream = self.key(elements)
        return solving.solve(self.problem, self.algorithm, start=lambda problem, stream: x, stream=stream, **options)


# -- laws -------------------------------------------------------------------------------------------------------------


def _init(case: _Case) -> None:
    x = case.point()
    state = case.begin()
    _require(dataclasses.is_dataclass(state), f"init must return a State, got {type(state).__name__}")
    difference = trees.difference(state.x, x)
    _require(difference is None, f"state.x differs from the start: {difference}")
    for elements, shape in ((0, ()), ([0, 1], (2,))):
        t = to_numpy(case.begin(elements).t)
        _require(t.dtype.kind in "iu", f"t must be an integer array, got {t.dtype}")
        _require(t.shape == shape and not t.any(), f"t must be zeros of the batch shape {shape}, got {t!r}")


def _batch_axes(case: _Case) -> None:
    for elements in ([0, 1], [0, 1, 2]):
        first = case.begin(elements)
        for when, state in (("init", first), ("step", case.steps(first, 1))):
            for path, leaf in trees.leaves(state):
                if trees.is_leaf_array(leaf):
                    shape = tuple(leaf.shape)
                    _require(
                        shape[:1] == (len(elements),),
                        f"after {when}, field {path} has shape {shape} in a batch of {len(elements)}",
                    )
    before = dict(trees.leaves(case.begin()))
    for path, leaf in trees.leaves(case.steps(case.begin(), 2)):
        if isinstance(leaf, (bool, int, float, complex)) and not isinstance(leaf, np.generic):
            _require(
                leaf == before.get(path),
                f"field {path} is a plain number that changes ({before.get(path)} to {leaf}); make it an array",
            )


def _pure(case: _Case) -> None:
    state = case.steps(case.begin([0, 1]), 2)
    watched = {"state": state, "problem": case.problem, "algorithm": case.algorithm}
    before = {name: trees.snapshot(value) for name, value in watched.items()}
    generator = repr(np.random.get_state())  # noqa: NPY002 - the global generator is what is watched
    new = case.algorithm.step(case.problem, state)
    _require(new is not state, "step returned its input, not a new state")
    for name, value in watched.items():
        difference = trees.difference(trees.snapshot(value), before[name])
        _require(difference is None, f"step changed its {name}: {difference}")
    _require(repr(np.random.get_state()) == generator, "step used NumPy's global random generator")  # noqa: NPY002


def _deterministic(case: _Case) -> None:
    state = case.steps(case.begin([0, 1]), 2)
    once, twice = (case.algorithm.step(case.problem, state) for _ in range(2))
    difference = trees.difference(twice, once)
    _require(difference is None, f"two calls of step on one state differ: {difference}")
    first, second = (case.steps(case.begin(), case.n_steps) for _ in range(2))
    difference = trees.difference(second, first)
    _require(difference is None, f"two runs from one start and stream differ: {difference}")


def _counts(case: _Case) -> None:
    for elements in (0, [0, 1]):
        state = case.begin(elements)
        for t in (1, 2):
            state = case.algorithm.step(case.problem, state)
            _require(np.all(to_numpy(state.t) == t), f"after {t} steps t is {to_numpy(state.t)!r}")


def _batches(case: _Case) -> None:
    alone = [case.steps(case.begin(e), case.n_steps) for e in range(3)]
    for elements in ([0, 1, 2], [2, 0], [1]):
        together = case.steps(case.begin(elements), case.n_steps)
        for place, element in enumerate(elements):
            difference = trees.difference(trees.element(together, place), alone[element], case.rtol)
            _require(
                difference is None,
                f"element {place} of a batch of {len(elements)} differs from the same start alone: {difference}",
            )


def _library(case: _Case) -> None:
    try:
        import array_api_strict
    except ImportError:
        warnings.warn(
            "step was not tried with another array library: pip install array-api-strict for that",
            RuntimeWarning,
            stacklevel=3,
        )
        return
    for elements in (0, [0, 1]):
        state = case.begin(elements)
        expected = case.steps(state, 3)
        problem, algorithm, state = (trees.convert(a, array_api_strict) for a in (case.problem, case.algorithm, state))
        for _ in range(3):
            state = algorithm.step(problem, state)
        for path, leaf in trees.leaves(state):
            _require(
                not trees.is_leaf_array(leaf) or namespace(leaf).__name__.startswith("array_api_strict"),
                f"field {path} is a {type(leaf).__module__} array after a step on array_api_strict arrays",
            )
        difference = trees.difference(trees.convert(state, np), expected, case.rtol)
        _require(difference is None, f"array_api_strict gives other numbers than NumPy: {difference}")


def _advance(case: _Case) -> None:
    advance = getattr(case.algorithm, "advance", None)
    elements = [0, 1, 2]
    everyone = np.ones(3, dtype=bool)
    start = case.begin(elements)
    if advance is None or advance(case.problem, start, 0, everyone) is NotImplemented:
        return
    before = trees.snapshot(start)
    difference = trees.difference(advance(case.problem, start, 0, everyone), start)
    _require(difference is None, f"n_steps=0 is not the identity: {difference}")
    state = advance(case.problem, start, case.n_steps, everyone)
    _require(everyone.all(), "advance changed its argument active")
    difference = trees.difference(trees.snapshot(start), before)
    _require(difference is None, f"advance changed its input: {difference}")
    difference = trees.difference(state, case.steps(start, case.n_steps), case.rtol)
    _require(difference is None, f"{case.n_steps} steps differ from {case.n_steps} calls of step: {difference}")
    chunks = advance(case.problem, start, case.n_steps // 3, everyone)
    chunks = advance(case.problem, chunks, case.n_steps - case.n_steps // 3, everyone)
    difference = trees.difference(chunks, state)
    _require(difference is None, f"two chunks differ from one: {difference}")
    some = advance(case.problem, start, case.n_steps, np.array([True, False, True]))
    difference = trees.difference(trees.element(some, 1), trees.element(start, 1))
    _require(difference is None, f"an element that was not active moved: {difference}")
    for place in (0, 2):
        difference = trees.difference(trees.element(some, place), trees.element(state, place), case.rtol)
        _require(difference is None, f"an element depends on which others are active: {difference}")
    single = case.begin()
    moved = advance(case.problem, single, case.n_steps, np.array(True))
    difference = trees.difference(moved, case.steps(single, case.n_steps), case.rtol)
    _require(moved is NotImplemented or difference is None, f"without batch axes it differs from step: {difference}")


def _records(case: _Case) -> None:
    rare = case.solve([0, 1], record=[case.n_steps])
    often = case.solve([0, 1], record="all")
    difference = trees.difference(often.state, rare.state)
    _require(difference is None, f"the last state depends on when it is recorded: {difference}")


def _finished(case: _Case) -> None:
    elements = [0, 1, 2]
    grid = sorted(set(solving.geometric_grid(case.n_steps).tolist()))
    free = case.solve(elements, record="all")
    for name, values in free.trace.metrics.items():
        lowest = np.minimum.accumulate(values, axis=0)[grid[1:-1]]
        for threshold in (lowest[:-1] + lowest[1:]).ravel() / 2:
            early = (lowest < threshold).any(axis=0)
            if early.any() and not early.all():
                break
        else:
            continue
        stopped = case.solve(elements, stop=solving.Below(name, float(threshold)))
        for place in np.flatnonzero(stopped.status == solving.CONVERGED).tolist():
            taken = int(to_numpy(stopped.state.t)[place])
            then = case.solve(elements, max_steps=taken, record=[taken])
            difference = trees.difference(
                trees.element(stopped.state, place), trees.element(then.state, place), case.rtol
            )
            _require(difference is None, f"an element stopped at t = {taken} went on changing: {difference}")
        return


def _divergence(case: _Case) -> None:
    normal = case.point()
    calm = case.solve(0)
    for size in (1e60, 1e120, 1e200):
        x = trees.stack([normal, normal * size])
        result = solving.solve(
            case.problem,
            case.algorithm,
            start=lambda problem, stream, x=x: x,
            max_steps=case.n_steps,
            stream=case.key([0, 0]),
        )
        _require(np.all(to_numpy(solving.finite(result.x, 1))), f"from {size:g} times the start, x is not finite")
        known = (solving.RUNNING, solving.CONVERGED, solving.DIVERGED)
        _require(result.status[1] in known, f"from {size:g} times the start, the status is {result.status[1]!r}")
        short = to_numpy(result.state.t)[1] < case.n_steps
        _require(
            short == (result.status[1] == solving.DIVERGED),
            f"from {size:g} times the start, status {result.status[1]!r} after {to_numpy(result.state.t)[1]} steps",
        )
        difference = trees.difference(trees.element(result.state, 0), calm.state, case.rtol)
        _require(difference is None, f"an element is disturbed by one that diverges beside it: {difference}")


def _resume(case: _Case) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(t: int, state: Any, metrics: Any) -> None:
        if t >= case.n_steps // 2:
            raise Interrupt

    whole = case.solve([0, 1], record="all")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = (Path(folder) / "run", 0.0)
        with contextlib.suppress(Interrupt):
            case.solve([0, 1], record="all", checkpoint=checkpoint, callback=interrupt)
        resumed = case.solve([0, 1], record="all", checkpoint=checkpoint)
    difference = trees.difference(resumed.state, whole.state)
    _require(difference is None, f"the last states differ: {difference}")
    for name, values in whole.trace.metrics.items():
        _require(np.array_equal(resumed.trace.metrics[name], values, equal_nan=True), f"records of {name} differ")


LAWS: tuple[tuple[str, Callable[[_Case], None]], ...] = (
    ("init starts at x with t = 0", _init),
    ("every array field of the state has the batch axes first", _batch_axes),
    ("step is pure", _pure),
    ("step is deterministic", _deterministic),
    ("step adds one to t", _counts),
    ("an element of a batch has the numbers that it has alone", _batches),
    ("step uses the array library of its input", _library),
    ("advance equals repeated step", _advance),
    ("the grid of records changes no number", _records),
    ("a finished element keeps its state", _finished),
    ("divergence is a status", _divergence),
    ("a resumed run equals the uninterrupted one", _resume),
)
