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
    """Return the functions that Numba compiles, by name: the options, and the names that each of them has."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                function = mark.func if isinstance(mark, ast.Call) else mark
                if getattr(function, "id", getattr(function, "attr", "")) == "njit":
                    names = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node)} - {node.name}
                    options = {word.arg: ast.unparse(word.value) for word in getattr(mark, "keywords", ())}
                    found[node.name] = (options, names)
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


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "njit" in path.read_text()]


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
    for text in ("@njit\ndef g(x):\n    return x\n", "@numba.njit(cache=True)\ndef g(x):\n    return x\n"):
        assert broken(caller + text) == {"g"}
        assert broken(caller.replace("return g(x)", "h = g\n    return h(x)") + text) == {"g"}
    assert len(SOURCES) > 15
    assert sum(len(compiled(path.read_text())) for path in SOURCES) > 60


def test_no_kernel_calls_one_of_another_file():
    """The rule above looks into one file at a time."""
    everywhere = [compiled(path.read_text()) for path in SOURCES]
    names = set().union(*everywhere)
    for mine, path in zip(everywhere, SOURCES, strict=True):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported |= {alias.asname or alias.name for alias in node.names}
        used = set().union(*(used for _, used in mine.values())) if mine else set()
        others = names - mine.keys()
        assert not used & imported & others, path
        assert not (used & others and any(name.startswith("_cpu") for name in used & imported)), path


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
