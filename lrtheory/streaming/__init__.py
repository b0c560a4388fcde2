"""Streaming top-eigenvector estimation: one pass over the rows of a matrix, O(d) to O(h d) memory, every order."""

from lrtheory.streaming import certificates, instances, metrics, theory, transfers
from lrtheory.streaming._estimator import StreamingEstimator
from lrtheory.streaming.adaoja import AdaOja
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.directions import FrequentDirections
from lrtheory.streaming.grid import OjaGrid
from lrtheory.streaming.heavy import HeavyRows
from lrtheory.streaming.heavy_light import HeavyBlockPower, HeavyHistory
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.incremental import CCIPCA, IncrementalSVD
from lrtheory.streaming.instances import StreamInstance
from lrtheory.streaming.krasulina import MatrixKrasulina
from lrtheory.streaming.many_streams import ManyStreams
from lrtheory.streaming.oja import Krasulina, Oja
from lrtheory.streaming.oja_plus_plus import OjaPlusPlus
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.robust import ClippedOja, GeometricMedianOja
from lrtheory.streaming.sketches import GaussianSketch, RowSampler

__all__ = [
    "CCIPCA",
    "AdaOja",
    "BlockPower",
    "ClippedOja",
    "CountSketch",
    "FrequentDirections",
    "GaussianSketch",
    "GeometricMedianOja",
    "HeavyBlockPower",
    "HeavyHistory",
    "HeavyRows",
    "HistoryPCA",
    "IncrementalSVD",
    "Krasulina",
    "ManyStreams",
    "MatrixKrasulina",
    "Oja",
    "OjaGrid",
    "OjaPlusPlus",
    "RowSampler",
    "StreamInstance",
    "StreamingEstimator",
    "certificates",
    "instances",
    "metrics",
    "theory",
    "transfers",
]
