"""Numbers, claims and marked texts as HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

SYMBOLS = {"holds": "✓", "fails": "✗", "inconclusive": "?"}

WIDTH, MARGIN = 120.0, 14.0
"""Of the strip that pictures a claim, in its own units."""


def number(value: float | None, digits: int = 0) -> str:
    """Return a number shortly, or with so many significant digits; a dash for None."""
    if value is None:
        return "–"
    return (f"{value:#.{digits}g}".rstrip(".") if digits else f"{value:g}").replace("-", "−")


def predicted(claim: Mapping[str, Any]) -> str:
    """Return the predicted range of a claim in words."""
    low, high = claim["predicted"]
    if low is not None and high is not None:
        return f"[{number(low)}, {number(high)}]"
    if low is None and high is None:
        return "any"
    return f"≥ {number(low)}" if high is None else f"≤ {number(high)}"


def interval(claim: Mapping[str, Any]) -> str:
    """Return the interval of a claim."""
    low, high = claim["interval"]
    return "no interval" if low is None and high is None else f"[{number(low, 5)}, {number(high, 5)}]"


@dataclass(frozen=True)
class Strip:
    """A claim as a picture: the predicted range as a band, the measured interval as a bar, its value as a dot."""

    band: tuple[float, float]
    bar: tuple[float, float] | None
    dot: float | None


def strip(claim: Mapping[str, Any]) -> Strip:
    """Return where band, bar and dot lie on a strip from 0 to `WIDTH`; an open side reaches the edge."""
    (low, high), ends, dot = claim["predicted"], claim["interval"], claim["measured"]
    numbers = [x for x in (low, high, *ends, dot) if x is not None]
    least, most = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    span = (most - least) or max(abs(most), 1.0)

    def place(x: float) -> float:
        share = (x - least) / span if most > least else 0.5
        return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)

    bar = None
    if any(end is not None for end in ends):
        bar = (0.0 if ends[0] is None else place(ends[0]), WIDTH if ends[1] is None else place(ends[1]))
    return Strip(
        (0.0 if low is None else place(low), WIDTH if high is None else place(high)),
        bar,
        None if dot is None else place(dot),
    )


_RELATION = re.compile(r" ([=<>≤≥−~←]) ")
_MARKS = re.compile(r"`([^`]+)`|\*([^*]+)\*")


def html(text: str) -> Markup:
    """Return a marked text as HTML: ```code``` and *emphasis*; a line does not break at a relation."""

    def mark(found: re.Match[str]) -> str:
        return f"<code>{found[1]}</code>" if found[1] else f"<em>{found[2]}</em>"

    return Markup(_MARKS.sub(mark, str(escape(_RELATION.sub("\u00a0\\1\u00a0", text)))))


def markdown(text: str) -> str:
    """Return a marked text as Markdown: its marks are Markdown's, only what would open HTML or a cell is escaped."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def plain(text: Any) -> str:
    """Return a text that has no marks as Markdown on one line."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", " ".join(str(text).split())).replace("<", "&lt;")


def slug(*words: str) -> str:
    """Return an id for an anchor."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", word) for word in words)
