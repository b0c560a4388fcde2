"""Where the poles of a diagonal state-space model start, and how its weights and steps are drawn."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np

from lrtheory.backend import Array, as_array, is_array, namespace, to_numpy
from lrtheory.names import check_name
from lrtheory.random import Stream, as_stream

from ._checks import count, positive, positive_number, real_values
from .legs import check_size, legs_spectrum
from .systems import AliasingWarning, DiagonalSSM

INITIALISATIONS = (
    "legs",
    "lin",
    "inv",
    "inv2",
    "quad",
    "real",
    "rand",
    "imag_random",
    "real_random",
    "fourier",
    "dfout",
    "lru",
)

INPUT_WEIGHTS = ("exact", "clipped", "ones", "random")

OUTPUT_WEIGHTS = ("random", "ones")

STEPS = ("log-uniform", "geometric")

CLIP = 2.0  # of the released code's |b|


def poles(
    N: int,
    init: str = "legs",
    *,
    copies: int | None = None,
    dt: Any = 1.0,
    real_scale: float = 1.0,
    imag_scale: float = 1.0,
    ring: tuple[float, float, float] = (0.0, 1.0, 2 * math.pi),
    stream: Any = 0,
) -> np.ndarray:
    """Return the poles a_n, n = 0..M-1, of an initialisation; M = N / 2 (a pole stands for its conjugate too).

    =================  =====================================================================================
    init               a_n
    =================  =====================================================================================
    ``"legs"``         -1/2 + i w_n, the spectrum of HiPPO-LegS's normal part (`legs_spectrum`), descending
    ``"lin"``          -1/2 + i pi n
    ``"inv"``          -1/2 + i (N / pi) (N / (2n + 1) - 1)
    ``"inv2"``         -1/2 + i (N / pi) (N / (n + 1) - 1)
    ``"quad"``         -1/2 + i (2n + 1)^2 / pi
    ``"real"``         -(n + 1), real, the eigenvalues of HiPPO-LegS; M = N
    ``"rand"``         -1/2 + i exp(g_n), g standard normal
    ``"imag_random"``  -1/2 + i M u_n, u uniform on (0, 1)
    ``"real_random"``  -u_n + i pi n
    ``"fourier"``      -1/2 + 2 pi i n
    ``"dfout"``        -1/2 + 2 pi i n / (N dt): the grid of the discrete Fourier transform, times exp(-dt / 2)
    ``"lru"``          log(u_n (r_max^2 - r_min^2) + r_min^2) / 2 + i max_phase u'_n: exp(a_n) uniform on a ring
    =================  =====================================================================================

    The rows up to quad, with real, are those of [1]_; rand and the two ablations are from its experiments, fourier from
    [2]_, lru from [3]_ and dfout from [4]_. The papers' texts leave open which imaginary parts real_random has (here:
    those of lin) and the decay of dfout (here: that of the others): these two rows are reconstructions.

    Parameters
    ----------
    N : int
        Real state size; even, except for real.
    init : str
        See the table.
    copies : int, optional
        How many sets of poles. They differ where they are random.
    dt : float or array ``(...)``
        Step; only dfout depends on it.
    real_scale, imag_scale : float
        Factors of the real and of the imaginary parts.
    ring : tuple of float
        (r_min, r_max, max_phase) of lru.
    stream : int or Stream
        Source of randomness.

    Returns
    -------
    complex array ``(M,)``, ``(copies, M)`` or, for dfout, ``(..., M)`` (real for real)

    Raises
    ------
    ValueError
        If a name is unknown or a parameter out of range.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893.
    .. [2] A. Gu, I. Johnson, A. Timalsina, A. Rudra, C. Re, How to train your HiPPO, ICLR 2023, arXiv:2206.12037.
    .. [3] A. Orvieto et al., Resurrecting recurrent neural networks for long sequences, ICML 2023, arXiv:2303.06349.
    .. [4] R. Solozabal et al., Uncovering the spectral bias in diagonal state space models, NeurIPS 2025,
       arXiv:2508.20441.
    """
    check_name("init", init, INITIALISATIONS)
    check_size(N, even=init != "real")
    if copies is not None:
        copies = count("copies", copies)
    real_scale, imag_scale = positive_number("real_scale", real_scale), positive_number("imag_scale", imag_scale)
    shape = () if copies is None else (copies,)
    stream = as_stream(stream).child("poles", init)
    if init == "real":
        return np.broadcast_to(-real_scale * np.arange(1.0, N + 1), (*shape, N)).copy()
    M = N // 2
    n = np.arange(M)
    re: Any = -0.5
    if init == "legs":
        im = legs_spectrum(N)[0]
    elif init == "inv":
        im = N / math.pi * (N / (2 * n + 1) - 1)
    elif init == "inv2":
        im = N / math.pi * (N / (n + 1) - 1)
    elif init == "quad":
        im = (2 * n + 1) ** 2 / math.pi
    elif init == "rand":
        im = np.exp(_members(stream, copies).normal((M,)))
    elif init == "imag_random":
        im = M * _uniform(_members(stream, copies), M)
    elif init == "fourier":
        im = 2 * math.pi * n
    elif init == "dfout":
        im = 2 * math.pi * n / (N * np.asarray(_host(positive("dt", dt)))[..., None])
    elif init == "lru":
        r_min, r_max, max_phase = _check_ring(ring)
        re = np.log(_uniform(_members(stream.child("radius"), copies), M) * (r_max**2 - r_min**2) + r_min**2) / 2
        im = max_phase * _uniform(_members(stream.child("phase"), copies), M)
        im = np.where(im > math.pi, im - 2 * math.pi, im)  # the same exp(a)
    else:
        im = math.pi * n
        if init == "real_random":
            re = -_uniform(_members(stream, copies), M)
    a = real_scale * re + 1j * (imag_scale * im)
    return a if a.ndim > 1 else np.broadcast_to(a, (*shape, M)).copy()


def s4d(
    N: int = 64,
    H: int = 1,
    init: str = "legs",
    *,
    B: str | Array = "exact",
    C: str | Array = "random",
    D: str | Array | None = None,
    dt: str | float | Array = "log-uniform",
    dt_min: float = 1e-3,
    dt_max: float = 1e-1,
    B_scale: float = 1.0,
    real_scale: float = 1.0,
    imag_scale: float = 1.0,
    ring: tuple[float, float, float] = (0.0, 1.0, 2 * math.pi),
    n_ssm: int = 1,
    bandlimit: float | None = None,
    discretization: str | float | None = None,
    stream: Any = 0,
    device: str = "cpu",
) -> DiagonalSSM:
    """Return a diagonal state-space model with H channels at its initialisation (S4D).

    Parameters
    ----------
    N : int
        Real state size: M = N / 2 modes and their conjugates (M = N for the real initialisation).
    H : int
        Number of channels.
    init : str
        See `poles`. The memory of a kernel is some 2 / dt steps: to see a length L, choose dt_min near 1 / L.
    B : {"exact", "clipped", "ones", "random"} or array
        Input weights. ``"exact"``: those that belong to the initialisation, ``|v_n^* B|`` of HiPPO-LegS in the
        eigenvectors' phase where they are positive (`legs_spectrum`); 1 / sqrt(2), 1, 1, ... for fourier, the
        orthonormal Fourier basis at 0; ``sqrt(1 - |abar|^2)`` for lru; 1 for the others. ``"clipped"``: at most 2 in
        modulus, as the released code of [1]_ does for LegS, which makes it a low-passed version (what that is good
        for: `lrtheory.ssm.theory.clipped_error_law`). ``"random"``: complex standard normal.
    C : {"random", "ones"} or array
        Output weights; complex standard normal, (g + i g') / sqrt(2), or real where the poles are real.
    D : ``"random"`` or array, optional
        Feed-through; standard normal.
    dt : {"log-uniform", "geometric"}, float or array ``(H,)``
        Steps: log dt uniform on [log dt_min, log dt_max], or the H points of the geometric grid.
    dt_min, dt_max : float
    B_scale : float
        Factor of B. With 1/2 and exact weights the basis of LegS's normal part tends to that of LegS as N grows ([1]_,
        Theorem 3; see `lrtheory.ssm.theory` for what precisely converges).
    real_scale, imag_scale, ring
        See `poles`.
    n_ssm : int
        Number of sets of poles and input weights. A divisor of H: n_ssm groups of consecutive channels share one each.
    bandlimit : float, optional
        Zero the output weights of the modes with ``dt |Im a| / (2 pi) >= bandlimit / 2``; 1 removes those that alias
        [2]_. Without it an `AliasingWarning` says how many do (rules of the bilinear family fold nothing).
    discretization : str or float, optional
        Default ``"zoh"``.
    stream : int or Stream
        Source of randomness. A channel's numbers depend on its index only, and fewer modes are a prefix of more.
    device : str

    Returns
    -------
    DiagonalSSM
        A and B have the shape ``(M,)``, C ``(H, M)``, dt ``(H,)`` for n_ssm = 1; A and B ``(H, M)`` for n_ssm = H;
        otherwise A and B ``(n_ssm, 1, M)``, C ``(n_ssm, H / n_ssm, M)`` and dt ``(n_ssm, H / n_ssm)``. dfout has poles
        for every channel.

    Raises
    ------
    ValueError
        If a name is unknown, or a parameter is out of range.

    Notes
    -----
    lru is defined in discrete time: its system has dt = 1 and the rule ``"impulse"``, for which abar = exp(a) and
    bbar = b, and takes no other dt or rule.

    With V of ``legs_spectrum(N, vectors=True)``, ``s4d(N, H, B_scale=0.5, C=V[:H], dt=dt)`` has as kernels the samples
    of the first H basis functions of S4D-LegS, to compare with `legs_basis_zoh`.

    References
    ----------
    .. [1] A. Gu, A. Gupta, K. Goel, C. Re, On the parameterization and initialization of diagonal state space models,
       NeurIPS 2022, arXiv:2206.11893.
    .. [2] E. Nguyen et al., S4ND: modeling images and videos as multidimensional signals using state spaces, NeurIPS
       2022, arXiv:2210.06583.
    """
    check_name("init", init, INITIALISATIONS)
    H = count("H", H, least=0)
    n_ssm = count("n_ssm", n_ssm)
    if n_ssm > max(H, 1) or H % n_ssm:
        raise ValueError(f"n_ssm must be a positive divisor of H = {H}, got {n_ssm!r}")
    if bandlimit is not None:
        positive_number("bandlimit", bandlimit)
    B_scale = real_values("B_scale", B_scale)
    stream = as_stream(stream)
    grouped = 1 < n_ssm < H
    channels = (n_ssm, H // n_ssm) if grouped else (H,)
    shared = (n_ssm, 1) if grouped else () if n_ssm == 1 else (n_ssm,)

    if init == "lru":
        if is_array(dt) or dt not in ("log-uniform", 1):
            raise ValueError(f"dt is 1 for lru, which is defined in discrete time; got {dt!r}")
        if discretization not in (None, "impulse"):
            raise ValueError(f'discretization is "impulse" for lru, got {discretization!r}')
        steps: Any = 1.0
        discretization = "impulse"
    else:
        steps = draw_steps(dt, dt_min, dt_max, channels, stream)
    a = poles(
        N,
        init,
        copies=n_ssm if shared and init != "dfout" else None,
        dt=steps,
        real_scale=real_scale,
        imag_scale=imag_scale,
        ring=ring,
        stream=stream,
    )
    M = a.shape[-1]
    if init != "dfout":
        a = a.reshape(*shared, M)
    b = B_scale * _input_weights(B, init, N, a, channels, stream.child("B"), n_ssm if shared else None)
    c = _output_weights(C, channels, M, stream.child("C"), real=init == "real")

    d = D
    if isinstance(D, str):
        check_name("D", D, ("random",))
        d = _members(stream.child("D"), H).normal(()).reshape(channels) if H else np.zeros(channels)
    a, b, c = (as_array(v, device) for v in (a, b, c))
    system = DiagonalSSM(
        a,
        b,
        c,
        as_array(steps, device) if is_array(steps) else steps,
        as_array(d, device) if is_array(d) else d,
        discretization="zoh" if discretization is None else discretization,
        conjugate_pairs=init != "real",
    )
    if bandlimit is not None:
        return system.bandlimit(bandlimit)
    aliased = int(np.count_nonzero(to_numpy(system.aliased)))
    if aliased:
        warnings.warn(
            f"{aliased} of {math.prod(c.shape)} modes lie beyond the Nyquist frequency of their step (dt |Im a| > pi) "
            "and alias; bandlimit=1 removes them",
            AliasingWarning,
            stacklevel=2,
        )
    return system


def input_normalization(x: Array) -> Array:
    """Return gamma = sqrt(1 - |exp(x)|^2) of discrete poles exp(x), accurate as |exp(x)| tends to 1 (LRU)."""
    xp = namespace(x)
    return xp.sqrt(-xp.expm1(2 * xp.real(x)))


def _input_weights(
    B: str | Array, init: str, N: int, a: np.ndarray, channels: tuple[int, ...], stream: Stream, copies: int | None
) -> np.ndarray:
    if not isinstance(B, str):
        return _given("B", B, channels, a.shape[-1])
    check_name("B", B, INPUT_WEIGHTS)
    M = a.shape[-1]
    if B == "random":
        drawn = _weights(stream, copies, M, init == "real")
        return drawn if copies is None or len(channels) == 1 else drawn[:, None, :]
    b = np.ones(a.shape if init == "lru" else M)
    if B != "ones":
        if init == "legs":
            b = legs_spectrum(N)[1]
        elif init == "fourier":
            b[0] = math.sqrt(0.5)
        elif init == "lru":
            b = input_normalization(a)
    if B == "clipped":
        b = np.minimum(b, CLIP)
    return b if init == "real" else b.astype(np.complex128)


def _output_weights(C: str | Array, channels: tuple[int, ...], M: int, stream: Stream, *, real: bool) -> np.ndarray:
    if not isinstance(C, str):
        return np.broadcast_to(_given("C", C, channels, M), (*channels, M))
    if check_name("C", C, OUTPUT_WEIGHTS) == "ones":
        return np.ones((*channels, M), dtype=np.float64 if real else np.complex128)
    H = math.prod(channels)
    drawn = _weights(stream, H, M, real) if H else np.zeros((0, M), dtype=np.float64 if real else np.complex128)
    return drawn.reshape(*channels, M)


def _weights(stream: Stream, copies: int | None, M: int, real: bool) -> np.ndarray:
    """Standard normal weights ``([copies,] M)`` with mean square 1."""
    if real:
        return _members(stream, copies).normal((M,))
    pairs = _members(stream, copies).normal((M, 2))  # so that fewer modes are a prefix of more
    return (pairs[..., 0] + 1j * pairs[..., 1]) / math.sqrt(2.0)


def _given(name: str, value: Any, channels: tuple[int, ...], M: int) -> np.ndarray:
    if not is_array(value):
        raise TypeError(f"{name} must be a name or an array, got {type(value).__name__}")
    value = to_numpy(value)
    lead = value.shape[:-1]
    if (
        value.shape[-1:] != (M,)
        or any(have not in (1, want) for have, want in zip(lead[::-1], channels[::-1], strict=False))
        or len(lead) > len(channels)
    ):
        raise ValueError(f"{name} must have a shape that broadcasts to {(*channels, M)}, got {value.shape}")
    return value


def draw_steps(dt: Any, low: float, high: float, channels: tuple[int, ...], stream: Stream) -> Any:
    """Return the given steps, or those drawn by the rule `dt`: a number or an array of the channels' shape."""
    if not isinstance(dt, str):
        if not is_array(dt) and not isinstance(dt, Real):
            raise TypeError(f"dt must be a name, a number or an array, got {type(dt).__name__}")
        steps = _host(positive("dt", dt))
        if is_array(dt) and dt.size != math.prod(channels):
            raise ValueError(f"dt must have one entry for each of the {math.prod(channels)} channels, got {dt.shape}")
        return np.reshape(steps, channels) if is_array(dt) else steps
    check_name("dt", dt, STEPS)
    for name, bound in (("dt_min", low), ("dt_max", high)):
        if not isinstance(bound, Real) or isinstance(bound, bool):
            raise TypeError(f"{name} must be a real number, got {bound!r}")
    if not 0 < low <= high < math.inf:
        raise ValueError(f"dt_min and dt_max must satisfy 0 < dt_min <= dt_max < inf, got {low!r} and {high!r}")
    H = math.prod(channels)
    if dt == "geometric":
        exponent = np.linspace(0.0, 1.0, H)
    else:
        exponent = _uniform(_members(stream.child("dt"), H), 1)[:, 0] if H else np.zeros(0)
    return np.clip(low * (high / low) ** exponent, low, high).reshape(channels)


def _host(value: Any) -> Any:
    """Return a number, or an array as one of NumPy in double precision."""
    return np.asarray(to_numpy(value), dtype=np.float64) if is_array(value) else value


def _check_ring(ring: tuple[float, float, float]) -> tuple[float, float, float]:
    try:
        r_min, r_max, max_phase = (float(value) for value in ring)
    except (TypeError, ValueError):
        raise TypeError(f"ring must be three numbers (r_min, r_max, max_phase), got {ring!r}") from None
    if not (0 <= r_min < r_max <= 1 and 0 < max_phase <= 2 * math.pi):
        raise ValueError(
            f"ring must be (r_min, r_max, max_phase) with 0 <= r_min < r_max <= 1, 0 < max_phase <= 2 pi, got {ring!r}"
        )
    return r_min, r_max, max_phase


def _members(stream: Stream, copies: int | None) -> Stream:
    """One stream for each copy, so that a copy's numbers do not depend on how many there are."""
    return stream if copies is None else stream.child(np.arange(copies))


def _uniform(stream: Stream, M: int) -> np.ndarray:
    """Uniform numbers in the open interval (0, 1)."""
    return stream.draw(lambda generator: generator.random(M)) + 2.0**-54
