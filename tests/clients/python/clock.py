"""Another time of day than the machine's, for processes that are started here, by libfaketime."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from client import check


def faketime() -> str:
    """The library that shows a process another time of day."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    check(found, "libfaketime is there")
    return str(found[0])


@contextlib.contextmanager
def an_hour_ago() -> Iterator[None]:
    """What is started meanwhile has a clock that is slow by an hour."""
    slow = {"LD_PRELOAD": faketime(), "FAKETIME": "-1h"}
    os.environ.update(slow)
    try:
        yield
    finally:
        for name in slow:
            del os.environ[name]
