"""What a search leaves behind: commands that reproduce a counterexample, and a file in ``DIR/NAME/falsify``."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrtheory.sweep import overrides, provenance
from lrtheory.sweep.experiment import Cell, Experiment, Scalar, UsageError, canonical
from lrtheory.sweep.loading import Source
from lrtheory.sweep.plan import cell_key
from lrtheory.sweep.store import write_atomically

from .bounds import Point
from .declaring import Search, point_key
from .session import Finding


def point_text(point: Point) -> str:
    """Return a point as JSON on one line, as ``--point`` takes it."""
    return json.dumps(point, allow_nan=False)


def point_command(target: Sequence[str], claim: str, point: Point, device: str = "cpu") -> str:
    """Return the command that judges one point again.

    Parameters
    ----------
    target : sequence of str
        What names the experiment: ``[NAME]`` or ``["--experiment", PATH]``.
    """
    words = ["python", "-m", "lrtheory.falsify", *target, "--claim", claim, "--point", point_text(point)]
    return shlex.join(words + _device(device))


def sweep_command(experiment: Experiment, target: Sequence[str], cells: Sequence[Cell], device: str = "cpu") -> str:
    """Return the command of a sweep over exactly these cells, or "" if ``--set`` cannot express them."""
    if not cells or len({frozenset(cell) for cell in cells}) > 1:
        return ""
    values: dict[str, dict[str, Scalar]] = {name: {} for name in cells[0]}
    for cell in cells:
        for name, value in cell.items():
            values[name].setdefault(canonical(value), value)
    wanted = {cell_key("", cell) for cell in cells}
    for preset, grid in experiment.presets.items():
        if any(set(part) != set(values) for part in grid.parts):
            continue
        settings = [
            f"{name}={','.join(_text(value) for value in entries.values())}"
            for name, entries in values.items()
            if set(entries) != {canonical(value) for value in grid.axes[name]}
        ]
        try:
            planned = overrides.apply(grid, settings)
        except UsageError:
            continue
        if {cell_key("", cell) for cell in planned} == wanted:
            words = ["python", "-m", "lrtheory.sweep", *target]
            words += [] if preset == "small" else ["--preset", preset]
            words += [word for setting in settings for word in ("--set", setting)]
            return shlex.join(words + _device(device))
    return ""


def _device(device: str) -> list[str]:
    return [] if device == "cpu" else ["--device", device]


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else "none" if value is None else str(value)


def record(
    experiment: Experiment,
    source: Source,
    search: Search,
    finding: Finding,
    *,
    target: Sequence[str],
    command: str,
    seed: int,
    budget: float,
    evaluations: int | None,
    device: str,
) -> dict[str, Any]:
    """Return what is stored of a search, as strict JSON."""
    found = None
    if finding.point is not None:
        found = {
            "point": finding.point,
            "margin": _number(finding.margin),
            "minimal": finding.minimal,
            "cut": finding.cut or None,
            "first": finding.first,
            "cells": list(finding.cells),
            "command": point_command(target, finding.claim, finding.point, device),
            "sweep": sweep_command(experiment, target, finding.cells, device) or None,
        }
    closest = None
    if finding.closest is not None:
        closest = {"point": finding.closest[0], "margin": _number(finding.closest[1])}
    return {
        "experiment": experiment.name,
        "version": experiment.version,
        "claim": finding.claim,
        "statement": finding.statement,
        "domain": {name: str(bound) for name, bound in search.bounds.items()},
        "stopped": finding.stopped,
        "counterexample": found,
        "closest": closest,
        "searched": finding.searched,
        "shrinking": finding.shrinking,
        "counts": {kind: finding.counts[kind] for kind in ("judged", "no verdict", "outside", "failed")},
        "uniform": finding.uniform,
        "largest_share": None if found else finding.largest_share,
        "error": finding.error or None,
        "command": command,
        "seed": seed,
        "budget": budget,
        "evaluations": evaluations,
        "seconds": round(finding.seconds, 3),
        "device": device,
        "versions": provenance.versions(),
        "git": provenance.git(),
        "digest": {"lrtheory": provenance.source_digest(), "experiment": source.digest},
    }


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def folder(out: Path, experiment: Experiment) -> Path:
    """Return where an experiment's searches are stored."""
    return out / experiment.name / "falsify"


def write(folder: Path, record: dict[str, Any]) -> list[Path]:
    """Write ``CLAIM.json``, the last search; a counterexample also as ``CLAIM-HASH.json``, which stays.

    The hash is that of the point, so that no later search takes a counterexample away.
    """
    text = json.dumps(record, indent=2, allow_nan=False).encode()
    name = _file_name(record["claim"])
    paths = [folder / f"{name}.json"]
    if record["counterexample"]:
        key = hashlib.sha256(point_key(record["counterexample"]["point"]).encode()).hexdigest()[:8]
        paths.insert(0, folder / f"{name}-{key}.json")
    for path in paths:
        write_atomically(path, text)
    return paths


def earlier(folder: Path, claim: str) -> list[Path]:
    """Return the counterexamples that earlier searches stored."""
    return sorted(folder.glob(f"{_file_name(claim)}-????????.json"))


def _file_name(claim: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in claim)
