"""Rows on the host for estimators on a device: the next chunk is copied while one is worked on."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lrtheory.backend import check_device
from lrtheory.random import Stream
from lrtheory.streaming.sources import chunks


def on_device(
    source: Any,
    device: str = "cuda",
    *,
    chunk_rows: int | None = None,
    order: Any = "stored",
    stream: int | Stream = 0,
) -> Iterator[Any]:
    """Yield the dense chunks of a source on the host as CuPy arrays.

    Parameters
    ----------
    source, chunk_rows, order, stream
        As of `chunks`.
    device : str
        ``"cuda"`` or ``"cuda:<index>"``.

    Raises
    ------
    ValueError
        If there is no such device; as `chunks` does.
    TypeError
        If chunks are sparse.

    Notes
    -----
    Chunks go through two buffers of page-locked memory and a CUDA stream of their own: ``Oja(rates).fit(on_device(
    "rows.npy"))`` takes a chunk while the next one is on its way. Not run on a device yet.
    """
    if check_device(device) == "cpu":
        raise ValueError("device must be 'cuda' or 'cuda:<index>', got 'cpu'")
    return _copied(chunks(source, chunk_rows=chunk_rows, order=order, stream=stream), device)


def _copied(found: Iterator[Any], device: str) -> Iterator[Any]:
    cupy = importlib.import_module("cupy")
    cuda = cupy.cuda
    with cuda.Device(int(device.partition(":")[2] or 0)):
        copying = cuda.Stream(non_blocking=True)
        memory: list[Any] = [None, None]
        ends: list[Any] = [None, None]  # of the copies out of each buffer
        on_its_way = None
        try:
            for i, chunk in enumerate(chunk for chunk in found if chunk.shape[0]):
                if not isinstance(chunk, np.ndarray):
                    raise TypeError("rows for a device must be dense, got sparse ones")
                side = i % 2
                if ends[side] is not None:
                    ends[side].synchronize()
                if memory[side] is None or memory[side].mem.size < chunk.nbytes:
                    memory[side] = cuda.alloc_pinned_memory(chunk.nbytes)
                held = np.frombuffer(memory[side], chunk.dtype, chunk.size).reshape(chunk.shape)
                held[...] = chunk
                copying.wait_event(cuda.get_current_stream().record())  # older chunks are no longer read
                with copying:
                    moved = cupy.empty(chunk.shape, dtype=chunk.dtype)
                to_device = cuda.runtime.memcpyHostToDevice
                cuda.runtime.memcpyAsync(moved.data.ptr, held.ctypes.data, chunk.nbytes, to_device, copying.ptr)
                ends[side] = copying.record()
                if on_its_way is not None:
                    yield on_its_way
                cuda.get_current_stream().wait_event(ends[side])
                on_its_way = moved
            if on_its_way is not None:
                yield on_its_way
        finally:  # page-locked memory may be handed out again as soon as it is dropped
            for end in ends:
                if end is not None:
                    end.synchronize()
