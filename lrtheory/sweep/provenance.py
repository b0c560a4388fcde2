"""Where numbers come from: versions, source digests, git revision, machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import lrtheory

_PACKAGE = Path(lrtheory.__file__).resolve().parent

# What cannot change a cell, so that editing it must not make the stored ones look foreign.
_NO_CELLS = ("_experiments", "plotting.py", "testing")

_PACKAGES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "matplotlib")


def digest(text: str | bytes) -> str:
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


@functools.cache
def source_digest() -> str:
    """Return the digest of the lrtheory source, as far as it can change the numbers of a cell."""
    parts = []
    for path in sorted(_PACKAGE.rglob("*.py")):
        relative = path.relative_to(_PACKAGE)
        if relative.parts[0] not in _NO_CELLS:
            parts.append(f"{relative.as_posix()} {digest(path.read_bytes())}")
    return digest("\n".join(parts))


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python, lrtheory and the packages that touch the numbers."""
    found = {"python": platform.python_version(), "lrtheory": lrtheory.__version__}
    for name in _PACKAGES:
        version = package(name)
        if version:
            found[name] = version
    return found


def package(name: str) -> str:
    """Return the version of a package, or an empty string if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


@functools.cache
def git() -> dict[str, Any]:
    """Return the revision of the clone that lrtheory runs from, and whether it has changes; None outside a clone."""
    nowhere: dict[str, Any] = {"revision": None, "dirty": None}
    if not (_PACKAGE.parent / ".git").exists():
        return nowhere
    try:
        revision = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return nowhere
    return {"revision": revision, "dirty": dirty}


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(_PACKAGE.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@functools.cache
def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> str:
    """Return a digest that tells machines apart (for data that are times)."""
    return digest(f"{platform.node()} {cpu_model()} {cores()}")


@functools.cache
def device_name(device: str) -> str:
    """Return the name of the hardware behind a device."""
    if device == "cpu":
        return cpu_model()
    try:
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(int(device.partition(":")[2] or 0))
        return str(properties["name"].decode())
    except Exception:  # the name is a courtesy, whatever the driver's mood
        return device


def reset_peak() -> None:
    """Make `peak_megabytes` count from now on, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Return the largest resident memory that this process has had (on Linux: since `reset_peak`)."""
    try:
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
