"""The README's example runs, and shows what the README says that it shows."""

import re
import runpy
from pathlib import Path

import numpy as np
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
    last = frame.sort_values("iteration").groupby(["row", "k", "seed"])["relative_error"].last()
    over = last.xs(5, level="k").groupby("row").max()
    assert over["polyak"] < 1e-10
    assert last.xs(5, level="k")["gd"].min() > 1e-5
    assert np.isfinite(last).all()
