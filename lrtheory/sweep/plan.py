"""From a grid to blocks: which cells run together, in which order, under which keys."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass

from .experiment import Cell, Experiment, Grid, Scalar, canonical, kind

_KINDS = ("none", "bool", "number", "string")


@dataclass(frozen=True)
class Block:
    """Consecutive calls of `Experiment.run`, stored as one file.

    Attributes
    ----------
    calls : tuple of tuple of dict
        The cells of each call.
    keys : tuple of tuple of str
        Their keys, aligned with `calls`.
    """

    calls: tuple[tuple[Cell, ...], ...]
    keys: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> int:
        """The number of cells."""
        return sum(len(call) for call in self.calls)

    @property
    def cells(self) -> list[Cell]:
        """The cells of all calls."""
        return [cell for call in self.calls for cell in call]

    def split(self) -> list[Block]:
        """Return a block for each call or, where there is one call only, for each cell."""
        pairs = zip(self.calls, self.keys, strict=True)
        if len(self.calls) == 1:
            pairs = zip([(cell,) for cell in self.calls[0]], [(key,) for key in self.keys[0]], strict=True)
        return [Block((call,), (keys,)) for call, keys in pairs]


@dataclass(frozen=True)
class Plan:
    """All cells of a call in canonical order, and their blocks."""

    cells: list[Cell]
    keys: list[str]
    blocks: list[Block]
    axes: tuple[str, ...]


def key_prefix(experiment: Experiment, device: str) -> str:
    """Return what a cell's key depends on besides its parameters.

    That is the experiment's name and version, dtype and the kind of device (``cuda:1`` is ``cuda``), and for
    experiments that measure time the machine.
    """
    identity = [experiment.name, experiment.version, experiment.dtype, device.partition(":")[0]]
    if experiment.timing:
        from .provenance import machine

        identity.append(machine())
    return json.dumps(identity)


def cell_key(prefix: str, cell: Cell) -> str:
    """Return the key of a cell: the same in every process and for every order of its parameters."""
    return _key(prefix, [f"{json.dumps(name)}:{canonical(cell[name])}" for name in sorted(cell)])


def _key(prefix: str, fragments: Iterable[str]) -> str:
    return hashlib.sha256(f"{prefix}{{{','.join(fragments)}}}".encode()).hexdigest()[:32]


def make_plan(experiment: Experiment, grid: Grid, device: str = "cpu") -> Plan:
    """Return the distinct cells of `grid` in canonical order, grouped into calls and blocks.

    Cells are sorted by their axes in alphabetical order, the `together` axes last (fastest). Cells that are equal
    outside these form a call, cut at `Experiment.batch` cells; consecutive calls fill a block of up to
    `Experiment.block` cells, at least one call. Nothing else decides, so the same grid gives the same blocks
    whatever is stored, and on however many workers.

    Cost: some 10 us a cell.
    """
    together = [name for name in experiment.together if name in grid.axes]
    slow = sorted(set(grid.axes) - set(together))
    order = slow + together
    ranks = {name: _ranks(values) for name, values in grid.axes.items()}
    prefix = key_prefix(experiment, device)

    # One pass over each product with everything per value (text, rank) made once: 100,000 cells take a second.
    found: dict[str, tuple[tuple[int, ...], Cell]] = {}
    for part in grid.parts:
        names = list(part)
        by_name = sorted(range(len(names)), key=names.__getitem__)
        by_order = [names.index(name) if name in part else None for name in order]
        columns = [
            [(value, f"{json.dumps(name)}:{canonical(value)}", ranks[name][canonical(value)]) for value in part[name]]
            for name in names
        ]
        for point in itertools.product(*columns):
            key = _key(prefix, [point[i][1] for i in by_name])
            if key not in found:
                position = tuple(-1 if i is None else point[i][2] for i in by_order)
                found[key] = (position, {name: entry[0] for name, entry in zip(names, point, strict=True)})

    keys = sorted(found, key=lambda key: found[key][0])
    calls = []
    for _, members in itertools.groupby(keys, key=lambda key: found[key][0][: len(slow)]):
        group = list(members)
        calls += [group[i : i + experiment.batch] for i in range(0, len(group), experiment.batch)]
    blocks: list[list[list[str]]] = []
    filled = 0
    for call in calls:
        if not blocks or filled + len(call) > experiment.block:
            blocks.append([])
            filled = 0
        blocks[-1].append(call)
        filled += len(call)
    return Plan(
        cells=[found[key][1] for key in keys],
        keys=keys,
        blocks=[
            Block(
                calls=tuple(tuple(found[key][1] for key in call) for call in block),
                keys=tuple(tuple(call) for call in block),
            )
            for block in blocks
        ],
        axes=tuple(grid.axes),
    )


def _ranks(values: tuple[Scalar, ...]) -> dict[str, int]:
    ordered = sorted(values, key=lambda value: (_KINDS.index(kind(value)), 0 if value is None else value))
    return {canonical(value): rank for rank, value in enumerate(ordered)}
