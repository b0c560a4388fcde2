"""Streams side by side: against one fit a stream, and the CUDA kernel, run on the CPU by emulation."""

import copy
import pickle
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtheory import backend
from lrtheory.operators import _gpu_launch
from lrtheory.streaming import (
    AdaOja,
    ClippedOja,
    FrequentDirections,
    Krasulina,
    ManyStreams,
    Oja,
    OjaGrid,
    OjaPlusPlus,
    _cpu_many,
    _gpu_many,
)
from lrtheory.streaming._cpu import NORM2, SCALARS, B
from tests.operators.cuda_emulation import Emulator

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="emulating CUDA C on the CPU needs g++")
METHODS = pytest.mark.parametrize("made", [Oja(0.03), Krasulina(0.03), AdaOja()], ids=["oja", "krasulina", "adaoja"])


def rows_of(streams, n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((streams, n, d)) * np.geomspace(3, 1, d)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = backend.threads()
    backend.set_threads(request.param)
    yield
    backend.set_threads(before)


@METHODS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_each_stream_gets_what_a_fit_of_its_own_gives(threads, made, dtype):
    rows = rows_of(5, 60, 7).astype(dtype)
    many = ManyStreams(made).fit(rows)
    for s in range(5):
        one = type(made)(**made.get_params()).fit(rows[s])
        np.testing.assert_array_equal(many.components_[s], one.components_)
        np.testing.assert_array_equal(many.explained_energy_[s], one.explained_energy_)
        assert many.log_growth_[s] == one.log_growth_
        assert many.status_[s] == one.status_
        assert many.frobenius2_[s] == one.frobenius2_
    assert many.components_.dtype == dtype
    assert (many.n_seen_, many.state_floats_) == (60, 5 * one.state_floats_)
    assert not hasattr(made, "n_seen_")


def test_rates_starts_and_random_streams_belong_to_streams():
    rows, rates = rows_of(3, 40, 6), np.array([0.01, 0.1, 0.3])
    starts, keys = rows_of(3, 1, 6, seed=1), np.array([4, 5, 6])
    schedule = np.random.default_rng(2).uniform(0, 1, (40, 3))
    for options in (dict(stream=keys), dict(start=starts), dict(stream=keys, schedule=schedule), dict(schedule="inv")):
        many = ManyStreams(Oja(rates, **options)).fit(rows)
        for s in range(3):
            mine = {name: value if name == "schedule" else value[s] for name, value in options.items()}
            if isinstance(mine.get("schedule"), np.ndarray):
                mine["schedule"] = schedule[:, s]
            one = Oja(rates[s], **mine).fit(rows[s])
            np.testing.assert_array_equal(many.components_[s], one.components_)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_pieces_and_layouts_change_nothing(scale):
    rows = rows_of(4, 50, 5)
    made = Oja(0.03, scale=scale)
    expected = ManyStreams(made).fit(rows)
    frozen = rows.copy()
    frozen.setflags(write=False)
    pieces = ManyStreams(made)
    for part in (rows[:, :17], rows[:, 17:17], rows[:, 17:]):
        pieces.partial_fit(part)
    again = ManyStreams(made).fit(rows_of(4, 9, 5, seed=3)).fit(np.asfortranarray(rows))
    for found in (pieces, again, ManyStreams(made).fit(frozen), ManyStreams(made).fit(rows[:, :, ::-1][:, :, ::-1])):
        np.testing.assert_array_equal(found.components_, expected.components_)
        np.testing.assert_allclose(found.frobenius2_, expected.frobenius2_, rtol=1e-14)
        np.testing.assert_array_equal(found.explained_energy_, expected.explained_energy_)
        assert (found.n_seen_, found.n_features_in_) == (50, 5)
    for s in range(4):
        np.testing.assert_array_equal(expected.components_[s], Oja(0.03, scale=scale).fit(rows[s]).components_)
    single = ManyStreams(Oja(0.03, scale=scale)).fit(rows.astype(np.float32))
    assert single.components_.dtype == np.float32
    single.partial_fit(rows)
    assert single.components_.dtype == np.float64
    listed = ManyStreams(made).fit([list(stream) for stream in rows])
    np.testing.assert_array_equal(listed.components_, expected.components_)


def test_copies_go_on_alike_and_by_themselves():
    rows = rows_of(3, 20, 4)
    many = ManyStreams(Oja(0.1)).fit(rows)
    before = many.components_
    copies = [copy.copy(many), copy.deepcopy(many), pickle.loads(pickle.dumps(many))]
    for one in copies:
        one.partial_fit(rows)
    np.testing.assert_array_equal(many.components_, before)
    assert many.n_seen_ == 20
    many.partial_fit(rows)
    for one in copies:
        np.testing.assert_array_equal(one.components_, many.components_)
    many.frobenius2_[:] = 0
    assert (many.frobenius2_ > 0).all()
    assert repr(many) == "ManyStreams(Oja(step_size=0.1))"


def test_an_interrupted_call_leaves_the_state_as_it_was(monkeypatch):
    rows = rows_of(3, 20, 4)
    many = ManyStreams(Oja(0.1)).fit(rows)
    before = many.components_

    def interrupted(rows, rates, kind, seen, w, scalars):
        w[:] = 1
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_cpu_many, "take_each", interrupted)
        with pytest.raises(KeyboardInterrupt):
            many.partial_fit(rows)
    np.testing.assert_array_equal(many.components_, before)
    assert many.n_seen_ == 20


def test_streams_share_the_threads(monkeypatch):
    rows, found, taken = rows_of(7, 20, 4), set(), []
    plain = _cpu_many._cpu.dense_rows
    together = threading.Barrier(2, timeout=20)

    def seen(*arguments):
        if threading.get_ident() not in found:
            found.add(threading.get_ident())
            together.wait()
        taken.append(1)
        return plain(*arguments)

    before = backend.threads()
    backend.set_threads(2)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(_cpu_many, "_cpu", SimpleNamespace(dense_rows=seen))
            ManyStreams(Oja(0.1)).fit(rows)
    finally:
        backend.set_threads(before)
    assert (len(found), len(taken)) == (2, 7)


def test_what_is_refused_changes_nothing():
    rows = rows_of(3, 20, 4)
    many = ManyStreams(Oja(0.1)).fit(rows)
    before, norms2 = many.components_, many.frobenius2_
    bad = rows.copy()
    bad[1, 13, 2] = np.inf
    with pytest.raises(ValueError, match="row 33 of stream 1 is not finite"):
        many.partial_fit(bad)
    huge = rows.copy()
    huge[2, 5] = 1e200
    with pytest.raises(ValueError, match="overflows in stream 2"):
        many.partial_fit(huge)
    for wrong in (rows[:2], rows[:, :, :3]):
        with pytest.raises(ValueError, match=r"\(3, m, 4\) as before"):
            many.partial_fit(wrong)
    with pytest.raises(ValueError, match=r"at least one stream, got \(20, 4\)"):
        many.partial_fit(rows[0])
    with pytest.raises(ValueError, match="same number of columns"):
        many.partial_fit([[[1.0, 2.0]], [[1.0]]])
    with pytest.raises(TypeError, match="must not be masked"):
        many.partial_fit(np.ma.masked_array(rows))
    np.testing.assert_array_equal(many.components_, before)
    np.testing.assert_array_equal(many.frobenius2_, norms2)
    assert many.n_seen_ == 20
    assert np.isnan(ManyStreams(Oja(0.1, check_finite=False)).fit(bad).components_[1]).all()


def test_what_cannot_go_side_by_side_is_refused():
    rows = rows_of(3, 20, 4)

    class Own(Oja):
        pass

    refused = (FrequentDirections(3), Oja(0.1, n_components=2), AdaOja(batch_size=2), OjaGrid(), ClippedOja(0.1))
    for made in (*refused, OjaPlusPlus(0.1, phase_rows=3), Own(0.1), "oja"):
        with pytest.raises(TypeError, match="need Oja, Krasulina or AdaOja"):
            ManyStreams(made).fit(rows)
    for options in (dict(center=True), dict(scale="first_row")):
        with pytest.raises(TypeError, match="center=False and a scale"):
            ManyStreams(Oja(0.1, **options)).fit(rows)
    for rates in (np.ones(2), np.ones((3, 2)), np.ones((1, 3))):
        with pytest.raises(ValueError, match="3 streams need a batch of as many members or one"):
            ManyStreams(Oja(rates)).fit(rows)
    with pytest.raises(TypeError, match="center must be True or False"):
        ManyStreams(Oja(0.1, center="no")).fit(rows)
    with pytest.raises(ValueError, match="at least one stream"):
        ManyStreams(Oja(0.1)).fit(rows[:0])
    with pytest.raises(ValueError, match="complex"):
        ManyStreams(Oja(0.1)).fit(rows + 0j)
    unread = ManyStreams(Oja(0.1))
    for call in (lambda: unread.components_, lambda: unread.status_, lambda: unread.fit(rows[:, :0])):
        with pytest.raises(AttributeError, match="no rows yet"):
            call()
    rows[1] = 0
    with pytest.raises(ValueError, match="all 20 rows of stream 1 are zero"):
        ManyStreams(Oja(0.1)).fit(rows)
    started = ManyStreams(Oja(0.1)).partial_fit(rows)
    assert started.status_[1] == "no_growth"
    with pytest.raises(ValueError, match="stream 1 are zero"):
        _ = started.components_
    unread = ManyStreams(Oja(0.1)).partial_fit(rows[:, :0])
    with pytest.raises(AttributeError, match="the streams are empty"):
        _ = unread.components_


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return Emulator(tmp_path_factory.mktemp("kernels"))


class Copies:
    """NumPy in the place of a library whose arrays lie elsewhere: `asarray` copies."""

    def __getattr__(self, name):
        return np.array if name == "asarray" else getattr(np, name)


def both(emulator, rows, rates, kind, seen, w, scalars):
    """Return w, scalars and norms of the kernel and of its twin."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gpu_launch, "launch", emulator.launch)
        patch.setattr(_gpu_many, "namespace", lambda rows: Copies())
        for module in (_gpu_many, _cpu_many):
            state = w.copy(), scalars.copy()
            found.append((*state, module.take_each(rows, rates, kind, seen, *state)))
    return found


def begun(streams, d, seed=1):
    w, scalars = rows_of(streams, 1, d, seed)[:, 0], np.zeros((streams, SCALARS))
    scalars[:, NORM2], scalars[:, B] = (w * w).sum(-1), 0.7
    return w, scalars


@needs_compiler
@settings(deadline=None, max_examples=30)
@given(
    streams=st.integers(1, 4),
    n=st.integers(1, 40),
    d=st.sampled_from([1, 31, 33, 64, 65, 250, 257]),
    kind=st.integers(0, 2),
    shared=st.sampled_from(["nothing", "rows", "streams", "all"]),
    eta=st.floats(0, 1e3),
    dtype=st.sampled_from([np.float64, np.float32]),
    seed=st.integers(0, 99),
)
def test_the_kernel_is_a_twin(emulator, streams, n, d, kind, shared, eta, dtype, seed):
    generator = np.random.default_rng(seed)
    rows = rows_of(streams, n, d, seed).astype(dtype)
    rates = eta * generator.uniform(
        0, 1, (1 if shared in ("rows", "all") else n, 1 if shared in ("streams", "all") else streams)
    )
    if kind == 1:  # beyond 1 - rate rho = 0 any rounding may be amplified
        rates = rates * (0.5 / max(eta, 1e-300) / np.square(rows, dtype=np.float64).sum(-1).max())
    rates = np.broadcast_to(rates, (n, streams))
    (w, scalars, norms2), (v, numbers, expected) = both(emulator, rows, rates, kind, 37, *begun(streams, d))
    np.testing.assert_allclose(norms2, expected, rtol=1e-12)
    lengths, others = np.linalg.norm(w, axis=1), np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(w / lengths[:, None], v / others[:, None], atol=1e-9)
    growth, wanted = scalars[:, 1] + np.log(lengths), numbers[:, 1] + np.log(others)
    np.testing.assert_allclose(growth, wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scalars[:, 2:], numbers[:, 2:], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(scalars[:, NORM2], lengths**2, rtol=1e-10)


@needs_compiler
@pytest.mark.parametrize("d", [1024, 1025, 4096, 4097])
def test_wide_rows(emulator, d):
    """The last shapes of the kernel, and rows beyond them, which go through matrix products."""
    rows = rows_of(2, 5, d)
    rates = np.broadcast_to([[1e-3, 3e-3]], (5, 2))
    before = emulator.started
    (w, scalars, norms2), (v, numbers, expected) = both(emulator, rows, rates, 0, 0, *begun(2, d))
    assert emulator.started - before == (1 if d <= 4096 else 2)
    np.testing.assert_allclose(norms2, expected, rtol=1e-12)
    factors = np.exp(numbers[:, 1] - scalars[:, 1])
    np.testing.assert_allclose(w, factors[:, None] * v, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scalars[:, 3:], numbers[:, 3:], rtol=1e-9)


@needs_compiler
def test_growth_beyond_floats_and_steps_that_are_too_long(emulator):
    rows = rows_of(2, 60, 9)
    rates = np.broadcast_to([[1e17, 1e-3]], (60, 2))
    (w, scalars, _), (v, numbers, _) = both(emulator, rows, rates, 0, 0, *begun(2, 9))
    growth = scalars[:, 1] + np.log(np.linalg.norm(w, axis=1))
    assert growth[0] > 2000
    np.testing.assert_allclose(growth, numbers[:, 1] + np.log(np.linalg.norm(v, axis=1)), rtol=1e-10)
    with pytest.raises(ValueError, match="rows 7 to 66 of the stream: rows on a device take shorter"):
        both(emulator, rows, 1e5 * rates, 0, 7, *begun(2, 9))
    rows[1, 3, 2] = np.nan
    norms2 = both(emulator, rows, rates, 0, 0, *begun(2, 9))[0][2]
    np.testing.assert_array_equal(np.isfinite(norms2), [True, False])
    with pytest.raises(ValueError, match="rows on a device take shorter"):
        both(emulator, rows, 1e5 * rates, 0, 0, *begun(2, 9))


@needs_compiler
@pytest.mark.parametrize("size", [1e-140, 1e120])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_rows_of_any_size(emulator, size, kind):
    rows = size * rows_of(2, 30, 5)
    rates = np.broadcast_to(0.01 / size / size, (30, 2))
    (w, scalars, norms2), (v, numbers, expected) = both(emulator, rows, rates, kind, 0, *begun(2, 5))
    np.testing.assert_allclose(norms2, expected, rtol=1e-12)
    directions = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (w, v)]
    np.testing.assert_allclose(*directions, atol=1e-9)
    np.testing.assert_allclose(scalars[:, 2:], numbers[:, 2:], rtol=1e-8)
