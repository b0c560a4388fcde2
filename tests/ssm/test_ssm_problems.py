"""Kernel fits: the kernel, its hand-written adjoint, what solve makes of them, and random kernels to be matched."""

import cmath
import itertools
import math
import warnings

import array_api_strict
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.first_order import Adam, GradientDescent, Momentum
from lrtheory.solve import solve
from lrtheory.ssm import DiagonalSSM, real_part, s4d
from lrtheory.ssm._slopes import NAMES, weights
from lrtheory.ssm.problems import KernelFit, random_kernel
from lrtheory.ssm.transforms import TRANSFORMS
from lrtheory.testing import check_algorithm

RULES = [*NAMES, 0.3]
LENGTHS = (1, 2, 5, 16, 27)


def fit(length=27, rule="zoh", transform="exp", real=False, batch=(2,), **more):
    return KernelFit(random_kernel(length, 3, turns=(0.5, 0.5), stream=_keys(batch)), transform, rule, real, **more)


def _keys(batch):
    return np.arange(math.prod(batch)).reshape(batch) + 5 if batch else 5


def start(real=False, batch=(2,), modes=4):
    """A point with decay rates in (0, 1), so that every transform has it."""
    rng = np.random.default_rng(3)
    shape = (*batch, modes)
    re, im = -rng.uniform(0.05, 0.9, shape), 3 * rng.normal(size=shape)
    c = rng.normal(size=(2, *shape))
    dt = np.exp(rng.uniform(math.log(0.1), math.log(0.5), batch))
    if real:
        return DiagonalSSM(re, np.ones(shape), c[0], dt, conjugate_pairs=False)
    return DiagonalSSM(re + 1j * im, np.ones(shape), c[0] + 1j * c[1], dt)


def plain_kernel(a, b, c, dt, rule, length, real):
    """The definitions, one number at a time."""
    found = []
    for step in range(length):
        total = 0
        for an, bn, cn in zip(a, b, c, strict=True):
            z = dt * an
            if rule == "softmax":
                abar, bbar = cmath.exp(z), bn / an * (cmath.exp(z) - 1) / (cmath.exp(length * z) - 1)
            elif rule in ("zoh", "impulse"):
                abar, bbar = cmath.exp(z), bn * ((cmath.exp(z) - 1) / an if rule == "zoh" else dt)
            else:
                p = {"forward euler": 0.0, "bilinear": 0.5, "backward euler": 1.0}.get(rule, rule)
                abar, bbar = (1 + (1 - p) * z) / (1 - p * z), dt * bn / (1 - p * z)
            total += cn * bbar * abar**step
        found.append((1 if real else 2) * complex(total).real)
    return np.array(found)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_the_kernel_is_that_of_the_definitions_and_of_the_system(rule, real):
    for length, transform in itertools.product(LENGTHS, TRANSFORMS):
        b = np.random.default_rng(1).normal(size=(2, 4)) + (0 if real else 0.5j)
        problem = fit(length, rule, transform, real, input_weights=b)
        system = start(real)
        x = problem.point(system)
        got = problem.kernel(x)
        for i in range(2):
            expected = plain_kernel(system.A[i], b[i], system.C[i], system.dt[i], rule, length, real)
            np.testing.assert_allclose(got[i], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        np.testing.assert_allclose(problem.system(x).kernel(length), got, rtol=0, atol=1e-12 * np.abs(got).max())
        np.testing.assert_allclose(problem.loss(x), problem.value_and_gradient(x)[0], rtol=1e-12)
        errors = np.linalg.norm(got - problem.target, axis=-1)  # the target has norm 1
        np.testing.assert_allclose(problem.metrics(x)["relative_error"], errors, rtol=1e-12)
        np.testing.assert_allclose(problem.metrics(x)["loss"], errors**2 / 2, rtol=1e-12)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_is_that_of_finite_differences(rule, transform, real):
    b = np.random.default_rng(1).normal(size=(2, 4)) + (0 if real else 0.5j)
    problem = fit(27, rule, transform, real, input_weights=b)
    x = problem.point(start(real))
    value, gradient = problem.value_and_gradient(x)
    h = 1e-4
    for i in range(x.shape[-1]):
        unit = h * np.eye(x.shape[-1])[i]
        near, far = (problem.loss(x + k * unit) - problem.loss(x - k * unit) for k in (1, 2))
        # fourth order: the error is h^4 f^(5) / 30, and the rounding of f / h some 1e-12
        slope = (8 * near - far) / (12 * h)
        np.testing.assert_allclose(gradient[:, i], slope, rtol=0, atol=1e-7 * (np.abs(gradient).max() + value.max()))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("rule", ["zoh", "bilinear", "softmax"])
def test_the_gradient_is_that_of_torch(rule, transform):
    torch = pytest.importorskip("torch", reason="torch (extra bench) is not installed")
    functions = {
        "exp": torch.exp,
        "relu": lambda theta: torch.relu(theta) + 1e-4,
        "softplus": torch.nn.functional.softplus,
        "sigmoid": torch.sigmoid,
        "none": lambda theta: theta,
    }
    length = 27
    problem = fit(length, rule, transform, batch=())
    x = problem.point(start(batch=()))
    parameters = torch.tensor(x, requires_grad=True)
    theta, im, re_c, im_c = parameters[1:].reshape(4, 4)
    a = torch.complex(-functions[transform](theta), im)
    dt = torch.exp(parameters[0])
    w = 2 * torch.complex(re_c, im_c)
    if rule == "bilinear":
        log, w = torch.log((1 + dt * a / 2) / (1 - dt * a / 2)), w * dt / (1 - dt * a / 2)
    else:
        log, w = dt * a, w * (torch.exp(dt * a) - 1) / a
    if rule == "softmax":
        w = w / (torch.exp(length * dt * a) - 1)
    kernel = (w[:, None] * torch.exp(log[:, None] * torch.arange(length))).sum(0).real
    loss = ((kernel - torch.tensor(problem.target)) ** 2).sum() / 2
    loss.backward()
    value, gradient = problem.value_and_gradient(x)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-11)
    np.testing.assert_allclose(gradient, parameters.grad.numpy(), rtol=0, atol=1e-11 * np.abs(gradient).max())


def test_slopes_near_zero_keep_their_digits():
    """phi'(z) of zero-order hold, against 40 digits, on both sides of where the series takes over."""
    z = np.array([0.0, 1e-12 + 1e-9j, -1e-5, 0.3 - 0.2j, -0.999, -1.001, 0.9j, 1.1j, -40 + 3j])
    with mpmath.workdps(40):
        exact = []
        for zi in z:
            q = mpmath.mpc(zi)
            exact.append(complex((mpmath.exp(q) * (q - 1) + 1) / q**2) if zi else 0.5)
    _, _, _, slope = weights(z, "zoh", 1)
    np.testing.assert_allclose(slope, exact, rtol=4e-15)


def test_frozen_parts_have_no_gradient_and_the_others_keep_theirs():
    whole = fit().gradient(fit().point(start()))
    blocks = {"dt": slice(0, 1), "A": slice(1, 9), "C": slice(9, 17)}
    for trainable in (("C",), ("dt", "C"), ("A",), ()):
        problem = fit(trainable=trainable)
        gradient = problem.gradient(problem.point(start()))
        for part, block in blocks.items():
            np.testing.assert_array_equal(gradient[:, block], whole[:, block] if part in trainable else 0)
        for algorithm in (GradientDescent(1e-3), Momentum(1e-3), Adam(0.1)):
            x = problem.point(start())
            got = solve(problem, algorithm, start=lambda problem, stream, x=x: x, max_steps=5).x
            for part, block in blocks.items():
                assert np.array_equal(got[:, block], x[:, block]) == (part not in trainable)


def test_a_kernel_of_the_family_is_a_minimum():
    for rule, real in itertools.product(("zoh", "bilinear", "softmax"), (False, True)):
        x = fit(rule=rule, real=real).point(start(real))
        problem = KernelFit(fit(rule=rule, real=real).kernel(x), "exp", rule, real)
        value, gradient = problem.value_and_gradient(x)
        assert np.all(value <= problem.resolution["loss"])
        assert np.abs(gradient).max() < 1e-12
        assert problem.value_and_gradient(x + 1e-3)[0].min() > 1e-10


@given(st.sampled_from(RULES), st.sampled_from(TRANSFORMS), st.booleans(), st.sampled_from([(), (3,), (2, 3)]))
def test_batches_and_other_libraries(rule, transform, real, batch):
    problem = fit(9, rule, transform, real, batch)
    x = problem.point(start(real, batch))
    value, gradient = problem.value_and_gradient(x)
    assert value.shape == batch == problem.batch_shape
    assert gradient.shape == x.shape
    strict = KernelFit(array_api_strict.asarray(problem.target), transform, rule, real)
    for got, expected in zip(strict.value_and_gradient(array_api_strict.asarray(x)), (value, gradient), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(strict.loss(array_api_strict.asarray(x))), value, rtol=1e-12)
    for i in np.ndindex(batch):
        alone = KernelFit(problem.target[i], transform, rule, real).value_and_gradient(x[i])
        np.testing.assert_allclose(alone[0], value[i], rtol=1e-12)
        np.testing.assert_allclose(alone[1], gradient[i], rtol=1e-10, atol=1e-13 * np.abs(gradient).max())


def test_one_point_is_held_against_a_batch_of_targets():
    problem, x = fit(), fit(batch=()).point(start(batch=()))
    value, gradient = problem.value_and_gradient(x)
    np.testing.assert_array_equal(problem.metrics(x)["loss"].shape, value.shape)
    for i in range(2):
        alone = KernelFit(problem.target[i]).value_and_gradient(x)
        np.testing.assert_allclose(value[i], alone[0], rtol=1e-12)
        np.testing.assert_allclose(gradient[i], alone[1], rtol=1e-11)


def test_one_target_serves_a_batch_of_points():
    problem, x = fit(batch=()), fit().point(start())
    value, gradient = problem.value_and_gradient(x)
    for i in range(2):
        alone = problem.value_and_gradient(x[i])
        np.testing.assert_allclose(value[i], alone[0], rtol=1e-12)
        np.testing.assert_allclose(gradient[i], alone[1], rtol=1e-11)


def test_float32_points_stay_float32_and_are_as_accurate():
    double = fit()
    x = double.point(start())
    single = KernelFit(double.target.astype(np.float32))
    value, gradient = single.value_and_gradient(x.astype(np.float32))
    assert value.dtype == gradient.dtype == single.metrics(x.astype(np.float32))["loss"].dtype == np.float32
    # rounded parameters move the kernel by some eps times its length in radians
    np.testing.assert_allclose(value, double.loss(x), rtol=2e-5)
    assert single.point(start()).dtype == np.float32


@pytest.mark.parametrize("rule", ["zoh", "softmax"])
@pytest.mark.parametrize("algorithm", [GradientDescent(1e-3), Momentum(1e-3), Adam(0.02)], ids=str)
def test_algorithms_obey_their_laws_on_kernel_fits(algorithm, rule):
    problem = fit(9, rule, batch=())
    x = problem.point(start(batch=()))
    check_algorithm(algorithm, problem, lambda problem, stream: x + 0.05 * stream.normal(x.shape))


@pytest.mark.parametrize(("algorithm", "below"), [(Adam(0.03), 0.02), (Momentum(0.01), 0.1)], ids=["adam", "momentum"])
def test_training_finds_a_kernel_of_the_family(algorithm, below):
    """From parameters that are off by a tenth; loss 1/2 would be that of no kernel at all."""
    x = fit(128).point(start())
    problem = KernelFit(fit(128).kernel(x))
    off = x + 0.1 * np.random.default_rng(0).normal(size=x.shape)
    result = solve(problem, algorithm, start=lambda problem, stream: off, max_steps=600)
    error = result.trace.metrics["relative_error"]
    assert np.all(error[0] > 0.1)
    assert np.all(error[-1] < below * error[0])


@pytest.mark.parametrize("growth", [6.0, 10.0, 800.0])  # exp of 64 times these: too large to square, or at all
def test_a_pole_that_explodes_is_a_status(growth):
    problem = KernelFit(random_kernel(64, 3, stream=np.arange(2)), "none")
    x = problem.point(start())
    x[0, 1] = -growth / np.exp(x[0, 0])  # a real part of +growth a step
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = solve(problem, Adam(0.01), start=lambda problem, stream: x, max_steps=10, record=[10])
    assert result.status.tolist() == ["diverged", "running"]
    assert np.isfinite(result.x).all()


@pytest.mark.parametrize("real", [False, True])
def test_the_best_readout_is_the_least_squares_solution(real):
    b = np.random.default_rng(1).normal(size=(2, 4)) + (0 if real else 0.5j)
    problem = fit(real=real, input_weights=b, trainable=("C",))
    x = problem.point(start(real))
    best = problem.best_readout(x)
    kept = 1 + 4 * (1 if real else 2)
    assert np.array_equal(best[:, :kept], x[:, :kept])
    system = problem.system(x)
    for i in range(2):
        rows = []
        for mode, factor in itertools.product(range(4), (1,) if real else (1, 1j)):
            c = np.zeros(4, dtype=complex)
            c[mode] = factor
            rows.append(plain_kernel(system.A[i], b[i], c, system.dt[i], "zoh", 27, real))
        columns = np.array(rows).T
        solution = np.linalg.lstsq(columns, problem.target[i], rcond=None)[0]
        expected = np.linalg.norm(columns @ solution - problem.target[i])
        np.testing.assert_allclose(problem.metrics(best)["relative_error"][i], expected, rtol=1e-9)
    assert np.abs(problem.gradient(best)).max() < 1e-9
    assert np.all(problem.loss(best) < problem.loss(x))
    strict = KernelFit(array_api_strict.asarray(problem.target), real_poles=real)
    ours = KernelFit(problem.target, real_poles=real)
    np.testing.assert_allclose(
        np.asarray(strict.best_readout(array_api_strict.asarray(x))), ours.best_readout(x), rtol=1e-8, atol=1e-8
    )


def test_points_of_systems_and_back():
    for real in (False, True):
        for transform in TRANSFORMS:
            problem = fit(real=real, transform=transform)
            made = problem.system(problem.point(start(real)))
            for name in ("A", "C", "dt"):
                np.testing.assert_allclose(getattr(made, name), getattr(start(real), name), rtol=1e-12)
            assert made.conjugate_pairs is not real
    shared = s4d(8, 3, "inv", dt=0.1)  # A (M,), C (H, M), dt a number
    x = fit(batch=(3,)).point(shared)
    assert x.shape == (3, 17)
    np.testing.assert_allclose(x[:, 0], math.log(0.1))
    np.testing.assert_allclose(real_part(x[:, 1:5]), np.broadcast_to(shared.A.real, (3, 4)))


@given(st.integers(1, 6), st.integers(0, 10**6))
def test_a_random_kernel_has_twice_as_many_poles_as_pairs_and_norm_one(pairs, seed):
    length = 128
    kernel = random_kernel(length, pairs, stream=seed)
    assert abs(np.linalg.norm(kernel) - 1) < 1e-14
    # of a Hankel matrix of exponentials the rank is the number of poles, up to nearly equal ones
    hankel = kernel[np.add.outer(np.arange(64), np.arange(64))]
    singular = np.linalg.svd(hankel, compute_uv=False)
    assert singular[2 * pairs] < 1e-12 * singular[0]
    if pairs == 1:
        assert singular[1] > 1e-6 * singular[0]


def test_random_kernels_depend_on_their_own_key_and_decay_with_the_given_memory():
    together = random_kernel(64, 4, stream=np.array([3, 7]))
    for i, key in enumerate((3, 7)):
        np.testing.assert_allclose(together[i], random_kernel(64, 4, stream=key), rtol=0, atol=1e-15)
    assert not np.allclose(together[0], together[1])
    short = random_kernel(256, 4, memory=(0.01, 0.01), stream=np.arange(20))
    envelope = np.abs(short).max(axis=0)
    assert envelope[100:].max() < 1e-12 < envelope[:10].max()
    slow = random_kernel(256, 1, memory=(10.0, 10.0), turns=(4.0, 4 / 256), stream=1)
    assert np.argmax(np.abs(np.fft.rfft(slow))) == 4  # turns over the length


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(length=0), "length"),
        (dict(pairs=0), "pairs"),
        (dict(pairs=1.5), "pairs"),
        (dict(memory=(0.0, 1.0)), "memory"),
        (dict(memory=(1.0, 0.5)), "memory"),
        (dict(turns=(0.0, 0.1)), "turns"),
        (dict(turns=(1.0, 0.6)), "turns"),
        (dict(turns=(60.0, 0.1)), "turns"),
    ],
)
def test_bad_random_kernels_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        random_kernel(**(dict(length=64) | arguments))


def test_the_resolution_is_what_rounding_leaves():
    """Of a kernel by plain powers, whose phases lose digits as they grow."""
    x = np.array([[0.0, np.log(1e-4), np.log(2e-4), 3.0, 1.7, 1.0, 0.5, 0.2, -1.0]])
    a, c = -np.exp(x[0, 1:3]) + 1j * x[0, 3:5], x[0, 5:7] + 1j * x[0, 7:9]
    steps = np.arange(16384)[:, None]
    problem = KernelFit(2 * np.real(np.exp(steps * a) @ (c * np.expm1(a) / a)))
    error = problem.metrics(x)["relative_error"][0]
    assert 4 * np.finfo(float).eps < error < problem.resolution["relative_error"] < 1e-10


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of NaN
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_parameter_that_is_nan_has_no_loss(transform):
    point = np.array([0.0, np.nan, 1.0, 1.0, 1.0])
    assert np.isnan(KernelFit(np.ones(5), transform).loss(point))


def test_bad_fits_are_refused():
    good = np.ones(5)
    for bad, error in ((np.ones(5, dtype=int), TypeError), (np.ones(5) * 1j, TypeError), ([1.0], TypeError)):
        with pytest.raises(error, match="target"):
            KernelFit(bad)
    for bad in (np.array([1.0, np.nan]), np.zeros(5), np.stack([good, 0 * good]), np.array(1.0), np.zeros((2, 0))):
        with pytest.raises(ValueError, match="target"):
            KernelFit(bad)
    for arguments, said in (
        (dict(transform="exq"), "did you mean exp"),
        (dict(discretization="zho"), "did you mean zoh"),
        (dict(discretization=1.5), "discretization"),
        (dict(trainable=("a",)), "there are: A, C, dt"),
        (dict(trainable="A"), "trainable"),
        (dict(input_weights=[1.0]), "input_weights"),
        (dict(input_weights=np.array([1.0, np.nan])), "input_weights must be finite"),
        (dict(input_weights=np.ones(2) * 1j, real_poles=True), "input_weights must be real"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            KernelFit(good, **arguments)
    with pytest.raises(ValueError, match=r"4 M \+ 1"):
        KernelFit(good).loss(np.zeros(4))
    with pytest.raises(ValueError, match="full sample"):
        KernelFit(good).value_and_gradient(np.zeros(5), sample=3)
    with pytest.raises(ValueError, match="real_poles"):
        KernelFit(good).point(start(real=True))
    with pytest.raises(ValueError, match="real_poles"):
        KernelFit(good, real_poles=True).point(start())
