"""Two systems that read a signal in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrtheory.backend import Array, namespace

from . import application, vandermonde
from ._checks import an_array
from ._realization import check_system
from .systems import DiagonalSSM


def bidirectional_kernel(
    forward: DiagonalSSM,
    backward: DiagonalSSM,
    length: int,
    algorithm: Callable[..., Array] = vandermonde.fastest,
) -> Array:
    """Return the kernel of both directions, ``(..., 2 length)``, with lag l at index l modulo 2 length.

    Lags 0..length-1 are the forward system's kernel, the lag -1-j is sample j of the backward one: the present sample
    counts once. A circular convolution of length 2 L with a signal of L samples and L zeros is `apply_bidirectional`.

    Parameters
    ----------
    forward, backward : DiagonalSSM
        Their channels broadcast.
    length : int
    algorithm : callable
        See `DiagonalSSM.kernel`.
    """
    check_system("forward", forward)
    check_system("backward", backward)
    ahead, behind = forward.kernel(length, algorithm), backward.kernel(length, algorithm)
    xp = namespace(ahead, behind)
    ahead, behind = xp.broadcast_arrays(ahead, behind)
    return xp.concat([ahead, xp.flip(behind, axis=-1)], axis=-1)


def apply_bidirectional(
    forward: DiagonalSSM,
    backward: DiagonalSSM,
    u: Array,
    algorithm: Callable[..., Any] = application.fastest,
) -> Array:
    """Return y_k = sum_l K_l u_{k-l} + sum_j K'_j u_{k+1+j}, with the kernels K and K' of the two systems.

    The backward system's feed-through acts on u_{k+1}, like the first sample of its kernel.

    Parameters
    ----------
    forward, backward : DiagonalSSM
        Their channels broadcast.
    u : real array ``(..., L)``
    algorithm : callable
        See `DiagonalSSM.apply`.
    """
    check_system("forward", forward)
    check_system("backward", backward)
    xp = namespace(an_array("u", u))
    ahead = forward.apply(u, algorithm=algorithm)
    behind = xp.flip(backward.apply(xp.flip(u, axis=-1), algorithm=algorithm), axis=-1)[..., 1:]
    return ahead + xp.concat([behind, xp.zeros_like(behind[..., :1])], axis=-1) if u.shape[-1] > 1 else ahead
