"""After people have asked much of the server, its memory goes back to the system within a minute.

What is asked: requests that never end, and participants who do not read what others say. Both are bounded, and over
once their connections are. Beside what `client` reads: `INCAMERA_PID`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from urllib.parse import urlsplit

from client import API_KEY, API_SECRET, SERVER, check, control, fresh_room, join, join_request, measured, mint, scenario, until, upgrade
from livekit import api
from livekit.protocol import rtc as wire
from process import resident_kib

HEADS, HEAD_BYTES = 2_000, 31_000
#: Each says so much about himself, and all others are told.
READERS, TALK_BYTES = 60, 500_000
#: What of that is there once: 28 MiB, and 59 MiB.
GROWS_MIB = 24
WITHIN_S = 45
#: What a server that idles may have (`started.py`).
RESIDENT_MIB = 24


def resident_mib() -> float:
    return resident_kib(int(os.environ["INCAMERA_PID"])) / 1024


def connect(receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    address = urlsplit(SERVER)
    connection.connect((address.hostname, address.port))
    return connection


def enter(room: str, identity: str) -> socket.socket:
    """Signalling alone, of which nobody reads more than that it is let in."""
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    connection = connect(4096)
    token = mint(room, identity, grants=grants)
    connection.sendall(upgrade(token, join_request(auto_subscribe=False)))
    head = connection.recv(12)
    check(head.startswith(b"HTTP/1.1 101"), f"{identity} is let in")
    return connection


def say(connection: socket.socket, text: str) -> None:
    request = wire.SignalRequest()
    request.update_metadata.metadata = text
    payload = request.SerializeToString()
    # RFC 6455: binary, whole, masked with zeroes.
    connection.sendall(bytes([0x82, 0xFF]) + len(payload).to_bytes(8, "big") + bytes(4) + payload)


async def talk() -> float:
    """What the server has at most while people say much of themselves and read nothing; then their room is deleted."""
    room = fresh_room("given-back")
    people = [enter(room, f"reader-{number}") for number in range(READERS)]
    for number, person in enumerate(people):
        await asyncio.to_thread(say, person, f"{number:05}{'m' * TALK_BYTES}")
    # What is large is read one after the other.
    most, until_s = 0.0, time.monotonic() + 5
    while time.monotonic() < until_s:
        most = max(most, resident_mib())
        await asyncio.sleep(0.05)
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as back_end:
        await back_end.room.delete_room(api.DeleteRoomRequest(room=room))
    for person in people:
        person.close()
    return most


async def ask_without_end() -> float:
    """What it has at most beside many requests of which more is to come."""
    head = b"GET / HTTP/1.1\r\nX: "
    callers = []
    for _ in range(HEADS):
        callers.append(connect())
        callers[-1].sendall(head + b"x" * (HEAD_BYTES - len(head)))
    await asyncio.sleep(1)
    most = resident_mib()
    for caller in callers:
        caller.close()
    return most


async def act() -> None:
    for ask, whom in ((talk, "people who do not read"), (ask_without_end, "requests that do not end")):
        before, most = resident_mib(), await ask()
        left = time.monotonic()
        control(most > before + GROWS_MIB, f"beside {whom} the server has {most:.0f} MiB where it had {before:.1f}")
        await until(
            f"no more than {RESIDENT_MIB} MiB are resident", WITHIN_S, lambda: resident_mib() <= RESIDENT_MIB
        )
        held = resident_mib()
        measured(held <= RESIDENT_MIB, f"{time.monotonic() - left:.0f} s after they left it has {held:.1f} MiB")
    await join(fresh_room("given-back"), "ada")
    check(True, "and lets people in")


scenario("given_back", act, timeout_s=120)
