"""How over-parameterisation slows gradient descent in matrix sensing (arXiv:2310.01769)."""

from __future__ import annotations

from .paper import NO_PICTURE, Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "Matrix sensing asks for a matrix M of rank r from linear measurements of it. The usual way is gradient descent on "
    "factors of inner rank k: the estimate is XXᵀ (symmetric) or FGᵀ (asymmetric). One rarely knows r, so one takes "
    "k > r and hopes that nothing is lost. The paper shows what is lost, and that it depends on the factorisation and "
    "on the start.",
    "*Symmetric.* With k = r the error falls geometrically. With a single column too many it cannot fall faster than "
    "1/T² (squared Frobenius error after T iterations): the redundant columns shrink, but ever more slowly.",
    "*Asymmetric.* The same descent on two factors escapes that law. Its error falls geometrically also for k > r, "
    "because the factors start out unequal and stay so: their imbalance FᵀF − GᵀG damps the redundant directions. It "
    "is of the order α², the square of the initialisation scale, and so is the rate.",
    "*One modified step.* Changing a single step, once the iterate is near the solution, makes the rate independent "
    "of α.",
)

SOURCES = (
    "Read were the abstract and the public reviews, not the theorems' constants, the exact form of the modified step "
    "or the parameters of the figures beyond n = 50 and r = 3. Orders of convergence are therefore the paper's; "
    "constants, tolerances and thresholds are lrtheory's own, and the figures are reconstructions. No number on this "
    "page is a value printed in the paper.",
    "T1–T9 and E1–E12 are lrtheory's own list of what there is to check. They are not the paper's numbering.",
    "Conventions: the loss is ¼‖𝒜(XXᵀ) − y‖² or ½‖𝒜(FGᵀ) − y‖², η is the step size, t counts iterations, err "
    "is the Frobenius norm of the estimate minus M, and the random starts have entries of size α/√n (G: ρα/√n). "
    "*Population* means infinitely many measurements, where 𝒜 is the identity. All singular values of M are 1.",
)

SYMMETRIC = Panel(
    index=0,
    title="(a) Symmetric factors: k > r costs the geometric rate",
    alt="Squared error against iteration on logarithmic axes, population case, one curve with "
    "quartile band for each k. A geometric law bends straight down, a power law is a straight line. Dashed are the "
    "lines (k − r) / (4 η² t²), one for each k > r.",
    expected=(
        Expected("stated", "k > r: ‖XXᵀ − M‖² is bounded below in the order of 1/T². k = r: it falls like exp(−Ω(T))."),
        Expected(
            "derived",
            "In a redundant direction a singular value obeys s ← s − ηs³, hence s² ~ 1/(2ηt): the squared error tends "
            "to (k − r)/(4η²t²), constant included (T1). At k = r it falls by (1 − ησᵣ)² in each iteration (T2).",
        ),
    ),
    claims=("T1.*", "T2.*"),
    note="A lower bound leaves room for something slower. A slope of −2, and not above, means that its order is "
    "attained.",
)

SYMMETRIC_SENSING = Panel(
    index=NO_PICTURE,
    title="The same with finitely many measurements",
    alt="",
    expected=(
        Expected(
            "stated",
            "The lower bound of order 1/T² is one for matrix sensing. Its conditions on the measurements could not be "
            "read.",
        ),
        Expected(
            "observed",
            "The constant exceeds the population's and falls towards it as m grows (T3). Only the order of the "
            "constants at two m is judged, not the limit.",
        ),
    ),
    claims=("T3.*",),
)

ASYMMETRIC = Panel(
    index=1,
    title="(b) Asymmetric factors: geometric, but at the mercy of α",
    alt="Relative error on a logarithmic axis against iteration, Gaussian measurements, k > r, one curve with quartile "
    "band for each initialisation scale. A geometric law is a straight line. Dashed lines fall like "
    "exp(−c α² t), with one constant c for all of them.",
    expected=(
        Expected("stated", "k > r: the error falls like exp(−Ω(α²T)); in the worst case α cannot be removed from it."),
        Expected("derived", "Hence lines whose slopes grow by a factor of 4 where α doubles (T5)."),
    ),
    claims=("T5.*",),
    note="The constant c of the dashed lines is fitted to the rates of this run. What is held against the data is that "
    "one constant serves all α.",
)

RATE = Panel(
    index=2,
    title="(c) The rate is proportional to α²",
    alt="Rate of the squared error per iteration against initialisation scale, on logarithmic axes: medians over seeds "
    "with quartile bars, for the population case and for Gaussian measurements. Dashed lines are proportional "
    "to alpha squared.",
    expected=(
        Expected("stated", "The exponent of the geometric law is of the order α²."),
        Expected(
            "derived",
            "In the population case the squared error falls by (1 − ησₖ(F)²)² in each iteration, with F the run's own "
            "left factor (T4). This is an identity between two quantities of one run. It predicts nothing by itself.",
        ),
    ),
    claims=("T4.*", "T5.*"),
)

IMBALANCE = Panel(
    index=NO_PICTURE,
    title="Unequal factors are what helps",
    alt="",
    expected=(
        Expected("stated", "The imbalance of the two factors drives the geometric rate; no balancing term is used."),
        Expected(
            "observed",
            "Starting G at a third of F's size (ρ = 1/3) gives at least three times the rate of equal sizes (ρ = 1), "
            "in the median over seeds (T6). The factor three is a threshold of ours.",
        ),
    ),
    claims=("T6.*",),
    note="Population case. It concerns the redundant directions: with ill-conditioned M and few measurements the "
    "weakest signal direction can be the bottleneck instead.",
)

MODIFIED = Panel(
    index=3,
    title="(d) One modified step removes α",
    alt="Relative error on a logarithmic axis against iteration for three initialisation scales, Gaussian "
    "measurements. For each there is one curve without a modified step, and one with either of two kinds, flat and "
    "lift. Where the rate does not depend on alpha, the lines of one kind are parallel.",
    expected=(
        Expected(
            "stated",
            "Changing one step near the solution makes the rate independent of α, and of the order of the exactly "
            "parameterised one.",
        ),
        Expected(
            "reconstructed",
            "The step itself. Both variants keep FGᵀ and change how it is split: *flat* makes all singular values of F "
            "equal to β = √σᵣ, *lift* only raises those below β. It is taken when ‖R‖₂ < 0.3 σᵣ is first seen, with R "
            "the gradient with respect to the estimate.",
        ),
    ),
    claims=("T7.*",),
    note="Judged is the independence of α, from the modified step on. That the rate matches k = r in order is not.",
)

COVERAGE = (
    Covered(
        "T1",
        "Symmetric, k > r, population: law and constant",
        "reproduced",
        "The order is the paper's lower bound; slope −2 and the constant are derived here.",
        ("T1.*",),
    ),
    Covered(
        "T2",
        "Symmetric, k = r: geometric",
        "reproduced",
        "Population only, all σ equal; the factor is derived here.",
        ("T2.*",),
    ),
    Covered(
        "T3",
        "Symmetric, k > r, Gaussian measurements",
        "reproduced",
        "Slope at two m, and that the constant is larger at the smaller m. The limit for large m is not judged; "
        "preset `small` has n = 20 and one k.",
        ("T3.*",),
    ),
    Covered(
        "T4",
        "Asymmetric, k > r, population: rate against α",
        "reproduced",
        "Up to α = 0.4: beyond, redundant and signal directions mix. The check with the run's own F is an identity.",
        ("T4.*",),
    ),
    Covered(
        "T5",
        "Asymmetric, k > r, Gaussian measurements: rate against α",
        "reproduced",
        "The slope only. How far the rate lies below the population's at given m is not judged. The theorem on "
        "k = r is not run for asymmetric factors.",
        ("T5.*",),
    ),
    Covered(
        "T6",
        "Imbalance of the start: ρ = 1/3 against ρ = 1",
        "reproduced",
        "That imbalance helps, in the population case; the threshold of three is ours. ρ = 0 and ρ = 0.1, and the "
        "same at finite m, are not run; ρ = 0 would mislead in the population case, where its rate does not depend "
        "on α.",
        ("T6.*",),
    ),
    Covered(
        "T7",
        "The modified step makes the rate free of α",
        "reconstructed",
        "The form of the step could not be read: two variants of ours, at condition number 1. Condition number 10 and "
        "other β are not run.",
        ("T7.*",),
    ),
    Covered(
        "T8",
        "Exact recursion of the imbalance FᵀF − GᵀG",
        "not attempted",
        "Not by a sweep: it is an identity of one step, and a property-based test of the package holds it to rounding.",
    ),
    Covered(
        "T9",
        "Iterations to accuracy of competing methods",
        "not attempted",
        "Preconditioned, Gauss–Newton and hard-thresholding methods are not in the package yet.",
    ),
    Covered(
        "E1",
        "Figure: symmetric rate for k = r and k > r",
        "reconstructed",
        "Panel (a), population only, with step size, scale and T of our choice.",
    ),
    Covered(
        "E2",
        "Figure: asymmetric error for several α",
        "reconstructed",
        "Panel (b); preset `small` has n = 20 in place of 50.",
    ),
    Covered(
        "E3", "Figure: rate against α", "reconstructed", "Panel (c); how α enters is the paper's, the figure ours."
    ),
    Covered(
        "E4",
        "Figure: symmetric and asymmetric from one start",
        "not attempted",
        "T6 judges ρ = 1/3 against ρ = 1; the figure also needs ρ = 0 and a preconditioned method.",
    ),
    Covered("E5", "Figure: the modified step", "reconstructed", "Panel (d), with the step of T7."),
    Covered("E6", "Iterations against condition number", "not attempted", "Needs the methods of T9."),
    Covered("E7", "ScaledGD against condition number", "not attempted", "Needs ScaledGD."),
    Covered("E8", "Rate against ρ", "not attempted", "Only ρ = 1/3 and 1 are run."),
    Covered(
        "E9", "Success against number of measurements", "not attempted", "No sweep over m at the edge of recovery."
    ),
    Covered("E10", "Noisy measurements", "not attempted", "All measurements here are exact."),
    Covered("E11", "Other measurements than Gaussian", "not attempted", "Those operators are not in the package yet."),
    Covered("E12", "Map of the rate over k and α", "not attempted", "Asymmetric runs have k = 5 only."),
    Covered(
        "theorems",
        "Constants and conditions (number of measurements, largest α and η)",
        "not attempted",
        "They could not be read, so there is nothing of the paper's to hold a number against.",
    ),
    Covered(
        "reviews",
        "What reviewers asked for: larger k and r, ill-conditioned M",
        "not attempted",
        "r = 3, k up to 6 and condition number 1 throughout.",
    ),
)

paper = Paper(
    name="overparam_sensing",
    title="How Over-Parameterization Slows Down Gradient Descent in Matrix Sensing: "
    "The Curses of Symmetry and Initialization",
    authors="Nuoya Xiong, Lijun Ding, Simon S. Du",
    venue="ICLR 2024, arXiv:2310.01769",
    link="https://arxiv.org/abs/2310.01769",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(Study("overparam_sensing", (SYMMETRIC, SYMMETRIC_SENSING, ASYMMETRIC, RATE, IMBALANCE, MODIFIED)),),
    coverage=COVERAGE,
)
