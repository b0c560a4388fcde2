"""The wheel, the version, and what an import costs."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lrtheory

ROOT = Path(__file__).parent.parent


def python(*arguments, cwd, path=None, timeout=240):
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the built wheel was installed, far from the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    built = python("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("lrtheory-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_runs_the_sweep_elsewhere(installed, tmp_path):
    short = ["--set", "seed=0", "--set", "max_steps=300", "--jobs", 1, "--out", tmp_path / "out"]
    ran = python("-m", "lrtheory.sweep", "overparam_sensing", *short, cwd=tmp_path, path=installed)
    assert ran.returncode == 0, ran.stderr
    folder = tmp_path / "out" / "overparam_sensing"
    assert {p.name for p in folder.iterdir()} >= {"data.parquet", "figure.png", "figure.svg", "claims.json", "run.json"}
    where = python("-c", "import lrtheory; print(lrtheory.__file__)", cwd=tmp_path, path=installed)
    assert where.stdout.startswith(str(installed))
    # the experiment ran was the wheel's own, not the clone's
    listed = python("-m", "lrtheory.sweep", "--list", cwd=tmp_path, path=installed)
    assert "overparam_sensing" in listed.stdout
    assert (installed / "lrtheory" / "_experiments" / "overparam_sensing.py").exists()
    claims = json.loads((folder / "claims.json").read_text())
    assert {"id", "statement", "source", "predicted", "measured", "interval", "verdict"} == set(claims[0])


def test_version_has_one_place():
    found = [
        path
        for path in (ROOT / "pyproject.toml", ROOT / "CITATION.cff", *(ROOT / "lrtheory").rglob("*.py"))
        if re.search(
            rf"(?m)^\s*(__version__|version)\s*[:=]\s*[\"']?{re.escape(lrtheory.__version__)}", path.read_text()
        )
    ]
    assert found == [ROOT / "lrtheory" / "__init__.py"]


def test_import_leaves_heavy_modules_alone(tmp_path):
    code = (
        "import sys, lrtheory, lrtheory.sweep, lrtheory.solve, lrtheory.first_order, lrtheory.random, lrtheory.rates;"
        "print([m for m in ('numba', 'scipy.linalg', 'scipy.stats', 'matplotlib', 'pandas', 'pyarrow', 'dask', 'cupy')"
        " if m in sys.modules])"
    )
    ran = python("-c", code, cwd=tmp_path)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_every_room_loads_lazily_and_unknown_names_do_not():
    for room in dir(lrtheory):
        getattr(lrtheory, room)
    with pytest.raises(AttributeError, match="no_such_room"):
        lrtheory.no_such_room  # noqa: B018
