"""Random entries as a function of their place: the integers that every backend reproduces bit for bit, in NumPy.

All arithmetic is that of unsigned 64-bit integers, modulo 2^64. Word c of an operator is output c + 1 of the generator
SplitMix64 [1]_ seeded by the operator's key::

    x = key + (c + 1) * 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    word = x ^ (x >> 31)

A row of d entries (row-major: entry j is A_i[j // n2, j % n2]) takes ``width`` words, and entry j of row i is in word
``c = i * width + j // per_word``:

========== ======== ============== =====================================================
law        per_word width          entry
========== ======== ============== =====================================================
sign       64       ceil(d / 64)   +1 if bit j % 64 of the word (0 the lowest) is set, -1
                                   if not
quantised  4        ceil(d / 4)    table[(word >> (12 * (j % 4))) & 4095]
normal     2        ceil(d / 2)    sqrt(-2 log((h + 1/2) / 2^32)) times the cosine (j even) or sine (j odd) of
                                   2 pi l / 2^32; h and l are the upper and lower 32 bits of the word
========== ======== ============== =====================================================

So a row depends on the key, its number and d, on nothing else. Compiled and GPU kernels repeat this; what is here is
the plain expression they are held against, and what serves array libraries without kernels.

References
----------
.. [1] G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

from functools import cache

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)
CODES = {"sign": 1, "quantised": 2, "normal": 3}  # by which kernels know a law; 0 are stored signs
SIGNS = 64  # a word
LEVELS = 4096  # of the quantised law: 12 bits
QUARTERS = 4  # quantised entries a word
PAIR = 2  # normal entries a word


def words(key: int, first: int, last: int) -> np.ndarray:
    """Return the words first..last-1, uint64."""
    x = np.arange(first + 1, last + 1, dtype=np.uint64)
    x *= np.uint64(GAMMA)  # array arithmetic of unsigned integers wraps in silence
    x += np.uint64(key)
    for shift, factor in zip(SHIFTS, MIX, strict=False):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    return x ^ (x >> np.uint64(SHIFTS[-1]))


def signs(word: np.ndarray, d: int) -> np.ndarray:
    """Return the d signs of each row: words ``(..., width)`` to float64 ``(..., d)``."""
    bits = (word[..., None] >> np.arange(SIGNS, dtype=np.uint64)) & np.uint64(1)
    return 2.0 * bits.reshape(*word.shape[:-1], SIGNS * word.shape[-1])[..., :d] - 1.0


def quantised(word: np.ndarray, d: int) -> np.ndarray:
    """Return the d quantised normal numbers of each row: words ``(..., width)`` to float64 ``(..., d)``."""
    index = (word[..., None] >> np.arange(0, 48, 12, dtype=np.uint64)) & np.uint64(LEVELS - 1)
    return table()[index.reshape(*word.shape[:-1], QUARTERS * word.shape[-1])[..., :d].astype(np.int64)]


def normals(word: np.ndarray, d: int) -> np.ndarray:
    """Return the d normal numbers of each row: words ``(..., width)`` to float64 ``(..., d)``.

    The angle is reduced without rounding before the cosine is taken, which keeps its relative accuracy.
    """
    radius = np.sqrt(-2.0 * np.log(((word >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32))
    turn = (word & np.uint64(0xFFFFFFFF)).astype(np.float64) * 2.0**-31  # in units of pi
    quarter = np.rint(2.0 * turn)
    rest = np.pi * (turn - 0.5 * quarter)
    c, s = np.cos(rest), np.sin(rest)
    case = quarter.astype(np.int64) % 4
    cosine, sine = np.choose(case, (c, -s, -c, s)), np.choose(case, (s, c, -s, -c))
    both = np.stack([radius * cosine, radius * sine], axis=-1)
    return both.reshape(*word.shape[:-1], PAIR * word.shape[-1])[..., :d]


@cache
def table() -> np.ndarray:
    """Return the values of the quantised law: normal quantiles at the middles of 4096 equal parts, divided by their
    root mean square. Mean, odd moments and variance are those of the normal law, the fourth moment is 2.99."""
    from scipy.special import ndtri

    upper = ndtri((np.arange(LEVELS // 2, LEVELS) + 0.5) / LEVELS)
    upper /= np.sqrt(np.mean(upper**2))
    values = np.concatenate([-upper[::-1], upper])
    values.flags.writeable = False
    return values
