"""Linear maps from matrices to measurements, with their adjoints.

An operator is unscaled and has ``matrix_shape``, ``m``, ``symmetric``, ``dtype``, ``forward(z)``, ``adjoint(v)`` and
``residual_and_gradient(z, y, scale, link) -> (value, gradient)``, one pass over its data. Points are matrices
``(*batch, n1, n2)`` or `lrtheory.factors.Factors`; any number of batch axes goes through at once. At an array the
gradient is an array, at Factors it may also be Factors or a `lrtheory.sparse.SparseMatrix`. Each knows its
``unit_scale``, at which ``E |s A(Z)|^2 = |Z|_F^2``. Optional is ``factor_gradient(x, y, scale, link, threshold)``, the
value and the gradients with respect to the factors where there is a cheaper way to them than through R.
"""

from lrtheory.operators._links import LINKS
from lrtheory.operators.counter_based import CounterBased, counter_based
from lrtheory.operators.dense import Dense
from lrtheory.operators.entries import Entries, sample_entries
from lrtheory.operators.fwht import fwht
from lrtheory.operators.gaussian import gaussian
from lrtheory.operators.gram import Gram
from lrtheory.operators.hadamard import SubsampledHadamard, hadamard
from lrtheory.operators.identity import Identity
from lrtheory.operators.packed import SymmetricPacked, pack_symmetric, unpack_symmetric
from lrtheory.operators.pauli import Pauli, pauli
from lrtheory.operators.rademacher import Rademacher, rademacher
from lrtheory.operators.rank_one import RankOne, rank_one

__all__ = [
    "LINKS",
    "CounterBased",
    "Dense",
    "Entries",
    "Gram",
    "Identity",
    "Pauli",
    "Rademacher",
    "RankOne",
    "SubsampledHadamard",
    "SymmetricPacked",
    "counter_based",
    "fwht",
    "gaussian",
    "hadamard",
    "pack_symmetric",
    "pauli",
    "rademacher",
    "rank_one",
    "sample_entries",
    "unpack_symmetric",
]
