"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

PARTS = ("sensing", "sweep")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time a part of lrtheory against its peers."
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: ends within 50 s on two cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as a list of objects")
    parser.add_argument("--device", default="cpu", help="cpu (no part has GPU rows yet)")
    arguments = parser.parse_args()
    if arguments.device != "cpu":
        parser.error(f"argument --device: {arguments.part} has CPU rows only, got {arguments.device!r}")
    from benchmarks.record import table

    part = importlib.import_module(f"benchmarks.{arguments.part}")
    rows = []
    for row in part.rows(arguments.quick):
        rows.append(row)
        print(f"  {row.name}, {row.size}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
