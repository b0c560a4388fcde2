"""Keys, order, calls and blocks."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st

from lrtheory.sweep import Experiment, Grid, grid
from lrtheory.sweep.plan import Plan, cell_key, key_prefix, make_plan


def plan(cells: Grid, together: tuple[str, ...] = (), batch: int = 256, block: int = 64, **more: object) -> Plan:
    return make_plan(make(cells, together, batch, block, **more), cells)


def make(cells: Grid, together: tuple[str, ...] = (), batch: int = 256, block: int = 64, **more: object) -> Experiment:
    settings = {"name": "x", "version": 1, "title": "", "run": lambda cells, device: [], **more}
    return Experiment(presets={"small": cells}, together=together, batch=batch, block=block, **settings)  # type: ignore


def test_cells_are_sorted_with_the_together_axes_fastest() -> None:
    found = plan(grid(seed=[1, 0], alpha=[0.5, 0.1], k=[10, 9]), together=("alpha",))
    assert [tuple(cell[name] for name in ("k", "seed", "alpha")) for cell in found.cells] == list(
        itertools.product([9, 10], [0, 1], [0.1, 0.5])
    )
    assert [len(call) for block in found.blocks for call in block.calls] == [2, 2, 2, 2]


def test_calls_are_cut_at_batch_and_blocks_filled_up_to_block() -> None:
    found = plan(grid(k=range(3), seed=range(10)), together=("seed",), batch=4, block=9)
    # each k gives calls of 4, 4, 2 cells; a block takes calls while it holds at most 9 cells
    assert [[len(call) for call in block.calls] for block in found.blocks] == [[4, 4], [2, 4], [4, 2], [4, 4], [2]]


def test_a_block_has_at_least_one_call() -> None:
    found = plan(grid(seed=range(10)), together=("seed",), batch=10, block=3)
    assert [[len(call) for call in block.calls] for block in found.blocks] == [[10]]


def test_cells_without_an_axis_come_first_and_are_calls_of_their_own() -> None:
    found = plan(grid(k=3, m=100) + grid(k=3), together=())
    assert found.cells == [{"k": 3}, {"k": 3, "m": 100}]


def test_the_plan_does_not_depend_on_how_the_grid_is_written() -> None:
    one = plan(grid(k=[3, 5], seed=range(3)) + grid(seed=[7], k=9, m=1), together=("seed",))
    other = plan(grid(m=1, k=9, seed=7.0) + grid(seed=[2, 0, 1], k=5) + grid(k=3, seed=range(3)), together=("seed",))
    assert one.keys == other.keys
    assert [block.keys for block in one.blocks] == [block.keys for block in other.blocks]


def test_keys_do_not_depend_on_order_or_process() -> None:
    experiment = make(grid(k=3))
    prefix = key_prefix(experiment, "cpu")
    cell = {"k": 3, "alpha": 0.1, "kind": "é", "m": float("inf"), "rho": None, "flag": True}
    key = cell_key(prefix, cell)
    assert key == cell_key(prefix, dict(reversed(cell.items())))
    code = (
        "import json, sys; from lrtheory.sweep.plan import cell_key;"
        "prefix, cell = json.loads(sys.argv[1]); print(cell_key(prefix, cell))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, json.dumps([prefix, cell])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert other.stdout.strip() == key
    # written out: a change of this text throws every user's store away
    text = r'["x", 1, "float64", "cpu"]{"alpha":0.1,"flag":true,"k":3,"kind":"\u00e9","m":inf,"rho":null}'
    assert key == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert plan(grid(**cell)).keys == [key]


def test_keys_tell_experiments_versions_dtypes_and_devices_apart() -> None:
    cells = grid(k=3)
    keys = [
        plan(cells).keys,
        plan(cells, name="y").keys,
        plan(cells, version=2).keys,
        plan(cells, dtype="float32").keys,
        plan(cells, timing=True).keys,
        make_plan(make(cells), cells, "cuda").keys,
    ]
    assert len({key[0] for key in keys}) == len(keys)
    assert make_plan(make(cells), cells, "cuda:1").keys == keys[-1]


def test_100_000_cells_plan_in_two_seconds() -> None:
    cells = grid(k=range(10), alpha=[i / 7 for i in range(10)], seed=range(100), kind=list("abcde"), m=[1, 2], steps=9)
    experiment = make(cells, together=("alpha", "seed"))
    start = time.process_time()
    found = make_plan(experiment, cells)
    assert len(found.cells) == 100_000
    assert time.process_time() - start < 2


axis_values = st.lists(st.integers(0, 5), min_size=1, max_size=4)
grids = st.lists(st.dictionaries(st.sampled_from("abcd"), axis_values, min_size=1), min_size=1, max_size=3)


@given(grids, st.sets(st.sampled_from("abcd")), st.integers(1, 9), st.integers(1, 9))
def test_blocks_partition_the_plan(parts: list[dict], together: set[str], batch: int, block: int) -> None:
    cells = sum((grid(**part) for part in parts[1:]), grid(**parts[0]))
    fast = tuple(sorted(together & set(cells.axes)))
    found = plan(cells, fast, batch, block)
    calls = [call for one in found.blocks for call in one.calls]
    assert [cell for call in calls for cell in call] == found.cells
    assert [key for one in found.blocks for keys in one.keys for key in keys] == found.keys
    assert len(set(found.keys)) == len(found.keys) == len(cells)

    def slow(cell: dict) -> dict:
        return {name: value for name, value in cell.items() if name not in fast}

    for call in calls:
        assert 1 <= len(call) <= batch
        assert all(slow(cell) == slow(call[0]) for cell in call)
    for call, following in itertools.pairwise(calls):  # cut only at batch
        assert slow(call[0]) != slow(following[0]) or len(call) == batch
    for one, following in itertools.pairwise(found.blocks):  # filled as far as calls go
        assert one.size <= block or len(one.calls) == 1
        assert one.size + len(following.calls[0]) > block


@given(grids, st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_parts_axes_or_values(parts: list[dict], random) -> None:
    shuffled = []
    for part in parts:
        names = list(part)
        random.shuffle(names)
        shuffled.append({name: random.sample(part[name], len(part[name])) for name in names})
    random.shuffle(shuffled)
    one = plan(sum((grid(**part) for part in parts[1:]), grid(**parts[0])), ("a",) if "a" in parts[0] else ())
    other = plan(sum((grid(**part) for part in shuffled[1:]), grid(**shuffled[0])), ("a",) if "a" in parts[0] else ())
    assert one.keys == other.keys
