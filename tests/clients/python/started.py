"""The server answers soon after its start, idles small, and ends when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import time

from client import check, scenario
from process import resident_kib

BINARY = os.environ.get("INCAMERA_BIN", "incamera")
STARTS = 9
ANSWER_MS = 60
RESIDENT_MIB = 24


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Whether a whole 200 comes back now."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except ConnectionRefusedError:
        return False


def start_once() -> tuple[float, float]:
    """Milliseconds to the first answer, and MiB resident half a second later."""
    http, udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    command = [BINARY, "dev", "--http-port", str(http), "--udp-port", str(udp), "--tcp-port", "0"]
    began = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(http):
            if time.monotonic() - began > 10:
                raise AssertionError("the server did not answer within ten seconds")
            time.sleep(0.001)
        answered = (time.monotonic() - began) * 1000
        time.sleep(0.5)
        resident = resident_kib(server.pid) / 1024
        server.send_signal(signal.SIGTERM)
        check(server.wait(5) == 0, "it ends with 0 after SIGTERM")
        return answered, resident
    finally:
        server.kill()


async def main() -> None:
    measured = [await asyncio.to_thread(start_once) for _ in range(STARTS)]
    times = sorted(answered for answered, _ in measured)
    largest = max(resident for _, resident in measured)
    middle = statistics.median(times)
    print(f"first answer: best {times[0]:.0f} ms, median {middle:.0f} ms, worst {times[-1]:.0f} ms")
    print(f"idle: {largest:.1f} MiB resident at most")
    # A single one may have to wait for a processor.
    check(middle <= ANSWER_MS, f"the first answer comes within {ANSWER_MS} ms of the start")
    check(largest < RESIDENT_MIB, f"it idles under {RESIDENT_MIB} MiB")


scenario("started", main)
