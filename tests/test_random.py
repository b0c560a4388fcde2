"""Streams: named, stateless, independent of batch and of call order."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrtheory.random import Stream, as_stream

PARTS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.tuples(st.integers(0, 9), st.text(max_size=2)),
)


def first(stream):
    return stream.normal((4,)).tobytes()


@given(st.lists(PARTS, max_size=4))
def test_equal_paths_give_equal_bytes_and_drawing_consumes_nothing(path):
    stream = Stream(*path)
    before = first(stream)
    stream.normal((100,))
    assert first(stream) == before
    assert first(Stream(*path)) == before
    assert first(Stream(stream)) == before


@given(st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3))
def test_different_paths_give_different_numbers(a, b):
    # repr tells 1 from 1.0, from "1" and from "1/" where == would not
    same = repr(a) == repr(b)
    assert (first(Stream(*a)) == first(Stream(*b))) is same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1,), (1.0,)),
        ((1,), ("1",)),
        ((True,), (1,)),
        (("a", "b"), ("a/b",)),
        (("a/s1:b",), ("a", "b")),
        (((1, 2),), (1, 2)),
        ((1, 2), (2, 1)),
        ((12,), (1, 2)),
        ((0.0,), (-0.0,)),
        ((), ("",)),
    ],
)
def test_keys_that_look_alike_differ(a, b):
    assert first(Stream(*a)) != first(Stream(*b))


def test_the_key_format_is_the_documented_one():
    # SHA-256 of the path, as the seed of Philox: an independent reading of the docstring. A change here changes
    # every stored result.
    digest = hashlib.sha256(b"i0/s5:truth/i50/f0x1.8000000000000p-1/t2(i1,s1:x)").digest()
    seed = np.random.SeedSequence(int.from_bytes(digest, "little"))
    expected = np.random.Generator(np.random.Philox(seed)).standard_normal(5)
    assert np.array_equal(Stream(0, "truth", 50, 0.75, (1, "x")).normal((5,)), expected)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=5), st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_a_batch_of_streams_is_its_members(seeds, others):
    batch = Stream(np.array(seeds)[:, None], "start", np.array(others))
    assert batch.batch_shape == (len(seeds), len(others))
    drawn = batch.normal((2, 3))
    assert drawn.shape == (len(seeds), len(others), 2, 3)
    for i, seed in enumerate(seeds):
        for j, other in enumerate(others):
            assert np.array_equal(drawn[i, j], Stream(seed, "start", other).normal((2, 3)))


def test_a_zero_dimensional_array_is_its_number():
    assert Stream(np.array(7)).path == (7,)
    assert Stream(np.array(7)).batch_shape == ()
    assert first(Stream(np.int32(7))) == first(Stream(7)) == first(Stream(np.array(7, dtype=np.uint8)))


def test_child_and_at_extend_the_path():
    assert Stream(0).child("a", 1).path == (0, "a", 1)
    assert Stream(0).at(3).path == (0, "t", 3)
    steps = Stream(5).at(np.array([1, 2])).normal((3,))
    assert np.array_equal(steps[1], Stream(5).at(2).normal((3,)))


def test_as_stream_takes_ints_arrays_and_streams():
    stream = Stream(1)
    assert as_stream(stream) is stream
    assert as_stream(4).path == (4,)
    assert as_stream(np.arange(3)).batch_shape == (3,)


@pytest.mark.parametrize("bad", [None, [1, 2], {1}, object(), 1j, np.ones(2), np.array([True, False])])
def test_what_is_no_key_is_refused(bad):
    with pytest.raises(TypeError, match="stream"):
        Stream(bad)


def test_a_batch_has_no_single_generator():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        Stream(np.arange(2)).generator()


def test_numbers_of_many_streams_are_standard_normal_and_uncorrelated():
    # 2000 neighbouring seeds x 50 numbers: five standard errors of mean, variance and neighbour correlation
    drawn = Stream(np.arange(2000), "x").normal((50,))
    assert abs(drawn.mean()) < 5 / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / drawn.size)
    assert abs((drawn[1:] * drawn[:-1]).mean()) < 5 / np.sqrt(drawn.size)


def test_draw_takes_any_sampler():
    drawn = Stream(np.arange(3)).draw(lambda generator: generator.integers(0, 10, 4))
    assert drawn.shape == (3, 4)
    assert drawn.dtype.kind == "i"
    assert np.array_equal(drawn[2], Stream(2).generator().integers(0, 10, 4))


def test_keys_beyond_int64_do_not_wrap():
    with pytest.raises(ValueError, match="2\\*\\*63"):
        Stream(np.array([2**63], dtype=np.uint64))
