"""This machine's cores, and which instructions they have that low precision needs."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Collection
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
X86 = ("x86_64", "amd64", "i386", "i686")

# By what they are called here, the kernel's names for them.
# See: arch/x86/include/asm/cpufeatures.h and arch/arm64/include/uapi/asm/hwcap.h of Linux
FLAGS = {
    "vnni": {"avx512_vnni", "avx_vnni", "amx_int8"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
}
WARNINGS = {
    "vnni": "its int8 was made for a CPU with VNNI, which this one hasn't: sums of products may"
    " saturate here, and answers be wrong; build it with 'conversion: {portable: true}', or here",
    "bf16": "it computes in bf16, which this CPU has no instructions for: it is slow here, or"
    " computes in another precision; build it here, or serve it on a CPU that has them",
}


def cores() -> int:
    """The cores that this process may use: its affinity, within its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = CGROUP_QUOTA.read_text("ascii").split()
        return max(1, min(allowed or 1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2 here, or no quota ("max")
        return allowed or 1


def instructions(cpuinfo: str | None = None, machine: str | None = None) -> frozenset[str]:
    """Find the CPU's instructions, as FLAGS calls them.

    "vnni" says that products of 8 bits are added up in 32. An x86 without VNNI adds two of them in
    16 bits, where they saturate; other kinds of CPU never do, so they have it.

    Args:
        cpuinfo: what /proc/cpuinfo says; by default, this machine's. Where there is none, an x86
            counts as one that has none of them.
        machine: the kind of CPU, as `platform.machine()` calls it; by default, this one's.
    """
    if cpuinfo is None:
        try:
            cpuinfo = CPUINFO.read_text("utf-8", "replace")
        except OSError:  # not Linux
            cpuinfo = ""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    # "Features" on ARM. Cores may differ, and a thread may run on any: what all of them have.
    cores = [set(said.split()) for key, _, said in lines if key.strip() in ("flags", "Features")]
    shared = set.intersection(*cores) if cores else set()
    found = {name for name, flags in FLAGS.items() if flags & shared}
    if (machine or platform.machine()).lower() not in X86:
        found.add("vnni")
    return frozenset(found)


def warnings(needed: Collection[str], present: Collection[str] | None = None) -> list[str]:
    """What is to be feared of a model on a CPU that lacks what it was made for, in words.

    Args:
        needed: the instructions that it was made for.
        present: what the CPU has; by default, this one's.
    """
    have = instructions() if present is None else present
    return [said for name, said in WARNINGS.items() if name in needed and name not in have]
