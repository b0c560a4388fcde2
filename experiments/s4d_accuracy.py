"""Accuracy of kernels: algorithms against extended precision, and dense systems against their diagonal form."""

from __future__ import annotations

import numpy as np

from lrtheory import plotting
from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.ssm import DiagonalSSM, poles, vandermonde
from lrtheory.sweep import Experiment, grid, mean_claim, value_claim
from lrtheory.sweep.frames import by_seed, cases, complete, finished

PAPER = "arXiv:2206.11893"
ALGORITHMS = {
    "gemm": vandermonde.gemm,
    "recurrence": vandermonde.recurrence,
    "two_term": vandermonde.two_term,
    "chirp_z": vandermonde.chirp_z,
}
JUDGED = ("gemm", "recurrence")
BOUNDS = {"float64": 2e-14, "float32": 1e-6}
INITS = ("lin", "legs", "inv", "quad")


def preset(lengths, seeds):
    shared = dict(quantity="kernel", N=64, dt=[1e-3, 1e-2], length=lengths, readout=0)
    return (
        grid(algorithm=("gemm", "recurrence", "two_term"), init=INITS, dtype=["float64", "float32"], **shared)
        + grid(algorithm="chirp_z", init="lin", dtype="float64", **shared)
        + grid(algorithm="complex64", init=INITS, dtype="float32", **shared)
        + grid(quantity="diagonal form", N=8, dt=0.1, length=200, seed=range(seeds))
    )


PRESETS = {
    "small": preset([1024, 16384], seeds=10),
    "paper": preset([1024, 16384, 262144], seeds=40),
    "large": preset([1024, 16384, 262144, 1048576], seeds=100),
}


def nodes(c):
    """Weights and logarithms of the nodes for a random readout."""
    C = Stream(c["readout"], "readout", c["N"]).normal((2, c["N"] // 2)) / np.sqrt(2)
    a = poles(c["N"], c["init"])
    return DiagonalSSM(a, np.ones_like(a), C[0] + 1j * C[1], c["dt"]).log_nodes()


def extended(w, x, length):
    """Re sum_n w_n exp(l x_n) in the platform's long double, in pieces."""
    w, x = w.astype(np.clongdouble), x.astype(np.clongdouble)
    kernel = np.empty(length, dtype=np.longdouble)
    for start in range(0, length, 4096):
        steps = np.arange(start, min(start + 4096, length)).astype(np.longdouble)
        phase = steps[:, None] * x.imag
        kernel[start : start + 4096] = (
            np.exp(steps[:, None] * x.real) * (w.real * np.cos(phase) - w.imag * np.sin(phase))
        ).sum(axis=1)
    return kernel


def plain(w, x, length):
    """The exponentials of the whole outer product in complex64, as the released code does."""
    steps = np.arange(length, dtype=np.float32)
    return np.real(w.astype(np.complex64) @ np.exp(x.astype(np.complex64)[:, None] * steps))


def kernel_error(c):
    """Largest error over largest value; the result has the stated precision.

    NaN, which leaves the claims open, where the platform's long double is no longer than a double.
    """
    if np.finfo(np.longdouble).eps > 1e-18:
        return {"error": np.nan}
    algorithm = check_name("algorithm", c["algorithm"], (*ALGORITHMS, "complex64"))
    check_name("dtype", c["dtype"], ("float32",) if algorithm == "complex64" else BOUNDS)
    w, x = nodes(c)
    exact = extended(w, x, c["length"])
    if algorithm == "complex64":
        found = plain(w, x, c["length"])
    else:
        kind = np.complex64 if c["dtype"] == "float32" else np.complex128
        # float32 input is float32 in the nodes, too: the reference is the kernel of those
        w, x = w.astype(kind), x.astype(kind)
        exact = exact if kind is np.complex128 else extended(w, x, c["length"])
        found = ALGORITHMS[algorithm](w, x, c["length"])
    return {"error": float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))}


def diagonal_form(c):
    """A dense stable system against its eigenvectors' coordinates, in units of cond(V) eps."""
    from scipy.linalg import expm

    draw = Stream(c["seed"], "dense", c["N"]).normal((c["N"] + 2, c["N"]))
    A, B, C = draw[:-2], draw[-2], draw[-1]
    A = A - (np.max(np.linalg.eigvals(A).real) + 0.5) * np.eye(c["N"])
    held = expm(c["dt"] * A)
    state = np.linalg.solve(A, (held - np.eye(c["N"])) @ B)
    dense = []
    for _ in range(c["length"]):
        dense.append(C @ state)
        state = held @ state
    a, V = np.linalg.eig(A)
    system = DiagonalSSM(a, np.linalg.solve(V, B.astype(complex)), C @ V, c["dt"], conjugate_pairs=False)
    error = np.max(np.abs(system.kernel(c["length"]) - dense)) / np.max(np.abs(dense))
    return {"error": float(error), "units": float(error / (np.linalg.cond(V) * np.finfo(float).eps))}


MEASURED = {"kernel": kernel_error, "diagonal form": diagonal_form}


def run(cells, device):
    for c in cells:
        yield c, MEASURED[check_name("quantity", c["quantity"], MEASURED)](c)


AXES = ["quantity", "algorithm", "init", "dtype", "N", "dt", "length", "readout", "seed"]


def claims(frame):
    if frame.empty:
        return []
    rows = complete(frame, [*AXES, "error", "units"])
    return [*error_claims(rows), *equivalence_claims(rows)]


def error_claims(rows):
    """One claim for each algorithm and precision: the worst of all its kernels."""
    rows = rows[rows["algorithm"].isin(JUDGED)]
    for (name, dtype), part in rows.groupby(["algorithm", "dtype"]):
        statement = f"largest error of {name} in {dtype} over max |K|, over all kernels of the table"
        worst = part["error"].max(skipna=False)
        yield value_claim(f"S4D.T9.{name}.{dtype}", statement, "extended precision", (0.0, BOUNDS[dtype]), worst)


def equivalence_claims(rows):
    for end, case, part in cases(rows[rows["quantity"] == "diagonal form"], AXES, ("seed",)):
        statement = f"mean over seeds of the error of a dense system's diagonal form, in cond(V) eps{case}, is below 10"
        source = "diagonalisable matrices are dense; the error of a change of basis is of the order of cond(V) eps"
        yield mean_claim(f"S4D.T10{end}", statement, source, (0.0, 10.0), by_seed(part, "units"))


def figure(frame):
    with plotting.style():
        fig, axes = plotting.panels(1, 2)
        frame = complete(finished(frame, "error"), [*AXES, "error", "units"])
        rows = frame[frame["quantity"] == "kernel"]
        for ax, dtype in zip(axes, BOUNDS, strict=True):
            panel(ax, rows[rows["dtype"] == dtype], dtype)
        return fig


def panel(ax, rows, dtype):
    if rows.empty:
        return plotting.no_data(ax)
    rows = rows.assign(error=rows["error"].clip(lower=1e-17))
    for i, name in enumerate(name for name in (*ALGORITHMS, "complex64") if name in set(rows["algorithm"])):
        plotting.points(ax, rows[rows["algorithm"] == name], "length", "error", i, name.replace("_", " "), line=True)
    lengths = [rows["length"].min(), rows["length"].max()]
    plotting.theory(ax, lengths, [BOUNDS[dtype]] * 2, f"claimed of {' and '.join(JUDGED)}, {BOUNDS[dtype]:g}")
    ylabel, low = r"$\max|\hat K-K|\,/\,\max|K|$", 1e-18 if dtype == "float64" else 1e-10
    decorations = dict(xscale="log", yscale="log", ylim=(low, None), legend="lower left")
    plotting.decorate(ax, f"length $L$ ({dtype})", ylabel, **decorations)


experiment = Experiment(
    name="s4d_accuracy",
    version=1,
    title="Accuracy of diagonal kernels",
    paper=PAPER,
    presets=PRESETS,
    together=("length",),
    run=run,
    figure=figure,
    claims=claims,
)
