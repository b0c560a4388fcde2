"""The record of a call, run.json: which numbers came from where, and what they cost."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import cluster, provenance
from .experiment import Cell, Experiment, Scalar
from .loading import Source
from .plan import Block, Plan
from .worker import Outcome

if TYPE_CHECKING:
    from .session import Options


class Work:
    """What was run in a call: one entry per block, and what Python warned of."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.python_warnings: Counter[str] = Counter()

    def add(self, block: Block, outcome: Outcome, attempts: int) -> None:
        """Count a block that ended, or a part of one whose worker died."""
        entry = self.entries.setdefault(
            identity(block), {"cells": 0, "failed": 0, "seconds": 0.0, "peak_megabytes": 0.0, "attempts": 1}
        )
        entry["cells"] += outcome.cells
        entry["failed"] += len(outcome.failures)
        entry["seconds"] = round(entry["seconds"] + outcome.seconds, 4)
        entry["peak_megabytes"] = max(entry["peak_megabytes"], round(outcome.peak_megabytes, 1))
        entry["attempts"] = max(entry["attempts"], attempts)
        entry["ended"] = _now(datetime.now(UTC))
        self.python_warnings.update(outcome.warnings)

    @property
    def cells(self) -> int:
        """How many cells ended."""
        return sum(entry["cells"] for entry in self.entries.values())

    @property
    def warnings(self) -> list[str]:
        """The most frequent warnings, in words."""
        common = self.python_warnings.most_common(20)
        return [f"{text}, {count} times" if count > 1 else text for text, count in common]


def identity(block: Block) -> str:
    """Return what tells a block from others: a digest of its cells' keys."""
    return provenance.digest(" ".join(key for keys in block.keys for key in keys))


def seeds(cells: Sequence[Cell]) -> dict[str, list[Scalar]]:
    """Return the seeds among the parameters of the cells."""
    found: dict[str, dict[Scalar, None]] = {}
    for cell in cells:
        for name in ("seed", "init_seed"):
            if name in cell:
                found.setdefault(name, {})[cell[name]] = None
    return {name: list(values) for name, values in found.items()}


def make_record(
    experiment: Experiment,
    source: Source,
    options: Options,
    plan: Plan,
    jobs: int,
    work: Work,
    started: datetime,
    last: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the provenance of a call.

    The entry of a block that this call did not run is that of the `last` record, if it has one.
    """
    ended = datetime.now(UTC)
    before = last.get("blocks")
    known = {entry.get("id"): entry for entry in before} if isinstance(before, list) else {}
    blocks = []
    for index, block in enumerate(plan.blocks):
        name = identity(block)
        entry = work.entries.get(name) or known.get(name)
        if entry is not None:
            blocks.append({**entry, "block": index, "id": name, "now": name in work.entries})
    return {
        "experiment": experiment.name,
        "version": experiment.version,
        "title": experiment.title,
        "paper": experiment.paper,
        "preset": options.preset,
        "set": options.settings,
        "command": options.command,
        "start": _now(started),
        "end": _now(ended),
        "seconds": round((ended - started).total_seconds(), 3),
        "cells": len(plan.cells),
        "cells_run": work.cells,
        "host": platform.node(),
        "device": options.device,
        "device_name": provenance.device_name(options.device),
        "cpu": provenance.cpu_model(),
        "cores": provenance.cores(),
        "jobs": jobs,
        "dask": None if options.dask is None else cluster.address(options.dask),
        "threads": options.threads,
        "versions": provenance.versions(),
        "git": provenance.git(),
        "digest": {"lrtheory": provenance.source_digest(), "experiment": source.digest},
        "seeds": seeds(plan.cells),
        "blocks": blocks,
    }


def _now(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
