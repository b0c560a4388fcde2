"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from lrtheory.backend import check_device

PARTS = ("sensing", "ssm", "streaming", "sweep")
ON_DEVICES = ("sensing", "ssm", "streaming")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time a part of lrtheory against its peers."
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: ends within 50 s on two cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as a list of objects")
    parser.add_argument("--device", default="cpu", help="cpu (default); cuda or cuda:INDEX for all but sweep")
    arguments = parser.parse_args()
    if arguments.device != "cpu":
        if arguments.part not in ON_DEVICES:
            parser.error(f"argument --device: {arguments.part} has CPU rows only, got {arguments.device!r}")
        try:
            check_device(arguments.device)
        except ValueError as error:
            parser.exit(2, f"error: {error}\n")
    from benchmarks.record import table

    if arguments.device == "cpu":
        timed = importlib.import_module(f"benchmarks.{arguments.part}").rows(arguments.quick)
    else:
        timed = importlib.import_module(f"benchmarks.{arguments.part}_cuda").rows(arguments.quick, arguments.device)
    rows = []
    for row in timed:
        rows.append(row)
        print(f"  {row.name}, {row.size}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
