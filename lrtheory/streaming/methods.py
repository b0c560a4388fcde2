"""The streaming methods by the names that experiments use; a cell says all parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrtheory.names import check_name
from lrtheory.random import Stream
from lrtheory.streaming.adaoja import AdaOja
from lrtheory.streaming.count_sketch import CountSketch
from lrtheory.streaming.directions import FrequentDirections
from lrtheory.streaming.grid import OjaGrid
from lrtheory.streaming.heavy import HeavyRows
from lrtheory.streaming.heavy_light import HeavyBlockPower, HeavyHistory
from lrtheory.streaming.history import HistoryPCA
from lrtheory.streaming.incremental import CCIPCA, IncrementalSVD
from lrtheory.streaming.oja import Krasulina, Oja
from lrtheory.streaming.power import BlockPower
from lrtheory.streaming.robust import ClippedOja, GeometricMedianOja
from lrtheory.streaming.sketches import RowSampler

Columns = dict[str, Any]

METHODS: dict[str, Callable[[Columns, Stream], Any]] = {
    "oja": lambda c, stream: Oja(c["step_size"], stream=stream),
    "oja_inv": lambda c, stream: Oja(c["step_size"], schedule="inv", t0=c.get("t0", 0.0), stream=stream),
    "krasulina_inv": lambda c, stream: Krasulina(c["step_size"], schedule="inv", t0=c.get("t0", 0.0), stream=stream),
    "krasulina": lambda c, stream: Krasulina(c["step_size"], stream=stream),
    "adaoja": lambda c, stream: AdaOja(stream=stream),
    "oja_grid": lambda c, stream: OjaGrid(stream=stream),
    "clipped_oja": lambda c, stream: ClippedOja(c["step_size"], stream=stream),
    "geometric_median_oja": lambda c, stream: GeometricMedianOja(c["step_size"], stream=stream),
    "block_power": lambda c, stream: BlockPower(c.get("n_blocks"), block_size=c.get("block_size"), stream=stream),
    "history": lambda c, stream: HistoryPCA(c["block_size"], stream=stream),
    "heavy_rows": lambda c, stream: HeavyRows(c["h_max"]),
    "heavy_select": lambda c, stream: HeavyBlockPower(c["h_max"], combine="select", stream=stream),
    "heavy_block_power": lambda c, stream: HeavyBlockPower(c["h_max"], stream=stream),
    "heavy_history": lambda c, stream: HeavyHistory(c["h_max"], stream=stream),
    "incremental": lambda c, stream: IncrementalSVD(c["n_components"], batch_size=c["batch"]),
    "ccipca": lambda c, stream: CCIPCA(),
    "frequent_directions": lambda c, stream: FrequentDirections(c["size"]),
    "count_sketch": lambda c, stream: CountSketch(c["size"], stream=stream),
    "row_sample": lambda c, stream: RowSampler(c["size"], stream=stream),
}


def method(c: Columns, stream: Stream) -> Any:
    """Return the estimator that a cell names, and its random stream."""
    return METHODS[check_name("method", c["method"], METHODS)](c, stream)
