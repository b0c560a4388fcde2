"""Generated operators, word by word and entry by entry as the descriptions of their laws read."""

import numpy as np

from lrtheory.operators import _gpu_generated


def words(key, width, m):
    """SplitMix64 in Python's integers, word by word."""
    mask = 2**64 - 1
    found = []
    for c in range(m * width):
        x = (key + (c + 1) * 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        found.append(x ^ (x >> 31))
    return np.array(found, dtype=np.uint64).reshape(m, width)


TABLE = np.sort(np.random.default_rng(3).standard_normal(4096))
KEY = 0xF123456789ABCDEF


def generated(law, m, d):
    """Source and rows, entry by entry as the description of the laws reads."""
    width = -(-d // _gpu_generated.PER_WORD[law])
    word = words(KEY, width, m)
    rows = np.empty((m, d))
    for j in range(d):
        if law in (_gpu_generated.STORED, _gpu_generated.SIGN):
            rows[:, j] = np.where((word[:, j // 64] >> np.uint64(j % 64)) & np.uint64(1), 1.0, -1.0)
        elif law == _gpu_generated.QUANTISED:
            rows[:, j] = TABLE[((word[:, j // 4] >> np.uint64(12 * (j % 4))) & np.uint64(4095)).astype(np.int64)]
        else:
            high, low = word[:, j // 2] >> np.uint64(32), word[:, j // 2] & np.uint64(2**32 - 1)
            wave = np.sin if j % 2 else np.cos
            rows[:, j] = np.sqrt(-2 * np.log((high + 0.5) / 2**32)) * wave(2 * np.pi * (low / 2**32))
    return (law, word if law == _gpu_generated.STORED else np.empty((0, 0), np.uint64), TABLE, KEY, width), rows
