"""Saying how far a sweep is: a bar on a terminal, plain lines elsewhere, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO


class Progress(Protocol):
    """What a sweep tells: use it as a context, and call `advance` as cells end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def advance(self, cells: int, failed: int) -> None: ...


def make_progress(total: int, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Return the progress display that suits the stream (default: standard error)."""
    stream = sys.stderr if stream is None else stream
    if quiet or total == 0:
        return Silent()
    return Bar(total, stream) if stream.isatty() else Lines(total, stream)


class Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, cells: int, failed: int) -> None:
        """Say nothing."""


class Lines(Silent):
    """A line every few seconds, and one at the end."""

    def __init__(self, total: int, stream: TextIO, every: float = 5.0) -> None:
        self.total, self.stream, self.every = total, stream, every
        self.done = self.failed = 0
        self.start = self.last = time.monotonic()

    def advance(self, cells: int, failed: int) -> None:
        """Count cells that ended, and say so if the last line is some seconds old."""
        self.done += cells
        self.failed += failed
        now = time.monotonic()
        if now - self.last < self.every and self.done < self.total:
            return
        self.last = now
        elapsed = now - self.start
        line = f"{self.done}/{self.total} cells, {duration(elapsed)}"
        if self.done < self.total:
            line += f", about {duration(elapsed / max(self.done, 1) * (self.total - self.done))} left"
        if self.failed:
            line += f", {self.failed} failed"
        print(line, file=self.stream, flush=True)


class Bar:
    """A bar with the time left."""

    def __init__(self, total: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self.failed = 0
        self.bar: Any = RichProgress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells {task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self.task = self.bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, cells: int, failed: int) -> None:
        """Move the bar."""
        self.failed += failed
        self.bar.update(self.task, advance=cells, description=f"[red]{self.failed} failed" if self.failed else "")


def duration(seconds: float) -> str:
    """Return a time span in words: 8.5 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
