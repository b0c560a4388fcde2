"""Rows, paired timings and the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    name, size : str
        What was timed, and how large it was.
    ours_s : float
        Seconds.
    peer : str
        What it is compared with; says so where that is not installed.
    peer_s : float or None
        Its seconds. For an upper limit on our time it is the limit.
    floor_s : float or None
        Time that no implementation can beat: bytes over measured read bandwidth or, where that is more, floating-point
        operations over the measured speed of a large matrix product.
    target : float or None
        The ratio to reach.
    """

    name: str
    size: str
    ours_s: float | None
    peer: str
    peer_s: float | None = None
    floor_s: float | None = None
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster we are."""
        return self.peer_s / self.ours_s if self.ours_s and self.peer_s else None

    def as_dict(self) -> dict[str, str | float | None]:
        names = ("name", "size", "ours_s", "peer", "peer_s", "ratio", "floor_s", "target")
        return {name: getattr(self, name) for name in names}


def alternate(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = 0.05,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return the median seconds of each call, timed in turns within one process.

    Each turn is a burst of calls, the first of them not timed: every candidate finds the caches as its own loop would
    leave them, and a slow moment of the machine meets all candidates. `wait` is called before the clock is read: on a
    device, where a call may return before its work is done, it synchronises.
    """
    bursts = {}
    for name, call in calls.items():
        call()  # compiles, allocates
        wait()
        start = time.perf_counter()
        call()
        wait()
        bursts[name] = max(1, min(200, int(seconds / (time.perf_counter() - start))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if bursts[name] > 1:
                call()
            wait()
            start = time.perf_counter()
            for _ in range(bursts[name]):
                call()
            wait()
            times[name].append((time.perf_counter() - start) / bursts[name])
    return {name: median(values) for name, values in times.items()}


def table(rows: list[Row]) -> str:
    """Return the rows as a text table."""
    head = ("what", "size", "ours", "peer", "peer's", "ratio", "over floor", "target", "")
    lines = [head]
    for row in rows:
        ratio = row.ratio
        verdict = "" if ratio is None or row.target is None else ("ok" if ratio >= row.target else "MISSED")
        over = row.ours_s / row.floor_s if row.floor_s and row.ours_s else None
        lines.append(
            (
                row.name,
                row.size,
                _time(row.ours_s),
                row.peer,
                _time(row.peer_s),
                _times(ratio),
                _times(over),
                "" if row.target is None else f">= {row.target:g}x",
                verdict,
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x"
