"""Clients join while datagrams that anybody can make arrive from their own addresses. Needs root.

Beside what `client` reads: `INCAMERA_UDP_PORT` (the server's port of media).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
import time
from collections import Counter

from client import SIGNAL, check, control, fresh_room, join, measured, mint, scenario, until
from datagrams import Address, Datagram, Forger, Tap
from livekit import rtc

SERVER: Address = ("127.0.0.1", int(os.environ["INCAMERA_UDP_PORT"]))
#: Joins under each attack: of every kind once, and of hellos so many for each datagram of the client.
JOINS = 20
JOINS_BESIDE_HELLOS = 5
#: So many more at most until enough hellos have come while a handshake went on.
MORE_JOINS_MAX = 40
VOLLEYS = (20, 80)
#: Datagrams of the client after each of which it is attacked: checks, hello, certificate, and what follows.
STEPS_MAX = 12
JOIN_WITHIN_S = 3.0


def record(content: int, body: bytes, epoch: int = 0, sequence: int = 0) -> bytes:
    """A DTLS 1.2 record in the clear (RFC 6347 §4.1)."""
    return struct.pack("!BHHHIH", content, 0xFEFD, epoch, 0, sequence, len(body)) + body


def handshake(kind: int, message: int, total: int, at: int, body: bytes) -> bytes:
    """A piece of a handshake message (RFC 6347 §4.2.2)."""
    head = struct.pack("!B", kind) + total.to_bytes(3, "big") + struct.pack("!H", message)
    return record(22, head + at.to_bytes(3, "big") + len(body).to_bytes(3, "big") + body, sequence=message)


def hello(random: bytes, extensions: bytes = b"") -> bytes:
    """A hello of DTLS 1.2 with one cipher suite; without `extensions` it lacks the extended master secret."""
    body = b"\xfe\xfd" + random + b"\0\0" + b"\0\x02\xc0\x2b" + b"\x01\0" + extensions
    return handshake(1, 0, len(body), 0, body)


def extensions() -> bytes:
    """Those with which a server that asks for no cookie goes on, and spends a key share."""
    listed = {
        23: b"",  # The extended master secret.
        10: b"\0\x04\0\x1d\0\x17",  # X25519, P-256.
        11: b"\x01\0",
        13: b"\0\x02\x04\x03",  # ECDSA with SHA-256.
        14: b"\0\x02\0\x07\0",  # SRTP under AES-128-GCM.
    }
    body = b"".join(struct.pack("!HH", kind, len(value)) + value for kind, value in listed.items())
    return struct.pack("!H", len(body)) + body


#: Within the random of each hello of a volley.
MARK = secrets.token_bytes(8)
EXTENSIONS = extensions()


def fresh_hello() -> bytes:
    """A hello as a client's own, of nobody."""
    return hello(MARK + secrets.token_bytes(24), EXTENSIONS)


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


FORGED = frozenset(FORGERIES.values())


def is_forged(payload: bytes) -> bool:
    return payload in FORGED or MARK in payload


class Attack:
    """Answers each datagram of a client with a volley in the client's name: every kind, or fresh hellos."""

    def __init__(self, forger: Forger) -> None:
        self._forger = forger
        self.hellos = 0
        self.steps: Counter[Address] = Counter()

    def heed(self, datagram: Datagram) -> None:
        client = datagram.source
        if datagram.target != SERVER or is_forged(datagram.payload):
            return
        if self.steps[client] >= STEPS_MAX:
            return
        self.steps[client] += 1
        volley = [fresh_hello() for _ in range(self.hellos)] if self.hellos else FORGED
        for payload in volley:
            self._forger.send(client, SERVER, payload)


def is_question(payload: bytes) -> bool:
    """A `HelloVerifyRequest` (RFC 6347 §4.2.1)."""
    return payload[:1] == b"\x16" and payload[13:14] == b"\x03"


class Joins:
    """Clients that join one after the other, and what another one hears of them."""

    def __init__(self, room: str, ada: rtc.Room) -> None:
        self._room = room
        self.heard: list[str] = []
        ada.on("data_received", lambda packet: self.heard.append(packet.data.decode()))

    async def one_after_the_other(self, prefix: str, count: int) -> float:
        """Seconds that the slowest took until it was heard."""
        slowest = 0.0
        for number in range(count):
            name = f"{prefix}-{number}"
            began = time.monotonic()
            room = rtc.Room()
            await asyncio.wait_for(room.connect(SIGNAL, mint(self._room, name)), 20)
            # Data goes over what the handshake has made.
            await asyncio.wait_for(room.local_participant.publish_data(name, reliable=True), 20)
            await until(f"ada hears {name}", 20, lambda: name in self.heard)
            slowest = max(slowest, time.monotonic() - began)
            await room.disconnect()
        return slowest


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may forge addresses")
    forger = Forger()
    attack = Attack(forger)
    tap = Tap({SERVER[1]}, heed=attack.heed)
    room = fresh_room("spoofed")
    ada = await join(room, "ada")
    joins = Joins(room, ada)

    slowest = await joins.one_after_the_other("ben", JOINS)
    measured(
        len(joins.heard) == JOINS and slowest <= JOIN_WITHIN_S,
        f"{len(joins.heard)} of {JOINS} clients joined and were heard, the slowest after {slowest:.1f} s",
    )
    # Until it has answered all that the clients said, and has seen those answers.
    await tap.caught_up()
    await tap.caught_up()
    arrived = sum(1 for it in tap.seen if it.payload in FORGED)
    attacked = [steps for steps in attack.steps.values() if steps > 2]
    control(
        arrived >= forger.sent * 0.99 and len(attacked) >= JOINS,
        f"{arrived} of {forger.sent} forged datagrams, of {len(FORGERIES)} kinds, at up to {STEPS_MAX} steps of each join, "
        f"were seen to arrive at the server's port from {len(attacked)} clients' own addresses",
    )

    def questions() -> list[Datagram]:
        return [it for it in tap.seen if it.source == SERVER and is_question(it.payload)]

    for volley in VOLLEYS:
        attack.hellos = volley
        before, sent = len(joins.heard), forger.sent
        slowest = await joins.one_after_the_other(f"cy-{volley}", JOINS_BESIDE_HELLOS)
        joined = len(joins.heard) - before
        measured(
            joined == JOINS_BESIDE_HELLOS and slowest <= JOIN_WITHIN_S,
            f"{joined} of {JOINS_BESIDE_HELLOS} joined beside {volley} fresh hellos for each datagram of theirs, "
            f"{forger.sent - sent} in all, the slowest after {slowest:.1f} s",
        )
    await tap.caught_up()
    # A volley that comes when a client's handshake is over already is asked nothing.
    for number in range(MORE_JOINS_MAX):
        if len(questions()) >= JOINS_BESIDE_HELLOS * max(VOLLEYS):
            break
        await joins.one_after_the_other(f"more-{number}", 1)
        await tap.caught_up()
    hellos = [it for it in tap.seen if it.target == SERVER and MARK in it.payload]
    asked, offered = (sum(len(it.payload) for it in which) for which in (questions(), hellos))
    control(
        len(questions()) >= JOINS_BESIDE_HELLOS * max(VOLLEYS),
        f"the server took {len(questions())} of {len(hellos)} for hellos: it asked for a cookie, over the paths that were proven",
    )
    measured(asked <= offered, f"{asked} bytes of questions for {offered} of hellos")
    await ada.disconnect()


scenario("spoofed_handshake", act, timeout_s=85)
