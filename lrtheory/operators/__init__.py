"""Linear maps from matrices to measurements, with their adjoints.

An operator is unscaled and has ``matrix_shape``, ``m``, ``symmetric``, ``dtype``, ``forward(z)``, ``adjoint(v)`` and
``residual_and_gradient(z, y, scale, link) -> (value, gradient)``, one pass over its data. Points are matrices
``(*batch, n1, n2)`` or `lrtheory.factors.Factors`; any number of batch axes goes through at once.
"""

from lrtheory.operators._links import LINKS
from lrtheory.operators.counter_based import CounterBased, counter_based
from lrtheory.operators.dense import Dense
from lrtheory.operators.gaussian import gaussian
from lrtheory.operators.gram import Gram
from lrtheory.operators.identity import Identity
from lrtheory.operators.packed import SymmetricPacked, pack_symmetric, unpack_symmetric
from lrtheory.operators.rademacher import Rademacher, rademacher

__all__ = [
    "LINKS",
    "CounterBased",
    "Dense",
    "Gram",
    "Identity",
    "Rademacher",
    "SymmetricPacked",
    "counter_based",
    "gaussian",
    "pack_symmetric",
    "rademacher",
    "unpack_symmetric",
]
