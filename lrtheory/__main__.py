"""The console command ``lrtheory``."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def info() -> int:
    """Print versions, devices, threads and cache folders."""
    import platform

    import lrtheory
    from lrtheory.sweep import loading, provenance

    others = [f"{name} {version}" for name, version in provenance.versions().items() if name != "lrtheory"]
    print(f"lrtheory {lrtheory.__version__}, {Path(lrtheory.__file__).parent}")
    print("versions:", ", ".join(others))
    print(f"platform: {platform.platform()}")
    revision = provenance.git()
    if revision["revision"]:
        print(f"git: {revision['revision']}{' with changes' if revision['dirty'] else ''}")
    print(f"cpu: {provenance.cpu_model()}, {provenance.cores()} usable cores; 1 kernel thread a process by default")
    print(f"cuda: {_cuda()}")
    print(f"dask: {provenance.package('distributed') or 'not installed: install the extra lrtheory[cluster]'}")
    print(f"experiments: {loading.folder() or 'none'}")
    print(f"numba cache: {os.environ.get('NUMBA_CACHE_DIR') or '__pycache__ beside each kernel file'}")
    return 0


def _cuda() -> str:
    try:
        import cupy
    except ImportError:
        return "no CuPy: install the extra lrtheory[cuda12] or lrtheory[cuda13]"
    try:
        names = [
            cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(cupy.cuda.runtime.getDeviceCount())
        ]
    except Exception as error:  # whatever the driver says is the answer
        return f"CuPy {cupy.__version__}, but no usable device: {error}"
    return f"CuPy {cupy.__version__}, " + ", ".join(f"cuda:{i} {name}" for i, name in enumerate(names))


def main() -> int:
    """Run the console command ``lrtheory`` and return its exit code."""
    import typer

    from lrtheory.falsify.cli import falsify
    from lrtheory.sweep import stores
    from lrtheory.sweep.cli import guarded, sweep

    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="A laboratory for the theory of low-rank learning.",
    )
    app.command()(sweep)
    app.command()(falsify)
    app.command()(info)
    app.add_typer(stores.make_app(), name="store", help="What is in the folders of results.")
    return guarded(app, "lrtheory", sys.argv[1:] or ["--help"])


if __name__ == "__main__":
    sys.exit(main())
