"""The one loop over iterates: ``solve(problem, algorithm, ...) -> Result``."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrtheory._iterates import (
    State,
    batch_shape,
    broadcast,
    broadcast_hyperparameters,
    check_methods,
    fields_of,
    finite,
    hyperparameter_shape,
    select,
)
from lrtheory.backend import is_array, like, namespace, to_numpy
from lrtheory.factors import Factors
from lrtheory.random import Stream, as_stream
from lrtheory.stopping import Above, Below, Stalled
from lrtheory.trace import Result, Trace

__all__ = [
    "Above",
    "Below",
    "Stalled",
    "State",
    "batch_shape",
    "finite",
    "geometric_grid",
    "record_grid",
    "select",
    "solve",
]

RUNNING, TIMED_OUT = "running", "timed out"
CONVERGED, STOPPED, DIVERGED = Below.status, Stalled.status, Above.status
Rule = Above | Below | Stalled
PER_DECADE = 30
CHUNK_SECONDS = 0.2


def geometric_grid(max_steps: int, per_decade: int = PER_DECADE) -> np.ndarray:
    """Return iterations 0, 1, ... on a geometric grid up to and with `max_steps`, without repeats."""
    top = int(np.floor(np.log10(max(max_steps, 1)) * per_decade)) + 1
    grid = np.rint(10.0 ** (np.arange(top + 1) / per_decade)).astype(np.int64)
    return np.unique(np.concatenate([[0], grid[grid <= max_steps], [max_steps]]))


def record_grid(record: Any, max_steps: int) -> np.ndarray:
    """Return the iterations to record for ``"geometric"``, ``"linear"`` (101 points), ``"all"`` or sorted integers."""
    if isinstance(record, str):
        if record == "geometric":
            return geometric_grid(max_steps)
        if record == "linear":
            return np.unique(np.linspace(0, max_steps, 101).astype(np.int64))
        if record == "all":
            return np.arange(max_steps + 1)
        raise ValueError(f'record must be "geometric", "linear", "all" or sorted integers, got {record!r}')
    grid = np.asarray(record)
    if grid.ndim != 1 or grid.size == 0 or grid.dtype.kind not in "iu":
        raise ValueError(f"record must be a non-empty 1-d sequence of integers, got {record!r}")
    if grid[0] < 0 or grid[-1] > max_steps or np.any(np.diff(grid) <= 0):
        raise ValueError(f"record must be increasing and lie in 0..max_steps = {max_steps}, got {record!r}")
    return grid.astype(np.int64)


def solve(
    problem: Any,
    algorithm: Any,
    *,
    start: Any,
    max_steps: int,
    record: str | Sequence[int] | np.ndarray = "geometric",
    watch: Mapping[str, float] | None = None,
    stop: Rule | Sequence[Rule] | None = None,
    time_limit: float | None = None,
    checkpoint: tuple[str | os.PathLike[str], float] | None = None,
    stream: int | np.ndarray | Stream = 0,
    callback: Callable[[int, State, dict[str, np.ndarray]], None] | None = None,
) -> Result:
    """Run an algorithm on a problem from a start, all elements of the batch together.

    Parameters
    ----------
    problem
        Has ``value_and_gradient(x)``, ``metrics(x) -> dict`` (or `LazyMetrics`: between records only those are read
        that `watch` and `stop` name) and ``resolution`` (dict: how small each metric can be).
    algorithm
        Has ``init(problem, x, stream) -> State`` and ``step(problem, state) -> State``; optionally
        ``advance(problem, state, n_steps, active) -> State | NotImplemented``, a compiled loop that equals `n_steps`
        calls of `step` to rounding and itself freezes an element at its last finite iterate.
    start : callable ``(problem, stream) -> x``
    max_steps : int
    record : {"geometric", "linear", "all"} or sorted integers
        When to record the metrics; geometric is 30 a decade, always with 0 and `max_steps`.
    watch : dict, optional
        ``{"error": 1e-6}`` finds the first step at which the metric is below the threshold (``Result.first_below``). It
        is looked for on a fixed geometric grid and then by bisection from the state kept at the grid point before:
        exact where the metric crosses once within that 8 % segment.
    stop : Below, Above, Stalled or a sequence of them, optional
        Seen on the same grid. Otherwise only `max_steps` and non-finite iterates end a run.
    time_limit : float, optional
        Seconds; unfinished elements get the status "timed out".
    checkpoint : (path, seconds), optional
        Save the run to the file every so many seconds, and resume from the file if it exists. The file is a pickle:
        open only your own.
    stream : int, Stream, or integer array of batch shape
        ``stream.child("start")`` goes to the start and ``stream.child("algorithm")`` to ``init``.
    callback : callable ``(iteration, state, metrics)``, optional
        Called at each record.

    Returns
    -------
    Result

    Raises
    ------
    ValueError, TypeError
        For a bad argument. Divergence is not an error but a status.

    Notes
    -----
    The batch shape is the broadcast of those of problem, start, algorithm and stream. Each element's numbers depend on
    its own inputs only. Interrupts, time limit and checkpoints act between chunks of about 0.2 s, and where a chunk
    ends never changes a number.
    """
    if not isinstance(max_steps, (int, np.integer)) or isinstance(max_steps, bool) or max_steps < 0:
        raise ValueError(f"max_steps must be an integer >= 0, got {max_steps!r}")
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
    stops = [] if stop is None else [stop] if isinstance(stop, Rule) else list(stop)
    if any(not isinstance(s, Rule) for s in stops):
        raise TypeError(f"stop must be Below, Above, Stalled or a sequence of them, got {stop!r}")
    if watch is not None and not isinstance(watch, Mapping):
        raise TypeError(f"watch must map metrics to thresholds, like {{'error': 1e-6}}, got {watch!r}")
    for name, value in dict(watch or {}).items():
        if not isinstance(value, (int, float, np.number)) or np.isnan(value):
            raise ValueError(f"watch takes numbers as thresholds, got {value!r} for {name!r}")
    if checkpoint is not None:
        if isinstance(checkpoint, (str, os.PathLike)) or len(checkpoint) != 2 or not checkpoint[1] >= 0:
            raise ValueError(f"checkpoint must be (path, seconds >= 0), got {checkpoint!r}")
        if not Path(checkpoint[0]).absolute().parent.is_dir():
            raise ValueError(f"checkpoint: there is no folder {Path(checkpoint[0]).absolute().parent}")
    check_methods("problem", problem, "metrics")
    check_methods("algorithm", algorithm, "init", "step")
    if not callable(start):
        raise TypeError(f"start must be callable as start(problem, stream), got {type(start).__name__}")
    stream = as_stream(stream)
    x = start(problem, stream.child("start"))
    own = batch_shape(problem, x)
    if not bool(to_numpy(finite(x, len(own))).all()):
        raise ValueError(f"start must give finite numbers, got NaN or infinity from {start!r}")
    shapes = own, getattr(problem, "batch_shape", ()), hyperparameter_shape(algorithm), stream.batch_shape
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        named = ", ".join(f"{n} {s}" for n, s in zip(("start", "problem", "algorithm", "stream"), shapes, strict=True))
        raise ValueError(f"batch shapes do not broadcast: {named}") from None
    x = broadcast(problem, x, batch)
    algorithm = broadcast_hyperparameters(algorithm, batch)
    records = record_grid(record, int(max_steps))
    run = _Run(problem, algorithm, stream, batch, dict(watch or {}), stops)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is a status
        run.begin(algorithm.init(problem, x, stream.child("algorithm")), records, int(max_steps), checkpoint)
        run.drive(time_limit, callback)
        return run.result()


class _Run:
    """One call of `solve` under way. `SAVED` is what a checkpoint holds."""

    SAVED = (
        "state",
        "kept",
        "position",
        "taken",
        "status",
        "first_below",
        "rows",
        "seconds",
        "fingerprint",
        "loop",
        "past",
    )

    def __init__(
        self,
        problem: Any,
        algorithm: Any,
        stream: Stream,
        batch: tuple[int, ...],
        watch: dict[str, float],
        stops: list[Rule],
    ) -> None:
        self.problem, self.algorithm, self.stream, self.batch = problem, algorithm, stream, batch
        self.watch, self.stops = watch, stops
        self.status = np.full(batch, RUNNING, dtype="<U10")
        self.first_below = {name: np.full(batch, -1, dtype=np.int64) for name in watch}
        self.rows: list[tuple[int, float, np.ndarray, dict[str, np.ndarray]]] = []
        self.position = 0  # index into points of the next one to be handled
        self.taken = 0  # steps taken by the elements that are still running
        self.seconds = 0.0
        self.loop = "plain"
        self.past: list[list[tuple[int, np.ndarray]]] = [[] for _ in stops]  # what each rule has seen

    # -- set-up -------------------------------------------------------------------------------------------------

    def begin(self, state: State, records: np.ndarray, max_steps: int, checkpoint: Any) -> None:
        self.state = self.kept = state
        self.records = set(records.tolist())
        self.grid = set(geometric_grid(max_steps).tolist()) if self.watch or self.stops else set()
        self.points = sorted(self.records | self.grid | {max_steps})
        first = self.problem.metrics(state.x)
        for name in [*self.watch, *(s.metric for s in self.stops)]:
            if name not in first:
                raise ValueError(f"watch and stop take the problem's metrics {sorted(first)}, got {name!r}")
        resolution = getattr(self.problem, "resolution", {})
        thresholds = [*self.watch.items(), *((s.metric, s.threshold) for s in self.stops if isinstance(s, Below))]
        for name, threshold in thresholds:
            finest = float(np.max(to_numpy(resolution[name]))) if name in resolution else 0.0
            if 0 < threshold < finest:
                said = f"{name} below {threshold:g} is asked for, but rounding hides it below {finest:.2g} here"
                warnings.warn(said, stacklevel=4)
        self.path: Path | None = None if checkpoint is None else Path(checkpoint[0])
        self.every = np.inf if checkpoint is None else float(checkpoint[1])
        self.saved_at = time.monotonic()
        if self.path is not None:
            self.fingerprint = self._fingerprint(self.metrics(state))
            if self.path.exists():
                self._resume(self.path)

    def _fingerprint(self, first: dict[str, np.ndarray]) -> str:
        """Digest of what must agree for a checkpoint to be resumed."""
        parts = (
            type(self.problem).__name__,
            type(self.algorithm).__name__,
            {name: _plain(v) for name, v in fields_of(self.algorithm).items()},
            [_plain(part) for part in self.stream.path],
            self.points,
            sorted(self.records),
            self.watch,
            self.stops,
            {name: v.tolist() for name, v in first.items()},
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _resume(self, path: Path) -> None:
        try:
            saved = pickle.loads(path.read_bytes())
            fingerprint = saved["fingerprint"]
        except Exception as error:
            raise ValueError(f"checkpoint {path} cannot be read ({error}); remove it to start afresh") from error
        if fingerprint != self.fingerprint:
            raise ValueError(f"checkpoint {path} is of another run (problem, algorithm, start, stream or grid differ)")
        for name in self.SAVED:
            setattr(self, name, saved[name])
        self.status[self.status == TIMED_OUT] = RUNNING  # this call has a time limit of its own

    def _save(self) -> None:
        assert self.path is not None
        temporary = self.path.with_name(self.path.name + ".tmp")
        with open(temporary, "wb") as file:
            file.write(pickle.dumps({name: getattr(self, name) for name in self.SAVED}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self.saved_at = time.monotonic()

    # -- the loop -----------------------------------------------------------------------------------------------

    @property
    def active(self) -> np.ndarray:
        return self.status == RUNNING

    def drive(self, time_limit: float | None, callback: Any) -> None:
        self.advance(self.state, 0, self.active)  # compiles, before the clock starts
        began = time.monotonic()
        seconds_per_step = None
        while self.position < len(self.points):
            point = self.points[self.position]
            while self.taken < point and self.active.any():
                ready = 16 if seconds_per_step is None else max(1, int(CHUNK_SECONDS / seconds_per_step))
                n = min(point - self.taken, ready)
                clock = time.perf_counter()
                self.state = self.advance(self.state, n, self.active)
                lapse = time.perf_counter() - clock
                self.seconds += lapse
                seconds_per_step = max(lapse / n, 1e-9)
                self.taken += n
                self.status[self.active & (to_numpy(self.state.t) < self.taken)] = DIVERGED
                if time_limit is not None and time.monotonic() - began > time_limit and self.taken < self.points[-1]:
                    self.status[self.active] = TIMED_OUT
                due = time.monotonic() - self.saved_at >= self.every or (self.status == TIMED_OUT).any()
                if self.path is not None and due:
                    self._save()
            if not self.active.any():
                break
            self.visit(point, callback)
            self.position += 1

    def advance(self, state: State, n: int, active: np.ndarray) -> State:
        """Take n steps with the active elements, each frozen at its last finite iterate."""
        fast = getattr(self.algorithm, "advance", None)
        if fast is not None:
            new = fast(self.problem, state, n, active)
            if new is not NotImplemented:
                self.loop = "compiled"
                return new
        mask = like(active, state.t, dtype=namespace(state.t).bool)
        for i in range(n):
            new = self.algorithm.step(self.problem, state)
            if i == 0 and not hasattr(new, "t"):
                raise TypeError(f"{type(self.algorithm).__name__}.step must return a State, got {type(new).__name__}")
            if i == 0 and not np.array_equal(to_numpy(new.t), to_numpy(state.t) + 1):
                raise ValueError(f"{type(self.algorithm).__name__}.step must add one to state.t")
            mask = mask & finite(new.x, len(self.batch))
            host = to_numpy(mask)
            state = new if host.all() else select(mask, new, state)
            if not host.any():
                break
        return state

    def visit(self, point: int, callback: Any) -> None:
        """Record, watch and stop at one point of the grids."""
        watched = [*self.watch, *(rule.metric for rule in self.stops)]
        values = self.metrics(self.state, None if point in self.records else watched)
        if point in self.records:
            self.rows.append((point, self.seconds, self.active.copy(), values))
            if callback is not None:
                callback(point, self.state, values)
        if point in self.grid:
            for name, threshold in self.watch.items():
                need = self.active & (self.first_below[name] < 0) & (values[name] < threshold)
                if need.any():
                    self.first_below[name][need] = self.bisect(name, threshold, point, need)[need]
            for rule, past in zip(self.stops, self.past, strict=True):
                self.status[self.active & rule.reached(point, values[rule.metric], past)] = rule.status
                past.append((point, values[rule.metric]))
            self.kept = self.state

    def bisect(self, name: str, threshold: float, point: int, need: np.ndarray) -> np.ndarray:
        """Return the first step below the threshold for the elements in `need`, which are below it at `point`.

        All elements bisect in step: each keeps the last state known to be above, and every probe is equally long.
        """
        low = self.kept
        start = to_numpy(low.t)
        base = np.where(need, start, point).astype(np.int64)
        first = np.full(self.batch, point, dtype=np.int64)
        length = int((point - base).max())
        while length > 1:
            half = length // 2
            probe = self.advance(low, half, need)
            below = self.metrics(probe, [name])[name] < threshold
            first = np.where(need & below, np.minimum(first, base + half), first)
            base = np.where(need & ~below, base + half, base)
            low = select(like(need & ~below, low.t, dtype=namespace(low.t).bool), probe, low)
            length -= half
        return first

    def metrics(self, state: State, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return all metrics, or only those named (see `lrtheory.metrics.LazyMetrics`)."""
        values = self.problem.metrics(state.x)
        chosen = values if names is None else names
        return {name: np.broadcast_to(to_numpy(values[name]), self.batch).astype(np.float64) for name in chosen}

    def result(self) -> Result:
        array = self.state.x.left if isinstance(self.state.x, Factors) else self.state.x
        names = list(self.rows[0][3]) if self.rows else []
        iteration = np.array([row[0] for row in self.rows], dtype=np.int64)
        recorded = np.array([row[2] for row in self.rows], dtype=bool).reshape(len(self.rows), *self.batch)
        metrics = {
            name: np.where(recorded, np.array([row[3][name] for row in self.rows]).reshape(recorded.shape), np.nan)
            for name in names
        }
        passes = iteration * float(getattr(self.algorithm, "passes_per_step", 1))
        seconds = np.array([row[1] for row in self.rows])
        events = self.algorithm.events(self.state) if hasattr(self.algorithm, "events") else {}
        return Result(
            state=self.state,
            trace=Trace(iteration, passes, metrics, recorded, seconds),
            status=self.status,
            first_below=self.first_below,
            events={name: to_numpy(v) for name, v in events.items()},
            resolution=dict(getattr(self.problem, "resolution", {})),
            backend=f"{namespace(array).__name__.rsplit('.', 1)[-1]}, {self.loop}",
        )


def _plain(value: Any) -> Any:
    if is_array(value):
        return to_numpy(value).tolist()
    return {name: _plain(v) for name, v in fields_of(value).items()} if dataclasses.is_dataclass(value) else value
