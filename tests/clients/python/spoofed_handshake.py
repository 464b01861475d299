"""Clients join while datagrams that anybody can make arrive from their own addresses. Needs root.

Beside what `client` reads: `INCAMERA_UDP_PORT` (the server's port of media).
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections import Counter

from client import SIGNAL, check, control, fresh_room, join, measured, mint, scenario, until
from datagrams import Address, Datagram, Forger, Tap
from livekit import rtc

SERVER: Address = ("127.0.0.1", int(os.environ["INCAMERA_UDP_PORT"]))
JOINS = 20
#: Datagrams of the client after each of which it is attacked: checks, hello, certificate, and what follows.
STEPS_MAX = 12
JOIN_WITHIN_S = 10.0


def record(content: int, body: bytes, epoch: int = 0, sequence: int = 0) -> bytes:
    """A DTLS 1.2 record in the clear (RFC 6347 §4.1)."""
    return struct.pack("!BHHHIH", content, 0xFEFD, epoch, 0, sequence, len(body)) + body


def handshake(kind: int, message: int, total: int, at: int, body: bytes) -> bytes:
    """A piece of a handshake message (RFC 6347 §4.2.2)."""
    head = struct.pack("!B", kind) + total.to_bytes(3, "big") + struct.pack("!H", message)
    return record(22, head + at.to_bytes(3, "big") + len(body).to_bytes(3, "big") + body, sequence=message)


def hello(random: bytes) -> bytes:
    """A hello of DTLS 1.2 with one cipher suite, and without the extended master secret."""
    body = b"\xfe\xfd" + random + b"\0\0" + b"\0\x02\xc0\x2b" + b"\x01\0"
    return handshake(1, 0, len(body), 0, body)


#: What anybody can make who knows the protocol, by what it is.
FORGERIES = {
    "a hello of its own": hello(bytes(range(32))),
    "a fatal alert": record(21, b"\x02\x28"),
    "a goodbye": record(21, b"\x01\x00"),
    "a piece of a message of 16 MB": handshake(11, 1, 0xFFFFFF, 0xFFFF00, b"\0" * 64),
    "a piece that contradicts its message's length": handshake(11, 1, 40, 0, b"\0" * 64),
    "another certificate": handshake(11, 1, 67, 0, b"\0\0\x40\0\0\x3d" + b"\x30" * 61),
    "a finish out of turn": handshake(20, 4, 12, 0, b"\0" * 12),
    "a change of cipher out of turn": record(20, b"\x01"),
    "data in the clear": record(23, b"\0" * 40),
    "data of a later epoch": record(23, b"\0" * 40, epoch=1),
    "media": b"\x80\x6f\0\x01\0\0\0\x01\0\0\0\x07" + b"\0" * 40,
    "a check without a password": b"\0\x01\0\0\x21\x12\xa4\x42" + b"\0" * 12,
}


class Attack:
    """Answers each datagram of a client with a volley in the client's name."""

    def __init__(self, forger: Forger) -> None:
        self._forger = forger
        self.steps: Counter[Address] = Counter()

    def heed(self, datagram: Datagram) -> None:
        client = datagram.source
        is_forged = datagram.payload in FORGED
        if datagram.target != SERVER or is_forged:
            return
        if self.steps[client] >= STEPS_MAX:
            return
        self.steps[client] += 1
        for payload in FORGED:
            self._forger.send(client, SERVER, payload)


FORGED = frozenset(FORGERIES.values())


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may forge addresses")
    forger = Forger()
    attack = Attack(forger)
    tap = Tap({SERVER[1]}, heed=attack.heed)
    name = fresh_room("spoofed")
    ada = await join(name, "ada")
    heard: list[str] = []
    ada.on("data_received", lambda packet: heard.append(packet.data.decode()))
    slowest = 0.0
    for number in range(JOINS):
        began = time.monotonic()
        room = rtc.Room()
        await asyncio.wait_for(room.connect(SIGNAL, mint(name, f"ben-{number}")), JOIN_WITHIN_S)
        # Data goes over what the handshake has made.
        await asyncio.wait_for(room.local_participant.publish_data(f"{number}", reliable=True), JOIN_WITHIN_S)
        await until(f"ada hears number {number}", JOIN_WITHIN_S, lambda: f"{number}" in heard)
        slowest = max(slowest, time.monotonic() - began)
        await room.disconnect()
    attacked = [steps for steps in attack.steps.values() if steps > 2]
    measured(
        len(heard) == JOINS,
        f"{len(heard)} of {JOINS} clients joined and were heard, the slowest after {slowest:.1f} s",
    )
    measured(True, f"{forger.sent} forged datagrams, of {len(FORGERIES)} kinds, at up to {STEPS_MAX} steps of each join")
    arrived = sum(1 for it in tap.seen if it.payload in FORGED)
    control(
        arrived >= forger.sent * 0.99 and len(attacked) >= JOINS,
        f"{arrived} of them were seen to arrive at the server's port from {len(attacked)} clients' own addresses",
    )
    await ada.disconnect()


scenario("spoofed_handshake", act, timeout_s=85)
