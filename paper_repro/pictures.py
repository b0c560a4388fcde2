"""The panels of an experiment's figure as pictures of their own: a phone shows one, not four."""

from __future__ import annotations

import base64
import io
import re
from types import NoneType
from typing import Any

_FORMATS: dict[str, dict[str, Any]] = {"svg": {"metadata": {"Date": None}}, "png": {"metadata": {"Software": None}}}


def crop(figure: Any, index: int | None) -> dict[str, bytes]:
    """Return one panel of a matplotlib figure, or the whole, as ``{"svg": ..., "png": ...}``.

    Equal figures give equal bytes. The first call fixes the figure's layout: made twice, it would differ in the last
    bits.

    Parameters
    ----------
    figure : matplotlib Figure
    index : int or None
        Which of its axes; a colour bar goes with them.

    Raises
    ------
    IndexError
        If it has no such axes.
    """
    if index is not None and not 0 <= index < len(figure.axes):
        raise IndexError(f"the figure has {len(figure.axes)} panels, none of index {index}")
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    if not isinstance(figure.get_layout_engine(), (PlaceHolderLayoutEngine, NoneType)):
        figure.draw_without_rendering()  # lays out all panels: this stays when the others are hidden
        figure.set_layout_engine("none")
    shown = [ax.get_visible() for ax in figure.axes]
    try:
        for i, ax in enumerate(figure.axes):
            ax.set_visible(shown[i] and (index is None or _belongs(ax, figure.axes[index])))
        return {suffix: _save(figure, suffix, options) for suffix, options in _FORMATS.items()}
    finally:
        for ax, visible in zip(figure.axes, shown, strict=True):
            ax.set_visible(visible)


def _belongs(ax: Any, panel: Any) -> bool:
    """Return True for the panel itself and its colour bar."""
    bar = getattr(ax, "_colorbar", None)
    return ax is panel or (bar is not None and bar.mappable.axes is panel)


def _save(figure: Any, suffix: str, options: dict[str, Any]) -> bytes:
    import matplotlib

    sink = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrtheory"}):  # else the ids in it are new each time
        figure.savefig(sink, format=suffix, dpi=200, bbox_inches="tight", pad_inches=0.04, **options)
    return sink.getvalue()


def size(svg: bytes) -> tuple[int, int]:
    """Return width and height of an SVG picture in CSS pixels, so that the page reserves its place."""
    head = svg[svg.index(b"<svg") :].partition(b">")[0]
    width, height = (re.search(rb'\b%s="([\d.]+)pt"' % name, head) for name in (b"width", b"height"))
    if width is None or height is None:
        raise ValueError("no SVG picture with a size in points")
    return round(float(width[1]) * 4 / 3), round(float(height[1]) * 4 / 3)


def data_uri(svg: bytes) -> str:
    """Return a picture as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
