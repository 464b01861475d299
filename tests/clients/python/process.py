"""What the kernel says of a process, and what this one may. Source: proc(5), getrlimit(2)."""

from __future__ import annotations

import os
import resource


def open_many_files() -> None:
    """From now on this process, and those that it starts, may have as many open as the system lets it."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS:")).split()[1])


def processor_s(pid: int) -> float:
    """For how long it has had a processor."""
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
