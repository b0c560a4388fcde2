"""``--dry-run``: what a call would do, and from a timed pilot what it would cost."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor
from concurrent.futures import TimeoutError as OutOfPatience

from . import executors, session
from .experiment import Experiment
from .loading import Source
from .plan import Block
from .progress import duration
from .store import Store
from .worker import Outcome, Task, run_block

PILOT_SECONDS = 60.0
WARM_SECONDS = 5.0


def estimate(experiment: Experiment, source: Source, options: session.Options) -> list[str]:
    """Return what a call would do, in lines: cells and blocks, and the time and memory it would take.

    One block of those to be run, the middle one, is run in a process of its own: once, and if that was quick a second
    time without the costs of a first call. Its result is thrown away; nothing on disk changes.
    """
    plan = session.chosen_plan(experiment, options)
    store = Store(options.out / experiment.name, read_only=True)
    store.scan(frozenset(plan.keys))
    todo = plan.blocks if options.fresh else session.missing_blocks(plan, store)
    cells = sum(block.size for block in todo)
    jobs = session.chosen_jobs(experiment, source, options, len(todo))
    lines = [
        f"{experiment.name} {options.preset}: {len(plan.cells)} cells in {len(plan.blocks)} blocks, "
        f"{len(store.entries)} cells stored",
        f"to run: {cells} cells in {len(todo)} blocks {session.where(source, options, jobs)} ({options.device})",
    ]
    if todo:
        lines += _cost(experiment, source, options, todo, jobs)
    else:
        lines.append("nothing to compute")
    return lines + store.corrupt


def _cost(experiment: Experiment, source: Source, options: session.Options, todo: list[Block], jobs: int) -> list[str]:
    index = len(todo) // 2
    (task,) = session.make_tasks(experiment, source, options, 0, [todo[index]])
    workers = executors.process_pool(1, options.threads)
    executor = workers.open()
    try:
        first, steady = _pilot(executor, task)
    except (OutOfPatience, BrokenExecutor) as error:
        died = "its process died (killed, out of memory, or crashed)"
        why = died if isinstance(error, BrokenExecutor) else f"it did not end within {duration(PILOT_SECONDS)}"
        return [f"time: unknown; the pilot was a block of {task.block.size} cells, and {why}"]
    finally:
        workers.kill(executor)
    a_cell = steady.seconds / task.block.size
    divided = "" if jobs else "; the more workers there are, the less"
    jobs = max(jobs, 1)
    rounds = -(-len(todo) // jobs)  # blocks of the busiest process
    share = sum(block.size for block in todo) * rounds / len(todo)
    seconds = max(first.seconds - steady.seconds, 0) + a_cell * share
    lines = [
        f"time: about {duration(seconds)}, as the pilot, a block of {task.block.size} cells, took "
        f"{duration(steady.seconds)}{divided}",
        f"memory: about {first.peak_megabytes * jobs:.0f} MB, {first.peak_megabytes:.0f} MB a process",
    ]
    if first.failures:
        lines.append(f"the pilot failed: {first.failures[0].error}")
    return lines


def _pilot(executor: Executor, task: Task) -> tuple[Outcome, Outcome]:
    """Return what the first run gave, and one of which the seconds are those of every further block."""
    first: Outcome = executor.submit(run_block, task).result(PILOT_SECONDS)
    if first.seconds > WARM_SECONDS:
        return first, first
    return first, executor.submit(run_block, task).result(PILOT_SECONDS)
