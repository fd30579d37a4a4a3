"""What processes cost: CPU and memory of whole trees, as the kernel counts them."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil


def tree(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes with these ids, and all below them."""
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that the trees have used, user and system, ended children included."""
    total = 0.0
    for process in tree(pids):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # ended meanwhile: then its parent's count of children has it
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mib(pids: Sequence[int]) -> float:
    """Resident memory of the trees: proportional set size, so that pages shared within count once."""
    total = 0
    for process in tree(pids):
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def description() -> str:
    """The machine, in a line."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
