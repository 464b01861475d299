"""A video call between load clients, and the figures that they print.

Environment: `INCAMERA_PID`, `INCAMERA_LOAD`, and what `client` reads.
"""

from __future__ import annotations

import asyncio
import os
import re

from client import SERVER, fresh_room

MEASURE_S = 5
SUBSCRIBERS = 2


async def call(room: str, *more: str) -> tuple[int, str]:
    """One publisher. Its exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(os.environ["INCAMERA_LOAD"], "--server", SERVER.removeprefix("http://"), "--pid", os.environ["INCAMERA_PID"]),
        *("--room", fresh_room(room), "--kind", "video", "--publishers", "1", "--subscribers", str(SUBSCRIBERS)),
        *("--seconds", str(MEASURE_S), *more),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise AssertionError(f"the figure `{pattern}` is not in {text!r}")
    return float(found[1])


def lost(text: str) -> float:
    """Of a hundred."""
    return number(r"([\d.]+) % lost", text)
