"""False claims about gradient descent are found out; T1 is not, within its domain."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lrtheory.falsify import Ints, find_counterexample
from lrtheory.sweep import loading

PLANTED = Path(__file__).parent / "planted.py"


@pytest.fixture(scope="module")
def planted():
    return loading.load(PLANTED)[0]


def shell(command, cwd):
    """Run a command that was printed, as a user does."""
    words = shlex.split(command)
    assert words[0] == "python"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "agg"}
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("claim", ["geometric", "constant", "every_seed"])
def test_a_planted_false_claim_is_found_and_its_commands_reproduce_it(claim, planted, tmp_path):
    call = f"python -m lrtheory.falsify --experiment {PLANTED} --claim {claim} --budget 60 --quiet --out out --strict"
    ran = shell(call, tmp_path)
    assert ran.returncode == 3, ran.stderr
    assert "to a minimal one" in ran.stdout
    margin = float(re.search(r"margin (\S+)", ran.stdout)[1])
    assert margin < 0

    again = re.search(r"again: (.*)", ran.stdout)[1]
    judged = shell(again, tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert "the claim is violated" in judged.stdout
    assert float(re.search(r"margin (\S+):", judged.stdout)[1]) == pytest.approx(margin, rel=1e-3)

    # the sweep's data say the same
    swept = shell(re.search(r"its data: (.*)", ran.stdout)[1], tmp_path)
    assert swept.returncode == 0, swept.stderr
    frame = pd.read_parquet(tmp_path / "results" / "planted" / "data.parquet")
    assert planted.falsify[claim].margin(frame) == pytest.approx(margin, rel=1e-3)


def test_t1_fails_where_its_domain_is_left():
    """With only a few rows more than redundant columns a start has a small singular value, and T1 needs longer."""
    sensing = loading.load(loading.find("overparam_sensing"))[0]
    t1 = sensing.falsify["T1.constant"]
    wide = replace(
        t1,
        bounds={**t1.bounds, "redundant": Ints(1, 30), "n": Ints(8, 100)},
        cells=lambda point: t1.cells(point) if point["r"] + point["redundant"] <= point["n"] else [],
    )
    found = find_counterexample(replace(sensing, falsify={"wide": wide}), "wide", evaluations=60)
    assert found.point["redundant"] > 4
    assert found.margin < 0


def test_nan_everywhere_is_no_counterexample(planted):
    found = find_counterexample(planted, "unknown", evaluations=3)
    assert (found.point, found.counts["no verdict"]) == (None, 3)


def none_within(budget):
    sensing = loading.load(loading.find("overparam_sensing"))[0]
    for claim in ("T1.slope", "T1.constant", "T2.rate"):
        find_counterexample(sensing, claim, evaluations=1)  # compiles
        found = find_counterexample(sensing, claim, budget=budget)
        assert found.point is None, found
        assert found.stopped == "budget"
        assert found.counts["judged"] == found.searched > budget, found  # all had a verdict
        assert found.seconds < budget + 2


def test_t1_holds_within_its_domain_for_some_seconds():
    none_within(2.0)


@pytest.mark.slow
def test_t1_holds_within_its_domain_for_a_minute():
    none_within(60.0)
