"""Diagonal state-space models (arXiv:2206.11893)."""

from __future__ import annotations

from .paper import NO_PICTURE, Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "A linear state-space model whose state matrix is diagonal (S4D) is a sum of damped complex exponentials. Where do "
    "its poles start? The paper drops the low-rank term of HiPPO-LegS, the matrix of the model S4, and keeps "
    "the normal "
    "part (S4D-LegS), or replaces its frequencies by simple formulas (S4D-Lin, S4D-Inv).",
    "Here the spectrum of the normal part has a closed form, and with it the sense in which S4D-LegS tends to S4: "
    "transfer functions, step responses and sampled kernels converge, the kernels as functions of time do not.",
)

SOURCES = (
    "Read were the abstract, the released code with its configurations and documentation, and a companion text of the "
    "authors. The paper's own theorems and tables were not: its Theorem 3 is known at second hand. Formulas for the "
    "spectrum and for the errors are derived here and checked numerically.",
    "Conventions: N is the real state size, M = N/2 the number of stored modes; kernels are 2 Re Σ cₙ b̄ₙ āₙˡ; the "
    "theorem's S4D-LegS has half of B. No network is trained on this page, and no accuracy is ours.",
)

BASIS = Panel(
    index=None,
    title="Basis kernels",
    alt="Nine panels of basis kernels of order 0 to 3 against time: LegS in closed form; its normal part at N = 256, "
    "bilinear, and at N = 1024, zero-order hold; damped cosines of S4D-Lin; the slowest modes of S4D-Inv and S4D-Real; "
    "FouT, with and without its low-rank term; and LegS with a random matrix of rank one.",
    expected=(
        Expected(
            "derived", "LegS has Legendre polynomials in e⁻ᵗ; the closed form agrees with the matrix exponential."
        ),
        Expected(
            "stated", "The normal part's basis tends to LegS's as N grows; other matrices of rank one destroy it."
        ),
    ),
    claims=("S4D.F1.*",),
    note="Orders and times are those of a picture in the companion text; the size of the random matrices is smaller.",
)

SPECTRA = Panel(
    index=0,
    title="(a) Initial frequencies",
    alt="Imaginary parts of the poles against the mode's number, on a logarithmic axis, one curve for each "
    "initialisation at N = 64.",
    expected=(Expected("stated", "S4D-Inv approximates the frequencies of S4D-LegS, S4D-Lin spaces them evenly."),),
    claims=(),
)

SECULAR = Panel(
    index=1,
    title="(b) LegS in closed form",
    alt="Frequencies of LegS's normal part at the largest N against their rank, on logarithmic axes; dashed the two "
    "leading terms for large N.",
    expected=(
        Expected("derived", "The frequencies are the roots of a sum of arctangents; the sum of |B|² is N² (T1)."),
        Expected("derived", "The largest is N²/π − π/6 up to O(N⁻²) (T2)."),
        Expected("stated", "They follow an inverse law in their rank (a conjecture from numerics)."),
    ),
    claims=("S4D.T1.*", "S4D.T2.*"),
)

TRANSFER = Panel(
    index=0,
    title="(a) Weak convergence",
    alt="Relative error of the transfer function against N at three frequencies, on logarithmic axes, with the exact "
    "prediction dashed.",
    expected=(
        Expected("stated", "S4D-LegS tends to S4 as N grows (Theorem 3, second hand)."),
        Expected("derived", "At the frequency ω the error is |ω|/N to first order (T3)."),
    ),
    claims=("S4D.T3.*",),
)

SAMPLED = Panel(
    index=1,
    title="(b) Sampled kernels",
    alt="L2 error of the zero-order-hold kernel against N for three steps, on logarithmic axes, with the prediction "
    "dashed: it applies once N is large against the inverse root of the step.",
    expected=(Expected("derived", "Once N is large against Δt^(−1/2) the error is √((2n+1)/Δt)/N (T4)."),),
    claims=("S4D.T4.*",),
)

PLATEAU = Panel(
    index=2,
    title="(c) What does not converge",
    alt="L2 error of the continuous kernels of order 0 to 3 against N, flat at the dashed predictions, and "
    "the error of "
    "the step response, which falls.",
    expected=(
        Expected("observed", "The kernels' L2 error stays at √(2n+1)/2 (T5): the convergence is weak only."),
        Expected("stated", "Outputs to smooth inputs converge like 1/N; here the step response does (T6)."),
        Expected("derived", "The bilinear rule is an isometry of L2: its kernels' error is the continuous one."),
        Expected(
            "observed",
            "With input weights clipped at 2, as in the released code, and then halved, kernels do "
            "converge in L2, like 0.80√((2n+1)/N): a law derived by averaging, not a theorem.",
        ),
    ),
    claims=("S4D.T5*", "S4D.T6*", "S4D.bilinear*", "S4D.clipped*"),
    note="That outputs converge for smooth inputs and the operator norm does not is Theorems 1 and 2 of "
    "arXiv:2310.01698, known from a summary.",
)

KERNELS = Panel(
    index=None,
    title="Kernels and aliasing",
    alt="Upper panels: kernels of random readouts against time for four initialisations, at three steps. Lower panels: "
    "their spectra against frequency on logarithmic axes; the legend counts the modes that alias.",
    expected=(Expected("derived", "Modes with Δt Im a > π alias: how many is a count (N = 64)."),),
    claims=("S4D.F4.*",),
)

RULES = Panel(
    index=None,
    title="Discretisations",
    alt="(a) Largest difference of the kernels by zero-order hold and by the bilinear rule against the step, with a "
    "dashed line of slope two. (b) Relative difference of outputs to smooth noise against the step, one series for "
    "each initialisation.",
    expected=(
        Expected("derived", "The two rules agree to second order in the step (T7)."),
        Expected("stated", "In deep networks little difference is expected (a remark in the released code)."),
    ),
    claims=("S4D.T7*",),
)

ACCURACY = Panel(
    index=None,
    title="Accuracy",
    alt="Largest error of the kernels over their largest value against length, one series for each algorithm, on "
    "logarithmic axes, (a) in double and (b) in single precision; dashed the bound that is claimed.",
    expected=(
        Expected("observed", "Against extended precision: 2e-14 in double, 1e-6 in single precision (T9)."),
        Expected("derived", "Almost every system has a diagonal form; the error is of the order of cond(V) eps (T10)."),
    ),
    claims=("S4D.T9.*", "S4D.T10*"),
    note="complex64 is the exponential of the whole outer product in single precision, as in the released code.",
)

SPEED = Panel(
    index=None,
    title="Time",
    alt="Seconds for a kernel of one channel, (a) against length and (b) against state size, on logarithmic axes, one "
    "series for each algorithm, medians over draws with quartile bars.",
    expected=(Expected("observed", "A blocked product takes a small part of the time of plain exponentials (F7)."),),
    claims=("S4D.F7.*",),
    note="Times of the machine that made this page, one thread, every sample computed.",
)

VALUES = Panel(
    index=0,
    title="(a) Hankel singular values",
    alt="Hankel singular values over the largest against their index on a logarithmic axis, one curve with quartile "
    "band for each initialisation: those of S4D-Real fall to 1e-17 within some fifteen, the others stay of order one.",
    expected=(
        Expected("observed", "Real poles alone have numerical rank near 12, whatever N; complex ones full rank (T8)."),
        Expected("derived", "Sampled at Δt = 0.1, S4D-Lin aliases to a Hankel matrix of rank 20 (F6)."),
    ),
    claims=("S4D.T8.*", "S4D.F6.rank*"),
)

TRUNCATION = Panel(
    index=1,
    title="(b) Balanced truncation",
    alt="Largest error of the transfer function after balanced truncation against the order kept, with both bounds "
    "dashed, for evenly spaced and for real poles.",
    expected=(Expected("stated", "The error lies between s_(r+1) and twice the sum of the singular values left out."),),
    claims=("S4D.F6.bounds*",),
    note="A theorem of Glover (1984), not of this paper.",
)

MEMORY = Panel(
    index=None,
    title="Memory without training",
    alt="Relative error against the delay, one curve for each initialisation: (a) of a Gaussian bump in the kernel, "
    "(b) of recalled noise and (c) of its whole history since then, with quartiles over seeds. (d) The largest error "
    "of the bump over delays up to 2 against a factor of all frequencies: least at 1 for LegS and its interpolation, "
    "and at 1/2 for evenly spaced ones.",
    expected=(
        Expected("stated", "The choice of poles decides at long range; random frequencies fail."),
        Expected("observed", "LegS and its interpolation recall over the whole range, the others do not (F8)."),
        Expected(
            "derived",
            "S4D-Lin repeats after 2 units of time; with half its frequencies it has the window of 4 units for a "
            "period, and is the best of all for it.",
        ),
    ),
    claims=("S4D.F8.*",),
    note="Our stand-in for the paper's ablations: only a linear readout is fitted, by ridge regression.",
)

TRAINING = Panel(
    index=None,
    title="Training on a synthetic kernel",
    alt="(a) Relative error against the step of Adam on logarithmic axes, one curve with quartile band for each "
    "initialisation. (b) Error at the end for each initialisation: everything trained, the poles frozen, and the best "
    "readout at the start. (c), (d) The same curves from S4D-Lin for four transforms of the real part and for three "
    "discretisations.",
    expected=(
        Expected("observed", "Trained poles fit better than frozen ones; real poles cannot be trained to the target."),
        Expected("stated", "The discretisation makes little difference (a remark in the released code)."),
        Expected("observed", "Nor does the transform of the real part: within a factor of 5 here."),
    ),
    claims=("S4D.F8c.*",),
    note="The target has 16 random poles. Every row has the step size that is best on draws set aside.",
)

ACCURACIES: dict[str, tuple[float | None, ...]] = {
    "S4D-LegS": (60.47, 86.18, 89.46, 88.19, 93.06, 91.95),
    "S4D-Inv": (60.18, 87.34, 91.09, 87.83, 93.78, 92.80),
    "S4D-Lin": (60.52, 86.97, 90.96, 87.93, 93.96, None),
    "S4-LegS": (59.60, 86.82, 90.90, 88.65, 94.20, 96.35),
    "S4-FouT": (57.88, 86.34, 89.66, 89.07, 94.46, None),
    "DSS": (57.6, 76.6, 87.6, 85.8, 84.1, 85.0),
}
"""Long Range Arena: ListOps, IMDB, AAN, CIFAR, Pathfinder, Path-X, in per cent; None did not train."""


def _accuracies(model: str) -> Expected:
    values = ACCURACIES[model]
    each = ", ".join("failed" if value is None else f"{value:g}" for value in values)
    mean = sum(50.0 if value is None else value for value in values) / len(values)
    return Expected("quoted", f"{model}: {each}; on average {mean:.2f}.")


QUOTED = Panel(
    index=NO_PICTURE,
    title="Published accuracies, for reference",
    alt="",
    expected=(
        Expected(
            "quoted",
            "All as quoted by arXiv:2209.12951, in per cent; nothing of it is measured here. Long Range Arena: "
            "ListOps, IMDB, AAN, CIFAR, Pathfinder, Path-X, and the average, a failed task counted as 50.",
        ),
        *map(_accuracies, ACCURACIES),
        Expected("quoted", "Sequential CIFAR: S4-LegS 91.80, S4D-LegS 89.92, S4D-Inv 90.69, S4D-Lin 90.42."),
        Expected(
            "quoted",
            "Speech Commands (35 words) at 16 kHz, and at 8 kHz without training there: S4-LegS 96.08 and 91.32, "
            "S4D-LegS 95.83 and 91.08, S4D-Inv 96.18 and 91.80, S4D-Lin 96.25 and 91.58.",
        ),
    ),
    claims=(),
)

COVERAGE = (
    Covered("S4D.T1", "Closed-form spectrum of LegS's normal part", "reproduced", "Derived here.", ("S4D.T1.*",)),
    Covered("S4D.T2", "Largest frequency for large N", "reproduced", "Derived here.", ("S4D.T2.*",)),
    Covered("S4D.T3", "Transfer functions converge like |ω|/N", "reproduced", "Derived here.", ("S4D.T3.*",)),
    Covered("S4D.T4", "Sampled kernels converge like 1/N", "reproduced", "Derived by averaging.", ("S4D.T4.*",)),
    Covered("S4D.T5", "Continuous kernels do not converge", "reproduced", "A limit measured here.", ("S4D.T5*",)),
    Covered("isometry", "Bilinear kernels do not converge", "reproduced", "Derived here.", ("S4D.bilinear*",)),
    Covered("clipped", "Clipped input weights", "reproduced", "A law of ours, by averaging.", ("S4D.clipped*",)),
    Covered("S4D.T6", "Step responses converge like 1/N", "reproduced", "Theorem 1 of 2310.01698.", ("S4D.T6*",)),
    Covered("S4D.T7", "Zero-order hold against the bilinear rule", "reproduced", "Second order.", ("S4D.T7*",)),
    Covered("S4D.T8", "Hankel singular values of initialisations", "reproduced", "Random C.", ("S4D.T8.*",)),
    Covered("S4D.F6", "Model reduction", "reproduced", "Bounds of Glover (1984); aliasing.", ("S4D.F6.*",)),
    Covered("S4D.T9", "Accuracy of kernels", "reproduced", "Bounds of ours.", ("S4D.T9.*",)),
    Covered("S4D.T10", "Dense systems in diagonal form", "reproduced", "Random systems of size 8.", ("S4D.T10*",)),
    Covered("S4D.F1", "Figure: basis kernels", "reconstructed", "Our sizes and seeds.", ("S4D.F1.*",)),
    Covered("S4D.F4", "Kernels and spectra, aliasing", "reconstructed", "Random readouts, not trained.", ("S4D.F4.*",)),
    Covered("S4D.F7", "Time against length and size", "reconstructed", "Our own programmes only.", ("S4D.F7.*",)),
    Covered("S4D.F8", "Ablation of initialisations", "reconstructed", "A readout by regression.", ("S4D.F8.*",)),
    Covered("S4D.F8c", "Ablations under training", "reconstructed", "A synthetic target.", ("S4D.F8c.*",)),
    Covered("accuracies", "Accuracies of trained networks", "not attempted", "Nothing is trained on data sets here."),
)

paper = Paper(
    name="diagonal_ssm",
    title="On the Parameterization and Initialization of Diagonal State Space Models",
    authors="Albert Gu, Ankit Gupta, Karan Goel, Christopher Ré",
    venue="NeurIPS 2022, arXiv:2206.11893",
    link="https://arxiv.org/abs/2206.11893",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(
        Study("s4d_basis", (BASIS,)),
        Study("s4d_spectra", (SPECTRA, SECULAR)),
        Study("s4d_convergence", (TRANSFER, SAMPLED, PLATEAU)),
        Study("s4d_accuracy", (ACCURACY,)),
        Study("s4d_speed", (SPEED,)),
        Study("s4d_kernels", (KERNELS,)),
        Study("s4d_discretization", (RULES,)),
        Study("ssm_reduction", (VALUES, TRUNCATION)),
        Study("s4d_memory", (MEMORY, QUOTED)),
        Study("s4d_training", (TRAINING,)),
    ),
    coverage=COVERAGE,
)
