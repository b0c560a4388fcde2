"""One call of the sweep engine: plan, skip, run, write, judge."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import executors, loading, overrides, provenance
from .executors import Workers
from .experiment import Experiment, Grid, UsageError
from .plan import Block, Plan, make_plan
from .progress import duration, make_progress
from .scheduling import run_tasks
from .store import Failure, Store, write_atomically
from .worker import Outcome, Task

if TYPE_CHECKING:
    import pandas as pd

    from .claims import Claim


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


@dataclass
class Report:
    """What a call gave.

    Attributes
    ----------
    frame : DataFrame
        One row per table row; the cell's parameters are columns. A cell without data is one row of missing values.
    claims : list of Claim
    failures : list of Failure
    warnings : list of str
    broken : list of (str, str)
        What could not be made of the data (figure, claims), with the traceback.
    paths : dict of str to Path
        The files written.
    """

    frame: pd.DataFrame
    claims: list[Claim] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)


def run(
    experiment: Experiment | str,
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
    experiment : Experiment or str
        An experiment, which runs in this process; or the name of one that comes with lrtheory, or the path of a file
        (ending in ``.py``) that defines one: these run on `jobs` processes.
    preset : str
    set : mapping or sequence of str
        Other values for some parameters: ``{"k": [3, 5], "seed": range(20), "alpha": "log:1e-3:1:7"}``.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    jobs : int, optional
        Processes. Default: as many as there are cores, at most one per block.
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
        For wrong usage, a ValueError.

    Warns
    -----
    UserWarning
        For failed cells, cells from other code, and a figure or claims function that raises.
    """
    if isinstance(experiment, Experiment):
        source = loading.describe(experiment)
    else:
        experiment, source = loading.load(Path(experiment) if experiment.endswith(".py") else loading.find(experiment))
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


def chosen_plan(experiment: Experiment, options: Options) -> Plan:
    """Return the plan of a call.

    Raises
    ------
    UsageError
        For an unknown preset, a bad ``--set``, or a device that is not here.
    """
    if options.preset not in experiment.presets:
        raise UsageError(f"no preset {options.preset!r}{overrides.nearest(options.preset, experiment.presets)}")
    for name, value in (("--threads", options.threads), ("--jobs", options.jobs)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if options.batch_timeout is not None and not options.batch_timeout > 0:
        raise UsageError(f"--batch-timeout must be positive, got {options.batch_timeout:g}")
    grid: Grid = overrides.apply(experiment.presets[options.preset], options.settings)
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


def chosen_jobs(experiment: Experiment, source: loading.Source, options: Options, blocks: int) -> int:
    """Return how many processes run `blocks` blocks; 1 is this process.

    By default processes times threads is at most the number of cores, and a GPU has one process.
    """
    if experiment.timing or not source.path:
        return 1
    if options.jobs is not None:
        wanted = options.jobs
    else:
        wanted = max(1, provenance.cores() // options.threads) if options.device == "cpu" else 1
    return max(1, min(wanted, blocks))


def execute(experiment: Experiment, source: loading.Source, options: Options) -> Report:
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
    store.prepare()
    store.scan(frozenset(plan.keys))
    if options.fresh and not options.plot_only:
        store.supersede(plan.keys)
    old = dict(store.entries)
    todo = [] if options.plot_only else missing_blocks(plan, store)
    if options.plot_only and not store.entries:
        raise UsageError(f"nothing of this plan is stored in {store.folder}: run it without --plot-only first")

    jobs = chosen_jobs(experiment, source, options, len(todo))
    run_record: list[dict[str, Any]] = []
    python_warnings: Counter[str] = Counter()
    if todo:
        say = (lambda text: None) if options.quiet else (lambda text: print(text, file=sys.stderr, flush=True))
        _announce(say, experiment, options, plan, store, todo, jobs)
        _run_blocks(experiment, source, options, store, todo, jobs, run_record, python_warnings, say)

    table = store.read(plan.cells, plan.keys, plan.axes)
    report = Report(frame=table.to_pandas())
    report.failures = _failures(plan, store)
    report.warnings = _warnings(plan, store, old, source, options, jobs, report.failures, python_warnings)
    report.paths["data"] = folder / "data.parquet"
    _write_parquet(table, report.paths["data"])
    if any(key in store.entries for key in plan.keys):
        _draw(experiment, report, folder)
        _judge(experiment, report, folder)
    else:
        report.warnings.append("no cell has data: no figure and no claims")
    _write_record(experiment, source, options, plan, report, jobs, run_record, started, folder)
    return report


def _announce(
    say: Callable[[str], None],
    experiment: Experiment,
    options: Options,
    plan: Plan,
    store: Store,
    todo: list[Block],
    jobs: int,
) -> None:
    stored = sum(key in store.entries for key in plan.keys)
    where = "in this process" if jobs == 1 else f"on {jobs} processes"
    say(
        f"{experiment.name} {options.preset}: {len(plan.cells)} cells in {len(plan.blocks)} blocks, "
        f"{stored} cells stored, {len(todo)} blocks to run {where} ({options.device})"
    )


def _run_blocks(
    experiment: Experiment,
    source: loading.Source,
    options: Options,
    store: Store,
    todo: list[Block],
    jobs: int,
    record: list[dict[str, Any]],
    python_warnings: Counter[str],
    say: Callable[[str], None],
) -> None:
    metadata = _metadata(experiment, options, store)
    tasks = [
        Task(source, block, options.device, options.batch_timeout, {**metadata, "seeds": _seeds_of(block)})
        for block in todo
    ]
    workers: Workers = executors.in_process() if jobs == 1 else executors.process_pool(jobs, options.threads)
    if jobs > 1 and experiment.prepare is not None:
        try:
            experiment.prepare(options.device)
        except Exception as error:  # only an optimisation: each worker compiles for itself then
            say(f"prepare failed ({type(error).__name__}: {error}); going on without")

    with make_progress(sum(block.size for block in todo), options.quiet) as progress:

        def done(index: int, outcome: Outcome, attempts: int) -> None:
            store.add(outcome.data)
            python_warnings.update(outcome.warnings)
            record.append(
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
                run_tasks(tasks, workers, done)
        else:
            run_tasks(tasks, workers, done)
    record.sort(key=lambda entry: entry["block"])


def _metadata(experiment: Experiment, options: Options, store: Store) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "version": experiment.version,
        "dtype": experiment.dtype,
        "call": store.number,
        "device": options.device.partition(":")[0],
        "device_name": provenance.device_name(options.device),
        "threads": options.threads,
        "git": provenance.git(),
    }


def _seeds_of(block: Block) -> dict[str, list[Any]]:
    return _seeds([cell for call in block.calls for cell in call])


def _seeds(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, dict[Any, None]] = {}
    for cell in cells:
        for name in ("seed", "init_seed"):
            if name in cell:
                found.setdefault(name, {})[cell[name]] = None
    return {name: list(values) for name, values in found.items()}


def _failures(plan: Plan, store: Store) -> list[Failure]:
    return [store.failures[key] for key in plan.keys if key in store.failures and key not in store.entries]


def _warnings(
    plan: Plan,
    store: Store,
    old: Mapping[str, Any],
    source: loading.Source,
    options: Options,
    jobs: int,
    failures: list[Failure],
    python_warnings: Counter[str],
) -> list[str]:
    found = list(store.corrupt)
    for i, what in enumerate(("lrtheory source", "experiment")):
        now = (provenance.source_digest(), source.digest)[i]
        count = sum(
            1 for key in plan.keys if key in old and store.entries.get(key) == old[key] and old[key].code[i] != now
        )
        if count:
            found.append(
                f"{count} of {len(plan.keys)} cells are from other code (the {what} has changed since): "
                "--fresh computes them again"
            )
    if failures:
        found.append(f"{len(failures)} of {len(plan.keys)} cells failed")
    missing = sum(key not in store.entries for key in plan.keys) - len(failures)
    if missing > 0:
        found.append(f"{missing} of {len(plan.keys)} cells have no data yet")
    if jobs * options.threads > provenance.cores():
        found.append(f"{jobs} processes x {options.threads} threads on {provenance.cores()} cores")
    found += [f"{text}, {count} times" if count > 1 else text for text, count in python_warnings.most_common(20)]
    return found


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(path, sink.getvalue().to_pybytes())


def _draw(experiment: Experiment, report: Report, folder: Path) -> None:
    if experiment.figure is None:
        return
    import io

    import matplotlib

    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("agg")  # no window, no display needed
    try:
        figure = experiment.figure(report.frame.copy())
        for suffix in ("png", "svg"):
            sink = io.BytesIO()
            # no date in the file: the same data give the same file
            figure.savefig(sink, format=suffix, dpi=200, metadata={"Date": None} if suffix == "svg" else None)
            path = folder / f"figure.{suffix}"
            write_atomically(path, sink.getvalue())
            report.paths[suffix] = path
    except OSError:
        raise
    except Exception as error:
        report.broken.append(_broken("figure", error, report))
    finally:
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


def _judge(experiment: Experiment, report: Report, folder: Path) -> None:
    if experiment.claims is None:
        return
    try:
        claims = list(experiment.claims(report.frame.copy()))
        text = json.dumps([claim.to_json() for claim in claims], indent=2, allow_nan=False)
    except Exception as error:
        report.broken.append(_broken("claims", error, report))
        return
    report.claims = claims
    report.paths["claims"] = folder / "claims.json"
    write_atomically(report.paths["claims"], text.encode())


def _broken(what: str, error: Exception, report: Report) -> tuple[str, str]:
    import traceback

    text = f"the {what} function raised {type(error).__name__}: {error}; the data are safe in {report.paths['data']}"
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    return text, "".join(traceback.format_exception(type(error), error, trace))


def _write_record(
    experiment: Experiment,
    source: loading.Source,
    options: Options,
    plan: Plan,
    report: Report,
    jobs: int,
    blocks: list[dict[str, Any]],
    started: datetime,
    folder: Path,
) -> None:
    ended = datetime.now(UTC)
    path = folder / "run.json"
    ran = sum(entry["cells"] for entry in blocks)
    seconds = sum(entry["seconds"] for entry in blocks)
    peaks = [entry["peak_megabytes"] for entry in blocks]
    before = read_record(folder)
    record = {
        "experiment": experiment.name,
        "version": experiment.version,
        "title": experiment.title,
        "paper": experiment.paper,
        "preset": options.preset,
        "set": options.settings if isinstance(options.settings, Mapping) else list(options.settings),
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
        "blocks": blocks,
        # of the last call that ran anything: what --dry-run estimates from
        "seconds_per_cell": seconds / ran if ran else before.get("seconds_per_cell"),
        "peak_megabytes": max(peaks) if peaks else before.get("peak_megabytes"),
        "warnings": report.warnings + [text for text, _ in report.broken],
        "failed": [failure.to_json() for failure in report.failures],
    }
    write_atomically(path, json.dumps(_strict(record), indent=2, allow_nan=False).encode())
    report.paths["run"] = path


def read_record(folder: Path) -> dict[str, Any]:
    """Return the run.json of the last call, or an empty dictionary."""
    try:
        found = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _strict(value: Any) -> Any:
    """Return `value` with what JSON has no word for as text or null."""
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if hasattr(value, "__iter__"):
        return [_strict(entry) for entry in value]
    return str(value)


def estimate(experiment: Experiment, source: loading.Source, options: Options) -> list[str]:
    """Return what a call would do, in lines: cells, blocks, and what the last call lets expect of time and memory."""
    plan = chosen_plan(experiment, options)
    folder = options.out / experiment.name
    store = Store(folder)
    store.scan(frozenset(plan.keys))
    todo = plan.blocks if options.fresh else missing_blocks(plan, store)
    cells = sum(block.size for block in todo)
    jobs = chosen_jobs(experiment, source, options, len(todo))
    lines = [
        f"{experiment.name} {options.preset}: {len(plan.cells)} cells in {len(plan.blocks)} blocks, "
        f"{sum(key in store.entries for key in plan.keys)} cells stored",
        f"to run: {cells} cells in {len(todo)} blocks on {jobs} process{'es' if jobs > 1 else ''} ({options.device})",
    ]
    before = read_record(folder)
    seconds, peak = before.get("seconds_per_cell"), before.get("peak_megabytes")
    if not cells:
        lines.append("nothing to compute")
    elif seconds is None:
        lines.append("time and memory: unknown until a first run")
    else:
        lines.append(f"time: about {duration(seconds * cells / jobs)}, at the {seconds:.3g} s a cell of the last run")
        if peak is not None:
            lines.append(f"memory: about {peak * jobs:.0f} MB, at the {peak:.0f} MB a process of the last run")
    return lines + store.corrupt
