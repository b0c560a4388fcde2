"""The command line: exit codes, what is printed and stored, one line for a mistake."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from lrtheory.falsify.cli import main

FILE = """
import math, time
from lrtheory.falsify import Choices, Floats, Ints, Search
from lrtheory.sweep import Experiment, grid

def run(cells, device):
    for cell in cells:
        yield cell, {"x": [float(cell["k"])]}

def slow(frame):
    print("slow", flush=True)
    time.sleep(60)

def broken(frame):
    return frame["no_such_column"].iloc[0]

bounds = {"k": Ints(1, 30), "kind": Choices(["flat", "it's"])}
def cells(point):
    return [point]

experiment = Experiment(
    name="toy",
    presets={"small": grid(k=[1, 2], kind="flat")},
    run=run,
    falsify={
        "A.low": Search(bounds, cells, lambda frame: 10.5 - frame["x"].iloc[0], "x stays below 10.5"),
        "A.kind": Search(bounds, cells, lambda frame: -1.0 if frame["kind"].iloc[0] != "flat" else 1.0),
        "true": Search({"k": Floats(1, 2), "kind": bounds["kind"]}, cells, lambda frame: 1.0),
        "unknown": Search(bounds, cells, lambda frame: math.nan),
        "slow": Search(bounds, cells, slow),
        "broken": Search(bounds, cells, broken),
        "wrong": 3,
    },
)
"""


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy.py").write_text(textwrap.dedent(FILE))
    return tmp_path


def start(folder, *arguments, program=("-m", "lrtheory.falsify")):
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(folder, *arguments, **keywords):
    process = start(folder, *arguments, **keywords)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def here(toy, monkeypatch, capfd):
    """Return a function that calls the command line in this process, which is quicker."""
    monkeypatch.chdir(toy)

    def call(*arguments):
        code = main(arguments)
        return code, *capfd.readouterr()

    return call


def test_a_counterexample_is_printed_and_stored(toy):
    code, out, err = call(toy, "--experiment", "toy.py", "--claim", "A")
    assert (code, err) == (0, "")
    assert "x stays below 10.5" in out
    assert out.count("COUNTEREXAMPLE") == 2  # A means A.low and A.kind
    assert 'point: {"k": 11, "kind": "flat"}, margin -0.5' in out
    assert "its data: python -m lrtheory.sweep --experiment toy.py --set k=11\n" in out

    stored = json.loads((toy / "results/toy/falsify/A.low.json").read_text())
    found = stored["counterexample"]
    assert (found["point"], found["margin"], found["minimal"]) == ({"k": 11, "kind": "flat"}, -0.5, True)
    assert found["cells"] == [{"k": 11, "kind": "flat"}]
    assert (stored["claim"], stored["stopped"], stored["seed"], stored["budget"]) == ("A.low", "found", 0, 60.0)
    assert stored["command"] == "python -m lrtheory.falsify --experiment toy.py --claim A"
    assert f"again: {found['command']}" in out

    # a quote in the point survives the shell
    kind = json.loads((toy / "results/toy/falsify/A.kind.json").read_text())["counterexample"]
    assert kind["point"] == {"k": 1, "kind": "it's"}
    words = kind["command"].replace("python", sys.executable, 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    again = subprocess.run(words, shell=True, cwd=toy, env=environment, capture_output=True, text=True, timeout=60)
    assert "violated" in again.stdout, again.stderr


def test_a_later_search_takes_no_counterexample_away(toy):
    assert call(toy, "--experiment", "toy.py", "--claim", "A.low")[0] == 0
    code, out, _ = call(toy, "--experiment", "toy.py", "--claim", "A.low", "--evaluations", "1")
    assert code == 0
    assert "none found" in out
    folder = toy / "results" / "toy" / "falsify"
    assert json.loads((folder / "A.low.json").read_text())["counterexample"] is None
    (kept,) = folder.glob("A.low-*.json")
    assert json.loads(kept.read_text())["counterexample"]["point"]["k"] == 11
    assert str(kept.relative_to(toy)) in out


def test_none_found_says_how_far_it_looked(toy):
    code, out, _ = call(toy, "--experiment", "toy.py", "--claim", "true", "--evaluations", "101", "--strict")
    assert code == 0
    assert "none found: 101 points" in out
    assert "25 of the points were drawn uniformly: at 95 % less than 0.11 of the domain violates the claim" in out
    stored = json.loads((toy / "results/toy/falsify/true.json").read_text())
    assert stored["counterexample"] is None
    assert stored["closest"]["margin"] == 1.0
    assert stored["counts"] == {"judged": 101, "no verdict": 0, "outside": 0, "failed": 0}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--claim", "A.low", "--strict"], 3, "COUNTEREXAMPLE"),
        (["--claim", "unknown"], 1, "60 gave no verdict"),
        (["--claim", "broken"], 1, "first error: KeyError: 'no_such_column' ("),
        (["--claim", "slow", "--budget", "0.3"], 1, "0 points in 0.3 s (the budget is spent)"),
        (["--claim", "A.low", "--point", '{"k": 11, "kind": "flat"}'], 0, "margin -0.5: the claim is violated"),
        (["--claim", "A.low", "--point", '{"k": 11, "kind": "flat"}', "--strict"], 3, "violated"),
        (["--claim", "A.low", "--point", '{"k": 10, "kind": "flat"}', "--strict"], 0, "margin 0.5: no violation"),
        (["--claim", "unknown", "--point", '{"k": 1, "kind": "flat"}'], 0, "no verdict"),
    ],
)
def test_exit_codes(toy, here, arguments, code, says):
    found, out, err = here("--experiment", "toy.py", *arguments)
    assert (found, err) == (code, "")
    assert says in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--experiment", "toy.py", "--claim", "A.loww"], 2, "declares no search for 'A.loww'; did you mean A.low"),
        (["--experiment", "toy.py", "--claim", "wrong"], 2, "falsify['wrong'] must be a Search, got int"),
        (["--experiment", "toy.py", "--claim", "true", "--budget", "0"], 2, "--budget must be positive"),
        (["--experiment", "toy.py", "--claim", "true", "--budget", "x"], 2, "--budget"),
        (["--experiment", "toy.py", "--claim", "A", "--point", "{}"], 2, "--point needs one claim"),
        (["--experiment", "toy.py", "--claim", "A.low", "--point", "{k: 1}"], 2, "--point is no JSON"),
        (["--experiment", "toy.py", "--claim", "A.low", "--point", "[1]"], 2, "--point must be like"),
        (["--experiment", "toy.py", "--claim", "A.low", "--point", '{"k": 1}'], 2, "the point has no kind"),
        (["--experiment", "toy.py", "--claim", "A.low", "--point", '{"k": 31, "kind": "flat"}'], 2, "31 lies outside"),
        (["--experiment", "toy.py", "--claim", "broken", "--point", '{"k": 1, "kind": "flat"}'], 1, "KeyError"),
        (["--experiment", "toy.py", "--claim", "true", "--out", "toy.py"], 2, "cannot write to toy.py/toy"),
        (["--experiment", "toy.py", "--claim", "true", "--device", "cuda"], 2, "cuda"),
        (["no_such_experiment"], 2, "no experiment 'no_such_experiment'"),
        ([], 2, "which experiment?"),
    ],
)
def test_a_mistake_is_one_line(toy, here, arguments, code, says):
    found, out, err = here(*arguments)
    assert (found, out) == (code, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_an_experiment_without_searches_says_where_to_read(toy):
    (toy / "toy.py").write_text(FILE.partition("    falsify={")[0] + ")\n")
    code, _, err = call(toy, "--experiment", "toy.py")
    assert code == 2
    assert "declares no search; docs/falsify.md" in err


def test_interrupted(toy):
    process = start(toy, "--experiment", "toy.py", "--claim", "slow", "--budget", "50")
    assert process.stdout.readline() == "slow\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert "none found: 0 points" in out
    assert "interrupted" in err
    assert "Traceback" not in err
    assert json.loads((toy / "results/toy/falsify/slow.json").read_text())["stopped"] == "interrupted"


def test_the_console_command_has_it(toy):
    arguments = ("falsify", "--experiment", "toy.py", "--claim", "A.low", "--quiet")
    code, out, _ = call(toy, *arguments, program=("-m", "lrtheory"))
    assert code == 0
    assert "COUNTEREXAMPLE" in out
    stored = json.loads((toy / "results/toy/falsify/A.low.json").read_text())
    assert stored["command"] == "python -m lrtheory.falsify --experiment toy.py --claim A.low --quiet"
