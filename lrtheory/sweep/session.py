"""One call of the sweep engine: plan, skip what is stored, run the rest, write, judge."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import executors, loading, outputs, overrides, provenance
from .experiment import Cell, Experiment, Scalar, UsageError
from .loading import Source
from .outputs import Report
from .plan import Block, Plan, make_plan
from .progress import duration, make_progress
from .scheduling import run_tasks
from .store import Entry, Store
from .worker import Outcome, Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Options:
    """What the command line asks for; see ``python -m lrtheory.sweep --help``."""

    preset: str = "small"
    settings: Sequence[str] | Mapping[str, Any] = ()
    device: str = "cpu"
    jobs: int | None = None
    threads: int = 1
    out: Path = Path("results")
    fresh: bool = False
    plot_only: bool = False
    quiet: bool = True
    batch_timeout: float | None = None
    command: str = ""


def run(
    experiment: Experiment | str | Path,
    preset: str = "small",
    *,
    set: Mapping[str, Any] | Sequence[str] = (),
    device: str = "cpu",
    jobs: int | None = None,
    threads: int = 1,
    out: str | Path = "results",
    fresh: bool = False,
    quiet: bool = True,
    batch_timeout: float | None = None,
) -> pd.DataFrame:
    """Run an experiment as the command line does, and return its data.

    What is stored is not run again; data, figure and claims are written to ``out/NAME``.

    Parameters
    ----------
    experiment : Experiment, str or Path
        An experiment, which runs in this process; or the name of one that comes with lrtheory, or the path of a file
        (ending in ``.py``) that defines one: these run on `jobs` processes.
    preset : str
    set : mapping or sequence of str
        Other values for some parameters: ``{"k": [3, 5], "seed": range(20), "alpha": "log:1e-3:1:7"}``.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    jobs : int, optional
        Processes. Default: as many as there are cores, at most one per block; one on a GPU.
    threads : int
        Kernel threads of each process.
    out : path
    fresh : bool
        Compute stored cells again.
    quiet : bool
        Show no progress.
    batch_timeout : float, optional
        Seconds that one call of the experiment's `run` may take.

    Returns
    -------
    DataFrame
        One row per table row, with the cell's parameters as columns. A cell that failed is one row whose table
        columns are missing.

    Raises
    ------
    UsageError
        For wrong usage; it is a ValueError.

    Warns
    -----
    UserWarning
        For failed cells, cells from other code, and a figure or claims function that raises.
    """
    if isinstance(experiment, Experiment):
        source = loading.describe(experiment)
    else:
        named = str(experiment)
        experiment, source = loading.load(Path(named) if named.endswith(".py") else loading.find(named))
    options = Options(
        preset=preset,
        settings=set,
        device=device,
        jobs=jobs,
        threads=threads,
        out=Path(out),
        fresh=fresh,
        quiet=quiet,
        batch_timeout=batch_timeout,
        command="lrtheory.sweep.run",
    )
    report = execute(experiment, source, options)
    for failure in report.failures:
        warnings.warn(f"cell {failure.cell} failed: {failure.error}", stacklevel=2)
    for text in report.warnings + [text for text, _ in report.broken]:
        warnings.warn(text, stacklevel=2)
    return report.frame


def execute(experiment: Experiment, source: Source, options: Options) -> Report:
    """Run a call from plan to files.

    Raises
    ------
    UsageError
    OSError
        If a file cannot be written; what is stored stays valid.
    KeyboardInterrupt
        What is stored stays, and the same call goes on from there.
    """
    started = datetime.now(UTC)
    plan = chosen_plan(experiment, options)
    folder = options.out / experiment.name
    store = Store(folder)
    if not options.plot_only:
        store.prepare()
    store.scan(frozenset(plan.keys))
    if options.fresh and not options.plot_only:
        store.supersede(plan.keys)
    if options.plot_only and not store.entries:
        raise UsageError(f"nothing of this plan is stored in {store.folder}: run it without --plot-only first")
    before = dict(store.entries)
    todo = [] if options.plot_only else missing_blocks(plan, store)
    jobs = chosen_jobs(experiment, source, options, len(todo))
    if not options.quiet:
        where = "in this process" if jobs == 1 else f"on {jobs} processes"
        print(
            f"{experiment.name} {options.preset}: {len(plan.cells)} cells in {len(plan.blocks)} blocks, "
            f"{len(store.entries)} cells stored, {len(todo)} blocks to run {where} ({options.device})",
            file=sys.stderr,
            flush=True,
        )
    work = Work()
    if todo:
        _run_blocks(experiment, source, options, store, todo, jobs, work)

    table = store.read(plan.cells, plan.keys, plan.axes)
    report = Report(frame=table.to_pandas())
    outputs.write_data(table, report, folder)
    report.failures = [store.failures[key] for key in plan.keys if key in store.failures]
    report.missing = sum(key not in store.entries for key in plan.keys) - len(report.failures)
    report.warnings = [
        *store.corrupt,
        *_other_code(store, before, source, len(plan.keys)),
        *_shortcomings(report, plan, options, jobs),
        *work.warnings,
    ]
    if store.entries:
        outputs.draw(experiment, report, folder)
        outputs.judge(experiment, report, folder)
    else:
        report.warnings.append("no cell has data: no figure and no claims")
    outputs.write_record(_record(experiment, source, options, plan, jobs, work, started, folder), report, folder)
    return report


def chosen_plan(experiment: Experiment, options: Options) -> Plan:
    """Return the plan of a call.

    Raises
    ------
    UsageError
        For an unknown preset, a bad ``--set``, a number out of range, or a device that is not here.
    """
    if options.preset not in experiment.presets:
        raise UsageError(f"no preset {options.preset!r}{overrides.nearest(options.preset, experiment.presets)}")
    for name, value in (("--threads", options.threads), ("--jobs", options.jobs)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if options.batch_timeout is not None and not options.batch_timeout > 0:
        raise UsageError(f"--batch-timeout must be positive, got {options.batch_timeout:g}")
    grid = overrides.apply(experiment.presets[options.preset], options.settings)
    if options.device != "cpu":
        from lrtheory import backend

        try:
            backend.check_device(options.device)
        except ValueError as error:
            raise UsageError(str(error)) from None
    return make_plan(experiment, grid, options.device)


def missing_blocks(plan: Plan, store: Store) -> list[Block]:
    """Return the blocks of which some cell is not stored."""
    return [block for block in plan.blocks if any(key not in store.entries for call in block.keys for key in call)]


def chosen_jobs(experiment: Experiment, source: Source, options: Options, blocks: int) -> int:
    """Return how many processes run `blocks` blocks; 1 is this process.

    By default processes times threads is at most the number of cores, and a GPU has one process.
    """
    if experiment.timing or not source.path:
        return 1
    wanted = options.jobs
    if wanted is None:
        wanted = max(1, provenance.cores() // options.threads) if options.device == "cpu" else 1
    return max(1, min(wanted, blocks))


@dataclass
class Work:
    """What was run in a call: one record per block, and what Python warned of."""

    blocks: list[dict[str, Any]]
    python_warnings: Counter[str]

    def __init__(self) -> None:
        self.blocks, self.python_warnings = [], Counter()

    @property
    def warnings(self) -> list[str]:
        """The most frequent warnings, in words."""
        common = self.python_warnings.most_common(20)
        return [f"{text}, {count} times" if count > 1 else text for text, count in common]


def _run_blocks(
    experiment: Experiment,
    source: Source,
    options: Options,
    store: Store,
    todo: list[Block],
    jobs: int,
    work: Work,
) -> None:
    metadata = {
        "experiment": experiment.name,
        "version": experiment.version,
        "dtype": experiment.dtype,
        "call": store.number,
        "device": options.device.partition(":")[0],
        "device_name": provenance.device_name(options.device),
        "threads": options.threads,
        "git": provenance.git(),
    }
    tasks = [
        Task(source, block, options.device, options.batch_timeout, {**metadata, "seeds": _seeds(block.cells)})
        for block in todo
    ]
    if jobs > 1 and experiment.prepare is not None:
        try:
            experiment.prepare(options.device)
        except Exception as error:  # it only saves time: each worker compiles for itself then
            work.python_warnings[f"prepare failed ({type(error).__name__}: {error})"] += 1

    with make_progress(sum(block.size for block in todo), options.quiet) as progress:

        def done(index: int, outcome: Outcome, attempts: int) -> None:
            store.add(outcome.data)
            work.python_warnings.update(outcome.warnings)
            work.blocks.append(
                {
                    "block": index,
                    "cells": todo[index].size,
                    "failed": len(outcome.failures),
                    "seconds": round(outcome.seconds, 4),
                    "peak_megabytes": round(outcome.peak_megabytes, 1),
                    "attempts": attempts,
                }
            )
            progress.advance(todo[index].size, len(outcome.failures))

        if jobs == 1:
            with executors.limited_threads(options.threads):
                run_tasks(tasks, executors.in_process(), done)
        else:
            run_tasks(tasks, executors.process_pool(jobs, options.threads), done)
    work.blocks.sort(key=lambda entry: entry["block"])


def _seeds(cells: Sequence[Cell]) -> dict[str, list[Scalar]]:
    found: dict[str, dict[Scalar, None]] = {}
    for cell in cells:
        for name in ("seed", "init_seed"):
            if name in cell:
                found.setdefault(name, {})[cell[name]] = None
    return {name: list(values) for name, values in found.items()}


def _other_code(store: Store, before: Mapping[str, Entry], source: Source, cells: int) -> list[str]:
    """Return a warning for each digest that cells of earlier calls do not share."""
    now = (provenance.source_digest(), source.digest)
    used = [entry for key, entry in before.items() if store.entries.get(key) == entry]
    found = []
    for what, i in (("lrtheory source", 0), ("experiment file", 1)):
        count = sum(entry.code[i] != now[i] for entry in used)
        if count:
            found.append(
                f"{count} of {cells} cells are from other code (the {what} has changed since): "
                "--fresh computes them again"
            )
    return found


def _shortcomings(report: Report, plan: Plan, options: Options, jobs: int) -> list[str]:
    found = []
    if report.failures:
        found.append(f"{len(report.failures)} of {len(plan.keys)} cells failed")
    if report.missing:
        found.append(f"{report.missing} of {len(plan.keys)} cells have no data yet")
    if jobs * options.threads > provenance.cores():
        found.append(f"{jobs} processes x {options.threads} threads on {provenance.cores()} cores")
    return found


def _record(
    experiment: Experiment,
    source: Source,
    options: Options,
    plan: Plan,
    jobs: int,
    work: Work,
    started: datetime,
    folder: Path,
) -> dict[str, Any]:
    """Return the provenance of a call, for run.json."""
    ended = datetime.now(UTC)
    ran = sum(entry["cells"] for entry in work.blocks)
    # of the last call that ran anything: what --dry-run estimates from
    last = outputs.read_record(folder)
    if ran:
        last["seconds_per_cell"] = sum(entry["seconds"] for entry in work.blocks) / ran
        last["peak_megabytes"] = max(entry["peak_megabytes"] for entry in work.blocks)
    return {
        "experiment": experiment.name,
        "version": experiment.version,
        "title": experiment.title,
        "paper": experiment.paper,
        "preset": options.preset,
        "set": options.settings,
        "command": options.command,
        "start": started.isoformat(timespec="seconds"),
        "end": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 3),
        "cells": len(plan.cells),
        "cells_run": ran,
        "device": options.device,
        "device_name": provenance.device_name(options.device),
        "cpu": provenance.cpu_model(),
        "cores": provenance.cores(),
        "jobs": jobs,
        "threads": options.threads,
        "versions": provenance.versions(),
        "git": provenance.git(),
        "digest": {"lrtheory": provenance.source_digest(), "experiment": source.digest},
        "seeds": _seeds(plan.cells),
        "blocks": work.blocks,
        "seconds_per_cell": last.get("seconds_per_cell"),
        "peak_megabytes": last.get("peak_megabytes"),
    }


def estimate(experiment: Experiment, source: Source, options: Options) -> list[str]:
    """Return what a call would do, in lines: cells, blocks, and what the last call lets expect of time and memory.

    It changes nothing on disk.
    """
    plan = chosen_plan(experiment, options)
    folder = options.out / experiment.name
    store = Store(folder, read_only=True)
    store.scan(frozenset(plan.keys))
    todo = plan.blocks if options.fresh else missing_blocks(plan, store)
    cells = sum(block.size for block in todo)
    jobs = chosen_jobs(experiment, source, options, len(todo))
    lines = [
        f"{experiment.name} {options.preset}: {len(plan.cells)} cells in {len(plan.blocks)} blocks, "
        f"{len(store.entries)} cells stored",
        f"to run: {cells} cells in {len(todo)} blocks on {jobs} process{'es' if jobs > 1 else ''} ({options.device})",
    ]
    last = outputs.read_record(folder)
    seconds, peak = last.get("seconds_per_cell"), last.get("peak_megabytes")
    if not cells:
        lines.append("nothing to compute")
    elif seconds is None:
        lines.append("time and memory: unknown until a first run")
    else:
        lines.append(f"time: about {duration(seconds * cells / jobs)}, at the {seconds:.3g} s a cell of the last run")
        if peak is not None:
            lines.append(f"memory: about {peak * jobs:.0f} MB, at the {peak:.0f} MB a process of the last run")
    return lines + store.corrupt
