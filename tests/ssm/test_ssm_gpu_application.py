"""The CUDA kernels that apply diagonal systems, run on the CPU by emulation, against the definition and the CPU's."""

import shutil

import numpy as np
import pytest

from lrtheory.operators import _gpu_launch
from lrtheory.ssm import _cpu_application, _gpu_application, application
from lrtheory.testing.kernels import check_kernel_twins
from tests.operators.cuda_emulation import Emulator

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="emulating CUDA C on the CPU needs g++")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return Emulator(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(autouse=True)
def emulated(emulator, monkeypatch):
    """Every public function takes the kernels for devices; `emulator.started` counts them."""
    monkeypatch.setattr(_gpu_launch, "launch", emulator.launch)
    monkeypatch.setattr(application, "twin", lambda name, *arrays: _gpu_application)
    return emulator


def complex_normal(generator, *shape):
    return generator.standard_normal((*shape, 2)) @ np.array([1, 1j])


def system(*shape, seed=0, decay=0.02):
    """x, b and c; decays from none to fast."""
    generator = np.random.default_rng(seed)
    x = -generator.uniform(0, 2 * decay, shape) + 1j * generator.uniform(-3, 3, shape)
    return x, complex_normal(generator, *shape), complex_normal(generator, *shape)


def plain(x, b, c, u, z):
    """The definition, one sample after the other."""
    y = []
    for k in range(u.shape[-1]):
        z = np.exp(x) * z + b * u[..., k, None]
        y.append(np.real(c * z).sum(-1))
    return np.stack(y, axis=-1), z


def close(got, expected, tolerance=1e-12):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0.0) <= tolerance * np.abs(expected).max(initial=0.0)


SHAPES = {  # of the system, the input and the state
    "one": ((3,), (), ()),
    "many modes": ((70,), (2,), ()),
    "a system for each signal": ((3, 4), (3,), (3,)),
    "signals of one system": ((4,), (2, 3), (3,)),
    "systems on one signal": ((2, 1, 4), (1,), ()),
    "everything broadcasts": ((2, 1, 4), (3,), (2, 1)),
}


@pytest.mark.parametrize("algorithm", [application.scan, application.chunked], ids=["scan", "chunked"])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_response_and_state(emulated, algorithm, shapes, dtype):
    """Less than a piece, a chunk, more chunks than parts; a state to start from and none."""
    of_system, of_input, of_state = SHAPES[shapes]
    x, b, c = system(*of_system)
    for length in (1, 15, 64, 65, 500, 64 * 40 + 3):
        generator = np.random.default_rng(length)
        u = generator.standard_normal((*of_input, length)).astype(dtype)
        z = complex_normal(generator, *of_state, x.shape[-1])
        for state in (None, z):
            before = emulated.started
            y, last = algorithm(x, b, c, u, state, True)
            assert emulated.started > before
            expected, end = plain(x, b, c, u.astype(float), 0 * x if state is None else z)
            assert y.dtype == dtype
            assert last.dtype == np.complex128
            single = dtype == np.float32
            close(y, expected, 3e-6 if single else 1e-12)
            # a scan's states are float64 whatever the signal's precision
            close(last, end, 3e-6 if single and algorithm is application.chunked else 1e-12)
            assert algorithm(x, b, c, u, state)[1] is None


def test_launches_of_a_scan(emulated):
    x, b, c = system(2, 3)
    before = emulated.started
    application.scan(x, b, c, np.ones((2, 10_000)))
    assert emulated.started - before == 3  # and exp(64 x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scans_are_twins_of_the_cpus(dtype):
    def cases():
        for systems, signals, modes, length in ((1, 1, 1, 7), (2, 3, 33, 200), (3, 1, 5, 64 * 17)):
            x, b, c = system(systems, modes)
            generator = np.random.default_rng(length)
            row_of = np.stack([np.repeat(np.arange(systems), signals), np.tile(np.arange(signals), systems)])
            rows = systems * signals
            row_of = np.concatenate([row_of, generator.permutation(rows)[None]])
            u = generator.standard_normal((signals, length)).astype(dtype)
            yield x, b, c, u, row_of, complex_normal(generator, rows, modes), np.empty((rows, length), dtype)

    tolerance = 1e-12 if dtype == np.float64 else 3e-7
    assert check_kernel_twins(_gpu_application.scan, _cpu_application.scan, cases(), rtol=tolerance) == 3


@pytest.mark.parametrize("chunks", [1, 2, 15, 16, 17, 33, 250])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_carried_states_are_twins_of_the_cpus(chunks, dtype):
    """As many parts of the chunks as threads, some of them empty, the last one shorter."""
    generator = np.random.default_rng(chunks)
    turn = np.exp(system(2, 35, decay=0.5)[0])
    row_of = np.array([[0, 0, 1], [1, 0, 1], [2, 0, 1]])
    added = generator.standard_normal((2, chunks, 70)).astype(dtype)
    case = turn, added, row_of, complex_normal(generator, 3, 35), np.empty((3, chunks, 70), dtype)
    tolerance = 1e-13 if dtype == np.float64 else 1e-7
    check_kernel_twins(_gpu_application.carry, _cpu_application.carry, [case], rtol=tolerance)


def test_long_memory():
    """States that hardly decay over 20000 samples: what rounds is exp(64 x), once for each chunk."""
    x, b, c = system(4, decay=1e-6)
    u = np.random.default_rng(0).standard_normal(20_000)
    y, z = application.scan(x, b, c, u, None, True)
    expected, last = plain(x, b, c, u, 0 * x)
    close(y, expected, 1e-11)
    close(z, last, 1e-11)


def test_a_signal_in_two_parts():
    x, b, c = system(2, 5)
    u = np.random.default_rng(0).standard_normal((2, 400))
    whole, end = application.scan(x, b, c, u, None, True)
    head, state = application.scan(x, b, c, u[:, :137], None, True)
    tail, last = application.scan(x, b, c, u[:, 137:], state, True)
    close(np.concatenate([head, tail], axis=-1), whole)
    close(last, end)


def test_causality_is_exact():
    x, b, c = system(2, 5)
    u = np.random.default_rng(0).standard_normal((2, 300))
    other = u.copy()
    other[:, 200:] = 7.0
    first, second = (application.scan(x, b, c, v)[0] for v in (u, other))
    assert np.array_equal(first[:, :200], second[:, :200])
    assert (first[:, 200:] != second[:, 200:]).any()


def test_a_nan_is_never_lost():
    x, b, c = system(2, 5)
    for place in (0, 100, 299):
        u = np.ones((2, 300))
        u[1, place] = np.nan
        y, z = application.scan(x, b, c, u, None, True)
        assert np.isfinite(y[0]).all()
        assert np.isfinite(y[1, :place]).all()
        assert np.isnan(y[1, place:]).all()
        assert np.isnan(z[1]).all()


def test_poles_at_zero_and_growing_modes():
    """x = -1e4 is how a pole at 0 is written. The last chunk is shorter, and what a whole one would add overflows."""
    x, b, c = np.array([-1e4 + 0j, 0.01, 9.0]), np.ones(3, complex), np.array([1.0, 1.0, 1e-280])
    u = np.random.default_rng(0).standard_normal(75)
    y, z = application.scan(x, b, c, u, None, True)
    expected, last = plain(x, b, c, u, 0 * x)
    close(y, expected)
    assert np.abs(z / last - 1).max() < 1e-12


def test_no_rows():
    x, b, c = system(0, 3)
    y, z = application.scan(x, b, c, np.ones((0, 9)), None, True)
    assert y.shape == (0, 9)
    assert z.shape == (0, 3)
    assert application.chunked(x, b, c, np.ones((0, 9)))[0].shape == (0, 9)


def test_recommendations_count():
    for length, modes, rows, name in (
        (1024, 32, 256, "scan"),
        (1 << 20, 32, 1, "scan"),
        (1 << 16, 32, 256, "chunked"),
        (1 << 16, 128, 256, "chunked"),
        (1 << 16, 129, 256, "fft"),
    ):
        assert _gpu_application.recommended(length, modes, rows)[0] == name
    assert "by count" in _gpu_application.recommended(1, 1, 1)[1]
