"""What compiled kernels call: the same bits from the process that compiles them and from those that load them.

Numba keeps a copy of a function within each kernel that calls it, and one by itself. Each copy is optimised where it
is, and which of them runs depends on what was loaded before. With reordered sums copies may differ in the last bits,
and a function that does not state its fast-math flags is compiled with those of the kernel that calls it first.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lrtheory"


def compiled(text):
    """Return the functions that Numba compiles, by name: the options, and the names of what each of them calls."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "njit":
                    called = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
                    names = {getattr(f, "id", getattr(f, "attr", "")) for f in called}
                    found[node.name] = ({word.arg: ast.unparse(word.value) for word in mark.keywords}, names)
    return found


def broken(text):
    """Return the functions that a kernel calls and whose copies may differ."""
    found = compiled(text)
    called = set().union(*(names for _, names in found.values())) & set(found)
    return {
        name
        for name in called
        if "fastmath" not in found[name][0]
        or (found[name][0]["fastmath"] != "False" and found[name][0].get("forceinline") != "True")
    }


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "@njit" in path.read_text()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_called_functions_are_exact_or_inlined(path):
    assert not broken(path.read_text()), "say fastmath=False, or fastmath=... and forceinline=True"


def test_the_rule_finds_what_breaks_it():
    caller = "@njit(cache=True)\ndef f(x):\n    return g(x)\n"
    for options, expected in (
        ("cache=True", {"g"}),
        ("fastmath=FAST", {"g"}),
        ("fastmath=False", set()),
        ("fastmath=FAST, forceinline=True", set()),
    ):
        assert broken(f"{caller}@njit({options})\ndef g(x):\n    return x\n") == expected
    assert len(SOURCES) > 15
    assert sum(len(compiled(path.read_text())) for path in SOURCES) > 60


def test_no_kernel_calls_one_of_another_file():
    """The rule above looks into one file at a time."""
    everywhere = [compiled(path.read_text()) for path in SOURCES]
    names = set().union(*everywhere)
    for mine, path in zip(everywhere, SOURCES, strict=True):
        called = set().union(*(called for _, called in mine.values())) if mine else set()
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported |= {alias.asname or alias.name for alias in node.names}
        assert not called & imported & names, path


KERNEL = """
import numpy as np
from lrtheory.operators import rademacher
operator = rademacher(200, 20)
z, y = np.random.default_rng(0).standard_normal((20, 20)), np.random.default_rng(1).standard_normal(200)
value, gradient = operator.residual_and_gradient(z, y, 0.1)
print(value.tobytes().hex(), gradient.tobytes().hex())
"""


def test_a_kernel_gives_the_same_bits_when_it_is_loaded(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", KERNEL], cwd=PACKAGE.parent, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=True,
        ).stdout
        for _ in range(2)
    )  # fmt: skip
    assert any(tmp_path.rglob("*.nbc"))
    assert first == second
