"""Do I trust this vector? Upper bounds on sin^2 of its angle to v_1, from what one pass can remember.

Each bound holds for every matrix and every order of its rows; those that rest on a randomised sketch say so. They need
an upper bound on s_2^2, `second`: from Frequent Directions (`sketch_bounds`), or from the energies themselves, since
s_2^2 <= F^2 - s_1^2 <= F^2 - |A v|^2. Notation as in `lrtheory.streaming.theory`; P projects onto what is orthogonal
to v_1. All bounds are derived here in a line or two, from |A P|_2 = s_2.

`certify` puts together whatever evidence there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import integer, reals
from .metrics import sin2, unit


def heaviest_row_sin2(norm2: Any, second: Any) -> Any:
    """Return the bound on the error of a row as an estimate of v_1: ``s_2^2 / |a|^2``, at most 1.

    Derived: the part of a row across v_1 is a row of A P, of norm at most s_2. With s_2^2 = s_1^2 / R and the heaviest
    row of a stream with F^2 <= h |a|^2 it is below h / R.

    Parameters
    ----------
    norm2 : float or array
        ``|a|^2 > 0``.
    second : float or array
        s_2^2, or an upper bound on it.
    """
    return combination_sin2(norm2, 1.0, second)


def combination_sin2(norm2: Any, weights2: Any, second: Any) -> Any:
    """Return the bound on the error of a sum of rows ``x = A^T y``: ``s_2^2 |y|^2 / |x|^2``, at most 1.

    Derived as `heaviest_row_sin2`: ``|P A^T y| <= s_2 |y|``. A power step x = A^T (A w) is such a sum, with y = A w: it
    certifies itself without another pass.

    Parameters
    ----------
    norm2, weights2, second : float or array
        ``|x|^2 > 0``, ``|y|^2``, and s_2^2 or an upper bound on it.
    """
    norm2 = reals("norm2", norm2, 0.0, strict=True)
    return np.minimum(reals("second", second, 0.0) * (reals("weights2", weights2, 0.0) / norm2), 1.0)


def growth_sin2(step_size: Any, second: Any, log_growth: Any, start: Any = 1.0) -> Any:
    """Return the bound on the error of Oja's method from the growth G = log(|w_n| / |w_0|) of its unnormalised vector.

    ``(sqrt(eta s_2^2 (1 - e^{-2G}) / 2) + sqrt(start) e^{-G})^2``, at most 1: useful for eta s_2^2 << 1 and G >> 1.

    Derived. w_n - w_0 = sum_i eta_i s_i a_i with s_i = <a_i, w_{i-1}>, so P of it is at most
    s_2 (sum_i eta_i^2 s_i^2)^{1/2}, while |w_n|^2 - |w_0|^2 = sum_i (2 eta_i + eta_i^2 |a_i|^2) s_i^2 is at least
    2 sum_i eta_i s_i^2. Divide by |w_n|.

    Parameters
    ----------
    step_size : float or array
        eta, the largest of the rates.
    second : float or array
        s_2^2, or an upper bound on it.
    log_growth : float or array
        G >= 0, of the norm, not its square.
    start : float or array
        sin^2 of the angle of the start, where it is known.
    """
    noise = reals("step_size", step_size, 0.0) * reals("second", second, 0.0) / 2
    growth, start = reals("log_growth", log_growth, 0.0), reals("start", start, 0.0)
    return np.minimum((np.sqrt(noise * -np.expm1(-2 * growth)) + np.sqrt(start) * np.exp(-growth)) ** 2, 1.0)


def energy_sin2(energy: Any, top: Any, second: Any) -> Any:
    """Return the bound on the error of a unit vector of energy |A v|^2: ``(s_1^2 - |A v|^2) / (s_1^2 - s_2^2)``.

    Derived: |A v|^2 <= s_1^2 corr2 + s_2^2 (1 - corr2). It rises with s_1^2 and s_2^2, so that upper bounds on both do;
    1 unless |A v|^2 > s_2^2, and 0 where rounding makes the energy exceed s_1^2.

    Parameters
    ----------
    energy : float or array
        |A v|^2, or a lower bound on it.
    top, second : float or array
        s_1^2 and s_2^2, or upper bounds on them.
    """
    energy, top, second = (
        reals(name, value, 0.0) for name, value in (("energy", energy), ("top", top), ("second", second))
    )
    lost = np.maximum(top - energy, 0.0)
    known = energy > second
    return np.where(known, lost / np.where(known, np.maximum(top, energy) - second, 1.0), 1.0)[()]


def residual_sin2(residual2: Any, energy: Any, second: Any) -> Any:
    """Return the bound on the error of a unit vector from its residual, ``|A^T A v - t v|^2 / (t - s_2^2)^2``.

    Here t = |A v|^2. Derived: across v_1, where v has the length sin, A^T A - t is at most s_2^2 - t < 0. It asks for
    A^T A v, another pass, but not for s_1^2, which `energy_sin2` must know as sharply as the angle. 1 unless t > s_2^2.
    """
    residual2, energy, second = (
        reals(name, value, 0.0) for name, value in (("residual2", residual2), ("energy", energy), ("second", second))
    )
    known = energy > second
    return np.where(known, np.minimum(residual2 / np.where(known, energy - second, 1.0) ** 2, 1.0), 1.0)[()]


def triangle_sin2(first: Any, second: Any) -> Any:
    """Return the bound on sin^2 between u and w from those between u and v, and v and w: angles of lines add up."""
    for name, value in (("first", first), ("second", second)):
        if np.any(reals(name, value, 0.0) > 1):
            raise ValueError(f"{name} must lie in [0, 1], got {value!r}")
    angle = np.arcsin(np.sqrt(first)) + np.arcsin(np.sqrt(second))
    return np.sin(np.minimum(angle, math.pi / 2)) ** 2


def sketch_bounds(sketch: Any, error: float, frobenius2: float | None = None) -> tuple[float, float, float, float]:
    """Return bounds (s_1^2 low, s_1^2 high, s_2^2 low, s_2^2 high) from a sketch S with 0 <= A^T A - S^T S <= error I.

    Derived: eigenvalues are monotone (Weyl); F^2 bounds s_1^2, and F^2 less the lower bound on s_1^2 bounds s_2^2.

    Parameters
    ----------
    sketch : array ``(l, d)``
        S of Frequent Directions (without the alpha I of the robust one).
    error : float
        The sum of what its shrinkings took off; `sketch_error` is a bound for sketches that did not keep it.
    frobenius2 : float, optional
        F^2 of all rows.
    """
    error = float(reals("error", error, 0.0))
    sketch = np.asarray(reals("sketch", sketch))
    if sketch.ndim != 2:
        raise ValueError(f"sketch must have shape (l, d), got {sketch.shape}")
    values = np.concatenate([np.linalg.svd(sketch, compute_uv=False) ** 2, [0.0, 0.0]])
    top, second = float(values[0]), float(values[1])
    high, second_high = top + error, second + error
    if frobenius2 is not None:
        frobenius2 = float(reals("frobenius2", frobenius2, 0.0))
        high, second_high = min(high, frobenius2), min(second_high, max(frobenius2 - top, 0.0), frobenius2 / 2)
    return top, max(high, top), second, max(second_high, second)


def sketch_error(frobenius2: float, sketch_frobenius2: float, size: int) -> float:
    """Return the error that Frequent Directions of size ell certifies after the fact: ``(F^2 - |S|_F^2) / ell``.

    Each shrinking takes delta off ell squared singular values at least, and adds at most delta to the error.
    """
    lost = reals("frobenius2", frobenius2, 0.0) - reals("sketch_frobenius2", sketch_frobenius2, 0.0)
    return float(max(lost, 0.0) / integer("size", size))


def gap_interval(bounds: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return the interval for R = s_1^2 / s_2^2 that `sketch_bounds` imply; infinite where s_2 may be 0."""
    low, high, second_low, second_high = bounds
    least = low / second_high if second_high > 0 else math.inf
    return max(least, 1.0), high / second_low if second_low > 0 else math.inf


def energy_interval(
    sketched: Any, size: int, confidence: float = 0.95, *, candidates: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return an interval for |A v|^2 from ``|C v|^2``: that of a chi-square variable with r degrees of freedom.

    Exact for a Gaussian sketch, of which r |C v|^2 / |A v|^2 has that distribution; for a CountSketch it is the limit
    of many rows of no great energy each (its variance is never larger, see `theory.count_sketch_sd`). v must not
    depend on the sketch's random numbers, except by being chosen among `candidates` vectors that do not.

    Parameters
    ----------
    sketched : float or array
        ``|C v|^2`` for a unit v.
    size : int
        r, rows of the sketch.
    confidence : float
        Of the intervals of all candidates together.
    candidates : int

    Returns
    -------
    low, high : float or array
    """
    from scipy.special import chdtri

    sketched, size = reals("sketched", sketched, 0.0), integer("size", size)
    each = _failure(confidence, candidates) / 2
    return sketched * size / chdtri(size, each), sketched * size / chdtri(size, 1 - each)


def energy_guarantee(
    sketched: Any, size: int, confidence: float = 0.95, *, candidates: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return an interval for |A v|^2 from ``|C v|^2`` by Chebyshev's inequality: wider, but certain for a CountSketch.

    With t = sqrt(2 / (r delta)), delta the chance of failure: ``[|C v|^2 / (1 + t), |C v|^2 / (1 - t)]``, open above
    for t >= 1. Parameters as in `energy_interval`.
    """
    sketched, size = reals("sketched", sketched, 0.0), integer("size", size)
    t = math.sqrt(2 / (size * _failure(confidence, candidates)))
    return sketched / (1 + t), sketched / (1 - t) if t < 1 else sketched + math.inf


def _failure(confidence: float, candidates: int) -> float:
    """The chance of failure of one of the candidates' intervals."""
    if not 0 < reals("confidence", confidence) < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    return (1 - confidence) / integer("candidates", candidates)


@dataclass(frozen=True)
class Certificate:
    """What is known of a direction v after a stream.

    Parameters
    ----------
    sin2 : float
        Upper bound on sin^2 of its angle to v_1, the least of `evidence`; 1 says nothing.
    evidence : dict
        The bound of each piece of evidence, by name.
    energy_ratio : float
        Lower bound on |A v|^2 / s_1^2.
    gap : (float, float)
        Interval for R.
    """

    sin2: float
    evidence: dict[str, float]
    energy_ratio: float
    gap: tuple[float, float]

    def trusted(self, tolerance: float) -> bool:
        """Return True if sin^2 is certified to be at most `tolerance`."""
        return self.sin2 <= tolerance

    def __str__(self) -> str:
        best = min(self.evidence, key=self.evidence.__getitem__)
        angle = f"sin^2 <= {self.sin2:.3g} (by {best})" if self.sin2 < 1 else "nothing is certified about the angle"
        return f"{angle}; energy >= {self.energy_ratio:.3g} s_1^2; R in [{self.gap[0]:.3g}, {self.gap[1]:.3g}]"


def certify(
    v: Any,
    frobenius2: float,
    *,
    energy: float = 0.0,
    sketch: Any = None,
    error: float = 0.0,
    heaviest_row: Any = None,
    step_size: float | None = None,
    log_growth: float | None = None,
) -> Certificate:
    """Return what the given evidence certifies about v.

    Parameters
    ----------
    v : array ``(d,)``
    frobenius2 : float
        F^2, the sum of the squared norms of all rows.
    energy : float
        A lower bound on |A v|^2 for the unit vector along v. The lower end of `energy_interval` makes the certificate
        one with that confidence.
    sketch, error
        Of Frequent Directions over all rows, see `sketch_bounds`. Improves the bounds on s_1^2, s_2^2 and |A v|^2.
    heaviest_row : array ``(d,)``, optional
        A row of the stream; certifies vectors near it.
    step_size, log_growth : float, optional
        Of Oja's method, where v is its result: the largest rate, and log(|w_n| / |w_0|).

    Raises
    ------
    ValueError
        For evidence that contradicts itself: an energy, a sketch or a row above F^2, a growth without a rate.
    """
    v = np.asarray(unit("v", v), dtype=np.float64)
    if v.ndim != 1:
        raise ValueError(f"v must have shape (d,), got {v.shape}")
    frobenius2 = float(reals("frobenius2", frobenius2, 0.0, strict=True))
    energy = float(reals("energy", energy, 0.0))
    if energy > frobenius2 * (1 + 1e-9):
        raise ValueError(f"energy must be at most frobenius2 = {frobenius2}, got {energy}")
    if (step_size is None) != (log_growth is None):
        raise ValueError(f"give step_size and log_growth together, got {step_size!r} and {log_growth!r}")
    if sketch is None:
        sketch, error = np.zeros((1, v.size)), frobenius2
    elif np.shape(sketch)[1:] != v.shape:
        raise ValueError(f"sketch must have shape (l, {v.size}), got {np.shape(sketch)}")
    elif not np.sum(np.square(sketch)) <= frobenius2 * (1 + 1e-9):
        raise ValueError(f"sketch must have squared norm at most frobenius2 = {frobenius2}: it is of other rows")
    low, high, second_low, second_high = sketch_bounds(sketch, error, frobenius2)
    energy = max(energy, float(np.sum(np.square(np.asarray(sketch, dtype=np.float64) @ v))))
    low = max(low, energy)
    second_high = min(second_high, max(frobenius2 - low, 0.0))
    bounds = {"energy": float(energy_sin2(energy, high, second_high))}
    if step_size is not None:
        bounds["growth"] = float(growth_sin2(step_size, second_high, log_growth))
    if heaviest_row is not None:
        row = np.asarray(reals("heaviest_row", heaviest_row))
        norm2 = float(np.sum(row * row))
        if row.shape != v.shape or not 0 < norm2 <= frobenius2 * (1 + 1e-9):
            raise ValueError(
                f"heaviest_row must have shape {v.shape} and a squared norm above 0 and at most frobenius2 = "
                f"{frobenius2}, got shape {row.shape} and {norm2}"
            )
        bounds["heaviest row"] = float(triangle_sin2(sin2(v, row), heaviest_row_sin2(norm2, second_high)))
    best = min(bounds.values())
    return Certificate(best, bounds, min(energy / high, 1.0), gap_interval((low, high, second_low, second_high)))
