"""Input that cannot be meant is refused before anything is computed, by a sentence that names the argument."""

import numpy as np
import pytest

from lrtheory import ssm
from lrtheory.ssm.bidirectional import bidirectional_kernel
from lrtheory.ssm.initialization import INITIALISATIONS

A, ONES = np.array([-1 + 1j, -2 + 3j]), np.ones(2)


def system():
    return ssm.DiagonalSSM(A, ONES, ONES, 0.1)


@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda: ssm.s4d(8, dt_min="0.1"), TypeError, "dt_min must be a real number, got '0.1'"),
        (lambda: ssm.s4d(8, dt_max=None), TypeError, "dt_max must be a real number, got None"),
        (lambda: ssm.s4d(8, dt_min=np.ones(2)), TypeError, "dt_min must be a real number, got array"),
        (lambda: ssm.s4d(8, dt_min=0), ValueError, "0 < dt_min"),
        (lambda: ssm.s4d(8, dt_min=0.1, dt_max=0.01), ValueError, "dt_min <= dt_max"),
        (lambda: ssm.s4d(8, init="lru", ring=(0, 1)), TypeError, r"ring must be three numbers .* got \(0, 1\)"),
        (lambda: ssm.s4d(8, init="lru", ring=None), TypeError, "ring must be three numbers"),
        (lambda: ssm.s4d(8, init="lru", ring=("a", 1, 2)), TypeError, "ring must be three numbers"),
        (lambda: ssm.s4d(8, init="LegS"), ValueError, "did you mean legs"),
        (lambda: ssm.s4d(8, discretization="ZOH"), ValueError, "no discretization 'ZOH'; did you mean zoh"),
        (lambda: ssm.s4d(8, discretization=2.0), ValueError, "discretization must be a name, zoh"),
        (lambda: ssm.s5(8, 4, discretization=None), ValueError, "discretization must be a name"),
        (lambda: ssm.fit_kernel(np.ones(20), 2, discretization="Zoh"), ValueError, "no discretization 'Zoh'"),
        (lambda: ssm.discretize(A, ONES, 0.1, "ZOH"), ValueError, "no rule 'ZOH'; did you mean zoh"),
        (lambda: ssm.discretize(A, np.ones(3), 0.1), ValueError, r"a, b must broadcast, got a \(2,\) and b \(3,\)"),
        (lambda: ssm.discretize(np.stack([A, A]), ONES, np.ones(3)), ValueError, r"dt .* \(3, 1\)"),
        (lambda: ssm.DiagonalSSM(0 * A, ONES, ONES), ValueError, "must be negative, got up to 0;"),
        (lambda: system().kernel(8, "fft"), TypeError, "algorithm must be a function, one of lrtheory.ssm.vandermonde"),
        (lambda: system().apply(ONES, None, "fft"), TypeError, "algorithm must be a function, .*application"),
        (lambda: system().log_nodes("a"), TypeError, "rate must be a real number"),
        (lambda: system().log_nodes(-1), ValueError, "rate must be positive"),
        (lambda: system().step(1.0, np.ones(3)), ValueError, r"^x must have shape \(\.\.\., 2\)"),
        (lambda: system().apply(ONES, np.ones(3)), ValueError, r"^x0 must have shape \(\.\.\., 2\)"),
        (lambda: ssm.difference(system(), None), TypeError, "second must be a DiagonalSSM, got NoneType"),
        (lambda: ssm.difference(3, system()), TypeError, "first must be a DiagonalSSM, got int"),
        (lambda: ssm.apply_bidirectional(system(), None, ONES), TypeError, "backward must be a DiagonalSSM"),
        (lambda: bidirectional_kernel("a", system(), 4), TypeError, "forward must be a DiagonalSSM, got str"),
        (lambda: ssm.apply_bidirectional(system(), system(), [1.0]), TypeError, "u must be an array, got list"),
        (lambda: ssm.real_part([1.0]), TypeError, "theta must be an array, got list"),
        (lambda: ssm.real_part_slope(1.0), TypeError, "theta must be an array, got float"),
        (lambda: ssm.real_part_parameter([-1.0]), TypeError, "re must be an array, got list"),
        (lambda: ssm.real_part(ONES, ONES), ValueError, "no transform array.*: a name is expected"),
        (lambda: ssm.s5(8, 4).apply(np.ones((3, 4)), "associative"), TypeError, "scan must be a function"),
        (
            lambda: ssm.dss_exp(np.zeros(3), np.zeros(2), np.ones(3)),
            ValueError,
            r"log_decay \(3,\) and frequency \(2,\)",
        ),
        (lambda: ssm.theory.continuous_error_limit(-1), ValueError, "n must hold integers >= 0, got -1"),
        (lambda: ssm.theory.clipped_error_law(0, np.array([8, 0])), ValueError, "N must hold integers >= 1"),
        (lambda: ssm.theory.zoh_error_law(0, -1.0, 8), ValueError, "dt must be positive"),
        (lambda: ssm.theory.zoh_error_law(0.5, 0.1, 8), ValueError, "n must hold integers"),
        (lambda: ssm.theory.legs_frequency("a", 0), ValueError, "N must hold integers"),
        (lambda: ssm.theory.legs_transfer(-1, 1.0), ValueError, "n must be an integer >= 0"),
        (lambda: ssm.dss_softmax_kernel(A, np.ones(3), 0.1, 4), ValueError, r"A \(2,\) and W \(3,\)"),
        (lambda: ssm.dss_softmax_kernel(A, ONES, 0.1, 4, "naive"), TypeError, "algorithm must be a function"),
    ],
)
def test_wrong_input_is_named(call, kind, named):
    with pytest.raises(kind, match=named):
        call()


def test_a_long_growth_names_the_precision():
    grows = ssm.DiagonalSSM(-100 * A, ONES, ONES, allow_unstable=True)
    with pytest.raises(OverflowError, match=r"; float64 holds exp\(700\)"):
        grows.kernel(1000)


@pytest.mark.parametrize("scan", [ssm.sequential_scan, ssm.associative_scan])
def test_scans_name_what_does_not_fit(scan):
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., M\) and v \(\.\.\., L, M\), got \(2,\) and \(3,\)"):
        scan(A, np.ones(3))
    with pytest.raises(ValueError, match=r"v \(5, 3\) and x \(1, 2\)"):
        scan(A, np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"x \(2,\) and state \(3,\)"):
        scan(A, np.ones((5, 2)), np.ones(3))
    with pytest.raises(TypeError, match="v must be an array, got str"):
        scan(A, "v")
    with pytest.raises(TypeError, match="state must be an array, got list"):
        scan(A, np.ones((5, 2)), [0, 0])


@pytest.mark.parametrize("init", INITIALISATIONS)
def test_every_name_is_accepted_in_its_own_spelling_only(init):
    assert ssm.poles(8, init).shape == (8 if init == "real" else 4,)
    with pytest.raises(ValueError, match=f"did you mean .*{init}"):
        ssm.poles(8, init.upper())
