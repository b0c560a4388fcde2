"""The README's example runs, and shows what the README says that it shows."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from lrtheory.sweep import loading

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (code,) = (block for block in blocks if "class " in block)
    folder = tmp_path_factory.mktemp("readme")
    (folder / "polyak.py").write_text(code)
    return folder / "polyak.py"


def test_example_is_short(example):
    body = example.read_text().split("@dataclass")[1]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20


def test_example_sweeps_the_new_algorithm_beside_the_old(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = runpy.run_path(str(example), run_name="__main__")["frame"]
    last = frame[frame["iteration"] == 1000].pivot_table("relative_error", "row", "k", aggfunc="median")
    assert last.loc["gradient descent", 5] > 20 * last.loc["Polyak", 5]  # the README says that it escapes the law
    assert last[3].max() < 1e-12
    assert frame["seed"].nunique() == 5
    table = re.search(r"```\n(k .*?)```", README.read_text(), flags=re.DOTALL).group(1)
    for row, number in last[5].items():  # at k = 3 both are rounding noise
        (line,) = (line for line in table.splitlines() if line.startswith(row))
        assert float(line.split()[-1]) == pytest.approx(number, rel=0.05)


def test_state_space_example_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (code,) = (block for block in blocks if "ssm.s4d" in block)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["kernel"].shape == (8, 16384)
    reason, shape = capsys.readouterr().out.splitlines()
    assert reason
    assert shape == "(8, 64)"


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"\b[A-Z]{3,}_[A-Z]{3,}\b", README.read_text().replace("NUMBA_CACHE_DIR", ""))


def test_claims_table_lists_the_claims_of_the_preset():
    """The ids of the printed table are those that the experiment judges at preset small."""
    printed = set(re.findall(r"(?m)^ (T\d\.[\w.]+)", README.read_text()))
    experiment = loading.load(loading.find("overparam_sensing"))[0]
    cells = pd.DataFrame(list(experiment.presets["small"]))
    table = dict(iteration=10.0, error_squared=1.0, relative_error=1.0, loss=1.0, floor=1e-30, sigma_k=0.5)
    frame = cells.assign(**table, first_below=5.0, rebalanced_at=-1.0)
    assert printed == {claim.id for claim in experiment.claims(frame)}
