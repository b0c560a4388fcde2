"""First-order errors of streaming estimators on independent rows, and on random orders of one fixed matrix.

All are derived here from one linear recursion. Near v_1 let e_j be the component of the estimate along eigenvector j
over that along v_1. A method moves it by a rate eta_t against the gap and by the noise of the row,

    e_j <- (1 - eta_t (lambda_1 - lambda_j)) e_j + eta_t xi_j,      Var xi_j = lambda_1 lambda_j  (Gaussian rows),

so that after n rows e_j = sum_s k_s xi_{j, s} + (what is left of the start). Independent rows give the variance
``lambda_1 lambda_j sum_s k_s^2``. In a random order of a fixed matrix the noise of all n rows sums to 0, and the
variance is ``lambda_1 lambda_j (sum_s k_s^2 - (sum_s k_s)^2 / n)``, with lambda_j = s_j^2 / n: there the target is v_1
of that matrix, not of a covariance, and errors can fall much below those of the offline estimate of a covariance.

Terms of the second order in the error are left out: the laws hold where they are small against 1. Unless a formula says
otherwise the sum over j of e_j^2, tan^2 of the angle, is returned for its sin^2.

References
----------
.. [1] E. Oja, A simplified neuron model as a principal component analyzer, J. Math. Biol. 15 (1982).
.. [2] A. Henriksen, R. Ward, AdaOja: adaptive learning rates for streaming PCA, arXiv:1905.12115.
.. [3] I. Mitliagkas, C. Caramanis, P. Jain, Memory limited, streaming PCA, NeurIPS 2013, arXiv:1307.0032.
.. [4] P. Yang, C.-J. Hsieh, J.-L. Wang, History PCA: a new algorithm for streaming PCA, arXiv:1802.05447.
.. [5] J. Weng, Y. Zhang, W.-S. Hwang, Candid covariance-free incremental principal component analysis, IEEE TPAMI 25
   (2003).
.. [6] T. W. Anderson, Asymptotic theory for principal component analysis, Ann. Math. Statist. 34 (1963).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lrtheory.names import check_name

from ._checks import integer, reals, spectrum

ORDERS = ("iid", "random")


def offline_sin2(n: Any, eigenvalues: Any) -> Any:
    """Return the error of the best estimate from n independent Gaussian rows, the top vector of A^T A.

    ``sum_j lambda_1 lambda_j / (n (lambda_1 - lambda_j)^2)``, the asymptotic variance of [6]_ (see the module); with
    lambda = (lambda_1, lambda_2, .., lambda_2) it is ``(d - 1) lambda_1 lambda_2 / (n (lambda_1 - lambda_2)^2)``.

    Parameters
    ----------
    n : int or array
        Rows.
    eigenvalues : array ``(d,)``
        Of the covariance, falling, lambda_1 > lambda_2.
    """
    top, rest = _split(eigenvalues)
    return np.sum(top * rest / (top - rest) ** 2) / reals("n", n, 0.0, strict=True)


def oja_sin2(n: Any, eigenvalues: Any, c: float, *, t0: float = 0.0, order: str = "iid", start: float = 0.0) -> Any:
    """Return the error after n rows of Oja's method (and Krasulina's) with the rates ``eta_t = c / (t + t0)``.

    With a_j = c (lambda_1 - lambda_j) and N = n + t0, for independent rows

        sum_j c^2 lambda_1 lambda_j / ((2 a_j - 1) N) (1 - (t0 / N)^{2 a_j - 1}),

    ``a^2 / (2 a - 1)`` times `offline_sin2` where all lambda_j, j > 1, are equal and t0 << n: 4/3 for a = 2, 1 for
    a = 1. In random order ``(c (1 - (t0 / N)^{a_j}) / a_j)^2 / n`` is taken off what multiplies lambda_1 lambda_j:
    nothing of the first order is left at a = 1, t0 = 0.

    Parameters
    ----------
    n : int or array
        Rows.
    eigenvalues : array ``(d,)``
        Of the covariance; for order="random", s_j^2 / n of the matrix.
    c, t0 : float
    order : {"iid", "random"}
    start : float
        tan^2 of the angle of the start (see `start_quantile`), spread evenly over the d - 1 coordinates; the share
        ``(t0 / N)^{2 a_j}`` of it is left.

    Returns
    -------
    float or array
        NaN for t0 = 0 where some 2 a_j <= 1: the first rows then dominate, and the error falls as n^{-2 a_j} only.
    """
    top, rest = _split(eigenvalues)
    check_name("order", order, ORDERS)
    n, c, t0 = (reals(name, v, 0.0, strict=s) for name, v, s in (("n", n, True), ("c", c, True), ("t0", t0, False)))
    length = np.asarray(n)[..., None]
    a = c * (top - rest)
    left = t0 / (length + t0)  # share of the time that had passed when the stream began
    excess = 2 * a - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(excess == 0, -np.log(left), (1 - left**excess) / excess)
    squares = c * c * squares / (length + t0)
    if order == "random":
        squares = squares - (c * (1 - left**a) / a) ** 2 / length
    found = np.sum(top * rest * squares + _start(start) / rest.size * left ** (2 * a), axis=-1)
    return np.where(np.isfinite(found), found, np.nan)[()]


def fixed_rate_sin2(step_size: Any, eigenvalues: Any, n: Any = None, *, order: str = "iid", start: float = 0.0) -> Any:
    """Return the error of Oja's method with a fixed rate: u / (1 + u), and u does not fall with n.

    ``u = sum_j eta lambda_1 lambda_j / (2 (lambda_1 - lambda_j))`` for n = infinity, of first order in eta. After n
    rows, with D_j = lambda_1 - lambda_j, it is

        u = sum_j lambda_1 lambda_j eta (1 - exp(-2 eta n D_j)) / (2 D_j) + (start / (d - 1)) exp(-2 eta n D_j),

    and in random order ``(1 - exp(-eta n D_j))^2 / (n D_j^2)`` is taken off the factor of lambda_1 lambda_j.

    Parameters
    ----------
    step_size : float or array
        eta.
    eigenvalues : array ``(d,)``
    n : int or array, optional
        Default: the plateau, n = infinity.
    order : {"iid", "random"}
        Random order needs n.
    start : float
        tan^2 of the angle of the start.
    """
    top, rest = _split(eigenvalues)
    check_name("order", order, ORDERS)
    eta = np.asarray(reals("step_size", step_size, 0.0, strict=True))[..., None]
    difference = top - rest
    if n is None:
        if order == "random":
            raise ValueError('order="random" needs n: an infinite matrix has no random order')
        u = np.sum(top * rest * eta / (2 * difference), axis=-1)
        return (u / (1 + u))[()]
    length = np.asarray(reals("n", n, 0.0, strict=True))[..., None]
    forgotten = -np.expm1(-2 * eta * length * difference)
    squares = eta * forgotten / (2 * difference)
    if order == "random":
        squares = squares - (np.expm1(-eta * length * difference) / difference) ** 2 / length
    u = np.sum(top * rest * squares + _start(start) / rest.size * (1 - forgotten), axis=-1)
    return (u / (1 + u))[()]


def adaoja_sin2(n: Any, eigenvalues: Any) -> Any:
    """Return the error of AdaOja [2]_ after n independent Gaussian rows, one at a time: it falls as n^{-1/2}.

    Its rate is the inverse root of the sum of all squared gradients, ``|a|^2 <a, w>^2`` of expectation
    ``lambda_1 (tr + 2 lambda_1)`` at w = v_1, tr = sum_j lambda_j. Hence eta_n = (n lambda_1 (tr + 2 lambda_1))^{-1/2},
    which falls slowly enough for the error to follow the plateau of the present rate:
    ``sum_j eta_n lambda_1 lambda_j / (2 (lambda_1 - lambda_j))``.
    """
    top, rest = _split(eigenvalues)
    moment = top * (3 * top + np.sum(rest))
    eta = 1 / np.sqrt(reals("n", n, 0.0, strict=True) * moment)
    return eta * np.sum(top * rest / (2 * (top - rest)))


def block_power_sin2(n: Any, eigenvalues: Any, n_blocks: int, *, order: str = "iid") -> Any:
    """Return the error of the streaming power method [3]_ with n_blocks equal blocks, from a start near v_1.

    With r = lambda_j / lambda_1, the factor by which a block shrinks e_j, and block length n / T:

        sum_j r (T / n) (S_2 - [random order] S_1^2 / T),  S_1 = sum_{i < T} r^i,  S_2 = sum_{i < T} r^{2i}.

    Only the last blocks count, T / n is the price.
    """
    top, rest = _split(eigenvalues)
    check_name("order", order, ORDERS)
    blocks = integer("n_blocks", n_blocks)
    ratio = rest / top
    sums = (1 - ratio ** (2 * blocks)) / (1 - ratio**2)
    if order == "random":
        sums = sums - ((1 - ratio**blocks) / (1 - ratio)) ** 2 / blocks
    return np.sum(ratio * sums) * blocks / reals("n", n, 0.0, strict=True)


def history_pca_sin2(n: Any, eigenvalues: Any, *, order: str = "iid") -> Any:
    """Return the error of History PCA [4]_ after n rows, in many blocks: that of Oja with c = 1 / lambda_1.

    With r = lambda_j / lambda_1, ``sum_j r / (n (1 - 2 r))``, close to `offline_sin2`, and in random order
    ``sum_j r^3 / (n (1 - 2 r) (1 - r)^2)``. NaN where lambda_2 >= lambda_1 / 2: the first blocks are then forgotten too
    slowly, and the error falls as n^{-2 (1 - r)}.

    The history enters a block's product as ``lambda v <v, w>``, which remembers nothing across v: e_j keeps the share
    ``1 - (1 - r) / t`` at block t. More inner repetitions change that by O(1 / t^2) only.
    """
    return oja_sin2(n, eigenvalues, 1 / _split(eigenvalues)[0], order=order)


def ccipca_sin2(n: Any, eigenvalues: Any, amnesic: float = 2.0, *, order: str = "iid") -> Any:
    """Return the error of CCIPCA [5]_ with amnesic parameter l: that of Oja with c = (1 + l) / lambda_1."""
    return oja_sin2(n, eigenvalues, (1 + reals("amnesic", amnesic, 0.0)) / _split(eigenvalues)[0], order=order)


def drift_sin2(step_size: Any, eigenvalues: Any, rate: Any) -> Any:
    """Return the error of Oja's method with a fixed rate while v_1 turns towards v_2 by `rate` radians a row.

    ``sum_j eta lambda_1 lambda_j / (2 (lambda_1 - lambda_j)) + (rate / (eta (lambda_1 - lambda_2)))^2``: noise, which
    grows with eta, and the squared lag. For angles and eta lambda_1 small against 1.
    """
    top, rest = _split(eigenvalues)
    eta = np.asarray(reals("step_size", step_size, 0.0, strict=True))
    lag = np.asarray(reals("rate", rate)) / (eta * (top - rest[0]))
    return (eta * np.sum(top * rest / (2 * (top - rest))) + lag**2)[()]


def drift_best_step_size(eigenvalues: Any, rate: Any) -> Any:
    """Return the eta that minimises `drift_sin2`: ``(2 rate^2 / (N (lambda_1 - lambda_2)^2))^{1/3}``.

    N eta is the noise. Raises ValueError where all eigenvalues but the first are 0: without noise no rate is best.
    """
    top, rest = _split(eigenvalues)
    noise = np.sum(top * rest / (2 * (top - rest)))
    if noise == 0:
        raise ValueError("eigenvalues must not all vanish but the first: without noise no rate is best")
    return np.cbrt(2 * np.square(reals("rate", rate)) / (noise * (top - rest[0]) ** 2))


def start_quantile(probability: Any, d: int) -> Any:
    """Return a quantile of tan^2 of the angle between v_1 and a Gaussian start.

    That is ``d - 1`` times a variable of the F(d - 1, 1) distribution.
    Its mean is infinite (a chi-square variable with one degree of freedom in the denominator): report medians.
    """
    from scipy.special import fdtri

    probability = reals("probability", probability)
    if not np.all((probability > 0) & (probability < 1)):
        raise ValueError(f"probability must lie between 0 and 1, got {probability!r}")
    return (d - 1) * fdtri(d - 1, 1, probability)


def _split(eigenvalues: Any) -> tuple[float, np.ndarray]:
    values = spectrum(eigenvalues)
    return float(values[0]), values[1:]


def _start(start: Any) -> float:
    return float(reals("start", start, 0.0))
