"""The guide's code runs, in the order in which it stands there, and links between documents lead somewhere."""

import ast
import json
import re
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lrtheory import streaming
from lrtheory.sensing.methods import METHODS, USUAL
from lrtheory.sweep import run
from lrtheory.testing import check_algorithm

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "guide", guide := ModuleType("guide"))  # pickle finds its classes there
    names = vars(guide)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guide.md").read_text(), flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/guide.md", "exec"), names)
    assert len(blocks) >= 4
    error = names["result"].trace.metrics["error"]
    assert error.shape[1:] == (3, 10)
    assert np.isfinite(error[-1]).all()
    (printed,) = re.findall(r"```\n(\{.*\})\n```", (ROOT / "docs" / "guide.md").read_text())
    needed = ast.literal_eval(printed)
    assert names["needed"].keys() == needed.keys()
    for name, count in needed.items():  # another BLAS may cross the threshold a step earlier or later
        assert names["needed"][name] == pytest.approx(count, abs=2)
    check_algorithm(names["HeavyBall"]())
    assert str(names["result"].status[0, 0]) == "running"
    run(names["experiment"])
    (claim,) = json.loads((tmp_path / "results/step_sizes/claims.json").read_text())
    assert claim["verdict"] == "holds"
    assert (tmp_path / "results/step_sizes/figure.png").exists()


def test_the_page_on_state_space_models_runs():
    names: dict = {}
    text = (ROOT / "docs" / "ssm.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "docs/ssm.md", "exec"), names)
    assert names["kernel"].shape == (8, 4096)
    whole = names["mine"].apply(np.ones(200))
    assert np.concatenate([names["y"], names["more"]]) == pytest.approx(whole, abs=1e-14)
    listed = re.findall(r"(?m)^\| `(\w+)` \|", text)
    assert sorted(listed) == sorted(p.stem for p in (ROOT / "experiments").glob("s*.py") if "ssm" in p.read_text())


def test_the_page_on_streams_runs(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "streams", page := ModuleType("streams"))  # pickle finds its classes there
    names = vars(page)
    text = (ROOT / "docs" / "streaming.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "docs/streaming.md", "exec"), names)
    printed = dict(re.findall(r"(?m)^(\w+\(step_size=\d+\.0\)) ([\d.]+)$", capsys.readouterr().out))
    shown = dict(re.findall(r"(?m)^(\w+\(step_size=\d+\.0\)) ([\d.]+)$", text))
    assert shown.keys() == printed.keys() != set()
    for name, value in shown.items():
        assert float(printed[name]) == pytest.approx(float(value), rel=0.1), name
    assert names["found"].evidence()["sketch"].shape[1] == 200
    assert names["certificate"].trusted(0.15)
    assert names["errors"].shape == (40,)
    listed = re.findall(r"(?m)^\| `(streaming_\w+)` \|", text)
    assert sorted(listed) == sorted(p.stem for p in (ROOT / "experiments").glob("streaming_*.py"))
    methods = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`[A-Z].*?) \|", text))))
    others = {"ManyStreams", "StreamInstance", "StreamingEstimator"}
    assert methods == {n for n in streaming.__all__ if n[0].isupper()} - others
    assert names["many"].components_.shape == (100, 1, 50)
    assert np.median(streaming.metrics.sin2(names["many"].components_[:, 0], names["truths"])) < 0.05


def test_guide_lists_every_published_method():
    text = (ROOT / "docs" / "guide.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| .* \| .* \| (.*) \| .* \|$", text))
    assert rows.keys() == METHODS.keys()
    for name, parameters in rows.items():
        words = parameters.replace("damping 0.01 sigma_r", "damping 0.01")
        shown = [float(Fraction(word)) if "/" in word else float(word) for word in re.findall(r" ([\d./e-]+)", words)]
        assert shown == list(USUAL[name].values()), name


def test_the_page_on_rates_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "rates.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(block, "docs/rates.md", "exec"), names)
    assert names["fit"].kind == "power"
    assert abs(names["fit"].slope + 2) < 1e-6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_project_speaks_of_itself_alone():
    """No path of some machine in what users read."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(work|home|root|tmp)/", page.read_text()), page.name
