"""Watching processes of sweeps from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SLOW = """
def run(cells, device):
    count(cells)
    time.sleep(0.25)
    for cell in cells:
        yield cell, {"y": [cell["seed"] * cell["alpha"]]}
"""


def stored(tmp_path: Path) -> int:
    return len(list(tmp_path.glob("results/toy/cells/*.parquet")))


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(tmp_path: Path) -> set[int]:
    file = tmp_path / "calls.txt"
    return {int(line.split()[0]) for line in file.read_text().splitlines()} if file.exists() else set()
