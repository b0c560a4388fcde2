"""Gradient descent from a small start learns one singular value after another (arXiv:2301.11500)."""

from __future__ import annotations

from .paper import NO_PICTURE, Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "Why does gradient descent find a matrix of low rank where its factors allow any? The paper's answer for matrix "
    "sensing: from a small start it behaves like a greedy method. It fits the best matrix of rank one, pauses, fits "
    "the best of rank two, and so on until the truth is found.",
    "What one sees are singular values of the estimate that leave the noise one by one, the larger the earlier, with "
    "pauses that grow as the start shrinks.",
)

SOURCES = (
    "Read was the abstract, not the theorems, their conditions or the parameters of the figures. The order of events "
    "is the paper's. The law of the delays is derived here; sizes, scales and the bound 0.1 are lrtheory's own. No "
    "number on this page is a value printed in the paper.",
    "Conventions: the loss is ¼‖𝒜(XXᵀ) − y‖², η the step size, X starts with entries of size α/√n, and k = 2r. The "
    "singular values of M fall geometrically from 1 to 1/κ. Mₛ is the best approximation of M of rank s.",
)

POPULATION = Panel(
    index=0,
    title="(a) Singular values appear one after another: population",
    alt="The largest singular values of the estimate on a logarithmic axis against iteration, at the smallest "
    "initialisation scale, population case: medians over seeds with quartile bands, one redundant singular value "
    "among them. Dashed lines grow like (1 + eta sigma_i) to the power 2t.",
    expected=(
        Expected("stated", "Solutions of increasing rank are learnt in turn."),
        Expected(
            "derived",
            "While it is small, the part of X along the i-th singular vector of M grows by 1 + ησᵢ in a step. Hence a "
            "start smaller by a factor c delays σᵢ by log c / log(1 + ησᵢ) steps (I1).",
        ),
    ),
    claims=("I1.*", "I2.*.identity*"),
)

GAUSSIAN = Panel(
    index=1,
    title="(b) The same with Gaussian measurements",
    alt="The same as in panel (a), with Gaussian measurements.",
    expected=(
        Expected("stated", "The same holds for measurements that are nearly isotropic on matrices of low rank."),
        Expected("observed", "The redundant singular value is larger than in the population case."),
    ),
    claims=("I2.*.gaussian*",),
    note="Only the population case has a formula for the delays to be held against.",
)

VISITS = Panel(
    index=NO_PICTURE,
    title="The path visits the best approximation of each rank",
    alt="",
    expected=(
        Expected("stated", "On its way the iterate is near a solution of each smaller rank."),
        Expected(
            "reconstructed",
            "For each s < r the smallest distance of the path to Mₛ is below a tenth of ‖M‖ (I2). The paper's "
            "solutions of rank s are minimisers of the loss; with infinitely many measurements those are Mₛ, with "
            "finitely many only nearly. The tenth is ours.",
        ),
    ),
    claims=("I2.*",),
)

COVERAGE = (
    Covered(
        "I1",
        "Delays grow like log(1/α), the slower the smaller σᵢ",
        "reproduced",
        "Population only. The paper states the order of events, the formula is derived here.",
        ("I1.*",),
    ),
    Covered(
        "I2",
        "The path passes near the best solution of each rank",
        "reproduced",
        "At the smallest α of the preset, with a bound of ours, and with Mₛ for the minimiser of rank s.",
        ("I2.*",),
    ),
    Covered(
        "figure",
        "Figure: singular values appear one after another",
        "reconstructed",
        "Both panels; size, spectrum, α and η are ours.",
    ),
    Covered("k < r", "The under-parameterised case", "not attempted", "All runs have k = 2r."),
    Covered(
        "theorems",
        "Constants and conditions (number of measurements, largest α and η)",
        "not attempted",
        "They were not read, so there is nothing of the paper's to hold a number against.",
    ),
)

paper = Paper(
    name="incremental_learning",
    title="Understanding Incremental Learning of Gradient Descent: A Fine-grained Analysis of Matrix Sensing",
    authors="Jikai Jin, Zhiyuan Li, Kaifeng Lyu, Simon S. Du, Jason D. Lee",
    venue="ICML 2023, arXiv:2301.11500",
    link="https://arxiv.org/abs/2301.11500",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(Study("incremental_learning", (POPULATION, GAUSSIAN, VISITS)),),
    coverage=COVERAGE,
)
