"""Counter-based random streams, keyed by what is drawn.

A random object's key is (seed, purpose, the parameters it is drawn from), never the experiment's cell: two cells that
ask for the same truth, operator or start get the same numbers, whatever ran before them, in whichever process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lrtheory.backend import is_array, to_numpy


def _token(part: Any) -> str:
    if isinstance(part, (bool, np.bool_)):
        return f"b{int(part)}"
    if isinstance(part, (int, np.integer)):
        return f"i{int(part)}"
    if isinstance(part, (float, np.floating)):
        return f"f{float(part).hex()}"
    if isinstance(part, str):
        return f"s{len(part)}:{part}"
    if isinstance(part, tuple):
        return f"t{len(part)}({','.join(_token(p) for p in part)})"
    raise TypeError(f"a stream's key takes ints, floats, strings, tuples and integer arrays, got {type(part).__name__}")


class Stream:
    """A source of random numbers that is named, not consumed.

    Parameters
    ----------
    *path : int, float, str, tuple or integer array
        The name. Arrays give a batch of streams, one for each entry of their common (broadcast) shape.

    Notes
    -----
    The Philox generator [1]_ of a stream is seeded by the SHA-256 digest of its path, so equal paths give equal
    numbers and different paths give independent ones. Streams have no state: drawing twice gives the same numbers.

    References
    ----------
    .. [1] J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.

    Examples
    --------
    >>> Stream(0).child("truth", 50, 3).normal((2,)).shape
    (2,)
    >>> Stream(0).child("start", np.arange(4)).normal((2,)).shape
    (4, 2)
    """

    __slots__ = ("path",)

    def __init__(self, *path: Any) -> None:
        parts: list[Any] = []
        for part in path:
            if isinstance(part, Stream):
                parts.extend(part.path)
            elif is_array(part):
                keys = to_numpy(part)
                if keys.dtype.kind not in "iu":
                    raise TypeError(f"stream keys must be integers, got an array of {keys.dtype}")
                if keys.size and int(keys.max()) > np.iinfo(np.int64).max:
                    raise ValueError(f"stream keys in an array must be below 2**63, got {keys.max()}")
                parts.append(int(keys) if keys.ndim == 0 else keys.astype(np.int64))
            else:
                _token(part)
                parts.append(part)
        self.path: tuple[Any, ...] = tuple(parts)

    def child(self, *path: Any) -> Stream:
        """Return the stream named by this one's path and `path` after it."""
        return Stream(*self.path, *path)

    def at(self, t: Any) -> Stream:
        """Return the stream of step `t` (an int, or an integer array of the batch shape)."""
        return self.child("t", t)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(p.shape for p in self.path if isinstance(p, np.ndarray)))

    def generator(self) -> np.random.Generator:
        """Return the stream's generator. Raises ValueError for a batch of streams (use `draw`)."""
        if self.batch_shape != ():
            raise ValueError(f"a batch of streams (shape {self.batch_shape}) has no single generator; use draw")
        return self._generator(tuple(int(p) if isinstance(p, np.ndarray) else p for p in self.path))

    @staticmethod
    def _generator(path: tuple[Any, ...]) -> np.random.Generator:
        digest = hashlib.sha256("/".join(_token(p) for p in path).encode()).digest()
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(digest, "little"))))

    def draw(self, sample: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        """Return `sample(generator)` for every stream of the batch, stacked: shape ``(*batch_shape, ...)``."""
        shape = self.batch_shape
        if shape == ():
            return np.asarray(sample(self.generator()))
        columns = [np.broadcast_to(p, shape) if isinstance(p, np.ndarray) else p for p in self.path]
        drawn = [
            sample(self._generator(tuple(p[i] if isinstance(p, np.ndarray) else p for p in columns)))
            for i in np.ndindex(shape)
        ]
        return np.stack(drawn).reshape(shape + np.shape(drawn[0]))

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return standard normal numbers, shape ``(*batch_shape, *shape)``, float64 on the host."""
        return self.draw(lambda generator: generator.standard_normal(shape))

    def __repr__(self) -> str:
        return f"Stream{self.path!r}"


def as_stream(stream: Any) -> Stream:
    """Return a Stream from an int, an integer array of batch shape (one key for each element) or a Stream."""
    if isinstance(stream, Stream):
        return stream
    if isinstance(stream, bool) or not (isinstance(stream, (int, np.integer)) or is_array(stream)):
        raise TypeError(f"stream must be an int, an integer array or a Stream, got {stream!r}")
    return Stream(stream)
