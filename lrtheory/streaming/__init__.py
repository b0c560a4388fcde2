"""Streaming top-eigenvector estimation: one pass over the rows of a matrix, O(d) to O(h d) memory, every order."""

from lrtheory.streaming import certificates, instances, metrics, theory
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.heavy import HeavyRows
from lrtheory.streaming.heavy_light import HeavyBlockPower, HeavyHistory
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.instances import StreamInstance
from lrtheory.streaming.oja import Krasulina, Oja
from lrtheory.streaming.power import BlockPower

__all__ = [
    "BlockPower",
    "CountSketch",
    "HeavyBlockPower",
    "HeavyHistory",
    "HeavyRows",
    "HistoryPCA",
    "Krasulina",
    "Oja",
    "StreamInstance",
    "certificates",
    "instances",
    "metrics",
    "theory",
]
