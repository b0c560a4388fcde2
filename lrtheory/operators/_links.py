"""Links: what a loss ``sum_i phi(r_i)`` hands back to the adjoint for each residual, ``link(r) = phi'(r)``.

========== ============================== =========================
name       phi(r)                         link(r)
========== ============================== =========================
residual   r^2 / 2 (least squares)        r
sign       abs(r)  (least deviations)     sign(r), and 0 at 0
clip       Huber: r^2 / 2 up to the       r clipped to
           threshold, linear beyond       [-threshold, threshold]
========== ============================== =========================
"""

from __future__ import annotations

import difflib
from typing import Any

from lrtheory.backend import Array, namespace

LINKS = ("residual", "sign", "clip")


def link_code(link: str) -> int:
    """Return the number by which kernels know a link. Raises ValueError for an unknown name."""
    if link in LINKS:
        return LINKS.index(link)
    near = difflib.get_close_matches(str(link), LINKS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"link must be one of {LINKS}, got {link!r}{hint}")


def check_link(link: str, threshold: float) -> None:
    """Raise ValueError for an unknown link or a threshold that is not positive."""
    link_code(link)
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold!r}")


def evaluate(r: Array, link: str, threshold: float = 1.0) -> tuple[Array, Array]:
    """Return ``sum_i phi(r_i)`` over the last axis, and ``link(r)``."""
    xp: Any = namespace(r)
    code = link_code(link)
    if code == 0:
        return xp.sum(r * r, axis=-1) / 2, r
    if code == 1:
        return xp.sum(xp.abs(r), axis=-1), xp.sign(r)
    clipped = xp.clip(r, -threshold, threshold)
    # |c| (|r| - |c|/2) is r^2/2 inside and threshold |r| - threshold^2/2 outside
    size = xp.abs(clipped)
    return xp.sum(size * (xp.abs(r) - size / 2), axis=-1), clipped
