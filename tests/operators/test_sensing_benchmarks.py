"""The benchmarks' own arithmetic and command line (their timings are not tests)."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CHECK = """
import json, time
from benchmarks.record import Row, alternate, table
row = Row("a", "n=1", 0.5, "peer", 2.0, 0.25, 3.0)
missed, absent = Row("b", "n=1", 1.0, "peer", 2.0, None, 3.0), Row("c", "n=1", None, "torch: not installed")
t = alternate({"slow": lambda: time.sleep(0.02), "quick": lambda: time.sleep(0.001)}, 3, seconds=0.01)
print(json.dumps({"row": row.as_dict(), "table": table([row, missed, absent]), "times": t, "none": absent.ratio}))
"""


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_rows_and_table():
    found = json.loads(run("-c", CHECK).stdout)
    assert found["row"] == {
        "name": "a",
        "size": "n=1",
        "ours_s": 0.5,
        "peer": "peer",
        "peer_s": 2.0,
        "ratio": 4.0,
        "floor_s": 0.25,
        "target": 3.0,
    }
    _, ok, missed, absent = found["table"].splitlines()
    assert ok.split()[-4:] == ["2.00x", ">=", "3x", "ok"]
    assert missed.endswith("MISSED")
    assert "not installed" in absent
    assert found["none"] is None
    assert found["times"]["slow"] > found["times"]["quick"] > 0


def test_wrong_usage_exits_with_2():
    for arguments in (["nothing"], ["sweep", "--device", "cuda"], []):
        done = run("-m", "benchmarks", *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_device_that_is_not_there_is_one_line():
    hidden = "import sys; sys.modules['cupy'] = None; sys.argv = ['benchmarks', 'sensing', '--device', 'cuda']\n"
    done = run("-c", hidden + "from benchmarks.__main__ import main; main()")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: device 'cuda' needs CuPy: install the extra lrtheory[cuda12] or lrtheory[cuda13]\n"


def test_clocks_are_read_when_the_device_has_ended():
    """Calls that only queue their work are timed with it."""
    check = """
import time
from benchmarks.record import alternate
queue = []
wait = lambda: (time.sleep(0.004 * len(queue)), queue.clear())
assert 0.003 < alternate({"queued": lambda: queue.append(1)}, 2, seconds=0.01, wait=wait)["queued"] < 0.1
"""
    assert run("-c", check).returncode == 0
