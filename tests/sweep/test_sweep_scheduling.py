"""Blocks on executors that break, and what is said meanwhile."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.sweep import progress
from lrtheory.sweep.executors import InProcess, Workers, in_process
from lrtheory.sweep.loading import Source, load
from lrtheory.sweep.plan import Block
from lrtheory.sweep.scheduling import ATTEMPTS, run_tasks
from lrtheory.sweep.tables import decode_metadata
from lrtheory.sweep.worker import Outcome, Task


class Fragile(Executor):
    """Breaks, for every block it holds, when it comes to run a block that `breaks` names."""

    def __init__(self, breaks: Callable[[int], bool], capacity: int) -> None:
        self.breaks, self.capacity = breaks, capacity
        self.held: list[tuple[Future[Any], Callable[..., Any], Any]] = []
        self.broken = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken:
            raise BrokenExecutor("broken before")
        future: Future[Any] = Future()
        self.held.append((future, fn, args[0]))
        if len(self.held) >= self.capacity:
            self.run()
        return future

    def run(self) -> None:
        for future, fn, task in self.held:
            if self.broken or self.breaks(task.block.calls[0][0]["k"]):
                self.broken = True
                future.set_exception(BrokenExecutor("a worker died"))
            else:
                future.set_result(fn(task))
        self.held = []


def tasks(tmp_path: Path, count: int) -> list[Task]:
    path = tmp_path / "toy.py"
    path.write_text(
        "from lrtheory.sweep import Experiment, grid\n"
        "def run(cells, device): return [(cell, {'y': [cell['k']]}) for cell in cells]\n"
        "experiment = Experiment(name='toy', version=1, title='', presets={'small': grid(k=range(9))}, run=run)\n"
    )
    _, source = load(path)
    return [Task(source, Block((({"k": k},),), ((f"key{k}",),)), "cpu", None, {"call": 1}) for k in range(count)]


def run_on(workers: Workers, todo: list[Task]) -> dict[int, tuple[Outcome, int]]:
    found: dict[int, tuple[Outcome, int]] = {}

    def done(index: int, outcome: Outcome, attempts: int) -> None:
        assert index not in found
        found[index] = (outcome, attempts)

    run_tasks(todo, workers, done)
    return found


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    return tasks(tmp_path_factory.mktemp("nine"), 9)


@given(deaths=st.dictionaries(st.integers(0, 8), st.integers(1, 4)), slots=st.integers(1, 4))
def test_every_block_ends_once_whatever_breaks(nine: list[Task], deaths: dict[int, int], slots: int) -> None:
    left = Counter(deaths)

    def breaks(k: int) -> bool:
        left[k] -= 1
        return left[k] >= 0

    def flush(executor: Executor) -> None:
        raise AssertionError("killed")

    workers = Workers(open=lambda: Fragile(breaks, 1), slots=slots, kill=flush)
    found = run_on(workers, nine)
    assert sorted(found) == list(range(9))
    for k, (outcome, attempts) in found.items():
        assert attempts <= ATTEMPTS
        if deaths.get(k, 0) >= ATTEMPTS:
            assert [failure.cell for failure in outcome.failures] == [{"k": k}]
            assert "died 3 times" in outcome.failures[0].error
            assert decode_metadata(outcome.data)["failed"][0]["key"] == f"key{k}"
        else:
            assert not outcome.failures
            assert decode_metadata(outcome.data)["cells"] == [[f"key{k}", 1]]


def test_a_break_makes_all_blocks_in_flight_suspects_and_the_culprit_is_found_alone(tmp_path: Path) -> None:
    class Lazy(Fragile):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.capacity = 3 if not seen else 1
            return super().submit(fn, *args, **kwargs)

    seen: list[int] = []

    def breaks(k: int) -> bool:
        seen.append(k)
        return k == 0

    found = run_on(Workers(open=lambda: Lazy(breaks, 3), slots=3, kill=lambda executor: None), tasks(tmp_path, 5))
    assert {k: attempts for k, (_, attempts) in found.items()} == {0: 3, 1: 2, 2: 2, 3: 1, 4: 1}
    assert [bool(found[k][0].failures) for k in range(5)] == [True, False, False, False, False]
    assert list(found)[:2] == [3, 4]  # suspects come last


@given(
    culprits=st.sets(st.integers(0, 11), max_size=3),
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=12),
    slots=st.integers(1, 3),
)
def test_exactly_the_cells_that_kill_their_worker_are_given_up(
    nine: list[Task], culprits: set[int], sizes: list[int], slots: int
) -> None:
    """Twelve cells in calls of any sizes, three calls a block."""
    cuts = [min(sum(sizes[:i]), 12) for i in range(len(sizes))] + [12]
    calls = [tuple({"k": k} for k in range(a, b)) for a, b in itertools.pairwise(cuts) if a < b]
    keys = [tuple(f"key{cell['k']}" for cell in call) for call in calls]
    todo = [
        replace(nine[0], block=Block(tuple(calls[i : i + 3]), tuple(keys[i : i + 3]))) for i in range(0, len(calls), 3)
    ]

    class Deadly(InProcess):
        broken = False

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            if self.broken:
                raise BrokenExecutor("broken before")
            if culprits.isdisjoint(cell["k"] for cell in args[0].block.cells):
                return super().submit(fn, *args, **kwargs)
            self.broken = True
            future: Future[Any] = Future()
            future.set_exception(BrokenExecutor("a worker died"))
            return future

    stored: list[str] = []
    failed: list[str] = []

    def done(index: int, outcome: Outcome, attempts: int) -> None:
        metadata = decode_metadata(outcome.data)
        stored.extend(key for key, _ in metadata["cells"])
        failed.extend(failure.key for failure in outcome.failures)
        assert attempts == ATTEMPTS or not outcome.failures

    run_tasks(todo, Workers(open=Deadly, slots=slots, kill=lambda executor: None), done)
    assert sorted(failed) == sorted(f"key{k}" for k in culprits)
    assert sorted(stored + failed) == sorted(f"key{k}" for k in range(12))


def test_an_interrupt_kills_the_workers(tmp_path: Path) -> None:
    killed = []

    def done(index: int, outcome: Outcome, attempts: int) -> None:
        raise KeyboardInterrupt

    workers = Workers(open=in_process().open, slots=1, kill=killed.append)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks(tmp_path, 2), workers, done)
    assert len(killed) == 1


def test_a_file_that_does_not_load_on_the_worker_fails_its_cells(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, 1)
    broken = Task(Source("x.py", "1 / 0", "d"), task.block, "cpu", None, {"call": 1})
    ((outcome, _),) = run_on(in_process(), [broken]).values()
    assert outcome.failures[0].error == "ZeroDivisionError: division by zero"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_say_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with progress.make_progress(40, stream=stream) as lines:
        for cells in (1, 9, 10, 20):
            lines.advance(cells, cells // 20)
    assert stream.getvalue().splitlines() == [
        "10/40 cells, 10 s, about 30 s left",
        "40/40 cells, 40 s, 1 failed",
    ]


def test_a_terminal_gets_a_bar_and_quiet_nothing() -> None:
    stream = Terminal()
    with progress.make_progress(4, stream=stream) as bar:
        bar.advance(4, 1)
    assert "4/4" in stream.getvalue()
    assert "1 failed" in stream.getvalue()
    stream = Terminal()
    with progress.make_progress(4, quiet=True, stream=stream) as bar:
        bar.advance(4, 0)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (8.46, "8.5 s"), (75, "75 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
