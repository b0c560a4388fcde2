"""Streaming top-eigenvector estimation (arXiv:2412.11963 and arXiv:2408.10332)."""

from __future__ import annotations

from .paper import Covered, Expected, Panel, Paper, Study

SUMMARY = (
    "The rows of a matrix arrive once, and memory holds a few vectors: how near to the top right singular vector "
    "v₁ can "
    "one come, as a function of the ratio R = s₁²/s₂² of the first two eigenvalues and of the order of the rows? Price "
    "and Xun give a variant of Oja's method, a grid of rates and the heaviest row, that works for R of order "
    "log n log d in any order. Kacham and Woodruff show that in random order a constant R is enough, with the "
    "few heavy rows stored and power steps over blocks of the light ones, and that a fixed rate cannot do it.",
    "Here both are built beside the field's other one-pass methods, and their mechanisms are derived in closed "
    "form: an "
    "instance on which every fixed rate fails, one on which the analysis of heavy and light rows is tight, "
    "one on which stored rows reveal little, and laws of first order for independent rows and for random orders.",
)

SOURCES = (
    "Read were the abstracts of both papers, not their bodies: the algorithms named after them, their constants "
    "and the "
    "hard instance are reconstructed from the statements, and what is claimed of them is derived here. No figure or "
    "table of either paper was available; the pictures are the field's natural ones.",
    "Conventions: rows are not centred; sin² is that of the angle between the estimate and v₁; rates are in units of "
    "1/s₁² for a fixed matrix and of a row for independent rows; memory counts the numbers kept between rows.",
)

IID = Panel(
    index=0,
    title="(a) Independent rows",
    alt="sin² against the number of rows on logarithmic axes, one series for each method, medians over streams; dashed "
    "the law of the best estimate and that of AdaOja.",
    expected=(
        Expected("derived", "Offline, sin² is (d − 1) λ₁λ₂/(n (λ₁ − λ₂)²) (T1)."),
        Expected(
            "derived",
            "Rates c/t lose a constant factor (T2), AdaOja falls like n^(−1/2), History PCA is near the best (T4).",
        ),
        Expected("observed", "A small Frequent Directions sketch stays where it is: it is no statistical method (T4)."),
    ),
    claims=("STREAM.T1.*", "STREAM.T2.*", "STREAM.T4.*"),
)

PLATEAU = Panel(
    index=1,
    title="(b) Fixed rates",
    alt="sin² at the plateau against the rate on logarithmic axes, with the law of first order dashed.",
    expected=(Expected("derived", "A fixed rate stops at u/(1 + u), u proportional to the rate (T3)."),),
    claims=("STREAM.T3*",),
)

RATES = Panel(
    index=0,
    title="(a) Every fixed rate",
    alt="Squared correlation against the rate on a logarithmic axis, one curve with quartile band for each R; "
    "dashed the closed form for a median start.",
    expected=(
        Expected("stated", "For R of order log d / log log d every fixed rate fails (Kacham and Woodruff)."),
        Expected("derived", "On the reconstructed instance the result is known exactly, for every order (T7)."),
    ),
    claims=("STREAM.T7.exact*",),
)

BEST = Panel(
    index=1,
    title="(b) The best rate",
    alt="Squared correlation of the best rate, and of other methods, against R; dashed the closed form for three "
    "sizes.",
    expected=(
        Expected(
            "derived", "Half of the starts fail below a ratio that is the root of R(log R − 1) + 1 = (log d)/2 (T7)."
        ),
        Expected("stated", "Heavy rows and power steps over the light ones succeed."),
        Expected("derived", "With a decoy the heaviest row is orthogonal to v₁ (T8)."),
    ),
    claims=("STREAM.T7.share*", "STREAM.T7.heavy*", "STREAM.T7.history*", "STREAM.T7.adaoja*", "STREAM.T8.*"),
)

GAP = Panel(
    index=None,
    title="Random order",
    alt="sin² against R on logarithmic axes: (a) iterative methods with the laws of History PCA and block power "
    "dashed, "
    "(b) summaries.",
    expected=(
        Expected("derived", "In random order block power and History PCA follow laws of first order (T10)."),
        Expected("derived", "Frequent Directions says something from ℓ = 1 + (d − 1)/(R − 1) on (T10)."),
        Expected("observed", "The grid of rates is within a factor of 2 of the best of five tuned rates (T12)."),
    ),
    claims=("STREAM.T10.*", "STREAM.T12*"),
)

ORDER = Panel(
    index=None,
    title="Orders of the same rows",
    alt="Three maps, one for each R: methods downwards, orders across, with the median squared correlation as "
    "number and "
    "colour.",
    expected=(
        Expected("stated", "Price and Xun's guarantee, for fixed rates, holds in every order."),
        Expected(
            "observed",
            "Block power and History PCA need a random order; decaying rates miss a late v₁ unless R is large (T11).",
        ),
    ),
    claims=("STREAM.T11.*",),
)

SPACE = Panel(
    index=None,
    title="Space against accuracy",
    alt="(a)-(c) sin² against the numbers kept, on logarithmic axes, one series for each method, on three streams; "
    "in (a) "
    "the closed form for stored rows is dashed. (d) sin² against R for the better of two candidates and for their "
    "combination, with 1/(1 + R) dashed.",
    expected=(
        Expected("derived", "The better of the two candidates errs by exactly 1/(1 + R) on an instance of ours (T5)."),
        Expected("derived", "s of h heavy rows give (1 − ρ)/(1 + Qρ), ρ = s/h (T6)."),
        Expected("stated", "No algorithm does better than correlation 1 − Ω(1/R²) in O(hd/R) bits."),
        Expected("observed", "With heavy tails stored rows are worth their space (T13)."),
    ),
    claims=("STREAM.T5.*", "STREAM.T6.*", "STREAM.T13.*"),
)

WINDOW = Panel(
    index=None,
    title="The window of good rates",
    alt="(a) Squared correlation against the rate on a logarithmic axis, one curve for each R. (b) The least and the "
    "largest good rate against R, with the derived lower end dashed.",
    expected=(
        Expected("derived", "Rates are large enough from (log d)/(2 (1 − 1/R)) on, in units of 1/s₁²."),
        Expected("observed", "The window widens with R."),
    ),
    claims=("STREAM.E6.*",),
)

REAL = Panel(
    index=None,
    title="Handwritten digits",
    alt="What each method loses of the direction and of the energy, on a logarithmic axis: (a) the images as they are, "
    "(b) centred.",
    expected=(Expected("observed", "With a large gap all methods agree; without one energy is what can be had."),),
    claims=("STREAM.E7.*",),
    note="The 1797 images of 64 pixels that scikit-learn holds.",
)

TAIL = Panel(
    index=None,
    title="Heavy tails",
    alt="sin² against the degrees of freedom of Student rows, one series for each method, on a logarithmic axis.",
    expected=(
        Expected(
            "observed",
            "Clipping at a running quantile helps at every tail; a median of runs costs at most its number of runs.",
        ),
    ),
    claims=("STREAM.E9.*",),
)

DRIFT = Panel(
    index=None,
    title="A direction that turns",
    alt="(a) sin² at the last row against the rate, one curve with quartile band for each turn a row, with the law "
    "dashed. (b) The same against the block of History PCA.",
    expected=(
        Expected(
            "derived", "Noise and lag balance at a rate proportional to the turn to the power 2/3, and so is the error."
        ),
    ),
    claims=("STREAM.E10.*",),
)

SPEED = Panel(
    index=None,
    title="Rows a second",
    alt="Gigabytes of rows a second against the number of columns on logarithmic axes, one series for each method and "
    "one for reading alone.",
    expected=(Expected("observed", "A pass of Oja's method takes little more than reading the rows."),),
    claims=("STREAM.E8*",),
    note="Times of the machine that made this page, one thread.",
)

COVERAGE = (
    Covered("STREAM.T1", "Offline error of independent rows", "reproduced", "A known law.", ("STREAM.T1.*",)),
    Covered("STREAM.T2", "Rates c/t lose a constant", "reproduced", "Derived here.", ("STREAM.T2.*",)),
    Covered("STREAM.T3", "Fixed rates reach a plateau", "reproduced", "Derived here.", ("STREAM.T3*",)),
    Covered("STREAM.T4", "AdaOja, History PCA, block power", "reproduced", "Laws derived here.", ("STREAM.T4.*",)),
    Covered("STREAM.T5", "Heavy and light rows apart", "reconstructed", "An instance of ours.", ("STREAM.T5.*",)),
    Covered("STREAM.T6", "What stored rows reveal", "reconstructed", "An instance of ours.", ("STREAM.T6.*",)),
    Covered("STREAM.T7", "Every fixed rate fails", "reconstructed", "The instance is ours.", ("STREAM.T7.*",)),
    Covered("STREAM.T8", "A heavy row that misleads", "reconstructed", "The instance is ours.", ("STREAM.T8.*",)),
    Covered("STREAM.T10", "Random order, against the gap", "reproduced", "Derived here.", ("STREAM.T10.*",)),
    Covered("STREAM.T11", "Four orders", "reproduced", "Observed.", ("STREAM.T11.*",)),
    Covered("STREAM.T12", "The grid of rates", "reconstructed", "Its constants are ours.", ("STREAM.T12*",)),
    Covered("STREAM.T13", "Heavy-tailed rows", "reproduced", "Observed.", ("STREAM.T13.*",)),
    Covered("STREAM.E6", "The window of good rates", "reproduced", "Lower end derived.", ("STREAM.E6.*",)),
    Covered("STREAM.E7", "Handwritten digits", "reproduced", "Observed.", ("STREAM.E7.*",)),
    Covered("STREAM.E8", "Rows a second", "reproduced", "A goal of ours, on this machine.", ("STREAM.E8*",)),
    Covered("STREAM.E9", "Rows with heavy tails", "reproduced", "Observed.", ("STREAM.E9.*",)),
    Covered("STREAM.E10", "A direction that turns", "reproduced", "Derived here.", ("STREAM.E10.*",)),
    Covered("bits", "Lower bounds on space in bits", "not attempted", "No sweep bears on all algorithms."),
)

paper = Paper(
    name="streaming",
    title="Approximating the Top Eigenvector in Random Order Streams; "
    "Spectral Guarantees for Adversarial Streaming PCA",
    authors="Praneeth Kacham, David P. Woodruff; Eric Price, Zhiyang Xun",
    venue="NeurIPS 2024, arXiv:2412.11963; FOCS 2024, arXiv:2408.10332",
    link="https://arxiv.org/abs/2412.11963",
    summary=SUMMARY,
    sources=SOURCES,
    studies=(
        Study("streaming_hard", (RATES, BEST)),
        Study("streaming_gap", (GAP,)),
        Study("streaming_order", (ORDER,)),
        Study("streaming_space", (SPACE,)),
        Study("streaming_iid_rate", (IID, PLATEAU)),
        Study("streaming_eta", (WINDOW,)),
        Study("streaming_real", (REAL,)),
        Study("streaming_heavy_tail", (TAIL,)),
        Study("streaming_drift", (DRIFT,)),
        Study("streaming_throughput", (SPEED,)),
    ),
    coverage=COVERAGE,
)
