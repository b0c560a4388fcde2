"""Every CUDA source of the package compiles for sm_80 and sm_90: by NVRTC, without a device, and never skipped."""

import ctypes
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

import lrtheory
from lrtheory.operators import _gpu_launch

PACKAGE = Path(lrtheory.__file__).parent
ARCHITECTURES = ("sm_80", "sm_90")


@cache
def nvrtc():
    specification = importlib.util.find_spec("nvidia.cuda_nvrtc")
    assert specification is not None, "NVRTC is missing: install the extra lrtheory[dev]"
    for folder in specification.submodule_search_locations:
        for path in sorted([*Path(folder).glob("lib/libnvrtc.so.*[0-9]"), *Path(folder).glob("bin/nvrtc64_*.dll")]):
            return ctypes.CDLL(str(path))
    raise AssertionError("NVRTC's wheel has no library")


def compiled(code, options):
    """Return the machine code. Raises AssertionError with the compiler's log."""
    library, program = nvrtc(), ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"source.cu", 0, None, None) == 0
    try:
        given = [option.encode() for option in options]
        status = library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        assert status == 0, log.value.decode()
        assert library.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
        binary = ctypes.create_string_buffer(size.value)
        assert library.nvrtcGetCUBIN(program, binary) == 0
        return binary.raw
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def modules():
    """All modules of the package whose text has a CUDA kernel."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if re.search(r'extern "C" __global__', path.read_text()) and path.name != "_gpu_launch.py":
            yield importlib.import_module(".".join(("lrtheory", *path.relative_to(PACKAGE).with_suffix("").parts)))


CASES = [
    pytest.param(source, macros, id=f"{module.__name__.rpartition('.')[2]}-{i}-{'-'.join(map(str, macros.values()))}")
    for module in modules()
    for i, source in enumerate(module.SOURCES)
    for macros in source.variants
]


def kernels(code):
    return re.findall(r'extern "C" __global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(', code)


def test_no_kernel_is_left_out():
    names = {module.__name__.rpartition(".")[2] for module in modules()}
    assert names >= {"_gpu", "_gpu_generated", "_gpu_rank_one", "_gpu_factors", "_gpu_sources", "_gpu_application"}
    for module in modules():
        written = kernels(Path(module.__file__).read_text())
        assert sorted(written) == sorted(name for source in module.SOURCES for name in kernels(source.code))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("source", "macros"), CASES)
def test_compiles(source, macros, architecture):
    assert "#include" not in source.code
    options = (f"-arch={architecture}", "-std=c++17", *_gpu_launch.definitions(macros))
    binary = compiled(source.code, options)
    for kernel in kernels(source.code):
        assert kernel.encode() in binary


def test_a_planted_error_fails():
    source, macros = CASES[0].values
    for good, bad in (("__syncthreads()", "__syncthread()"), ("double s = 0.0;", "double s = 0.0"), ("d)", "e)")):
        assert good in source.code
        with pytest.raises(AssertionError, match="error"):
            compiled(source.code.replace(good, bad, 1), ("-arch=sm_80", *_gpu_launch.definitions(macros)))
    with pytest.raises(AssertionError, match="error"):  # an architecture that does not exist
        compiled(source.code, ("-arch=sm_12", *_gpu_launch.definitions(macros)))
