"""What every experiment owes: cells that run, a figure and claims for whatever there is, claims that hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrtheory.sweep import Grid, loading, run
from lrtheory.sweep.tables import as_columns

FOLDER = Path(__file__).parents[2] / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))

TINY = dict(max_steps=40, seed=0, init_seed=0, n=16, r=2, m=136, tolerance=0.5)
TINY_STREAM = dict(seed=0, n=400, d=8, m=50, entries=1 << 12, data="digits")


def experiment(name):
    return loading.load(loading.find(name))[0]


def tiny(made, preset):
    """The cells of a preset at a small size, with the first two values on the other axes."""
    parts = []
    for part in made.presets[preset].parts:
        sizes = TINY_STREAM if made.name.startswith("streaming") else TINY
        small = {axis: (sizes[axis],) if axis in sizes else values[:2] for axis, values in part.items()}
        if "r" in part and "k" in part:
            small["k"] = tuple({2 if k in part["r"] else 3 for k in part["k"]})
        parts.append(small)
    return list(Grid(tuple(parts)))


def frame_of(made, cells):
    """The frame that a sweep would make of the cells."""
    groups = {}
    for cell in cells:
        key = tuple(sorted((axis, repr(value)) for axis, value in cell.items() if axis not in made.together))
        groups.setdefault(key, []).append(cell)
    made_of = [(cell, as_columns(table, cell)) for group in groups.values() for cell, table in made.run(group, "cpu")]
    parts = [pd.DataFrame(table).assign(**cell) for cell, table in made_of]
    assert len(parts) == len(cells)
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("name", NAMES)
def test_cells_run_and_are_drawn_and_judged_whole_and_in_parts(name):
    """Also an empty frame, each value of each axis alone, and a cell that failed."""
    made = experiment(name)
    for preset in made.presets:
        cells = tiny(made, preset)
        frame = frame_of(made, cells)
        assert np.isfinite(frame.get("relative_error", frame.select_dtypes("number").max())).all()
        axes = list(dict.fromkeys(axis for cell in cells for axis in cell))
        failed = pd.DataFrame([{column: frame[column].iloc[0] if column in axes else np.nan for column in frame}])
        alone = [frame[frame[axis] == value] for axis in axes for value in frame[axis].dropna().unique()]
        parts = [part for part in alone if len(part) < len(frame)] if preset == "small" else []
        for part in (frame, frame.iloc[:0], failed, *parts):
            made.figure(part)
            ids = [claim.id for claim in made.claims(part)]
            assert len(ids) == len(set(ids))
        for claim in made.claims(failed):
            assert claim.verdict == "inconclusive"


@pytest.mark.parametrize("name", NAMES)
def test_presets_have_the_seeds_that_claims_need(name):
    seeds = [part["seed"] for part in experiment(name).presets["small"].parts if "seed" in part]
    assert all(len(values) >= 3 for values in seeds)
    assert not seeds or max(map(len, seeds)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_claim_of_the_small_preset_holds(name, tmp_path):
    made = experiment(name)
    frame = run(made, out=tmp_path)
    assert {claim.id: claim.verdict for claim in made.claims(frame) if claim.verdict != "holds"} == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_word_that_an_experiment_does_not_know_is_refused(name):
    """`--set axis=word` takes any word: a slip must not run as something else under that name."""
    made = experiment(name)
    cells = tiny(made, "small")
    words = {axis for cell in cells for axis, value in cell.items() if isinstance(value, str)}
    for axis in words:
        kinds = {}
        for cell in cells:
            if axis in cell:
                kinds.setdefault(tuple(sorted((a, v) for a, v in cell.items() if isinstance(v, str))), cell)
        for cell in kinds.values():
            with pytest.raises(ValueError, match="'nonsense'"):
                list(made.run([cell | {axis: "nonsense"}], "cpu"))
