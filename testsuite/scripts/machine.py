"""The machine that the benchmark measures: what it is, and how it passes for one with fewer instructions.

`--as avx2` loads as_avx2.c, which hides what is above AVX2 from CPUID, into this process and all that it starts, so that
every engine chooses the kernels that it would choose on a processor without AVX-512, VNNI and AMX. Clock, caches and
memory remain this machine's.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

from networks import REPOSITORY, call

# Features that engines choose by, with what `--as` leaves of them.
OF_INTEREST = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
LEFT = {"avx2": ("avx2", "fma")}
# libc chooses its own functions before the library is there.
TUNABLES = "glibc.cpu.hwcaps=" + ",".join(f"-AVX512{part}" for part in ("F", "BW", "CD", "DQ", "VL"))


def pass_for(name, folder):
    """Starts this command again, where it does not run yet, as on another machine; the library goes into the folder."""
    if passing_for() == name:
        return
    if "cpuid_fault" not in host_features():
        raise SystemExit(f"--as {name}: this processor, or its hypervisor, has no CPUID faults (cpuid_fault in /proc/cpuinfo)")
    source, library = REPOSITORY / f"testsuite/scripts/as_{name}.c", pathlib.Path(folder) / f"as_{name}.so"
    call(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"])
    preloaded = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    environment = {**os.environ, "LD_PRELOAD": preloaded, "GLIBC_TUNABLES": TUNABLES}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def passing_for():
    """The name that `--as` was given in this process, or None."""
    loaded = os.environ.get("LD_PRELOAD", "").split()
    return next((name for name in LEFT if any(pathlib.Path(path).name == f"as_{name}.so" for path in loaded)), None)


def host_features():
    """What the processor has, whatever CPUID is made to say."""
    with open("/proc/cpuinfo") as lines:
        return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])


def describe():
    """What a reader needs to judge the figures."""
    lscpu = subprocess.run(["lscpu", "--json"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    fields = json.loads(lscpu.stdout)["lscpu"] if lscpu.returncode == 0 else []
    flat = {field["field"].rstrip(":"): field["data"] for field in flatten(fields)}
    features = [name for name in OF_INTEREST if name in flat.get("Flags", "").split()]
    left = LEFT.get(passing_for(), features)
    return {
        "cpu": flat.get("Model name", platform.processor()),
        "features": [name for name in features if name in left],
        "hidden": [name for name in features if name not in left],
        "cores": len(os.sched_getaffinity(0)),
        "caches": {name: size for name, size in flat.items() if name.startswith(("L1", "L2", "L3"))},
        "load": os.getloadavg()[0],
    }


def flatten(fields):
    for field in fields:
        yield field
        yield from flatten(field.get("children", []))
