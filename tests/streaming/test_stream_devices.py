"""Rows on a device: the CUDA kernel, run on the CPU by emulation, and the path of an estimator to it."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrtheory.operators import _gpu_launch
from lrtheory.streaming import (
    AdaOja,
    BlockPower,
    FrequentDirections,
    HistoryPCA,
    Krasulina,
    Oja,
    OjaPlusPlus,
    _blocks,
    _estimator,
    _gpu,
    _products,
    history,
    oja,
    sources,
    transfers,
)
from lrtheory.streaming._cpu import BEFORE, LOG_SCALE, NORM2, SINCE, B
from tests.operators.cuda_emulation import Emulator

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="emulating CUDA C on the CPU needs g++")
D = 7


class OnDevice(np.ndarray):
    """Stands in for a CuPy array."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    return Emulator(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def emulated(emulator, monkeypatch):
    calls = []
    monkeypatch.setattr(_gpu_launch, "launch", emulator.launch)
    for name in ("take", "add_products"):
        function = getattr(_gpu, name)
        monkeypatch.setattr(_gpu, name, lambda *a, function=function: calls.append(a) or function(*a))
    for module in (_estimator, _products, history, oja, sources):
        monkeypatch.setattr(module, "is_cupy", lambda *arrays: all(isinstance(a, OnDevice) for a in arrays))
    for module in (oja, _products):
        plain = module.twin
        monkeypatch.setattr(
            module, "twin", lambda name, *a, plain=plain: _gpu if isinstance(a[0], OnDevice) else plain(name, *a)
        )
    return calls


def rows_of(n, d=D, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def moved(rows):
    return np.ascontiguousarray(rows).view(OnDevice)


def test_entries_of_the_state_are_numbered_alike():
    assert (_gpu.NORM2, _gpu.LOG_SCALE, _gpu.B, _gpu.BEFORE, _gpu.SINCE) == (NORM2, LOG_SCALE, B, BEFORE, SINCE)


@needs_compiler
@pytest.mark.parametrize("made", [Oja(0.1), Krasulina(0.1), AdaOja()], ids=["oja", "krasulina", "adaoja"])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("members", [1, 3, 130])
def test_steps_are_those_of_the_host(emulated, made, n, members):
    rows, starts = rows_of(n), rows_of(members, seed=1)[:, None]
    found = [type(made)(**made.get_params() | {"start": starts}).fit(r) for r in (rows, moved(rows))]
    assert len(emulated) == 1
    np.testing.assert_allclose(found[1].components_, found[0].components_, atol=1e-11)
    np.testing.assert_allclose(found[1].log_growth_, found[0].log_growth_, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1].explained_energy_, found[0].explained_energy_, rtol=1e-10)
    assert found[1].frobenius2_ == pytest.approx(found[0].frobenius2_, rel=1e-13)
    if made.__class__ is AdaOja:
        np.testing.assert_allclose(found[1].b_, found[0].b_, rtol=1e-12)


@needs_compiler
@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 150), members=st.integers(1, 20), eta=st.floats(0, 1e3), seed=st.integers(0, 99))
def test_the_kernel_is_a_twin_of_the_blocks(emulator, n, members, eta, seed):
    """Rates of each row and member; a state that comes from rows before."""
    generator = np.random.default_rng(seed)
    rows, rates = rows_of(n, seed=seed), eta * generator.uniform(0, 1, (n, members))
    w, scalars = rows_of(members, seed=seed + 1), np.zeros((members, oja.SCALARS))
    scalars[:, NORM2] = (w * w).sum(-1)
    mine, numbers = w.copy(), scalars.copy()
    norm2 = _blocks.take(rows, rates, 0, 37, w, scalars)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gpu_launch, "launch", emulator.launch)
        assert _gpu.take(rows, rates, 0, 37, mine, numbers) == pytest.approx(norm2, rel=1e-12)
    lengths, others = np.linalg.norm(mine, axis=1), np.linalg.norm(w, axis=1)
    np.testing.assert_allclose(mine / lengths[:, None], w / others[:, None], atol=1e-9)
    np.testing.assert_allclose(numbers[:, NORM2], lengths**2, rtol=1e-12)
    growth, expected = numbers[:, LOG_SCALE] + np.log(lengths), scalars[:, LOG_SCALE] + np.log(others)
    np.testing.assert_allclose(growth, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(numbers[:, [BEFORE, SINCE]], scalars[:, [BEFORE, SINCE]], rtol=1e-8, atol=1e-12)


@needs_compiler
def test_growth_beyond_floats_within_a_block(emulated):
    """Sixty rows that each lengthen w by 1e17."""
    rows, start = rows_of(60), rows_of(1, seed=1)[0]
    found = [Oja(1e17, start=start).fit(r) for r in (rows, moved(rows))]
    assert len(emulated) == 1
    np.testing.assert_allclose(found[1].components_, found[0].components_, atol=1e-9)
    assert found[1].log_growth_ > 2000
    assert found[1].log_growth_ == pytest.approx(float(found[0].log_growth_), rel=1e-10)


@needs_compiler
def test_what_rows_on_a_device_cannot_do_is_refused_and_changes_nothing(emulated):
    rows = rows_of(90)
    bad = rows.copy()
    bad[41, 2] = np.nan
    for made in (Oja(0.1), BlockPower(block_size=50), HistoryPCA(30)):
        found = made.partial_fit(moved(rows))
        before = found.components_
        with pytest.raises(ValueError, match="row 131 of the stream is not finite"):
            found.partial_fit(moved(bad))
        np.testing.assert_array_equal(found.components_, before)
    unchecked = Oja(0.1, check_finite=False).fit(moved(bad))
    assert np.isnan(unchecked.components_).all()
    with pytest.raises(ValueError, match="rows on a device take shorter"):
        Oja(1e30).fit(moved(rows))
    for refused in (FrequentDirections(5), Oja(0.1, n_components=2), AdaOja(batch_size=2), HistoryPCA(inner=2),
                    OjaPlusPlus(0.1, phase_rows=3)):  # fmt: skip
        with pytest.raises(TypeError, match="host's memory"):
            refused.fit(moved(rows))
    for options in (dict(center=True), dict(scale="first_row")):
        with pytest.raises(TypeError, match="center=False and a scale"):
            Oja(0.1, **options).fit(moved(rows))


@needs_compiler
@pytest.mark.parametrize("made", [BlockPower(block_size=37), BlockPower(5, n_components=3), HistoryPCA(20),
                                  HistoryPCA(20, n_components=2), Oja(0.1, schedule="inv")], ids=repr)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_estimators_agree_with_the_host(emulated, made, dtype):
    rows = (rows_of(300) * np.geomspace(3, 1, D)).astype(dtype)
    expected = type(made)(**made.get_params()).fit(rows)
    for options in ({}, {"chunk_rows": 77}, {"order": "random"}):
        called = len(emulated)
        found = type(made)(**made.get_params()).fit(moved(rows), **options)
        assert len(emulated) > called
        if options.get("order") == "random":
            expected = type(made)(**made.get_params()).fit(rows, order="random")
        np.testing.assert_allclose(found.components_, expected.components_, atol=1e-10 if dtype == np.float64 else 1e-6)
        np.testing.assert_allclose(found.explained_energy_, expected.explained_energy_, rtol=1e-6)
        assert found.components_.dtype == dtype


class Queue:
    """A CUDA stream whose work waits until someone asks for it."""

    def __init__(self, non_blocking=False):
        self.work = []

    def record(self):
        return self.until(len(self.work))

    def until(self, count):
        def run():
            while self.done < count:
                self.work[self.done]()
                self.done += 1

        return SimpleNamespace(synchronize=run)

    done = 0

    def wait_event(self, event):
        self.work.append(event.synchronize)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class Memory(bytearray):
    @property
    def mem(self):
        return SimpleNamespace(size=len(self))


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("sizes", [[5], [4, 4, 4, 4, 4], [3, 0, 9, 1, 2, 8]])
def test_chunks_arrive_whole_although_buffers_are_used_again(monkeypatch, sizes, waits):
    """Copies are as late as CUDA allows: only when what waits for them runs."""
    made, current = [], Queue()

    def stream(**options):
        made.append(Queue())
        return made[-1]

    def copy(target, source, count, kind, queue):
        read = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_char * count).from_address(source)).view(np.uint8)
        write = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_char * count).from_address(target)).view(np.uint8)
        made[0].work.append(lambda: write.__setitem__(slice(None), read))

    def empty(shape, dtype):
        array = np.full(shape, np.nan, dtype)
        return SimpleNamespace(array=array, data=SimpleNamespace(ptr=array.ctypes.data))

    runtime = SimpleNamespace(memcpyAsync=copy, memcpyHostToDevice=1)
    cuda = SimpleNamespace(Device=lambda index: Queue(), Stream=stream, alloc_pinned_memory=Memory, runtime=runtime,
                           get_current_stream=lambda: current)  # fmt: skip
    Queue.ptr = 0
    cupy = SimpleNamespace(cuda=cuda, empty=empty)
    monkeypatch.setattr(transfers, "importlib", SimpleNamespace(import_module=lambda name: cupy))
    monkeypatch.setattr(transfers, "check_device", lambda device: device)
    parts = [rows_of(n, seed=i) for i, n in enumerate(sizes)]
    got = []
    for chunk in transfers.on_device(iter(parts)):
        current.work.append(lambda chunk=chunk: got.append(chunk.array.copy()))  # what an estimator would start
        if waits:
            current.record().synchronize()
    current.record().synchronize()
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(parts))


def test_a_device_is_needed():
    with pytest.raises(ValueError, match="device"):
        transfers.on_device(np.ones((3, 2)), "cpu")
    with pytest.raises(ValueError, match="device"):
        transfers.on_device(np.ones((3, 2)), "cuda")
