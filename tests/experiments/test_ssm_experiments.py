"""Experiments on diagonal state-space models: every claim can fail; measures are right where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from lrtheory.sweep import loading


def experiment(name):
    return loading.load(loading.find(name))[0]


def verdicts(name, rows):
    return {claim.id: claim.verdict for claim in experiment(name).claims(pd.DataFrame(rows))}


SIZES = (64, 128, 256, 512)


def convergence(quantity, error, predicted=np.nan, **axes):
    return [
        dict(quantity=quantity, N=N, order=0, w=np.nan, dt=np.nan, error=error(N), predicted=predicted(N)) | axes
        for N in SIZES
    ]


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (lambda e: convergence("transfer", e, lambda N: 1 / N, w=1.0), {"S4D.T3.exact", "S4D.T3.slope"}),
        (lambda e: convergence("zoh", e, lambda N: 1 / N, dt=0.1), {"S4D.T4.constant", "S4D.T4.slope"}),
        (lambda e: convergence("step", e, lambda N: np.nan, dt=0.1), {"S4D.T6"}),
    ],
)
def test_claims_on_rates_of_convergence_can_fail(rows, ids):
    assert verdicts("s4d_convergence", rows(lambda N: 1 / N)) == dict.fromkeys(ids, "holds")
    assert verdicts("s4d_convergence", rows(lambda N: 2 / N**0.5)) == dict.fromkeys(ids, "fails")


def test_claim_on_the_plateau_fails_for_kernels_that_converge():
    def plateau(error):
        return verdicts("s4d_convergence", convergence("continuous", error, lambda N: 0.5))

    assert plateau(lambda N: 0.5 + 1e-4) == {"S4D.T5": "holds"}
    assert plateau(lambda N: 3 / N) == {"S4D.T5": "fails"}


def spectra(gap, dense=1e-13, total=1e-14):
    return [
        dict(quantity="legs", init="legs", N=N, mode=0, frequency=1.0, asymptote=1.0)
        | dict(dense_error=dense, sum_error=total, top_gap=np.pi / 6 - gap(N))
        for N in SIZES
    ]


def test_claims_on_the_spectrum_can_fail():
    good = verdicts("s4d_spectra", spectra(lambda N: 0.6 / N**2))
    assert len(good) == 2 * 3 + 1 + 2  # dense eigenvalues up to N = 256
    assert set(good.values()) == {"holds"}
    wrong = verdicts("s4d_spectra", spectra(lambda N: 0.6 / N, dense=1e-9, total=1e-9))
    assert {name: v for name, v in wrong.items() if name != "S4D.T2.limit"} == {
        name: "fails" for name in good if name != "S4D.T2.limit"
    }
    assert verdicts("s4d_spectra", spectra(lambda N: 0.1))["S4D.T2.limit"] == "fails"


def test_claim_on_discretisations_fails_at_first_order():
    def at(order):
        steps = (0.01, 0.005, 0.0025)
        rows = [dict(quantity="kernel", init="lin", N=8, dt=dt, seed=np.nan, difference=dt**order) for dt in steps]
        return verdicts("s4d_discretization", rows)

    assert at(2) == {"S4D.T7": "holds"}
    assert at(1) == {"S4D.T7": "fails"}


def test_claims_on_aliased_modes_fail_for_another_count():
    def counted(count):
        rows = [dict(init="lin", dt=0.1, N=64, length=4, readout=0, step=0, kernel=1.0, spectrum=1.0, aliased=count)]
        return verdicts("s4d_kernels", rows)

    assert counted(21) == {"S4D.F4.aliased.lin.dt0.1": "holds"}
    assert counted(20) == {"S4D.F4.aliased.lin.dt0.1": "fails"}


def memory(legs, rand):
    shared = dict(N=64, dt=2e-3, length=2000, delay=1.0, tikhonov=1e-4)
    noise = [
        dict(task=task, init=init, band=2.0, record=64, seed=seed, error=error, **shared)
        for task in ("noise", "history")
        for seed in range(6)
        for init, error in (("legs", legs), ("rand", rand))
    ]
    return [dict(task="bump", init="legs", band=np.nan, record=np.nan, seed=np.nan, error=legs, **shared), *noise]


def test_claims_on_memory_can_fail():
    ids = {"S4D.F8.bump.legs.delay1", "S4D.F8.noise.legs.delay1", "S4D.F8.history.legs.delay1"}
    assert verdicts("s4d_memory", memory(0.160, 0.7)) == dict.fromkeys(ids, "holds")
    assert verdicts("s4d_memory", memory(0.8, 0.7)) == dict.fromkeys(ids, "fails")


def test_recalled_noise_is_what_the_transfer_functions_allow():
    """The least mean square error of u(t - tau) from the states is a least-squares problem over the band."""
    module = experiment("s4d_memory")
    shared = dict(N=16, dt=0.02, length=200, tikhonov=1e-4, band=2.0, record=512, seed=3, init="inv")
    cells = [dict(task="noise", delay=delay, **shared) for delay in (0.5, 2.0)]
    x = 0.02 * (-0.5 + 1j * 16 / np.pi * (16 / (2 * np.arange(8) + 1) - 1))
    turn = np.exp(-2j * np.pi * np.linspace(-2, 2, 4001) * 0.02)[:, None]
    made = np.concatenate([1 / (1 - np.exp(x) * turn), 1 / (1 - np.exp(np.conj(x)) * turn)], axis=1)
    made = np.concatenate([made[:, :8] + made[:, 8:], (made[:, :8] - made[:, 8:]) / 1j], axis=1)  # of Re z and Im z
    made /= np.linalg.norm(made, axis=0)
    for cell, table in module.run(cells, "cpu"):
        target = turn[:, 0] ** round(cell["delay"] / 0.02)
        stacked = np.concatenate([made.real, made.imag, 1e-4 * np.eye(16)])
        fit = np.linalg.lstsq(stacked, np.concatenate([target.real, target.imag, np.zeros(16)]), rcond=None)[0]
        least = np.linalg.norm(made @ fit - target) / np.linalg.norm(target)
        assert table["error"] == pytest.approx(least, rel=0.05)  # of 4096 independent samples


def test_the_error_of_a_history_is_the_mean_over_its_moments():
    made = experiment("s4d_memory")
    shared = dict(N=8, dt=0.02, length=100, tikhonov=1e-4, band=2.0, record=8, seed=0, init="lin")
    at = [dict(task="noise", delay=delay, **shared) for delay in (0.0, 0.125, 0.25, 0.4)]
    alone = [table["error"] for _, table in made.run(at, "cpu")]
    whole = next(made.run([dict(task="history", delay=0.4, **shared)], "cpu"))[1]["error"]
    assert whole == pytest.approx(np.sqrt(np.mean(np.square(alone))), rel=1e-12)


def basis(abscissa, dense):
    found = dict(time=0.0, value=1.0)
    rows = [dict(system="legs", N=32, order=n, rule=None, sigma=np.nan, seed=np.nan, dense_error=dense) for n in (0, 1)]
    rows += [
        dict(system="perturbed", N=64, order=0, rule=None, sigma=sigma, seed=seed, abscissa=abscissa(sigma))
        for sigma in (0.1, 0.5)
        for seed in range(8)
    ]
    return [found | row for row in rows]


def test_claims_on_basis_kernels_can_fail():
    names = {"S4D.F1.legs.N32", "S4D.F1.stable.sigma0.1", "S4D.F1.stable.sigma0.5"}
    good = verdicts("s4d_basis", basis(lambda sigma: sigma - 0.3, 1e-14))
    assert good == dict.fromkeys(names, "holds")
    assert verdicts("s4d_basis", basis(lambda sigma: 0.3 - sigma, 1e-3)) == dict.fromkeys(names, "fails")


@pytest.mark.parametrize(("error", "units", "verdict"), [(1e-15, 2.0, "holds"), (1e-3, 200.0, "fails")])
def test_claims_on_accuracy_can_fail(error, units, verdict):
    shared = dict(N=64, dt=1e-3, length=1024, init="lin", readout=0, error=error, units=np.nan)
    rows = [
        shared | dict(quantity="kernel", algorithm=name, dtype=dtype)
        for name in ("gemm", "recurrence", "two_term")
        for dtype in ("float64", "float32")
    ]
    rows += [
        dict(quantity="diagonal form", N=8, dt=0.1, length=200, seed=i, error=error, units=units) for i in range(5)
    ]
    judged = {f"S4D.T9.{name}.{dtype}" for name in ("gemm", "recurrence") for dtype in ("float64", "float32")}
    assert verdicts("s4d_accuracy", rows) == dict.fromkeys({*judged, "S4D.T10"}, verdict)


def test_claim_on_speed_can_fail():
    def gain(ratio):
        rows = [
            dict(algorithm=name, length=4096, N=64, dt=1e-3, seed=seed, seconds=seconds)
            for seed in range(6)
            for name, seconds in (("gemm", 1e-3), ("complex64", ratio * 1e-3))
        ]
        return verdicts("s4d_speed", rows)

    assert gain(50) == {"S4D.F7.gain.length4096.N64": "holds"}
    assert gain(2) == {"S4D.F7.gain.length4096.N64": "fails"}


def rates(clipped, bilinear):
    rows = convergence("clipped", clipped, lambda N: 0.8 / N**0.5)
    return rows + convergence("bilinear", bilinear, lambda N: 0.5, dt=0.1)


def test_claims_on_clipped_weights_and_the_bilinear_rule_can_fail():
    ids = {"S4D.clipped.slope", "S4D.clipped.constant", "S4D.bilinear"}
    good = verdicts("s4d_convergence", rates(lambda N: 0.8 / N**0.5, lambda N: 0.5))
    assert good == dict.fromkeys(ids, "holds")
    assert verdicts("s4d_convergence", rates(lambda N: 0.5, lambda N: 5 / N)) == dict.fromkeys(ids, "fails")


def reduced(decay, rich, error, rank):
    none = dict(rank=np.nan, dt=np.nan, window=np.nan)
    values = [
        dict(quantity="values", init=name, N=64, seed=seed, index=j, value=value(j - 1)) | none
        for name, value in (("real", decay), ("lin", lambda j: rich))
        for seed in range(6)
        for j in (1, 9, 16, 17)
    ]
    bound = dict(quantity="truncation", init="lin", N=64, rank=8, seed=0, error=error, lower=0.1, upper=2.0)
    folded = [
        dict(quantity="aliasing", init="lin", N=64, dt=0.1, window=512, seed=seed, rank_found=rank) for seed in range(5)
    ]
    return [*values, bound, *folded]


def test_claims_on_reduction_can_fail():
    ids = {"S4D.T8.decay8.real.N64", "S4D.T8.decay16.real.N64", "S4D.T8.rich.lin.N64", "S4D.F6.bounds.lin"}
    ids |= {"S4D.F6.rank.lin"}
    good = verdicts("ssm_reduction", reduced(lambda j: 0.1**j, 0.4, 1.0, 20))
    assert good == dict.fromkeys(ids, "holds")
    for error in (0.01, 3.0):  # below the lower bound, above the upper one
        made = verdicts("ssm_reduction", reduced(lambda j: 0.5**j, 0.01, error, 33))
        assert made == dict.fromkeys(ids, "fails")


def test_memory_of_a_shift_register_is_perfect():
    """Poles on the discrete Fourier grid without decay: their kernels span every kernel of that length."""
    module = experiment("s4d_memory").run.__globals__
    c = dict(dt=2e-3, length=64, delay=0.05, tikhonov=1e-12)
    frequencies = 2j * np.pi * np.arange(33) / 64
    assert module["bump_error"](c, frequencies) < 1e-9


def test_kernels_converge_where_the_closed_form_says():
    made = experiment("s4d_convergence")
    cells = [dict(quantity="zoh", N=N, order=0, dt=0.1) for N in (16, 256)]
    errors = [table["error"] for _, table in made.run(cells, "cpu")]
    assert errors == pytest.approx([0.1828, 0.0128], abs=5e-5)  # computed before by another programme
