"""Members forge checks of their own from the addresses of others, who are in another room: nothing of what those say goes
astray, whichever worker the kernel gives it to. Needs root, and a server with two workers.

No SDK forges: the members who do speak the protocol by hand and have no media. Beside what `client` reads:
`INCAMERA_UDP_PORT`.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from collections import Counter

import aiohttp
from client import (
    SIGNAL, check, control, expects, fresh_room, join, join_request, measured, mint, scenario, sound_offer, until,
)  # fmt: skip
from datagrams import Address, Datagram, Forger, Tap, knock
from livekit.protocol import rtc as wire
from media import publish_audio

SERVER: Address = ("127.0.0.1", int(os.environ["INCAMERA_UDP_PORT"]))
SPEAKERS, THIEVES = 4, 2
#: Sound is 50 packets a second of each to each; so long a look is, and the best of so many counts: a machine that is busy
#: may keep a speaker waiting for a while, and what was taken away does not come back.
PACKETS_PER_S, LOOK_S, LOOKS = 50, 3.0, 4
#: Of what came before, what must come: if one speaker of four goes astray it is three quarters, as nobody hears it.
SHARE_MIN = 0.85


async def thief(http: aiohttp.ClientSession, number: int) -> tuple[bytes, bytes]:
    """Who joins and is answered; the user name and the password of its checks."""
    params = {"access_token": mint(fresh_room("thieves"), f"thief-{number}"), "join_request": join_request()}
    stream = await http.ws_connect(f"{SIGNAL}/rtc/v1", params=params)
    await stream.send_bytes(sound_offer(["sound"]).SerializeToString())
    while True:
        told = wire.SignalResponse.FromString((await stream.receive(timeout=5)).data)
        if told.WhichOneof("message") == "answer":
            break
    ufrag, password = (re.search(rf"a=ice-{what}:(\S+)", told.answer.sdp)[1] for what in ("ufrag", "pwd"))
    # The other half is that of `offer`.
    return f"{ufrag}:abcd".encode(), password.encode()


def flows(seen: list[Datagram]) -> Counter[tuple[Address, int]]:
    """Packets of media by who gets them and whose they are, as the receiver knows it."""
    media = (it for it in seen if it.kind == "rtp" and it.source == SERVER)
    return Counter((it.target, struct.unpack_from("!I", it.payload, 8)[0]) for it in media)


async def look(tap: Tap, enough: float) -> int:
    """How many packets flow."""
    most = 0
    for _ in range(LOOKS):
        await tap.caught_up()
        began = len(tap.seen)
        await asyncio.sleep(LOOK_S)
        await tap.caught_up()
        most = max(most, sum(flows(tap.seen[began:]).values()))
        if most >= enough:
            break
    return most


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may listen in and forge addresses")
    tap, forger, name = Tap({SERVER[1]}), Forger(), fresh_room("stolen")
    people = [await join(name, f"person-{number}") for number in range(SPEAKERS)]
    singing = [await publish_audio(person, number) for number, person in enumerate(people)]
    every = SPEAKERS * (SPEAKERS - 1)
    await until("everybody is heard by all", 15, lambda: len(flows(tap.seen)) >= every)
    await asyncio.sleep(1)
    # What had to wait and comes at once is not what flows.
    nominal = int(every * PACKETS_PER_S * LOOK_S)
    before = min(nominal, await look(tap, nominal * 0.95))
    control(before >= nominal / 2, f"{before} packets flow in {LOOK_S:g} s")
    clients = {it.source for it in tap.seen if it.kind == "rtp" and it.target == SERVER}
    check(len(clients) == SPEAKERS, "the speakers' addresses are known")
    async with aiohttp.ClientSession() as http:
        checks = [await thief(http, number) for number in range(THIEVES)]
        began = len(tap.seen)
        for username, password in checks:
            # From an address that is nobody's, to see that such a check is a good one.
            forger.send(("127.0.0.9", 9), SERVER, knock(username, password))
            for client in clients:
                forger.send(client, SERVER, knock(username, password))
        flowing = await look(tap, before * SHARE_MIN)
        answered = [it for it in tap.seen[began:] if it.source == SERVER and it.target == ("127.0.0.9", 9)]
        control(len(answered) >= THIEVES, f"{len(answered)} answers and checks went where nobody is")
        measured(
            flowing >= before * SHARE_MIN,
            f"{flowing} packets flow after {forger.sent} checks in others' place, of {before} before",
        )
        # Whoever is silent for a while could lose its path; those who talk do not.
        for _ in range(8):
            for username, password in checks:
                for client in clients:
                    forger.send(client, SERVER, knock(username, password))
            await asyncio.sleep(0.5)
        flowing = await look(tap, before * SHARE_MIN)
        measured(flowing >= before * SHARE_MIN, f"{flowing} after {forger.sent}")
    expects("paths_contested", THIEVES)
    for task in singing:
        task.cancel()
    for person in people:
        await person.disconnect()


scenario("stolen_path", act, timeout_s=80)
