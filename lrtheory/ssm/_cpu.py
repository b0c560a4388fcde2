"""Vandermonde products on the CPU: which channels share tables, and who computes what.

The kernels are in `_cpu_products`. Work is cut by the shapes alone, so that any number of threads gives the same bits.
"""

from __future__ import annotations

import numpy as np

from lrtheory.operators._cpu import _run_parts

from ._cpu_products import LOWEST, PANEL, PANELS, gemm_units, moment_units, recurrence_units, split_nodes


def gemm(w, x, lead, computed, length, dtype):
    """Return the kernels ``(*lead, L)`` of w and x ``(..., M)``, whose channels broadcast to the shape `lead`.

    Of the channels with the r-th row of nodes, the first ``computed[r]`` samples are computed; the others are 0.
    """
    channels = _layout(w, x, lead)
    count = channels[-1].size
    out = _empty((count, length), computed, dtype)
    together, chunks = _units(computed)
    units = -(-count // together) * chunks
    if count:
        _run_parts(gemm_units, (*channels, computed, together, chunks, LOWEST[dtype]), units, 1, (out,))
    return out.reshape(*lead, length)


def recurrence(w, x, lead, computed, length, dtype, two_term=False):
    """The same by the recurrence, or the two-term one."""
    channels = _layout(w, x, lead)
    count = channels[-1].size
    out = _empty((count, length), computed, dtype)
    grain = max(1, 16384 // max(int(computed.max(initial=0)), 1))
    if count:
        _run_parts(recurrence_units, (*channels, computed, two_term, LOWEST[dtype]), count, grain, (out,))
    return out.reshape(*lead, length)


def moments(w, x, lead, cotangent, computed):
    """Return sum_l g_l exp(l x_n) and sum_l l g_l exp(l x_n), ``(..., M)``, for the channels of w and x.

    Partial sums are cut by the shape alone and added in their order: any number of threads gives the same bits.
    """
    _, _, nodes, node_of, place = _layout(w, x, lead)
    flat = np.require(cotangent, np.float64, ["C", "W"]).reshape(place.size, cotangent.shape[-1])
    together, chunks = _units(computed)
    out = np.empty((place.size, chunks, 2, nodes.shape[2]), np.complex128)
    units = -(-place.size // together) * chunks
    lowest = LOWEST[np.float64]
    if place.size:
        _run_parts(moment_units, (flat, nodes, node_of, place, computed, together, chunks, lowest), units, 1, (out,))
    sums = out.sum(axis=1)[..., : x.shape[-1]]
    return sums[:, 0].reshape(*lead, x.shape[-1]), sums[:, 1].reshape(*lead, x.shape[-1])


def _units(computed):
    """Return how many channels share a unit of work, and in how many chunks of panels each is cut."""
    panels = max(1, -(-int(computed.max(initial=0)) // PANEL))
    return max(1, PANELS // 2 // panels), -(-panels // PANELS)


def _layout(w, x, lead):
    """Return the channels as `gemm_units` takes them: the weights ``(nw, M)``, the row of them that each channel has,
    the split nodes ``(nx, 6, M')``, likewise, and the channels' places.

    Nothing is copied along broadcast axes. Channels with the same nodes become neighbours.
    """
    flat_w, flat_x = (np.require(a, np.complex128, ["C", "W"]).reshape(-1, a.shape[-1]) for a in (w, x))
    weight_of, node_of = (
        np.arange(flat.shape[0])
        if a.shape[:-1] == lead
        else np.broadcast_to(np.arange(flat.shape[0]).reshape(a.shape[:-1]), lead).flatten()
        for a, flat in ((w, flat_w), (x, flat_x))
    )
    nodes = np.zeros((flat_x.shape[0], 6, flat_x.shape[1] + flat_x.shape[1] % 2))
    split_nodes(flat_x, nodes)
    if x.shape[:-1] == lead:
        return flat_w, weight_of, nodes, node_of, node_of
    place = np.argsort(node_of, kind="stable")
    return flat_w, weight_of[place], nodes, node_of[place], place


def _empty(shape, computed, dtype):
    """Return an array for the kernels, zeros where samples are not computed."""
    whole = computed.size == 0 or computed.min() == shape[1]
    return np.empty(shape, dtype) if whole else np.zeros(shape, dtype)
