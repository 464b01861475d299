"""Servers that a scenario starts itself, with settings of its own.

Environment: `INCAMERA_BIN`, `INCAMERA_HTTP_PORT`, `INCAMERA_UDP_PORT`, `INCAMERA_TCP_PORT`, and `INCAMERA_SERVER_LOG`, to which
their logs are appended, to be searched afterwards for what no log may hold.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from client import measured, never, sensitive
from process import resident_kib

BINARY = os.environ["INCAMERA_BIN"]
HTTP_PORT = int(os.environ["INCAMERA_HTTP_PORT"])
UDP_PORT = int(os.environ["INCAMERA_UDP_PORT"])
TCP_PORT = int(os.environ["INCAMERA_TCP_PORT"])
LOG = Path(os.environ["INCAMERA_SERVER_LOG"])
#: Of a server to which something happens that it should not notice.
GROWTH_KIB_MAX = 4096


class Server:
    """A running server; in a `with` it ends with the block, as an operator ends it."""

    def __init__(
        self,
        *arguments: str,
        address: str = "127.0.0.1",
        program: tuple[str, ...] = (BINARY,),
        before: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        errors: IO[bytes] | int | None = None,
    ) -> None:
        """`program` may be one that becomes the server; `before` runs in the child before that. Its log goes
        to `errors`, if that is given, and then is nobody's to search."""
        self._begin = LOG.stat().st_size
        with LOG.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *arguments], stdout=subprocess.DEVNULL, stderr=log if errors is None else errors,
                env=environment, preexec_fn=before,
            )  # fmt: skip
        give_up_at = time.monotonic() + 15
        while True:
            if (code := self.process.poll()) is not None:
                raise AssertionError(f"the server ended at its start with {code}: {self.log()}")
            try:
                socket.create_connection((address, HTTP_PORT), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > give_up_at:
                    self.process.kill()
                    raise AssertionError(f"the server does not listen: {self.log()}") from None
                time.sleep(0.02)

    def log(self) -> str:
        with LOG.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode()

    def says(self, words: str, times: int = 1) -> bool:
        return self.log().count(words) >= times

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not end after SIGTERM") from None
        if code != 0:
            raise AssertionError(f"the server ended with {code}")


def refused(*arguments: str) -> str:
    """What a command says that cannot do what it is asked."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=20)
    if done.returncode != 1:
        raise AssertionError(f"`{' '.join(arguments)}` ended with {done.returncode}")
    # Of addresses it may speak, unlike a log.
    for secret in sensitive():
        never(secret in done.stderr, f"`{' '.join(arguments)}` says what no log may hold")
    return done.stderr


@contextlib.contextmanager
def nothing_grows(server: Server, what: str) -> Iterator[None]:
    before = resident_kib(server.process.pid)
    yield
    more = resident_kib(server.process.pid) - before
    measured(more <= GROWTH_KIB_MAX, f"{what}: the server's memory has grown by {max(more, 0)} KiB")
