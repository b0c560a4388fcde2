"""What a call leaves in ``DIR/NAME``: data, figure, claims and the record of the run."""

from __future__ import annotations

import io
import json
import math
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claims import Claim
from .experiment import Experiment
from .store import Failure, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass
class Report:
    """What a call gave.

    Attributes
    ----------
    frame : DataFrame
        One row per table row; the cell's parameters are columns. A cell without data is one row of missing values.
    claims : list of Claim
    failures : list of Failure
        Cells that raised.
    missing : int
        How many other cells have no data (``--plot-only`` of a plan that never ran to its end).
    warnings : list of str
    broken : list of (str, str)
        What could not be made of the data (figure, claims), with the traceback.
    paths : dict of str to Path
        The files written: ``data``, ``png``, ``svg``, ``claims``, ``run``.
    """

    frame: pd.DataFrame
    claims: list[Claim] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    missing: int = 0
    warnings: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)


def write_data(table: pa.Table, report: Report, folder: Path) -> None:
    """Write data.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    _write(report, "data", folder / "data.parquet", sink.getvalue().to_pybytes())


def draw(experiment: Experiment, report: Report, folder: Path) -> None:
    """Write figure.png and figure.svg; what the experiment's function raises goes to ``report.broken``."""
    if experiment.figure is None:
        return
    import matplotlib

    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("agg")  # needs no display
    open_before = _open_figures()
    images = {}
    try:
        # text in the picture is the same from run to run, down to the ids of its elements
        with matplotlib.rc_context({"svg.hashsalt": experiment.name}):
            figure = experiment.figure(report.frame.copy())
            if not hasattr(figure, "savefig"):
                raise TypeError(f"figure must return a Matplotlib figure, got {type(figure).__name__}")
            for suffix in ("png", "svg"):
                sink = io.BytesIO()
                figure.savefig(sink, format=suffix, dpi=200, metadata={"Date": None} if suffix == "svg" else None)
                images[suffix] = sink.getvalue()
    except Exception as error:
        report.broken.append(_broken("figure", error, report))
        return
    finally:
        for number in _open_figures() - open_before:
            sys.modules["matplotlib.pyplot"].close(number)
    for suffix, image in images.items():
        _write(report, suffix, folder / f"figure.{suffix}", image)


def _open_figures() -> set[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


def judge(experiment: Experiment, report: Report, folder: Path) -> None:
    """Write claims.json; what the experiment's function raises goes to ``report.broken``."""
    if experiment.claims is None:
        return
    try:
        claims = _list_of_claims(experiment.claims(report.frame.copy()))
        text = json.dumps([claim.to_json() for claim in claims], indent=2, allow_nan=False)
    except Exception as error:
        report.broken.append(_broken("claims", error, report))
        return
    report.claims = claims
    _write(report, "claims", folder / "claims.json", text.encode())


def _list_of_claims(found: Any) -> list[Claim]:
    if not isinstance(found, Iterable):
        raise TypeError(f"claims must return a list of Claim, got {type(found).__name__}")
    claims = list(found)
    for claim in claims:
        if not isinstance(claim, Claim):
            raise TypeError(f"claims must return a list of Claim, got a list with {type(claim).__name__}")
    return claims


def drop_stale(report: Report, folder: Path) -> None:
    """Remove the figure and claims that an earlier call left if this one made none: they are of other data."""
    for name in ("figure.png", "figure.svg", "claims.json"):
        if folder / name not in report.paths.values():
            (folder / name).unlink(missing_ok=True)


def _broken(what: str, error: Exception, report: Report) -> tuple[str, str]:
    text = f"the {what} function raised {type(error).__name__}: {error}; the data are safe in {report.paths['data']}"
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    return text, "".join(traceback.format_exception(type(error), error, trace))


def write_record(record: Mapping[str, Any], report: Report, folder: Path) -> None:
    """Write run.json: `record`, and what the report says of warnings and failed cells."""
    whole = {
        **record,
        "warnings": report.warnings + [text for text, _ in report.broken],
        "failed": [failure.to_json() for failure in report.failures],
    }
    _write(report, "run", folder / "run.json", json.dumps(_strict(whole), indent=2, allow_nan=False).encode())


def read_record(folder: Path) -> dict[str, Any]:
    """Return the run.json of the last call, or an empty dictionary."""
    try:
        found = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _strict(value: Any) -> Any:
    """Return `value` with what JSON has no word for as text (inf) or null (NaN)."""
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if hasattr(value, "__iter__"):
        return [_strict(entry) for entry in value]
    return str(value)


def _write(report: Report, name: str, path: Path, data: bytes) -> None:
    write_atomically(path, data)
    report.paths[name] = path
