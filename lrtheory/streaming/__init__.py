"""Streaming top-eigenvector estimation: one pass over the rows of a matrix, O(d) to O(h d) memory, every order."""

from lrtheory.streaming import certificates, instances, metrics, theory
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.directions import FrequentDirections
from lrtheory.streaming.instances import StreamInstance
from lrtheory.streaming.oja import Krasulina, Oja
from lrtheory.streaming.sketches import GaussianSketch, RowSampler

__all__ = [
    "CountSketch",
    "FrequentDirections",
    "GaussianSketch",
    "Krasulina",
    "Oja",
    "RowSampler",
    "StreamInstance",
    "certificates",
    "instances",
    "metrics",
    "theory",
]
