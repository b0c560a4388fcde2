"""Scaled gradient descent does not see the condition number (arXiv:2005.08898)."""

from __future__ import annotations

from .paper import Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "Gradient descent on the factors L and R of an ill-conditioned matrix is slow: what it needs grows with the "
    "condition number κ. Scaled gradient descent multiplies each gradient by the inverse Gram matrix of the other "
    "factor, of order r: nearly as cheap a step, and its rate does not depend on κ.",
)

SOURCES = (
    "Read were the abstract, and of the published code the parameters of the sensing experiment: n = 200, r = 10, "
    "m = 5nr, T = 1000, η = 0.5 (gradient descent: η/σ₁), singular values evenly spaced from 1 to 1/κ. Preset `paper` "
    "has these sizes. Preset `small` is smaller, with the same η. The theorems' constants were not read, and no number "
    "on this page is a value printed in the paper.",
    "Conventions: the loss is ½‖𝒜(LRᵀ) − y‖², k = r, both methods start from the same spectral initialisation, and "
    "σ₁ = 1.",
)

SCALED = Panel(
    index=0,
    title="(a) ScaledGD",
    alt="Relative error of scaled gradient descent on a logarithmic axis against iteration, one curve with quartile "
    "band for each condition number. Where the rate does not depend on it, the curves lie on one another.",
    expected=(
        Expected("stated", "The convergence is linear, at a rate that does not depend on κ."),
        Expected("observed", "Numbers of iterations over κ differ by a factor of at most 1.2, a bound of ours (E7)."),
    ),
    claims=("E7.blind*",),
)

PLAIN = Panel(
    index=1,
    title="(b) Gradient descent",
    alt="Relative error of gradient descent on a logarithmic axis against iteration, one curve with quartile band for "
    "each condition number.",
    expected=(
        Expected("stated", "The convergence is linear, and the number of iterations grows linearly with κ."),
        Expected("derived", "Hence the logarithm of the rate has slope −1 against that of κ; judged is −1.3 to −0.7."),
    ),
    claims=("E7.slowed*",),
)

COVERAGE = (
    Covered(
        "E7",
        "ScaledGD and gradient descent against κ, matrix sensing",
        "reproduced",
        "Orders are the paper's, bounds ours. Preset `small` has n = 60, r = 3 and m = 5nr.",
        ("E7.*",),
    ),
    Covered(
        "figure",
        "Figure: relative error against iteration for κ = 1, 5, 10, 20",
        "reconstructed",
        "Sizes of preset `paper` are those of the published code. Its seeds are not known.",
    ),
    Covered(
        "robust",
        "Robust principal component analysis, matrix completion, general losses",
        "not attempted",
        "Sensing only.",
    ),
    Covered("noise", "Noisy measurements", "not attempted", "Not with this method: see the page on noise."),
    Covered(
        "theorems",
        "Constants and conditions (number of measurements, largest η)",
        "not attempted",
        "They were not read.",
    ),
)

paper = Paper(
    name="scaled_gd",
    title="Accelerating Ill-Conditioned Low-Rank Matrix Estimation via Scaled Gradient Descent",
    authors="Tian Tong, Cong Ma, Yuejie Chi",
    venue="JMLR 22 (2021), arXiv:2005.08898",
    link="https://arxiv.org/abs/2005.08898",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(Study("scaled_gd", (SCALED, PLAIN)),),
    coverage=COVERAGE,
)
