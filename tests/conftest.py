"""One thread, and Hypothesis without deadline: the first call of a kernel compiles it."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # for the processes that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a background job; processes that tests start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_slow = [HealthCheck.too_slow]  # compilation, again
# The default suite is reproducible; `pytest --hypothesis-profile=fuzz` looks for new examples.
settings.register_profile("lrtheory", deadline=None, max_examples=25, derandomize=True, suppress_health_check=_slow)
settings.register_profile("fuzz", deadline=None, max_examples=500, suppress_health_check=_slow)
settings.load_profile("lrtheory")


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
