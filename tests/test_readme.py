"""The README's example runs, and shows what the README says that it shows."""

import re
import runpy
from pathlib import Path

import pytest

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
