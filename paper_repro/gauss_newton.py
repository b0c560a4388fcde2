"""Approximated Gauss-Newton for over-parameterised matrix sensing, beside its competitors (NeurIPS 2024)."""

from __future__ import annotations

from .paper import NO_PICTURE, Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "Gradient descent on the factors of a matrix loses time twice: near saddle points early on, and to the condition "
    "number κ and the redundant columns later. The paper preconditions each factor's gradient by the pseudo-inverse of "
    "the other factor's Gram matrix and updates the factors in turn. A step costs two passes over the data. The "
    "convergence is linear from a random start, whatever κ, also for k > r.",
    "The sweep puts it beside gradient descent, preconditioned and scaled gradient descent, hard thresholding and a "
    "Riemannian method, on the same measurements, truths and seeds.",
)

SOURCES = (
    "Read were the abstract, the update and its range of step sizes, the setting of the comparison (n = 100, r = 5, "
    "k = 3r, m = 50nr, random starts of variance 1/n), what the text says of it, and its table of seconds. Preset "
    "`paper` has that setting; preset `small` is n = 24, r = 2, k = 4, m = 480. The theorems' constants were not read.",
    "Quoted numbers are marked as quoted. All others are measured, in iterations, and none of them is a value printed "
    "in the paper. Bounds on growth and shares are lrtheory's own.",
    "Each method runs at its usual step size. Panel (b) shows what others would have given: the same grid of multiples "
    "for every method that has a step size, at κ = 10, on seeds that no claim sees.",
)

KAPPA = Panel(
    index=0,
    title="(a) Iterations against condition number",
    alt="Iterations to relative error 1e-6 on a logarithmic axis against condition number: medians over seeds with "
    "quartile bars, one series for each method.",
    expected=(
        Expected(
            "stated",
            "Approximated Gauss–Newton falls fast and is not held up at saddle points; gradient descent pauses on "
            "plateaus. The final rate of preconditioned gradient descent does not depend on κ.",
        ),
        Expected(
            "observed",
            "From κ = 1 to 10 the iterations of gradient descent grow by more than 1.5, those of the others by less "
            "than 1.3 (T9). Both bounds are ours.",
        ),
        Expected(
            "quoted",
            "Seconds at n = 100, for κ = 10 and κ = 50: approximated Gauss–Newton 27.24 and 25.52, ScaledGD(λ) 55.87 "
            "and 69.07, PrecGD 87.12 and 94.53, gradient descent above 500. At n = 500: 617.58 and 632.24, 1218.83 and "
            "1258.71, 1979.45 and 1921.83, above 5000 (the paper's Table 2).",
        ),
    ),
    claims=("T9.growth*",),
    note="Iterations are not seconds, and the machines differ: the quoted seconds are no target here. A step of "
    "approximated Gauss–Newton, NIHT and the Riemannian method takes two passes over the data, one of the others takes "
    "one.",
)

TUNING = Panel(
    index=1,
    title="(b) The same grid of step sizes for every method",
    alt="Passes over the data to relative error 1e-6 on a logarithmic axis against step size in units of each method's "
    "usual one, at condition number 10, on other seeds than in panel (a); gradient descent at two ratios of the "
    "starts. A step size at which a quarter of the seeds or more do not arrive has no point; methods without a step "
    "size are absent.",
    expected=(
        Expected("stated", "Approximated Gauss–Newton allows 0 < η ≤ 2/(1 + δ), δ the restricted isometry constant."),
        Expected(
            "observed",
            "At preset `small`, twice the usual step nearly halves the passes of gradient descent and PrecGD. For "
            "ScaledGD the usual one is the best of the grid. For approximated Gauss–Newton twice the usual step is "
            "η = 1, at which seeds diverge: see below.",
        ),
    ),
    claims=(),
    note="No claim rests on this panel.",
)

REACHED = Panel(
    index=NO_PICTURE,
    title="Who arrives, and who does not",
    alt="",
    expected=(
        Expected(
            "observed",
            "At κ = 1 symmetric gradient descent (k > r) and ScaledGD(λ) with fixed λ miss 1e-6 within the steps they "
            "are given; the others reach it. Neither has stalled: both end in a power law, err² ∝ 1/T², with a "
            "constant that for the second is smaller by λ² in the population case.",
        ),
        Expected(
            "observed",
            "At κ = 10 some seeds diverge for approximated Gauss–Newton at η = 1, and for hard thresholding with a "
            "fixed step at rank k > r.",
        ),
        Expected(
            "stated",
            "Asymmetric PrecGD from the same random start is slower than approximated Gauss–Newton: judged in passes "
            "over the data, at κ = 10.",
        ),
        Expected(
            "observed",
            "At κ = 10 equal starts (ρ = 1) are not slower than ρ = 1/3 on a share of the seeds that is not small: the "
            "gain from imbalance concerns redundant directions, and here the weakest signal direction can be slower.",
        ),
    ),
    claims=("T9.reached*", "T9.tail*", "T9.diverges*", "T9.equal*", "T9.baseline*"),
    note="η = 1 lies within the range that the paper allows if δ ≤ 1. With so few measurements δ at rank 2k may well "
    "exceed that, so a failing seed contradicts nothing.",
)

COVERAGE = (
    Covered(
        "T9",
        "Iterations to 1e-6 of competing methods at κ = 1 and κ = 10",
        "reproduced",
        "The contrast between gradient descent and preconditioned methods. Bounds are ours, and so is the size.",
        ("T9.growth*", "T9.reached*", "T9.tail*", "T9.baseline*"),
    ),
    Covered(
        "failures",
        "Seeds that diverge, and starts that are not slower",
        "reconstructed",
        "Not the paper's: findings of this sweep.",
        ("T9.diverges*", "T9.equal*"),
    ),
    Covered(
        "E6",
        "Figure: iterations against condition number",
        "reconstructed",
        "Panel (a); preset `paper` has the sizes of the paper's comparison, up to κ = 100.",
    ),
    Covered(
        "Table 2",
        "Seconds to accuracy",
        "not attempted",
        "Quoted beside panel (a). Seconds of other code on another machine are not comparable; iterations are.",
    ),
    Covered("saddles", "Saddle regions and plateaus", "not attempted", "No claim looks at the early phase."),
    Covered("theorems", "Constants and conditions", "not attempted", "They were not read."),
)

paper = Paper(
    name="gauss_newton",
    title="Globally Q-linear Gauss-Newton Method for Overparameterized Non-convex Matrix Sensing",
    authors="Xixi Jia, Fangchen Feng, Deyu Meng, Defeng Sun",
    venue="NeurIPS 2024",
    link="https://openreview.net/forum?id=2QvCOFw058",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(Study("condition_number", (KAPPA, TUNING, REACHED)),),
    coverage=COVERAGE,
)
