"""Flags under which XLA compiles the tests' programs quickly.

Most of the tests' time is that of compiling programs that run once. test_defaults.py does without
these flags.
"""

import importlib.util
import mmap
import os
from pathlib import Path


def add(*flags):
    """Adds to XLA_FLAGS what is not there; workers of pytest-xdist and subprocesses inherit it."""
    present = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*present, *(f for f in flags if f not in present)])


def set_up():
    """Eight devices; on CPUs, without LLVM's optimizations and with the older code for fusions.

    A program is compiled as one piece: splitting it for several threads takes time by itself.
    """
    add("--xla_force_host_platform_device_count=8")
    if os.environ["JAX_PLATFORMS"] == "cpu":  # a GPU's kernels are to be tested as they run
        add("--xla_backend_optimization_level=0")
        wanted = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": 1}
        for name, value in wanted.items():
            if name in os.environ.get("XLA_FLAGS", "") or known(name):
                add(f"--{name}={value}")


def known(name):
    """Whether this version of XLA has a flag; it aborts at one that it does not know."""
    package = Path(importlib.util.find_spec("jaxlib").origin).parent
    for library in package.glob("libjax_common.*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as text:
            return text.find(name.encode()) >= 0
    return False
