"""The server's figures, at the port of metrics that it chose itself.

Environment: `INCAMERA_PID`, `INCAMERA_HTTP_PORT`, `INCAMERA_TCP_PORT`.
"""

from __future__ import annotations

import contextlib
import os
import re
import urllib.request


def port() -> int:
    """Of the server's listening sockets the one that is for no client."""
    pid = os.environ["INCAMERA_PID"]
    owned = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        # Connections end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            owned.add(os.readlink(entry.path))
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    listening = [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in owned]
    [found] = set(listening) - {int(os.environ[f"INCAMERA_{name}_PORT"]) for name in ("HTTP", "TCP")}
    return found


def page() -> str:
    """What Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port()}/metrics", timeout=5) as answer:
        return answer.read().decode()


def total(text: str, counter: str) -> int:
    """Of one of our counters, in a page."""
    found = re.search(rf"^incamera_{counter}_total\S* (\d+)", text, re.MULTILINE)
    if found is None:
        raise AssertionError(f"there is no counter {counter}")
    return int(found[1])
