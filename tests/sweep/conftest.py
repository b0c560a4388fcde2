"""Toy experiments as files, as a user has them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

HEAD = """
import os, time
from pathlib import Path
import numpy as np
from lrtheory.sweep import Experiment, grid, mean_claim, value_claim

HERE = Path({here!r})

def count(cells):
    with open(HERE / "calls.txt", "a") as file:  # one write a line: safe from several processes
        file.write(f"{{os.getpid()}} {{len(cells)}}\\n")
"""

PLAIN = """
def run(cells, device):
    count(cells)
    for cell in cells:
        t = np.arange(3)
        yield cell, {"t": t, "y": cell["alpha"] * np.random.default_rng(cell["seed"]).normal(size=3) + cell["k"]}
"""

TAIL = """
experiment = Experiment(
    name="toy", version=1, title="a toy", together=("alpha",), block=4, run=run,
    presets={"small": grid(k=[3, 5], seed=range(5), alpha=[0.5, 1.0]), "paper": grid(k=3, seed=range(2), alpha=1.0)},
    **globals().get("more", {}),
)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an experiment file: ``toy(body)``, with `run` in the body or the plain one."""

    def write(body: str = "", run: str = PLAIN, tail: str = TAIL, name: str = "toy.py") -> Path:
        path = tmp_path / name
        parts = [HEAD.format(here=str(tmp_path)), run, body, tail]
        path.write_text("\n".join(textwrap.dedent(part) for part in parts))
        return path

    return write


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[int]]:
    """Return a function that gives the sizes of the calls of `run` so far."""

    def read() -> list[int]:
        file = tmp_path / "calls.txt"
        return [int(line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []

    return read


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts the command line in the temporary folder, in a process group of its own."""

    def launch(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "lrtheory.sweep", *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MPLBACKEND": "agg"},
            start_new_session=True,
        )

    return launch
