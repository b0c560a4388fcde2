"""How kernels written in CUDA C are started, and how a run of them is captured and replayed.

Sources are strings without includes, compiled by NVRTC when a kernel is first used. Host code reaches the device
through the functions of this file only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Source:
    """CUDA C.

    Attributes
    ----------
    code : str
        Kernels are ``extern "C" __global__`` functions.
    variants : tuple of dict
        Values of the macros that the code takes, with which the package compiles it: all of them, or the extremes
        where there are many.
    """

    code: str
    variants: tuple[dict[str, Any], ...] = field(default=({},))


def launch(
    source: Source,
    kernel: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    arguments: tuple[Any, ...],
    macros: dict[str, Any] | None = None,
) -> None:
    """Start a kernel on the current stream; return without waiting for it.

    Parameters
    ----------
    source : Source
    kernel : str
    grid, block : tuple of int
    arguments : tuple
        C-contiguous device arrays; ints, floats and np.uint64 numbers for ``long long``, ``double`` and
        ``unsigned long long``.
    macros : dict, optional
    """
    passed = tuple(np.int64(a) if type(a) is int else np.float64(a) if type(a) is float else a for a in arguments)
    _compiled(source.code, definitions(macros or {})).get_function(kernel)(grid, block, passed)


def definitions(macros: dict[str, Any]) -> tuple[str, ...]:
    """Return compiler options that define the macros."""
    return tuple(f"-D{name}={value}" for name, value in macros.items())


@cache
def _compiled(code: str, options: tuple[str, ...]) -> Any:
    return importlib.import_module("cupy").RawModule(code=code, options=options)


def capture(work: Callable[[], None]) -> Any:
    """Return the kernels that `work` starts, as a graph: ``graph.launch()`` starts them all on the current stream.

    `work` may start kernels whose code is loaded, on arrays that outlive the graph, and do nothing else. To be called
    within `on_own_stream`.
    """
    stream = importlib.import_module("cupy").cuda.get_current_stream()
    stream.begin_capture()
    try:
        work()
    finally:  # also after an error: a stream must not stay in capture
        graph = stream.end_capture()
    return graph


def on_own_stream(work: Callable[[], Any]) -> Any:
    """Call `work` on a stream of its own, which a capture needs, after what was started before; wait for its end.

    The one place where a loop on the device makes the host wait.
    """
    cuda = importlib.import_module("cupy").cuda
    stream = _own_stream(cuda.runtime.getDevice())
    stream.wait_event(cuda.get_current_stream().record())
    with stream:
        result = work()
    stream.synchronize()
    return result


@cache
def _own_stream(device: int) -> Any:
    """One for each device: memory that was used on a stream is kept for that stream."""
    return importlib.import_module("cupy").cuda.Stream(non_blocking=True)
