"""Runs the package's CUDA C on the CPU: the same text, compiled as C++ under a shim, threads of a warp in lockstep.

The threads of a block are fibers. Each runs up to its next barrier or shuffle, then the next one of its warp does, and
one warp after the other gets to a barrier; blocks run one after the other. What the device leaves undefined is an error
here: threads of a block at different barriers, a result that depends on the order in which threads run between barriers
(every kernel runs twice, in both orders), a write beyond an array. An argument must have the type that the kernel
declares.
"""

import ctypes
import hashlib
import re
import subprocess

import numpy as np

from lrtheory.operators import _gpu_launch

SHIM = r"""
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__ static
#define __shared__ static
#define __launch_bounds__(n)

struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
const size_t STACK = 1 << 16;
enum { RUNNING, BARRIER, SHUFFLE, DONE };
struct Fiber { jmp_buf resume; ucontext_t first; Index place; int state; bool begun; };
static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static std::vector<unsigned long long> slots;
static unsigned current;
static jmp_buf scheduler;
static void (*body)(void**);
static void** given;

static void wait(int why)
{
    fibers[current].state = why;
    if (!_setjmp(fibers[current].resume)) _longjmp(scheduler, 1);
}

static void begin()
{
    body(given);
    fibers[current].state = DONE;
    _longjmp(scheduler, 1);
}

static bool block(bool reversed)
{
    const unsigned n = fibers.size();
    for (Fiber& fiber : fibers) { fiber.begun = false; fiber.state = RUNNING; }
    for (;;) {
        for (unsigned first = 0; first < n; first += 32) {  // a warp up to its next barrier: a shuffle holds no other
            const unsigned lanes = n - first < 32 ? n - first : 32;
            do {
                for (unsigned k = first; k < first + lanes; ++k) {
                    current = reversed ? n - 1 - k : k;
                    Fiber& fiber = fibers[current];
                    threadIdx = fiber.place;
                    fiber.state = RUNNING;
                    if (!_setjmp(scheduler)) {
                        if (fiber.begun) _longjmp(fiber.resume, 1);
                        fiber.begun = true;
                        getcontext(&fiber.first);
                        fiber.first.uc_stack.ss_sp = &stacks[current * STACK];
                        fiber.first.uc_stack.ss_size = STACK;
                        fiber.first.uc_link = nullptr;
                        makecontext(&fiber.first, begin, 0);
                        setcontext(&fiber.first);
                    }
                }
                for (unsigned k = first; k < first + lanes; ++k)
                    if (fibers[reversed ? n - 1 - k : k].state != fibers[current].state) return false;
            } while (fibers[current].state == SHUFFLE);
        }
        for (const Fiber& fiber : fibers) if (fiber.state != fibers[0].state) return false;
        if (fibers[0].state == DONE) return true;
    }
}

static int run(void (*kernel)(void**), const unsigned* shape, bool reversed, void** arguments)
{
    body = kernel;
    given = arguments;
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    const unsigned n = shape[3] * shape[4] * shape[5];
    fibers.resize(n);
    stacks.resize(n * STACK);
    slots.resize(n);
    for (unsigned t = 0; t < n; ++t)
        fibers[t].place = {t % shape[3], t / shape[3] % shape[4], t / (shape[3] * shape[4])};
    for (unsigned b = 0; b < shape[0] * shape[1] * shape[2]; ++b) {
        blockIdx = {b % shape[0], b / shape[0] % shape[1], b / (shape[0] * shape[1])};
        if (!block(reversed)) return 1;
    }
    return 0;
}
}  // namespace emulation

static void __syncthreads() { emulation::wait(emulation::BARRIER); }

template <class T> static T __shfl_down_sync(unsigned, T value, unsigned step)
{
    using namespace emulation;
    static_assert(sizeof(T) == 8, "8-byte shuffles only");
    const unsigned lane = current;
    memcpy(&slots[lane], &value, 8);
    wait(SHUFFLE);
    T other = value;
    if (lane % 32 + step < 32) memcpy(&other, &slots[lane + step], 8);
    wait(SHUFFLE);
    return other;
}

static void sincospi(double x, double* s, double* c)  // the argument is reduced without rounding
{
    const double quarter = std::nearbyint(2.0 * x), rest = x - 0.5 * quarter;
    const double a = std::sin(M_PI * rest), b = std::cos(M_PI * rest);
    switch ((long long)quarter & 3) {
        case 0: *s = a; *c = b; break;
        case 1: *s = b; *c = -a; break;
        case 2: *s = -a; *c = -b; break;
        default: *s = -b; *c = a;
    }
}

__attribute__((noinline)) static double __dmul_rn(double a, double b) { return a * b; }  // is never contracted

using std::exp2;
using std::fabs;
using std::fma;
using std::ldexp;
using std::log;
using std::rint;
using std::sqrt;
"""

KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(([^)]*)\)')
SCALARS = {"long long": np.int64, "double": np.float64, "unsigned long long": np.uint64}
ARRAYS = {
    "double": "float64",
    "float": "float32",
    "int8": "int8",
    "int": "int32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "unsigned char": "bool",
}
GUARD = 64


class Emulator:
    """Stands in for `_gpu_launch.launch`, with NumPy arrays. `folder` keeps what is compiled, with `options`."""

    def __init__(self, folder, options=()):
        self.folder, self.options = folder, options
        self.libraries = {}
        self.loaded = set()
        self.started = 0
        self.recording = None

    def capture(self, work):
        """Stand in for `_gpu_launch.capture`: what `work` starts is kept and not run, with its very arrays."""
        self.recording = graph = Recording(self)
        work()
        self.recording = None
        return graph

    def launch(self, source, kernel, grid, block, arguments, macros=None):
        if self.recording is not None:
            key = source.code, _gpu_launch.definitions(macros or {})
            assert key in self.loaded, f"{kernel} was not loaded before the capture"
            self.recording.calls.append((source, kernel, grid, block, arguments, macros))
            return
        self.loaded.add((source.code, _gpu_launch.definitions(macros or {})))
        self.started += 1
        macros = macros or {}
        declared = parameters(source.code)[kernel]
        assert len(arguments) == len(declared), f"{kernel} takes {len(declared)} arguments, got {len(arguments)}"
        assert np.prod(block) <= 1024
        assert all(n <= 65535 for n in grid[1:])
        call = getattr(self.library(source.code, macros), f"start_{kernel}")
        shape = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        results = []
        for reverse in (False, True):
            passed, guarded, known = [], [], {}
            for (kind, constant), argument in zip(declared, arguments, strict=True):
                if kind.endswith("*"):
                    wanted = ARRAYS[macros.get(kind[:-1], kind[:-1])]
                    assert isinstance(argument, np.ndarray), kernel
                    assert argument.dtype == wanted, f"{kernel}: {argument.dtype} where {wanted} is declared"
                    assert argument.flags.c_contiguous, kernel
                    place = argument.ctypes.data, argument.nbytes  # one array given twice stays one
                    if place not in known:
                        known[place] = np.full(argument.nbytes + 2 * GUARD, 0xFF, np.uint8)  # as doubles, NaN
                        known[place][GUARD:-GUARD] = argument.reshape(-1).view(np.uint8)
                    raw = known[place]
                    guarded.append((raw, argument, constant))
                    passed.append(ctypes.c_void_p(raw.ctypes.data + GUARD))
                else:
                    value = np.int64(argument) if type(argument) is int else argument
                    value = np.float64(value) if type(value) is float else value
                    assert type(value) is SCALARS[kind], f"{kernel}: {type(argument)} where {kind} is declared"
                    passed.append(value)
            cells = [a if isinstance(a, ctypes.c_void_p) else a.reshape(1) for a in passed]
            pointers = (ctypes.c_void_p * max(1, len(cells)))(
                *(ctypes.addressof(c) if isinstance(c, ctypes.c_void_p) else c.ctypes.data for c in cells)
            )
            assert call(shape, reverse, pointers) == 0, f"{kernel}: threads of a block wait at different barriers"
            for raw, argument, constant in guarded:
                assert (raw[:GUARD] == 0xFF).all(), f"{kernel} wrote before an array"
                assert (raw[-GUARD:] == 0xFF).all(), f"{kernel} wrote behind an array"
                unchanged = constant and all(a is not argument or c for _, a, c in guarded)
                assert not unchanged or (raw[GUARD:-GUARD] == argument.reshape(-1).view(np.uint8)).all()
            results.append(guarded)
        for (raw, argument, _), (again, _, _) in zip(*results, strict=True):
            assert (raw == again).all(), f"{kernel}: the result depends on the order of threads"
            if argument.flags.writeable:
                argument.reshape(-1).view(np.uint8)[:] = raw[GUARD:-GUARD]

    def library(self, code, macros):
        options = _gpu_launch.definitions(macros)
        key = hashlib.sha256(repr((code, options)).encode()).hexdigest()[:16]
        if key not in self.libraries:
            text = SHIM + code
            for name, declared in parameters(code).items():
                taken = ", ".join(f"*({kind}*)a[{i}]" for i, (kind, _) in enumerate(declared))
                text += (
                    f"static void call_{name}(void** a) {{ {name}({taken}); }}\n"
                    f'extern "C" int start_{name}(const unsigned* shape, bool reversed, void** a)\n'
                    f"{{ return emulation::run(call_{name}, shape, reversed, a); }}\n"
                )
            path = self.folder / f"{key}.cpp"
            path.write_text(text)
            command = [
                "g++",
                "-std=c++17",
                "-O1",
                "-shared",
                "-fPIC",
                "-U_FORTIFY_SOURCE",
                "-w",
                *self.options,
                *options,
            ]
            done = subprocess.run(
                [*command, "-o", path.with_suffix(".so"), path], capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
            self.libraries[key] = ctypes.CDLL(str(path.with_suffix(".so")))
        return self.libraries[key]


class Recording:
    def __init__(self, emulator):
        self.emulator, self.calls, self.launches = emulator, [], 0

    def launch(self):
        self.launches += 1
        for call in self.calls:
            self.emulator.launch(*call)


def parameters(code):
    """Return, for each kernel, the types of its parameters and whether they point to constants."""
    found = {}
    for name, declared in KERNEL.findall(code):
        found[name] = []
        for parameter in declared.split(","):
            kind = " ".join(parameter.split()[:-1])
            found[name].append((kind.removeprefix("const "), kind.startswith("const ")))
    return found
