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
    "T1–T9 and E1–E12 are lrtheory's own list of what there is to check in matrix sensing. They are not the paper's "
    "numbering. What is missing here (T9, E6, E7, E9–E11) is on the pages of the papers that it bears on.",
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

RHO = Panel(
    index=0,
    title="(a) The rate over the ratio ρ of the two starts",
    alt="Rate of the squared error per iteration on a logarithmic axis against rho, the size of G's start relative to "
    "F's: medians over seeds with quartile bars, for the population case and for Gaussian measurements.",
    expected=(
        Expected("stated", "What helps is that the factors start out unequal. The form of the curve is not stated."),
        Expected(
            "derived",
            "The imbalance Δ = FᵀF − GᵀG of the start stays: a step changes it by η²(GᵀRᵀRG − FᵀRRᵀF) exactly (T8).",
        ),
        Expected("observed", "The mean rate at 0 < ρ ≤ 1/2 exceeds that at ρ = 1, in the median over seeds (E8)."),
    ),
    claims=("E8.slowest*", "T8.*"),
    note="At ρ = 1 the imbalance of a random start has both signs, and some seeds are fast by luck: hence the long "
    "bars there, and a median rather than a mean.",
)

ZERO = Panel(
    index=1,
    title="(b) G = 0 at the start: a trap of the population case",
    alt="Rate of the squared error per iteration against initialisation scale alpha at rho = 0, on logarithmic axes: "
    "medians over seeds with quartile bars, for the population case and for Gaussian measurements. Dashed lines: "
    "independent of alpha, and proportional to alpha squared.",
    expected=(
        Expected(
            "derived",
            "With infinitely many measurements G stays in the row space of M, so that no redundant direction has to "
            "decay: the rate does not depend on α.",
        ),
        Expected("observed", "With finitely many measurements it is proportional to α² again, like any other ρ."),
    ),
    claims=("E8.zero*",),
    note="Who studies the population case alone would take ρ = 0 for a cure.",
)

MAP = Panel(
    index=0,
    title="(a) The rate over search rank and initialisation scale",
    alt="Heat map: colour is the median over seeds of the rate of the squared error per iteration, the axes are the "
    "search rank k and the initialisation scale alpha. Population case, k > r.",
    expected=(
        Expected("stated", "The rate is of the order α² for each k > r."),
        Expected(
            "derived",
            "It should fall as k/n grows: the imbalance of the start is about α² times a Wishart matrix of order k, "
            "and its smallest eigenvalue falls. That is an expectation, not a formula.",
        ),
    ),
    claims=("E12.*",),
)

UNITS = Panel(
    index=1,
    title="(b) The same in units of ηα²",
    alt="Rate of the squared error divided by eta alpha squared against k / n, on a logarithmic axis: medians over "
    "seeds with quartile bars, one series for each of three initialisation scales.",
    expected=(Expected("stated", "A rate of the order α² means series that lie on one another."),),
    claims=("E12.alpha*",),
    note="Claims on the exponent take α < 0.5 only: beyond, redundant and signal directions mix.",
)

ONE_START_POPULATION = Panel(
    index=0,
    title="(a) One matrix, one draw, two factorisations: population",
    alt="Relative error against iteration on logarithmic axes, population case: medians over seeds with quartile "
    "bands for the symmetric factorisation, the asymmetric one at three ratios rho, and the preconditioned symmetric "
    "one.",
    expected=(
        Expected("stated", "Symmetric: no faster than 1/T. Asymmetric: geometric, also for symmetric M."),
        Expected("observed", "Preconditioning (PrecGD) needs the fewest iterations of all."),
    ),
    claims=("E4.first.identity*", "E4.last.identity*", "E4.imbalance*"),
    note="The population gradient of the preconditioned method is computed in factors and cancels near the solution: "
    "its error levels off between 1e-11 and 1e-13. That is rounding, not the method.",
)

ONE_START_GAUSSIAN = Panel(
    index=1,
    title="(b) The same with Gaussian measurements",
    alt="Relative error on a logarithmic axis against iteration, Gaussian measurements: the series of panel (a).",
    expected=(
        Expected("stated", "The order of the factorisations is the same."),
        Expected("observed", "ρ = 0 has no advantage left (see the trap of the population case)."),
    ),
    claims=("E4.first.gaussian*", "E4.last.gaussian*"),
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
        "That imbalance helps, in the population case; the threshold of three is ours. Other ρ, and finite m: E8.",
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
        "reproduced",
        "Over the first hundred steps, with infinitely many measurements and with Gaussian ones.",
        ("T8.*",),
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
        "reconstructed",
        "The order of the methods is judged at the last iteration of the preset. A preconditioned method is added.",
        ("E4.*",),
    ),
    Covered("E5", "Figure: the modified step", "reconstructed", "Panel (d), with the step of T7."),
    Covered(
        "E8",
        "Rate against the ratio ρ of the starts, and ρ = 0",
        "reproduced",
        "That unequal starts are faster is the paper's; the grid of ρ, the statistic and the exception ρ = 0 are ours.",
        ("E8.*",),
    ),
    Covered(
        "E12",
        "Map of the rate over k and α",
        "reproduced",
        "The exponent 2 is the paper's; that the rate falls with k is an expectation of ours. Population only.",
        ("E12.*",),
    ),
    Covered(
        "theorems",
        "Constants and conditions (number of measurements, largest α and η)",
        "not attempted",
        "They could not be read, so there is nothing of the paper's to hold a number against.",
    ),
    Covered(
        "reviews",
        "What reviewers asked for: larger k and r, ill-conditioned M, one start for both, a checkable trigger",
        "reconstructed",
        "k up to 10 (E12), one start (E4), a trigger that needs no truth (T7). Ill-conditioned M is on the page of "
        "approximated Gauss–Newton; r is at most 3 at preset `small`.",
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
    studies=(
        Study("overparam_sensing", (SYMMETRIC, SYMMETRIC_SENSING, ASYMMETRIC, RATE, IMBALANCE, MODIFIED)),
        Study("imbalance", (RHO, ZERO)),
        Study("phase_map", (MAP, UNITS)),
        Study("sym_vs_asym", (ONE_START_POPULATION, ONE_START_GAUSSIAN)),
    ),
    coverage=COVERAGE,
)
