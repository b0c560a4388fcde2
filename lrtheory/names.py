"""Names given as text: unknown ones are refused with the nearest valid ones."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean ...? there are: ..."`` for an unknown name."""
    names = sorted(valid)
    by_fold = {valid_name.casefold(): valid_name for valid_name in names}
    close = [by_fold[found] for found in difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(close)}?" if close else ";"
    return f"{hint} there are: {', '.join(names) or 'none'}"


def check_name(argument: str, given: Any, valid: Iterable[str]) -> str:
    """Return `given` if it is one of `valid`.

    Raises
    ------
    ValueError
        Otherwise; the message names the argument, what was got and the valid names, the nearest first.
    """
    names = tuple(valid)
    if isinstance(given, str) and given in names:
        return given
    if given is None or isinstance(given, str):
        raise ValueError(f"no {argument} {given!r}{nearest(str(given), names)}")
    raise ValueError(f"no {argument} {reprlib.repr(given)}: a name is expected; there are: {', '.join(sorted(names))}")
