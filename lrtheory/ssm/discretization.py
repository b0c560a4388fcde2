"""From continuous to discrete time: one pole and one input weight at a time, since the state matrix is diagonal."""

from __future__ import annotations

from numbers import Real
from typing import Any

from lrtheory.backend import Array, is_array, like, namespace
from lrtheory.names import check_name

from ._checks import as_complex, broadcast, numbers, positive, widened

RULES = {"forward euler": 0.0, "bilinear": 0.5, "backward euler": 1.0}
"""Rules by the name of a member of the generalised bilinear family."""

NAMES = ("zoh", "impulse", *RULES)

_VANISHED = -1e4  # the logarithm that stands for a pole at 0: exp gives exactly 0, and 0 times it stays 0


def discretize(a: Array, b: Array, dt: Any, rule: str | float = "zoh") -> tuple[Array, Array]:
    """Return the discrete poles and input weights of x' = a x + b u at step dt: x_k = abar x_{k-1} + bbar u_k.

    ======================  ==========================================  ==========================
    rule                    abar                                        bbar
    ======================  ==========================================  ==========================
    ``"zoh"``               exp(dt a)                                   b (exp(dt a) - 1) / a
    ``"impulse"``           exp(dt a)                                   dt b
    ``"forward euler"``     1 + dt a                                    dt b
    ``"bilinear"``          (1 + dt a / 2) / (1 - dt a / 2)             dt b / (1 - dt a / 2)
    ``"backward euler"``    1 / (1 - dt a)                              dt b / (1 - dt a)
    a float in [0, 1]       (1 + (1 - rule) dt a) / (1 - rule dt a)     dt b / (1 - rule dt a)
    ======================  ==========================================  ==========================

    Parameters
    ----------
    a, b : complex or real array ``(..., M)``
        Poles and input weights of the continuous system.
    dt : float or array ``(...)``
        Step, one for each channel.
    rule : str or float
        A float is the parameter of the generalised bilinear family (0 Euler, 1/2 bilinear, 1 backward Euler).

    Returns
    -------
    abar, bbar : arrays ``(..., M)``
        abar is complex. Both have the precision of a and b; everything before that is done in double precision.

    Raises
    ------
    ValueError
        If the rule is unknown, an entry is not finite, a step is not positive, or a pole falls on the rule's own,
        1 = rule dt a.
    """
    check_rule(rule, "rule")
    a, b, dt = numbers("a", a), numbers("b", b), positive("dt", dt)
    steps = {"dt (with an axis for modes)": (*dt.shape, 1)} if is_array(dt) else {}
    broadcast(a=tuple(a.shape), b=tuple(b.shape), **steps)
    x, bbar = log_discretize(a, b, dt, rule)
    xp = namespace(x)
    single = bbar.dtype in (xp.float32, xp.complex64)
    return xp.astype(xp.exp(x), xp.complex64 if single else xp.complex128, copy=False), bbar


def log_discretize(a: Array, b: Array, dt: Any, rule: str | float = "zoh") -> tuple[Array, Array]:
    """Return (log abar, bbar) of `discretize`.

    The logarithm is always complex128, since powers abar^l multiply its error by l. It is accurate to rounding for
    tiny dt a too: with z = dt a and the family's parameter p,

        |abar|^2 - 1 = (2 Re z + (1 - 2p) |z|^2) / |1 - p z|^2

    goes through log1p. A pole at exactly 0 gets the logarithm -1e4, whose exponential is 0.
    """
    xp = namespace(a, b)
    out = xp.result_type(a.dtype, b.dtype)
    a, b = widened(a), widened(b)
    steps = steps_like(dt, a)
    z = a * steps
    if rule in ("zoh", "impulse"):
        x, factor = as_complex(z), expm1_over(z) if rule == "zoh" else xp.ones_like(z)
    else:
        x, factor = _log_bilinear(z, rule)
    return x, xp.astype(b * steps * factor, out, copy=False)


def expm1_over(z: Array) -> Array:
    """Return (exp(z) - 1) / z, which is 1 at z = 0, without cancellation at small z."""
    xp = namespace(z)
    origin = z == 0
    safe = xp.where(origin, xp.ones_like(z), z)
    if not xp.isdtype(z.dtype, "complex floating"):
        return xp.where(origin, xp.ones_like(z), xp.expm1(safe) / safe)
    re, im = xp.real(safe), xp.imag(safe)
    half = xp.sin(im / 2)
    change = xp.expm1(re) * xp.cos(im) - 2 * half * half + 1j * (xp.exp(re) * xp.sin(im))
    return xp.where(origin, xp.ones_like(z), change / safe)


def _log_bilinear(z: Array, rule: str | float) -> tuple[Array, Array]:
    """Return log((1 + (1 - p) z) / (1 - p z)) and 1 / (1 - p z)."""
    p = _parameter(rule)
    xp = namespace(z)
    numerator, denominator = 1 + (1 - p) * z, 1 - p * z
    if bool(xp.any(denominator == 0)):
        raise ValueError(f"dt a must not be {1 / p:g}, where the rule {rule!r} has its pole")
    re, im = _parts(z)
    change = (2 * re + (1 - 2 * p) * (re * re + im * im)) / xp.abs(denominator) ** 2
    vanished = numerator == 0
    top = xp.abs(xp.where(vanished, xp.ones_like(z), numerator))
    near = change > -0.5
    # 1 + change cancels where abar is near 0, and there the quotient itself is accurate
    log_size = xp.where(
        near,
        xp.log1p(xp.where(near, change, xp.zeros_like(change))) / 2,
        xp.log(top) - xp.log(xp.abs(denominator)),
    )
    log_size = xp.where(vanished, xp.full_like(log_size, _VANISHED), log_size)
    phase = xp.atan2(im, 1 + (1 - 2 * p) * re - p * (1 - p) * (re * re + im * im))
    return log_size + 1j * phase, 1 / denominator


def check_rule(rule: str | float, name: str = "discretization") -> None:
    """Raise ValueError, naming the argument, unless the rule is one of `discretize`."""
    if not (isinstance(rule, str) and rule in ("zoh", "impulse")):
        _parameter(rule, name)


def steps_like(dt: Any, a: Array) -> Any:
    """Return the steps as a number, or as a float64 array like `a` with an axis for its modes."""
    dt = positive("dt", dt)
    if not is_array(dt) or dt.ndim == 0:
        return float(dt)
    return like(dt, a, dtype=namespace(a).float64)[..., None]


def _parts(z: Array) -> tuple[Array, Array]:
    xp = namespace(z)
    return (xp.real(z), xp.imag(z)) if xp.isdtype(z.dtype, "complex floating") else (z, xp.zeros_like(z))


def _parameter(rule: str | float, name: str = "rule") -> float:
    """Return the parameter in [0, 1] of a rule of the generalised bilinear family."""
    if isinstance(rule, str):
        return RULES[check_name(name, rule, NAMES)]
    if isinstance(rule, bool) or not isinstance(rule, Real) or not 0 <= rule <= 1:
        raise ValueError(f"{name} must be a name, {', '.join(NAMES)}, or a number in [0, 1], got {rule!r}")
    return float(rule)
