"""Published methods by name."""

import pytest

from lrtheory.sensing import gaussian_problem
from lrtheory.sensing.methods import METHODS, RANKLESS, USUAL, published
from lrtheory.solve import RUNNING, solve


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_from_its_usual_start_with_its_usual_parameters(name):
    problem = gaussian_problem(10, 2, 300, kappa=2.0, seed=1)
    algorithm, start = published({"method": name, "k": 2} | USUAL[name])
    result = solve(problem, algorithm, start=start, max_steps=400)
    assert result.status == RUNNING
    assert problem.metrics(result.x)["relative_error"] < 1e-2
    assert name in RANKLESS or result.x.k == 2


def test_usual_parameters_are_those_of_the_methods():
    assert USUAL.keys() == METHODS.keys()


def test_unknown_methods_are_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"no method 'nith'; did you mean niht.*gd_sym.*scaled_gd"):
        published({"method": "nith", "k": 2})


def test_a_missing_parameter_is_named_with_its_usual_value():
    """As where --set gives the rows of another method this one's name."""
    with pytest.raises(ValueError, match=r"method 'agn' needs step_size \(usual: 0.5\), alpha \(usual: 1.0\), which"):
        published({"method": "agn", "k": 2, "rho": 1.0})
    with pytest.raises(ValueError, match=r"method 'niht' needs k \(usual: the search rank\)"):
        published({"method": "niht"})
