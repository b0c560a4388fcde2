"""The states of a diagonal recurrence, all of them: one after the other, or by a parallel prefix sum."""

from __future__ import annotations

from typing import Any

from lrtheory.backend import Array, is_numpy, namespace

from ._checks import an_array, broadcast


def sequential_scan(x: Array, v: Array, state: Array | None = None) -> Array:
    """Return the states s_k = exp(x) s_{k-1} + v_k, one after the other.

    Parameters
    ----------
    x : complex array ``(..., M)``
        Logarithms of the transition.
    v : complex array ``(..., L, M)``
        Inputs.
    state : complex array ``(..., M)``, optional
        s_{-1}; default 0.

    Returns
    -------
    complex array ``(..., L, M)``

    Notes
    -----
    M L multiplications in L steps; compiled for NumPy arrays.
    """
    xp = namespace(an_array("x", x), an_array("v", v))
    turn, v = _with_state(xp, x, v, state)
    if is_numpy(turn, v):
        from lrtheory.ssm import _cpu_scans

        return _cpu_scans.scan(turn, v)
    states = [v[..., 0, :]]
    for k in range(1, v.shape[-2]):
        states.append(turn * states[-1] + v[..., k, :])
    return xp.stack(states, axis=-2)


def associative_scan(x: Array, v: Array, state: Array | None = None) -> Array:
    """Return the states of `sequential_scan` by a parallel scan, in O(log L) steps of whole-array operations.

    Neighbours are combined, (exp(x), v_{2k}), (exp(x), v_{2k+1}) -> (exp(2x), exp(x) v_{2k} + v_{2k+1}); the states of
    the half as long sequence are every other state, and the rest is one step from them. Powers come from 2^j x, with
    no error from repeated squaring. 2 M L multiplications; meant for devices with many cores.

    References
    ----------
    .. [1] G. E. Blelloch, Prefix sums and their applications, CMU-CS-90-190, 1990.
    .. [2] J. T. H. Smith, A. Warrington, S. W. Linderman, Simplified state space layers for sequence modeling, ICLR
       2023, arXiv:2208.04933.
    """
    xp = namespace(an_array("x", x), an_array("v", v))
    _, v = _with_state(xp, x, v, state)
    return _scan(xp, xp.astype(x, xp.complex128, copy=False)[..., None, :], v)


def _scan(xp: Any, x: Array, v: Array) -> Array:
    length = v.shape[-2]
    if length == 1:
        return v
    turn = xp.exp(x)
    odd = _scan(xp, 2 * x, turn * v[..., 0 : length - 1 : 2, :] + v[..., 1::2, :])
    even = turn * odd[..., : (length - 1) // 2, :] + v[..., 2::2, :]
    even = xp.concat([v[..., :1, :], even], axis=-2)
    if even.shape[-2] > odd.shape[-2]:
        last, even = even[..., -1:, :], even[..., :-1, :]
    else:
        last = even[..., :0, :]
    pairs = xp.reshape(xp.stack([even, odd], axis=-2), (*odd.shape[:-2], 2 * odd.shape[-2], odd.shape[-1]))
    return xp.concat([pairs, last], axis=-2)


def _with_state(xp: Any, x: Array, v: Array, state: Array | None) -> tuple[Array, Array]:
    """Return exp(x), and v with the previous state's share in its first entry, both in double precision."""
    if x.ndim < 1 or v.ndim < 2:
        raise ValueError(f"x must be (..., M) and v (..., L, M), got {tuple(x.shape)} and {tuple(v.shape)}")
    turn = xp.exp(xp.astype(x, xp.complex128, copy=False))
    v = xp.astype(v, xp.complex128, copy=False)
    shape = broadcast(v=tuple(v.shape), x=(*turn.shape[:-1], 1, turn.shape[-1]))
    if state is not None:
        state = xp.astype(an_array("state", state), xp.complex128, copy=False)
        broadcast(x=tuple(turn.shape), state=tuple(state.shape))
        first = turn * state
        shape = broadcast(v=shape, state=(*first.shape[:-1], 1, first.shape[-1]))
        v = xp.broadcast_to(v, shape)
        return turn, xp.concat([v[..., :1, :] + first[..., None, :], v[..., 1:, :]], axis=-2)
    return turn, xp.broadcast_to(v, shape)
