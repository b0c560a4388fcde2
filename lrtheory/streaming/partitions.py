"""Past one machine: every part of a stream is summarised where it lies, and the summaries are merged in a tree."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrtheory.streaming.sources import dask_blocks, file_rows, is_dask_array


def fit_tree(estimator: Any, source: Any, chunk_rows: int | None = None) -> Any:
    """Return an estimator of the same parameters that has seen all parts of a source.

    Each part is read by one task; summaries are merged two at a time, neighbours first, so that the result depends on
    the parts alone and not on who worked. Tasks run on the `dask.distributed` client that is active, else on threads
    of this process. What moves between processes are summaries, and of a list of files its paths.

    Parameters
    ----------
    estimator : MergeableEstimator
    source : dask array ``(n, d)``, or list of paths
        Blocks of rows of known length; files as `lrtheory.streaming.sources.chunks` reads them.
    chunk_rows : int, optional

    Raises
    ------
    ImportError
        If dask is not installed.
    """
    try:
        from dask import compute, delayed
    except ImportError as error:
        raise ImportError('parts are read by dask: pip install "lrtheory[cluster]"') from error
    parts, rows = _parts(source)
    firsts = np.concatenate([[0], np.cumsum(rows)])
    read, join = delayed(_read, pure=False), delayed(_join, pure=False)
    nodes = [read(estimator, part, i, int(firsts[i]), chunk_rows) for i, part in enumerate(parts)]
    while len(nodes) > 1:
        pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
        nodes = [join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return compute(nodes[0])[0]


def _parts(source: Any) -> tuple[Sequence[Any], Sequence[int]]:
    """Return the parts and their numbers of rows."""
    if not is_dask_array(source):
        paths = [Path(path).absolute() for path in source]
        return paths, [file_rows(path) for path in paths]
    blocks = dask_blocks(source)
    if np.isnan(source.chunks[0]).any():
        raise ValueError("the blocks of a dask array must have known lengths: call its compute_chunk_sizes() first")
    return blocks, source.chunks[0]


def _read(estimator: Any, part: Any, i: int, first_row: int, chunk_rows: int | None) -> Any:
    return estimator._part(part, i, first_row, chunk_rows)


def _join(first: Any, second: Any) -> Any:
    return copy.deepcopy(first).merge(second)  # a task may run again: its inputs stay as they are
