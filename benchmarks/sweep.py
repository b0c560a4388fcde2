"""The sweep engine: planning, its own cost a cell, and what processes gain."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import spin
from benchmarks.record import Row, alternate
from lrtheory import backend
from lrtheory.sweep import Experiment, grid, run
from lrtheory.sweep.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
CELLS = 128

EXPERIMENT = f"""
from benchmarks.machine import spin
from lrtheory.sweep import Experiment, grid

def run(cells, device):
    for cell in cells:
        yield cell, {{"state": [spin(cell["spins"]) + cell["seed"]]}}

experiment = Experiment(name="spin", run=run, block=4, presets={{"small": grid(seed=range({CELLS}), spins=1)}})
"""


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows; a sweep's time is that of the whole command."""
    backend.set_threads(1)
    many = Experiment(name="many", run=_trivial, presets={"small": grid(k=range(100), seed=range(1000))})
    plan = alternate({"plan": lambda: make_plan(many, many.presets["small"])}, 1 if quick else 3, seconds=0.0)["plan"]
    yield Row("plan", "100,000 cells", plan, "limit 2 s", 2.0, target=1.0)
    yield trivial(10_000 if quick else 100_000)
    yield from processes(8.0 if quick else 40.0, quick)


def _trivial(cells: list[dict[str, Any]], device: str) -> list[Any]:
    return [(cell, {"y": [1.0]}) for cell in cells]


def trivial(count: int) -> Row:
    """Plan, run, store and read back cells that cost nothing, and look them up in a second call."""
    experiment = Experiment(
        name="trivial", run=_trivial, presets={"small": grid(k=range(100), seed=range(count // 100))}
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(experiment, out=folder)
        seconds = time.perf_counter() - start
    return Row("engine, a trivial cell", f"{count:,} cells", seconds / count, "limit 1 ms", 1e-3, target=1.0)


def processes(work: float, quick: bool) -> Iterator[Row]:
    """Two processes against one, and Dask against the pool, on cells that only compute."""
    spins = 10_000_000
    one = alternate({"spin": lambda: spin(spins)}, 3)["spin"]
    spins = int(spins * work / CELLS / one)
    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(spin, [4 * spins] * 2))
        gain = 2 * 4 * (work / CELLS) / (time.perf_counter() - start)
    size = f"{CELLS} cells, {work:g} s of work"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spin.py"
        file.write_text(EXPERIMENT)
        took = {}
        data = set()
        for name in ("--jobs 1", "--jobs 2", "--dask local:2"):
            if "dask" in name and find_spec("distributed") is None:
                continue
            out = Path(folder) / name
            command = [sys.executable, "-m", "lrtheory.sweep", "--experiment", str(file), "--out", str(out)]
            command += ["--set", f"spins={spins}", "--threads", "1", "--quiet", *name.split()]
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            took[name] = time.perf_counter() - start
            data.add((out / "spin/data.parquet").read_bytes())
        if len(data) != 1:
            raise AssertionError("the executors do not give the same numbers")
    # a short sweep is mostly the start of processes, and a machine without two free cores gains nothing
    target = 1.7 if gain > 1.8 and not quick else None
    peer = f"--jobs 1 (two spinning threads gain {gain:.2f}x here)"
    yield Row("sweep, --jobs 2", size, took["--jobs 2"], peer, took["--jobs 1"], target=target)
    if "--dask local:2" not in took:
        yield Row("sweep, --dask local:2", size, None, "Dask: not installed (pip install lrtheory[cluster])")
        return
    target = None if quick else round(1 / 1.3, 2)
    yield Row("sweep, --dask local:2", size, took["--dask local:2"], "--jobs 2", took["--jobs 2"], target=target)
