"""Diagonal state-space models on a device: kernels, gradients, responses, against what the device does otherwise.

Peers are plain CuPy, PyTorch, eager and compiled, and JAX, in the same precision: the Vandermonde matrix formed and
summed, its automatic derivative, convolution with a kernel that is given, an associative scan. Candidates must agree
before they are timed, and errors against arithmetic of 40 digits are printed beside them. The clock is read when the
device has ended.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.record import Row
from benchmarks.sensing_cuda import against, reader, same_work, timed, torch_calls
from benchmarks.ssm import ERRORS, MODES, error, linear
from lrtheory.backend import as_array, to_numpy
from lrtheory.ssm import application, vandermonde

SIZES: tuple[tuple[int, int, Any, float], ...] = (
    (256, 1 << 10, np.geomspace(1e-3, 1e-1, 256), vandermonde.TOLERANCE),
    (256, 1 << 12, np.geomspace(1e-3, 1e-2, 256), vandermonde.TOLERANCE),
    (256, 1 << 14, np.geomspace(1e-4, 1e-3, 256), vandermonde.TOLERANCE),
    (1, 1 << 14, 1e-3, vandermonde.TOLERANCE),
    (1, 1 << 20, 2e-5, 0.0),
)
"""Channels, length, step and tolerance."""
SIGNALS = ((1, 1 << 14), (64, 1 << 12), (256, 1 << 14))
"""Channels and length of signals."""
STATES = 1 << 27
"""Modes times samples of all channels up to which candidates that store all states are run."""
SIMILAR = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 2e-2}
"""How far peers may be off: their phases are rounded, after up to a million steps."""

Call = Callable[[], Any]
Peers = dict[str, Call | str]


@dataclass
class Setting:
    """Where things run. `pending` holds the last result of a library that may not yet have told the device of it."""

    xp: Any
    device: str
    rounds: int
    synchronise: Call
    pending: list[Any] = field(default_factory=list)

    def wait(self) -> None:
        for result in self.pending:
            importlib.import_module("jax").block_until_ready(result)
        self.pending.clear()
        self.synchronise()

    def move(self, a: np.ndarray) -> Any:
        return as_array(a, self.device)


def rows(quick: bool, device: str) -> Iterator[Row]:
    """Yield the rows."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or JAX takes three quarters of the memory
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)):
        setting = Setting(cupy, device, 5 if quick else 15, cupy.cuda.runtime.deviceSynchronize)
        for channels, length, dt, tolerance in SIZES[:2] if quick else SIZES:
            for dtype in (np.float64, np.float32):
                yield from kernels(setting, channels, length, dt, tolerance, dtype)
        for dtype in (np.float64, np.float32):
            yield from gradients(setting, 256, 1 << (10 if quick else 12), dtype)
            for channels, length in SIGNALS[:2] if quick else SIGNALS:
                yield from responses(setting, channels, length, dtype)


def jax_calls(make: Callable[[Any, Callable[[np.ndarray], Any]], Call], setting: Setting) -> Peers:
    """Return the peer "jax.jit" that `make` makes from JAX and a function that moves arrays, or why there is none."""
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        return {"jax.jit": "not installed (pip install jax[cuda12])"}
    try:
        kind = "cpu" if setting.device == "cpu" else "gpu"
        place = jax.devices(kind)[int(setting.device.partition(":")[2] or 0)]
    except RuntimeError:
        return {"jax.jit": f"JAX {jax.__version__} is installed without CUDA"}
    jax.config.update("jax_enable_x64", True)
    try:
        peer = make(jax, lambda a: jax.device_put(a, place))
        peer()
    except Exception as failure:  # out of memory, mostly: a row that says so
        return {"jax.jit": f"failed: {str(failure).splitlines()[0] if str(failure) else type(failure).__name__}"}

    def call() -> Any:
        result = peer()
        setting.pending[:] = [result]
        return result

    return {"jax.jit": call}


def floor(setting: Setting, dtype: Any, operations: float, nbytes: float) -> tuple[dict[str, Call], Call]:
    """Return candidates, a large matrix product and a copy, and the function that makes of their seconds the least time
    for so many operations and bytes."""
    xp, n = setting.xp, 4096 if setting.device != "cpu" else 64
    a = xp.ones((n, n), dtype=dtype)
    out = xp.empty_like(a)
    copy, part = reader(xp, int(nbytes))
    calls = {"product": lambda: xp.matmul(a, a, out=out), "copy": copy}
    return calls, lambda t: max(operations * t["product"] / (2.0 * n**3), part * t["copy"])


def described(channels: int, length: int, dt: Any) -> str:
    steps = f"dt={dt:g}" if np.ndim(dt) == 0 else f"dt={dt[0]:g}..{dt[-1]:g}"
    return f"H={channels} N={2 * MODES} L={length} {steps}"


def labelled(peers: Peers, w: np.ndarray, x: np.ndarray) -> Peers:
    """Return the peers with their errors in their names."""
    found: Peers = {}
    for name, call in peers.items():
        if isinstance(call, str):
            found[name] = call
        else:
            found[f"{name} (error {error(host(call()), w, x):.0e})"] = call
    return found


def host(a: Any) -> np.ndarray:
    """Return an array of any of the libraries as NumPy's."""
    return a.cpu().numpy() if hasattr(a, "cpu") else np.asarray(to_numpy(a))


def kernels(setting: Setting, channels: int, length: int, dt: Any, tolerance: float, dtype: Any) -> Iterator[Row]:
    """The default algorithm against plain products, and both algorithms against each other."""
    xp, kind = setting.xp, np.complex64 if dtype == np.float32 else np.complex128
    w, x = (a.astype(kind) for a in linear(channels, dt))
    moved = [setting.move(a) for a in (w, x)]
    choice = vandermonde.choose(*moved, length, tolerance=tolerance)
    ours: dict[str, Call] = {
        f.__name__: partial(f, *moved, length, tolerance=tolerance)
        for f in (vandermonde.fastest, vandermonde.gemm, vandermonde.recurrence)
    }
    errors = {name: error(host(call()), w, x) for name, call in ours.items()}
    for name, found in errors.items():
        if not found <= ERRORS[np.dtype(dtype)]:
            raise AssertionError(f"{name}: error {found:.1e} of a kernel in {np.dtype(dtype)}")

    def plain() -> Any:
        steps = xp.arange(length, dtype=dtype)
        return xp.sum(moved[0][..., None] * xp.exp(moved[1][..., None] * steps), axis=-2).real

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        weights, nodes = (torch.as_tensor(a, device=setting.device) for a in (w, x))

        @compiler
        def peer(w: Any, x: Any) -> Any:
            matrix = torch.exp(x[..., None] * torch.arange(length, device=setting.device))
            return torch.einsum("hn,hnl->hl", w, matrix).real

        return lambda: peer(weights, nodes).clone()

    def make_jax(jax: Any, move: Callable[[np.ndarray], Any]) -> Call:
        weights, nodes = move(w), move(x)
        numpy = jax.numpy

        @jax.jit
        def peer(w: Any, x: Any) -> Any:
            return numpy.einsum("hn,hnl->hl", w, numpy.exp(x[..., None] * numpy.arange(length))).real

        return lambda: peer(weights, nodes)

    peers: Peers = {"plain CuPy": plain, **torch_calls(make, setting.device), **jax_calls(make_jax, setting)}
    same_work(ours["fastest"](), peers, SIMILAR[np.dtype(dtype)])
    peers = labelled(peers, w, x)
    samples = channels * choice.samples
    extra, least = floor(setting, dtype, 4.0 * MODES * samples, channels * length * np.dtype(dtype).itemsize)
    t = timed(ours | extra, peers, setting.rounds, setting.wait)
    size, name = described(channels, length, dt), np.dtype(dtype).name
    said = f"kernel, {choice.algorithm.__name__} (chosen), {name} (error {errors['fastest']:.0e})"
    yield from against(said, f"{size}, {choice.samples} computed", t, "fastest", peers, least(t))
    peer = f"recurrence (error {errors['recurrence']:.0e})"
    said = f"kernel, gemm, {name} (error {errors['gemm']:.0e})"
    yield Row(said, size, t["gemm"], peer, t["recurrence"], least(t))


def gradients(setting: Setting, channels: int, length: int, dtype: Any) -> Iterator[Row]:
    """Kernel and gradient with respect to weights and nodes, against automatic differentiation of the plain product."""
    kind = np.complex64 if dtype == np.float32 else np.complex128
    w, x = (a.astype(kind) for a in linear(channels, np.geomspace(1e-3, 1e-1, channels)))
    g = np.random.default_rng(2).standard_normal((channels, length)).astype(dtype)
    moved = [setting.move(a) for a in (w, x, g)]

    def ours() -> Any:
        vandermonde.fastest(*moved[:2], length)
        return vandermonde.vandermonde_vjp(*moved)

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        weights, nodes = (torch.tensor(a, device=setting.device, requires_grad=True) for a in (w, x))
        seen = torch.as_tensor(g, device=setting.device)

        @compiler
        def kernel(w: Any, x: Any) -> Any:
            matrix = torch.exp(x[..., None] * torch.arange(length, device=setting.device))
            return torch.einsum("hn,hnl->hl", w, matrix).real

        return lambda: [a.clone() for a in torch.autograd.grad(kernel(weights, nodes), (weights, nodes), seen)]

    def make_jax(jax: Any, move: Callable[[np.ndarray], Any]) -> Call:
        weights, nodes, seen = move(w), move(x), move(g)
        numpy = jax.numpy

        def kernel(w: Any, x: Any) -> Any:
            return numpy.einsum("hn,hnl->hl", w, numpy.exp(x[..., None] * numpy.arange(length))).real

        @jax.jit
        def peer(w: Any, x: Any, g: Any) -> Any:
            return [numpy.conj(a) for a in jax.vjp(kernel, w, x)[1](g)]  # JAX's convention is the conjugate

        return lambda: peer(weights, nodes, seen)

    peers: Peers = {**torch_calls(make, setting.device), **jax_calls(make_jax, setting)}
    for i, expected in enumerate(ours()):
        parts: Peers = {n: call if isinstance(call, str) else _part(call, i) for n, call in peers.items()}
        same_work(expected, parts, SIMILAR[np.dtype(dtype)])
    extra, least = floor(setting, dtype, 12.0 * MODES * channels * length, 2 * g.nbytes)
    t = timed({"ours": ours} | extra, peers, setting.rounds, setting.wait)
    name = f"kernel and gradient, {np.dtype(dtype).name}"
    yield from against(name, f"H={channels} N={2 * MODES} L={length}", t, "ours", peers, least(t))


def _part(call: Call, i: int) -> Call:
    return lambda: call()[i]


def responses(setting: Setting, channels: int, length: int, dtype: Any) -> Iterator[Row]:
    """Every algorithm from the poles to the response, against convolutions with a kernel that is given, and scans."""
    xp, kind = setting.xp, np.complex64 if dtype == np.float32 else np.complex128
    c, x = linear(channels, 1e-3)
    b = np.ones(MODES, kind)
    c = c.astype(kind)
    u = np.random.default_rng(1).standard_normal((channels, length)).astype(dtype)
    moved = [setting.move(a) for a in (x, b, c, u)]
    kernel = vandermonde.fastest(setting.move(c), setting.move(x), length)
    stored = channels * length * MODES <= STATES
    functions = [application.scan, application.chunked, application.fft]
    functions += [application.associative] if stored else []
    calls: dict[str, Call] = {f.__name__: lambda f=f: f(*moved)[0] for f in functions}

    def plain() -> Any:
        spectrum = xp.fft.rfft(kernel, n=2 * length) * xp.fft.rfft(moved[3], n=2 * length)
        return xp.fft.irfft(spectrum, n=2 * length)[..., :length]

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        response, signal = (torch.as_tensor(host(a), device=setting.device) for a in (kernel, u))

        @compiler
        def peer(k: Any, u: Any) -> Any:
            spectrum = torch.fft.rfft(k, n=2 * length) * torch.fft.rfft(u, n=2 * length)
            return torch.fft.irfft(spectrum, n=2 * length)[..., :length]

        return lambda: peer(response, signal).clone()

    def make_jax(jax: Any, move: Callable[[np.ndarray], Any]) -> Call:
        poles, gains, out, signal = move(np.exp(x).astype(kind)), move(b), move(c), move(u)
        numpy = jax.numpy

        def combine(first: Any, second: Any) -> Any:
            return second[0] * first[0], second[0] * first[1] + second[1]

        @jax.jit
        def peer(a: Any, b: Any, c: Any, u: Any) -> Any:
            drive = b * u[..., None]
            turns = numpy.broadcast_to(a[..., None, :], drive.shape)
            states = jax.lax.associative_scan(combine, (turns, drive), axis=-2)[1]
            return numpy.einsum("hm,hlm->hl", c, states).real

        return lambda: peer(poles, gains, out, signal)

    peers: Peers = {f"{name}, kernel given": call for name, call in torch_calls(make, setting.device).items()}
    peers = {"CuPy FFT, kernel given": plain, **peers}
    if stored:
        found = jax_calls(make_jax, setting)
        peers |= {f"{name}, associative scan": call for name, call in found.items()}
    tolerance = 1e-8 if dtype == np.float64 else 2e-3
    same_work(calls["scan"](), {**calls, **peers}, tolerance)
    chosen = application.chosen(*moved).algorithm.__name__
    # 2 M multiply-adds a sample bring the input to the real states of a block, 2 M bring them to the output
    extra, least = floor(setting, dtype, 8.0 * MODES * channels * length, 2 * u.nbytes)
    t = timed(calls | extra, peers, setting.rounds, setting.wait)
    size = f"H={channels} M={MODES} L={length} {np.dtype(dtype).name}"
    yield from against(f"apply, {chosen} (chosen)", size, t, chosen, peers, least(t))
    for name in calls:
        if name != chosen:
            yield Row(f"apply, {chosen} (chosen)", size, t[chosen], name, t[name], least(t))
