"""Diagonal state-space models: kernels against PyTorch, JAX and SciPy, their errors, gradients and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import matrix_product, spin
from benchmarks.record import Row, alternate
from benchmarks.ssm_application import application_table
from lrtheory import backend
from lrtheory.ssm import vandermonde
from lrtheory.sweep.provenance import cores

ROOT = Path(__file__).resolve().parents[1]
LONG = 1.0  # seconds of a peer that quick runs time once
MODES = 32  # M: a state of 64 real numbers
ERRORS = {np.dtype(np.float64): 2e-14, np.dtype(np.float32): 1e-6}
"""Largest error allowed, in units of max |K|."""

SIZES: tuple[tuple[int, int, Any, float, float], ...] = (
    (256, 1 << 10, np.geomspace(1e-3, 1e-1, 256), vandermonde.TOLERANCE, 80.0),
    (1, 1 << 14, 1e-3, vandermonde.TOLERANCE, 120.0),
    (64, 1 << 14, np.geomspace(1e-4, 1e-3, 64), vandermonde.TOLERANCE, 120.0),
    (1, 1 << 20, 2e-5, 0.0, 250.0),
    (1, 1 << 20, 1e-3, vandermonde.TOLERANCE, 1000.0),
)
"""Channels, length, step, tolerance, and the ratio to reach."""


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, everything on one thread but where a row says otherwise."""
    backend.set_threads(1)
    rounds = 3 if quick else 7
    for channels, length, dt, tolerance, target in SIZES:
        if quick and channels == 64:
            continue
        yield from kernels(channels, length, dt, tolerance, target, rounds, quick)
    yield same_in_numpy(256, 1 << 10, rounds)
    yield short_kernel(1024, 64, rounds)
    yield decayed(1 << 20, rounds)
    yield from algorithms(1 << 14, rounds)
    for length in (1 << 14, 1 << 16):
        yield from filters(length, 1 if quick else 3)
    yield jax_kernel(1 << 14, rounds)
    yield gradient(64 if quick else 256, 1 << 10, rounds)
    if cores() >= 2:
        yield two_threads(64, 1 << 14, rounds)
    yield memory(1 << 18 if quick else 1 << 20)
    yield spectrum(512 if quick else 1024, 1 if quick else 3)
    yield from application_table(quick)


def spectrum(N: int, rounds: int) -> Row:
    """Frequencies and projected B of LegS's normal part, in closed form and by a dense eigensolver."""
    from lrtheory.ssm import legs_spectrum, legs_spectrum_dense

    t = alternate({"ours": partial(legs_spectrum, N), "peer": partial(legs_spectrum_dense, N)}, rounds)
    off = np.abs(legs_spectrum_dense(N)[0] / legs_spectrum(N)[0] - 1).max()
    return Row("spectrum of LegS", f"N={N}", t["ours"], f"numpy.linalg.eigh (off by {off:.0e})", t["peer"], target=5.0)


def linear(channels: int, dt: Any, modes: int = MODES) -> tuple[np.ndarray, np.ndarray]:
    """Return w and x ``(H, M)`` of S4D-Lin by zero-order hold, with random output weights."""
    generator = np.random.default_rng(0)
    a = -0.5 + 1j * np.pi * np.arange(modes)
    x = np.broadcast_to(dt, channels)[:, None] * a
    c = generator.standard_normal((channels, modes, 2)) @ np.array([1, 1j]) / np.sqrt(2)
    return 2 * c * np.expm1(x) / a, x


def error(kernel: np.ndarray, w: np.ndarray, x: np.ndarray, samples: int = 200) -> float:
    """Return the largest error in units of max |K|, at random samples of the first, middle and last channels, by
    arithmetic of 40 digits on the values that w and x hold."""
    import mpmath

    generator = np.random.default_rng(1)
    channels, length = kernel.shape
    worst = 0.0
    for h in sorted({0, channels // 2, channels - 1}):
        decays = min(length, int(40 / max(-x[h].real.max(), 1e-9)) + 1)  # half of the samples where it is not yet 0
        picked = np.concatenate(
            [generator.integers(0, decays, samples // 2), generator.integers(0, length, samples // 2), [0, length - 1]]
        )
        with mpmath.workdps(40):
            nodes = [mpmath.mpc(complex(v)) for v in x[h]]
            weights = [mpmath.mpc(complex(v)) for v in w[h]]
            for step in picked:
                terms = (c * mpmath.exp(int(step) * z) for c, z in zip(weights, nodes, strict=True))
                exact = float(mpmath.fsum(term.real for term in terms))
                worst = max(worst, abs(float(kernel[h, step]) - exact) / float(np.abs(kernel[h]).max()))
    return worst


def checked(kernel: np.ndarray, w: np.ndarray, x: np.ndarray) -> float:
    """Return the error; raise where it is larger than allowed."""
    found = error(kernel, w, x)
    if not found <= ERRORS[kernel.dtype]:
        raise AssertionError(f"error {found:.1e} of a kernel in {kernel.dtype}")
    return found


def floor(channels: int, samples: int, dtype: type = np.float64) -> float:
    """Return the time of 4 M operations a sample at the speed of a large matrix product."""
    product, operations = matrix_product(dtype=dtype)
    speed = operations / alternate({"product": product}, 3)["product"]
    return 4.0 * MODES * samples * channels / speed


def torch_kernel(w: np.ndarray, x: np.ndarray, length: int) -> tuple[str, Callable[[], np.ndarray]] | None:
    """Return the plain Vandermonde product in complex64, its matrix formed, or None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    weights, nodes = (torch.from_numpy(a.astype(np.complex64)) for a in (w, x))

    def call() -> np.ndarray:
        with torch.no_grad():
            matrix = torch.exp(nodes[..., None] * torch.arange(length))
            return torch.einsum("hn,hnl->hl", weights, matrix).real.numpy()

    return f"PyTorch {torch.__version__}, complex64 Vandermonde", call


def kernels(
    channels: int, length: int, dt: Any, tolerance: float, target: float, rounds: int, quick: bool
) -> Iterator[Row]:
    """The default algorithm in float64 and float32 against the plain product."""
    w, x = linear(channels, dt)
    small = [a.astype(np.complex64) for a in (w, x)]
    choice = vandermonde.choose(w, x, length, tolerance=tolerance)
    calls: dict[str, Callable[[], Any]] = {
        "float64": partial(vandermonde.fastest, w, x, length, tolerance=tolerance),
        "float32": partial(vandermonde.fastest, *small, length, tolerance=tolerance),
    }
    errors = {"float64": checked(calls["float64"](), w, x), "float32": checked(calls["float32"](), *small)}
    name = "PyTorch, complex64 Vandermonde: not installed (pip install torch)"
    peer = torch_kernel(w, x, length)
    t = {}
    if peer is not None:
        start = time.perf_counter()
        kernel = peer[1]()
        t["peer"] = time.perf_counter() - start
        name = f"{peer[0]} (error {error(kernel, *small):.0e})"
        if t["peer"] < LONG or not quick:
            calls["peer"] = peer[1]
    t |= alternate(calls, rounds)
    steps = f"dt={dt:g}" if np.ndim(dt) == 0 else f"dt={dt[0]:g}..{dt[-1]:g}"
    size = f"H={channels} N={2 * MODES} L={length} {steps}, {choice.samples} computed"
    for kind, dtype in (("float64", np.float64), ("float32", np.float32)):
        said = f"kernel, {choice.algorithm.__name__}, {kind} (error {errors[kind]:.0e})"
        least = floor(channels, choice.samples, dtype)
        yield Row(said, size, t[kind], name, t.get("peer"), least, target)


def same_in_numpy(channels: int, length: int, rounds: int, step: int = 64) -> Row:
    """What compiling gains: tables by NumPy's exponential, and its batched matrix product."""
    w, x = linear(channels, np.geomspace(1e-3, 1e-1, channels))

    def peer() -> np.ndarray:
        e = np.exp(x[..., None] * np.arange(step))
        g = w[:, None, :] * np.exp(np.arange(0, length, step)[:, None] * x[:, None, :])
        return (np.concatenate([g.real, g.imag], -1) @ np.concatenate([e.real, -e.imag], -2)).reshape(channels, length)

    calls = {"ours": partial(vandermonde.gemm, w, x, length), "peer": peer}
    t = alternate(calls, rounds)
    said = f"kernel, gemm, float64 (error {checked(calls['ours'](), w, x):.0e})"
    name = f"the same two tables and products by NumPy (error {checked(peer(), w, x):.0e})"
    return Row(said, f"H={channels} N={2 * MODES} L={length}", t["ours"], name, t["peer"], floor(channels, length), 1.0)


def short_kernel(channels: int, length: int, rounds: int) -> Row:
    """Few samples of many channels, where tables do not pay."""
    w, x = linear(channels, np.geomspace(1e-3, 1e-1, channels))
    choice = vandermonde.choose(w, x, length)
    calls = {"ours": partial(vandermonde.fastest, w, x, length), "peer": partial(vandermonde.gemm, w, x, length)}
    t = alternate(calls, rounds)
    name = f"kernel, {choice.algorithm.__name__}, float64 (error {checked(calls['ours'](), w, x):.0e})"
    size = f"H={channels} N={2 * MODES} L={length}"
    return Row(name, size, t["ours"], "gemm", t["peer"], floor(channels, length), 1.0)


def decayed(length: int, rounds: int) -> Row:
    """A kernel that ends early but is computed to the last sample must not meet subnormal numbers."""
    calls = {dt: partial(vandermonde.gemm, *linear(1, dt), length, tolerance=0.0) for dt in (1e-3, 2e-5)}
    t = alternate({str(dt): call for dt, call in calls.items()}, rounds)
    size = f"H=1 N={2 * MODES} L={length} dt=0.001, all computed"
    said = f"kernel, gemm, float64 (error {checked(calls[1e-3](), *linear(1, 1e-3)):.0e})"
    return Row(said, size, t["0.001"], "one that does not decay, dt=2e-05", t["2e-05"], floor(1, length), 0.8)


def algorithms(length: int, rounds: int, dt: float = 1e-3) -> Iterator[Row]:
    """The other algorithms against the default one."""
    w, x = linear(1, dt)
    functions = (vandermonde.gemm, vandermonde.recurrence, vandermonde.two_term, vandermonde.chirp_z, vandermonde.naive)
    calls = {f.__name__: partial(f, w, x, length) for f in functions}
    t = alternate(calls, rounds)
    size = f"H=1 N={2 * MODES} L={length} dt={dt:g}"
    for f in functions[1:]:
        found = error(calls[f.__name__](), w, x)
        yield Row("kernel, gemm", size, t["gemm"], f"{f.__name__}, float64 (error {found:.0e})", t[f.__name__])


def real_form(w: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A, the start and C of the real system with 2 M states whose free response is the kernel."""
    modes = x.size
    a, start, c = np.zeros((2 * modes, 2 * modes)), np.zeros(2 * modes), np.zeros((1, 2 * modes))
    for n, z in enumerate(np.exp(x)):
        a[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = [[z.real, -z.imag], [z.imag, z.real]]
        start[2 * n], c[0, 2 * n : 2 * n + 2] = 1.0, (w[n].real, -w[n].imag)
    return a, start, c


def filters(length: int, rounds: int, dt: float = 1e-3) -> Iterator[Row]:
    """What SciPy's users have: a simulation in real state form, and recursive filters."""
    from scipy.signal import dlsim, lfilter

    w, x = linear(1, dt)
    a, start, c = real_form(w[0], x[0])
    system = (a, np.zeros((2 * MODES, 1)), c, np.zeros((1, 1)), 1.0)
    silence, impulse = np.zeros(length), np.eye(1, length)[0]
    z = np.exp(x[0])
    sections = [
        ([v.real, -(v * np.conj(p)).real], [1.0, -2 * p.real, abs(p) ** 2]) for v, p in zip(w[0], z, strict=True)
    ]
    denominator = np.poly(np.concatenate([z, np.conj(z)])).real
    residues = zip(w[0], range(MODES), strict=True)
    numerator = sum((v * np.poly(np.concatenate([np.delete(z, n), np.conj(z)]))).real for v, n in residues)

    def simulate() -> np.ndarray:
        return dlsim(system, silence, x0=start)[1].T

    def parallel() -> np.ndarray:
        return sum(lfilter(b, a, impulse) for b, a in sections)[None]

    def direct() -> np.ndarray:
        with np.errstate(all="ignore"):
            return lfilter(numerator, denominator, impulse)[None]

    ours = partial(vandermonde.fastest, w, x, length)
    t = alternate({"ours": ours, "dlsim": simulate, "biquads": parallel, "direct": direct}, rounds)
    size = f"H=1 N={2 * MODES} L={length} dt={dt:g}"
    kernel = ours()
    for name, call, target in (
        ("scipy.signal.dlsim, 64 real states", simulate, 1000.0),
        ("scipy.signal.lfilter, 32 parallel biquads", parallel, None),
        ("scipy.signal.lfilter, one filter of order 64", direct, None),
    ):
        timed = {simulate: "dlsim", parallel: "biquads", direct: "direct"}[call]
        found = call()
        gap = np.abs(found - kernel).max() / np.abs(kernel).max()
        if call is not direct and not gap <= 1e-10:
            raise AssertionError(f"{name} computes another kernel")
        said = f"off by {gap:.0e}" if np.isfinite(gap) else "diverges"
        yield Row("kernel, gemm, float64", size, t["ours"], f"{name} ({said})", t[timed], target=target)


def jax_kernel(length: int, rounds: int, dt: float = 1e-3) -> Row:
    """The plain product as JAX compiles it."""
    name, size = "kernel, gemm, float64", f"H=1 N={2 * MODES} L={length} dt={dt:g}"
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return Row(name, size, None, "jax.jit, complex64: not installed (pip install jax)", target=20.0)
    w, x = linear(1, dt)
    weights, nodes = (jnp.asarray(a, jnp.complex64) for a in (w, x))

    @jax.jit
    def product(w: Any, x: Any) -> Any:
        return jnp.einsum("hn,hnl->hl", w, jnp.exp(x[..., None] * jnp.arange(length))).real

    calls = {
        "ours": partial(vandermonde.fastest, w, x, length),
        "peer": lambda: product(weights, nodes).block_until_ready(),
    }
    t = alternate(calls, rounds)
    found = error(np.asarray(calls["peer"]()), *(a.astype(np.complex64) for a in (w, x)))
    peer = f"jax.jit {jax.__version__}, complex64 Vandermonde (error {found:.0e})"
    return Row(name, size, t["ours"], peer, t["peer"], target=20.0)


def gradient(channels: int, length: int, rounds: int) -> Row:
    """Kernel and gradient with respect to weights and nodes, against automatic differentiation of the plain product."""
    name, size = "kernel and gradient, float64", f"H={channels} N={2 * MODES} L={length}"
    w, x = linear(channels, np.geomspace(1e-3, 1e-1, channels))
    g = np.random.default_rng(2).standard_normal((channels, length))

    def ours() -> tuple[np.ndarray, np.ndarray]:
        vandermonde.fastest(w, x, length)
        return vandermonde.vandermonde_vjp(w, x, g)

    try:
        import torch
    except ImportError:
        return Row(name, size, None, "PyTorch, autograd: not installed (pip install torch)")
    torch.set_num_threads(1)
    weights, nodes = (torch.tensor(a.astype(np.complex64), requires_grad=True) for a in (w, x))
    seen = torch.from_numpy(g.astype(np.float32))

    def peer() -> list[np.ndarray]:
        matrix = torch.exp(nodes[..., None] * torch.arange(length))
        kernel = torch.einsum("hn,hnl->hl", weights, matrix).real
        return [a.numpy() for a in torch.autograd.grad(kernel, (weights, nodes), seen)]

    for found, expected in zip(ours(), peer(), strict=True):
        if not np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max():
            raise AssertionError("PyTorch's gradient is another one")
    t = alternate({"ours": ours, "peer": peer}, rounds)
    return Row(name, size, t["ours"], f"PyTorch {torch.__version__}, complex64, autograd", t["peer"])


def two_threads(channels: int, length: int, rounds: int) -> Row:
    """Two threads against one, beside two threads that only compute."""
    from concurrent.futures import ThreadPoolExecutor

    w, x = linear(channels, np.geomspace(1e-4, 1e-3, channels))

    def on(n: int, call: Callable[[], Any]) -> Any:
        backend._threads = n  # set_threads also limits BLAS, which takes milliseconds and plays no part here
        return call()

    call = partial(vandermonde.fastest, w, x, length)
    if not np.array_equal(on(1, call), on(2, call)):
        raise AssertionError("two threads give other bits")
    with ThreadPoolExecutor(1) as pool:

        def spins(n: int) -> None:
            other = pool.submit(spin, 2_000_000) if n == 2 else None
            spin(2_000_000)
            if other is not None:
                other.result()
            else:
                spin(2_000_000)

        calls: dict[str, Callable[[], Any]] = {f"kernel {n}": partial(on, n, call) for n in (1, 2)}
        t = alternate(calls | {f"spin {n}": partial(spins, n) for n in (1, 2)}, rounds)
    backend.set_threads(1)
    computing = t["spin 1"] / t["spin 2"]
    size = f"H={channels} N={2 * MODES} L={length}"
    peer = f"one thread (two compute {computing:.2f}x as fast)"
    return Row("kernel, two threads", size, t["kernel 2"], peer, t["kernel 1"], target=1.6 if computing > 1.8 else None)


MEMORY = """
import re, sys
from pathlib import Path
from benchmarks.ssm import linear, torch_kernel
from lrtheory.ssm import vandermonde
kind, length = sys.argv[1], int(sys.argv[2])
w, x = linear(1, 2e-5)
def call(length):
    if kind == "ours":
        return vandermonde.gemm(w, x, length, tolerance=0.0)
    return torch_kernel(w, x, length)[1]()
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
call(4096)
before = peak()
kernel = call(length)
print(peak() - before - kernel.nbytes)
"""  # the kernel's own record: getrusage's begins with the parent's peak


def memory(length: int) -> Row:
    """How much the peak of a fresh process rises beyond the kernel itself."""
    size = f"H=1 N={2 * MODES} L={length}"
    said = []
    for kind, label in (("ours", "gemm"), ("peer", "PyTorch")):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, kind, str(length)], cwd=ROOT, capture_output=True, text=True
        )
        said.append(f"{label} {max(0, int(done.stdout)) / 1e6:.1f} MB" if done.returncode == 0 else f"{label} unknown")
    return Row("peak memory beyond the kernel", size, None, ", ".join(said))
