"""Matrix sensing beyond single papers: how many measurements, how much noise, which measurements."""

from __future__ import annotations

from .paper import Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "Three questions that every paper on matrix sensing raises and none of those above settles: how many measurements "
    "do the methods need, what becomes of noise when the search rank is too large, and does it matter which "
    "measurements are taken?",
)

SOURCES = (
    "No paper is reproduced here. Predictions are derived (counts of unknowns, least squares with a Gaussian design), "
    "or expectations stated before the sweep and judged by it. Sizes, tolerances and thresholds are lrtheory's own.",
    "Methods: gradient descent on asymmetric factors; approximated Gauss–Newton (Jia, Feng, Meng, Sun, NeurIPS 2024); "
    "normalised iterative hard thresholding, NIHT (Tanner, Wei, SIAM J. Sci. Comput. 35, 2013); the convex "
    "relaxation by the nuclear norm (Recht, Fazel, Parrilo, SIAM Review 52, 2010). All at the usual parameters that "
    "the guide lists.",
)

RECOVERY = Panel(
    index=0,
    title="(a) Share of seeds recovered",
    alt="Share of seeds recovered against measurements in units of n r, one curve for each method and search rank "
    "(the nuclear norm has none). A "
    "dashed vertical line marks as many measurements as degrees of freedom, r (2n − r).",
    expected=(
        Expected("derived", "Fewer equations than unknowns, m < r(2n − r), cannot suffice."),
        Expected("observed", "More columns than needed (k > r) take more measurements (E9)."),
    ),
    claims=("E9.few*", "E9.many*", "E9.shift*"),
    note="Recovered means a relative error below 1e-3 within the steps that a method is given. M is positive "
    "semi-definite, which these methods do not use: it has fewer degrees of freedom than the line says.",
)

ISOMETRY = Panel(
    index=1,
    title="(b) The isometry constant of the same operators",
    alt="A lower bound on the restricted isometry constant at rank 2r, found by search, against measurements in units "
    "of n r, on logarithmic axes: medians over seeds with quartile bars. Dashed is a line proportional to the square "
    "root of n r / m.",
    expected=(Expected("derived", "For Gaussian measurements it falls like √(nr/m) once m is large."),),
    claims=("E9.isometry*",),
    note="A lower bound: the true constant may be larger. Judged is that it falls, not its exponent.",
)

NOISE = Panel(
    index=0,
    title="(a) Final error against noise",
    alt="Final error against standard deviation of the noise, on logarithmic axes, one series for each search rank, "
    "approximated Gauss–Newton. Dashed is what least squares leaves at k = r.",
    expected=(
        Expected("derived", "Near the truth the fit is linear least squares: the error is proportional to the noise."),
        Expected(
            "derived",
            "At k = r, with a Gaussian design and p = r(2n − r) unknowns, it is σ√(p/(m − p − 1)) (E10).",
        ),
    ),
    claims=("E10.linear*", "E10.constant*"),
)

OVERFIT = Panel(
    index=1,
    title="(b) What a larger search rank costs",
    alt="Final error, in units of what least squares leaves at k = r, against search rank: medians over seeds with "
    "quartile bars, one series for each method, and one for gradient descent stopped at its smallest error. Dashed is "
    "the formula of panel (a) with p = k (2n − k) unknowns.",
    expected=(
        Expected("observed", "The final error grows with k for every method (E10)."),
        Expected(
            "observed",
            "Gradient descent at k > r ends below the other two, within the steps it is given, and stopping it at its "
            "best iterate, which would take an oracle, gains nothing there.",
        ),
    ),
    claims=("E10.overfit*",),
    note="The dashed formula is least squares on the tangent space at a matrix of rank k: at k > r it is no theorem, "
    "only a mark to compare with.",
)

ALIKE = Panel(
    index=0,
    title="(a) Seven kinds of measurements at a small step size",
    alt="Relative error on a logarithmic axis against iteration: symmetric gradient descent at k = r through Gaussian, "
    "symmetric Gaussian, Rademacher, subsampled Hadamard, Pauli, sampled-entry and rank-one measurements, medians over "
    "seeds with quartile bands.",
    expected=(
        Expected("derived", "Symmetric Gaussian: the symmetric part of the same draw gives the same iterates."),
        Expected("observed", "Signs in place of normal numbers change the rate by at most a quarter, a bound of ours."),
        Expected("observed", "Sampled entries are slower than Gaussian measurements, rank-one ones faster (E11)."),
    ),
    claims=("E11.rate.*", "E11.small.*"),
)

OTHERS = Panel(
    index=1,
    title="(b) The same at a large step size",
    alt="The same measurements at a step size several times as large: all but the rank-one ones converge, faster.",
    expected=(
        Expected(
            "derived",
            "Rank-one measurements aaᵀ are not isotropic: their mean sees the trace of the error once more. That "
            "speeds small steps up, and makes large ones unstable that the others bear.",
        ),
    ),
    claims=("E11.large.*",),
    note="Compared at the same step sizes. At its own largest step each operator but the rank-one one would be faster "
    "than that one at its own.",
)

COVERAGE = (
    Covered(
        "E9",
        "Success against number of measurements",
        "reproduced",
        "A small size; where the transition lies is drawn, and only its two ends and its shift with k are judged.",
        ("E9.*",),
    ),
    Covered(
        "E10",
        "Noisy measurements",
        "reproduced",
        "Linearity and the constant at k = r, and growth with k. Linearity is not judged for gradient descent at "
        "k > r, which is not done within its steps.",
        ("E10.*",),
    ),
    Covered(
        "E11",
        "Other measurements than Gaussian",
        "reproduced",
        "Symmetric gradient descent at k = r only. Rates of Hadamard and Pauli measurements are drawn, not judged.",
        ("E11.*",),
    ),
    Covered(
        "nuclear norm",
        "Convex relaxation beside the factorised methods",
        "reproduced",
        "In E9, at the first panel's size. Not in the other sweeps.",
        ("E9.*.nuclear*",),
    ),
)

paper = Paper(
    name="matrix_sensing",
    title="Matrix sensing: measurements, noise and operators",
    authors="Studies of lrtheory",
    venue="no single paper",
    link="",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(
        Study("sample_complexity", (RECOVERY, ISOMETRY)),
        Study("noise", (NOISE, OVERFIT)),
        Study("sensing_operators", (ALIKE, OTHERS)),
    ),
    coverage=COVERAGE,
)
