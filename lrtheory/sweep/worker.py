"""What happens to a block, in whichever process: run its calls, encode its tables.

Everything that crosses a process border here is plain data, so that any executor can carry it.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .experiment import Cell, Experiment, canonical
from .loading import Source, from_source
from .plan import Block
from .provenance import device_name, peak_megabytes, reset_peak, source_digest, versions
from .store import Failure
from .timeout import OutOfTime, time_limit


@dataclass(frozen=True)
class Task:
    """A block as it is sent to a worker.

    Attributes
    ----------
    source : Source
        The experiment.
    block : Block
        The cells.
    device : str
    call_timeout : float or None
        Seconds that one call of `run` may take.
    metadata : dict
        What the driver knows and the stored file repeats.
    code : str
        Digest of the driver's lrtheory source; a worker that runs another one says so.
    """

    source: Source
    block: Block
    device: str
    call_timeout: float | None
    metadata: dict[str, Any]
    code: str = ""

    def split(self) -> list[Task]:
        """Return a task for each call or, where there is one call only, for each cell."""
        return [replace(self, block=block) for block in self.block.split()]


@dataclass(frozen=True)
class Outcome:
    """What became of a block.

    Attributes
    ----------
    data : bytes
        The file to store.
    failures : tuple of Failure
    warnings : dict of str to int
        What Python warned of, and how often.
    seconds, peak_megabytes : float
    cells : int
    """

    data: bytes
    failures: tuple[Failure, ...]
    warnings: dict[str, int]
    seconds: float
    peak_megabytes: float
    cells: int


def run_block(task: Task) -> Outcome:
    """Run the calls of a block. A call that raises is run once more cell by cell, to name the culprit.

    Raises
    ------
    Exception
        Only if the experiment's file cannot be loaded here; what cells raise is in the outcome.
    """
    start = time.perf_counter()
    reset_peak()
    experiment = from_source(task.source)
    results: list[tuple[str, Cell, dict[str, Any]]] = []
    failures: list[Failure] = []
    with warnings.catch_warnings(record=True) as caught:
        for cells, keys in zip(task.block.calls, task.block.keys, strict=True):
            found = run_call(experiment, cells, keys, task.device, task.call_timeout)
            for key, cell, result in zip(keys, cells, found, strict=True):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    results.append((key, cell, result))
    said = Counter(_say(warning) for warning in caught)
    if task.code not in ("", source_digest()):
        said[f"a worker on {platform.node()} runs other lrtheory code than this process"] += 1
    return _outcome(task, results, failures, said, start)


def out_of_time(seconds: float, cells: int) -> str:
    """Return what is said of a call that took too long."""
    return f"no result within {seconds:g} s for a call of {cells} cells (--batch-timeout)"


def lost_block(task: Task, error: str) -> Outcome:
    """Return the outcome of a block that no worker brought back: every cell failed with `error`."""
    pairs = zip(task.block.keys, task.block.calls, strict=True)
    failures = [Failure(key, cell, error) for keys, cells in pairs for key, cell in zip(keys, cells, strict=True)]
    return _outcome(task, [], failures, Counter(), time.perf_counter())


def _outcome(
    task: Task,
    results: list[tuple[str, Cell, dict[str, Any]]],
    failures: list[Failure],
    caught: Counter[str],
    start: float,
) -> Outcome:
    try:
        data = _encode(task, results, failures)
    except Exception as error:
        # no cell is to blame alone: two of them contradict each other
        failures += [Failure(key, cell, _one_line(error)) for key, cell, _ in results]
        data = _encode(task, [], failures)
    seconds = time.perf_counter() - start
    return Outcome(data, tuple(failures), dict(caught), seconds, peak_megabytes(), task.block.size)


def _encode(task: Task, results: Sequence[tuple[str, Cell, dict[str, Any]]], failures: Sequence[Failure]) -> bytes:
    from . import tables

    rows = [len(next(iter(table.values()), ())) for _, _, table in results]
    metadata = {
        **task.metadata,
        "device_name": device_name(task.device),
        "code": {"lrtheory": source_digest(), "experiment": task.source.digest},
        "versions": versions(),
        "axes": sorted({name for _, cell, _ in results for name in cell}),
        "cells": [[key, count] for (key, _, _), count in zip(results, rows, strict=True)],
        "failed": [failure.to_json() for failure in failures],
    }
    return tables.encode([cell for _, cell, _ in results], [table for _, _, table in results], metadata)


def run_call(
    experiment: Experiment, cells: Sequence[Cell], keys: Sequence[str], device: str, timeout: float | None
) -> list[Any]:
    """Return for each cell its columns, or the `Failure`.

    A call that runs out of time or memory is not tried again: it would take as many times as long, and what fits
    must not decide how cells are batched.
    """
    try:
        with time_limit(timeout):
            return _ask(experiment, cells, keys, device)
    except OutOfTime:
        error = out_of_time(timeout or 0, len(cells))
        return [Failure(key, cell, error) for key, cell in zip(keys, cells, strict=True)]
    except MemoryError as memory:
        error = (
            f"a call of {len(cells)} cells does not fit into memory: lower `batch` of the experiment, "
            f"now {experiment.batch} ({_one_line(memory)})"
        )
        return [Failure(key, cell, error) for key, cell in zip(keys, cells, strict=True)]
    except (Exception, SystemExit) as raised:  # sys.exit in a library that `run` uses must not end the sweep
        if len(cells) == 1:
            return [Failure(keys[0], cells[0], _one_line(raised), _traceback(raised))]
        whole = _one_line(raised)
    found = [run_call(experiment, [c], [key], device, timeout)[0] for c, key in zip(cells, keys, strict=True)]
    if not any(isinstance(each, Failure) for each in found):
        warnings.warn(
            f"calls of several cells raised {whole}, although each cell ran alone: an axis in `together` that `run` "
            "does not take as a batch?",
            stacklevel=2,
        )
    return found


def _ask(experiment: Experiment, cells: Sequence[Cell], keys: Sequence[str], device: str) -> list[Any]:
    from . import tables

    # `run` gets copies: what it does to them must not reach the store
    copies = [dict(cell) for cell in cells]
    index = {id(cell): i for i, cell in enumerate(copies)}
    by_value: dict[Any, int] | None = None
    found: list[Any] = [None] * len(cells)
    for pair in experiment.run(copies, device):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"run must yield pairs (cell, table), got {type(pair).__name__}")
        cell, table = pair
        i = index.get(id(cell))
        if i is None:  # a cell rebuilt by `run`, for example with NumPy values
            if by_value is None:
                by_value = {_identity(original): j for j, original in enumerate(cells)}
            i = by_value.get(_identity(cell))
        if i is None:
            raise ValueError(f"run gave a table for a cell that it was not asked for: {cell}")
        if found[i] is not None:
            raise ValueError(f"run gave two tables for one cell: {cells[i]}")
        found[i] = tables.as_columns(table, cells[i])
    for i, result in enumerate(found):
        if result is None:
            found[i] = Failure(keys[i], cells[i], "run gave no table for this cell")
    return found


def _identity(cell: Cell) -> tuple[tuple[str, str], ...]:
    from .experiment import scalar

    return tuple(sorted((name, canonical(scalar(name, value))) for name, value in cell.items()))


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _traceback(error: BaseException) -> str:
    """Return the traceback from the experiment's code on: the engine's frames explain nothing."""
    trace = error.__traceback__
    here = __file__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == here:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _say(warning: warnings.WarningMessage) -> str:
    where = f"{os.path.basename(warning.filename)}:{warning.lineno}"
    return f"{warning.category.__name__}: {str(warning.message).strip()} ({where})"
