"""Matrix sensing on a device: passes, generated rows and whole loops, against what the same device does otherwise.

Peers are plain CuPy and PyTorch, eager and compiled, with gradients by hand (no automatic differentiation) and the same
arithmetic; candidates must agree before they are timed. The clock is read when the device has ended.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.record import Row, alternate
from lrtheory.backend import as_array, to_numpy
from lrtheory.factors import Factors
from lrtheory.operators import SymmetricPacked, _gpu_generated, gaussian
from lrtheory.operators.loops import gradient_descent

SIZES = ((48, 1536), (96, 3072), (200, 20000))
TRIALS = 32
STEPS = 256
UNROLLED = 8  # steps that PyTorch compiles as one graph
STEP_SIZE = 0.2

Call = Callable[[], Any]


def rows(quick: bool, device: str) -> Iterator[Row]:
    """Yield the rows."""
    cupy = importlib.import_module("cupy")
    rounds = 5 if quick else 15
    with cupy.cuda.Device(int(device.partition(":")[2] or 0)):
        wait = cupy.cuda.runtime.deviceSynchronize
        for n, m in SIZES[:2] if quick else SIZES:
            yield from passes(n, m, device, rounds, wait)
            yield from loops(n, m, device, rounds, wait)
        yield from generated(500 if quick else 2000, device, rounds, wait)


def timed(ours: dict[str, Call], peers: dict[str, Call | str], rounds: int, wait: Call) -> dict[str, float]:
    """Return median seconds of all candidates that are not messages."""
    calls = ours | {name: call for name, call in peers.items() if not isinstance(call, str)}
    return alternate(calls, rounds, wait=wait)


def against(
    name: str, size: str, seconds: dict[str, float], ours: str, peers: dict[str, Call | str], floor: float
) -> Iterator[Row]:
    """Yield a row for each peer; one that is not installed is a row that says so."""
    for peer, call in peers.items():
        label = f"{peer}: {call}" if isinstance(call, str) else peer
        yield Row(name, size, seconds[ours], label, seconds.get(peer), floor)


def reader(cupy: Any, nbytes: int) -> tuple[Call, float]:
    """Return a copy of as many bytes, or a gigabyte, and what part of its time reading `nbytes` takes."""
    data = cupy.zeros(min(nbytes, 2**30) // 8)
    out = cupy.empty_like(data)
    return lambda: cupy.copyto(out, data), nbytes / (2 * data.nbytes)


def torch_calls(make: Callable[[Any], Call], device: str) -> dict[str, Call | str]:
    """Return the peers "PyTorch eager" and "torch.compile" that `make` makes from a compiler, or why there are none."""
    names = ("PyTorch eager", "torch.compile, reduce-overhead")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return dict.fromkeys(names, "not installed (pip install torch)")
    if not torch.cuda.is_available():
        return dict.fromkeys(names, f"PyTorch {torch.__version__} is installed without CUDA")
    torch.cuda.set_device(int(device.partition(":")[2] or 0))
    compiled = partial(torch.compile, mode="reduce-overhead")  # captures graphs too
    found: dict[str, Call | str] = {}
    for name, compiler in zip(names, (lambda f: f, compiled), strict=True):
        try:
            call = make(compiler)
            call()
            found[name] = call
        except Exception as error:  # a compiler that fails is a row that says so
            found[name] = f"failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return found


def same_work(expected: Any, calls: dict[str, Call | str], tolerance: float) -> None:
    """Raise AssertionError unless all candidates return the expected numbers."""
    expected = to_numpy(expected)
    for name, call in calls.items():
        if not isinstance(call, str):
            got = call()
            got = got.cpu().numpy() if hasattr(got, "cpu") else to_numpy(got)
            if not np.abs(got.reshape(expected.shape) - expected).max() <= tolerance * np.abs(expected).max():
                raise AssertionError(f"{name} does not do the same work")


def passes(n: int, m: int, device: str, rounds: int, wait: Call) -> Iterator[Row]:
    """Residual and gradient of one iteration, for one trial and for many."""
    cupy = importlib.import_module("cupy")
    scale = m**-0.5
    packed = gaussian(m, n, symmetric=True, packed=True, device=device)
    single = SymmetricPacked(packed.columns.astype(np.float32), n)
    generator = np.random.default_rng(0)
    a = packed.columns
    y = as_array(generator.standard_normal(m), device)
    for batch in (1, TRIALS):
        host = generator.standard_normal((batch, n, n))
        z = as_array(host + host.transpose(0, 2, 1), device)
        points = packed.flatten(z)
        ours: dict[str, Call] = {
            "float64": lambda z=z: packed.residual_and_gradient(z, y, scale)[1],
            "float32 storage": lambda z=z: single.residual_and_gradient(z, y, scale)[1],
        }

        def plain(points: Any = points) -> Any:
            return scale * ((scale * (points @ a.T) - y) @ a)

        def make(compiler: Any, points: Any = points) -> Call:
            torch = importlib.import_module("torch")
            b, x, seen = (torch.as_tensor(array, device="cuda") for array in (a, points, y))

            @compiler
            def peer(x: Any) -> Any:
                return scale * ((scale * (x @ b.T) - seen) @ b)

            return lambda: peer(x).clone()

        peers: dict[str, Call | str] = {"plain CuPy": plain, **torch_calls(make, device)}
        same_work(
            plain(),
            {name: lambda f=f: packed.flatten(2 * f()) - _diagonal(packed, f()) for name, f in ours.items()},
            1e-5,
        )
        same_work(plain(), peers, 1e-10)
        read, part = reader(cupy, a.nbytes)
        seconds = timed(ours | {"read": read}, peers, rounds, wait)
        for name, share in (("float64", 1.0), ("float32 storage", 0.5)):
            size = f"n={n} m={m} trials={batch}"
            yield from against(f"pass, packed, {name}", size, seconds, name, peers, share * part * seconds["read"])


def _diagonal(packed: SymmetricPacked, gradient: Any) -> Any:
    """Return the diagonals in row format, zero elsewhere: a packed gradient is twice the matrix off the diagonal."""
    xp = importlib.import_module("cupy")
    return packed.flatten(gradient * xp.eye(packed.n))


def loops(n: int, m: int, device: str, rounds: int, wait: Call, k: int = 5) -> Iterator[Row]:
    """Gradient descent on a symmetric factor, STEPS steps from one start."""
    cupy = importlib.import_module("cupy")
    scale = m**-0.5
    generator = np.random.default_rng(1)
    dense = gaussian(m, n, symmetric=True, device=device)
    truth = Factors(as_array(np.linalg.qr(generator.standard_normal((n, 3)))[0], device))
    x0 = as_array(0.3 * generator.standard_normal((n, k)) / np.sqrt(n), device)
    y = scale * dense.forward(truth)
    active = np.ones((), dtype=bool)
    a = dense.rows

    def ours(operator: Any) -> Any:
        problem = SimpleNamespace(operator=operator, observations=y, scale=scale, link="residual")
        return gradient_descent(problem, Factors(x0), STEP_SIZE, STEPS, active)[0].left

    def step(x: Any, a: Any, y: Any) -> Any:
        r = scale * (a @ (x @ x.T).reshape(-1)) - y
        return x - STEP_SIZE * (scale * (r @ a)).reshape(n, n) @ x

    def plain() -> Any:
        x = x0
        for _ in range(STEPS):
            x = step(x, a, y)
        return x

    def make(compiler: Any) -> Call:
        torch = importlib.import_module("torch")
        b, seen, first = (torch.as_tensor(array, device="cuda") for array in (a, y, x0))

        @compiler
        def several(x: Any) -> Any:
            for _ in range(UNROLLED):
                x = step(x, b, seen)
            return x

        def peer() -> Any:
            x = first
            for _ in range(STEPS // UNROLLED):
                x = several(x).clone()
            return x

        return peer

    packed = SymmetricPacked.from_dense(dense.matrices)
    candidates: dict[str, Call] = {
        "float64": partial(ours, dense),
        "packed": partial(ours, packed),
        "packed, float32 storage": partial(ours, SymmetricPacked(packed.columns.astype(np.float32), n)),
    }
    peers: dict[str, Call | str] = {"plain CuPy": plain, **torch_calls(make, device)}
    same_work(plain(), dict(candidates), 1e-4)
    same_work(plain(), peers, 1e-8)
    read, part = reader(cupy, a.nbytes)
    seconds = timed(candidates | {"read": read}, peers, rounds, wait)
    half = packed.nbytes / dense.nbytes
    for name, share in (("float64", 1.0), ("packed", half), ("packed, float32 storage", half / 2)):
        floor = STEPS * share * part * seconds["read"]
        yield from against(f"loop, {name}", f"n={n} m={m} k={k}, {STEPS} steps", seconds, name, peers, floor)


def generated(n: int, device: str, rounds: int, wait: Call, r: int = 3) -> Iterator[Row]:
    """Both products of a pass over rows that are never stored; the peer reads as many float32 numbers twice."""
    cupy = importlib.import_module("cupy")
    m, d = 10 * n * r, n * n
    z = as_array(np.random.default_rng(2).standard_normal((1, d)), device)
    v = as_array(np.random.default_rng(3).standard_normal((1, m)), device)
    table = np.linspace(-1.0, 1.0, 4096)
    empty = np.empty((0, 0), np.uint64)
    calls: dict[str, Call] = {}
    laws = {"sign": _gpu_generated.SIGN, "quantised": _gpu_generated.QUANTISED, "normal": _gpu_generated.NORMAL}
    for name, law in laws.items():
        width = -(-d // _gpu_generated.PER_WORD[law])
        source = tuple(as_array(a, device) if isinstance(a, np.ndarray) else a for a in (law, empty, table, 1, width))

        def both(source: Any = source) -> None:
            _gpu_generated.forward(source, m, z)
            _gpu_generated.adjoint(source, d, v)

        calls[name] = both
    read, part = reader(cupy, 4 * m * d)
    seconds = alternate(calls | {"read": read}, max(3, rounds // 5), wait=wait)
    stored = 2 * part * seconds["read"]
    for name in laws:
        peer = "reading stored float32 numbers twice, at the measured bandwidth"
        yield Row(f"generated, {name}, one trial", f"n={n} m={m}", seconds[name], peer, stored)
