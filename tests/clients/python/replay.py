"""A participant's own datagrams, captured and sent again from its own address, count for nothing. Needs root.

Beside what `client` reads: `INCAMERA_UDP_PORT` (the server's port of media).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import struct
from collections import Counter

from client import check, control, expects, fresh_room, join, measured, never, scenario, until, uttered
from datagrams import Address, Datagram, Forger, Tap
from livekit import rtc
from media import publish_audio

SERVER: Address = ("127.0.0.1", int(os.environ["INCAMERA_UDP_PORT"]))
TALK_S, ATTACK_S = 3.0, 3.0
WORDS = 20
#: Fresh packets that may be under way at the edges of a span, when what came and what went is compared.
UNDER_WAY = 10


def media(seen: list[Datagram], *, to: Address | None = None, of: Address | None = None) -> list[Datagram]:
    return [
        it for it in seen if it.kind == "rtp" and (to is None or it.target == to) and (of is None or it.source == of)
    ]


def numbers(datagrams: list[Datagram]) -> list[tuple[int, int]]:
    """SSRC and sequence number of each, which are in the clear."""
    found = []
    for it in datagrams:
        _, sequence, _, ssrc = struct.unpack_from("!HHII", it.payload)
        found.append((ssrc, sequence))
    return found


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may listen in and forge addresses")
    tap, forger = Tap({SERVER[1]}), Forger()
    name = fresh_room("replay")
    ada, ben = await join(name, "ada"), await join(name, "ben")
    heard: list[rtc.Track] = []
    ben.on("track_subscribed", lambda track, *_: heard.append(track))
    read = Counter[str]()
    ben.on("data_received", lambda packet: read.update([packet.data.decode()]))
    task = await publish_audio(ada, 0)
    await until("ben is subscribed to ada's voice", 10, lambda: heard)
    word = uttered(secrets.token_hex(8))
    words = [f"{word} {number}" for number in range(WORDS)]
    for word in words:
        await ada.local_participant.publish_data(word, reliable=True)
        await asyncio.sleep(TALK_S / WORDS)

    sent = Counter(it.source for it in media(tap.seen, to=SERVER))
    received = Counter(it.target for it in media(tap.seen, of=SERVER))
    check(sent and received, "media flows")
    (speaker, _), (listener, _) = sent.most_common(1)[0], received.most_common(1)[0]
    captured = [it.payload for it in media(tap.seen, of=speaker, to=SERVER)][-100:]
    control(len(captured) == 100, "100 sealed datagrams of ada's voice were captured while ben heard them")
    others = {kind: [it.payload for it in tap.seen if it.source == speaker and it.kind == kind] for kind in ("dtls", "rtcp")}
    # Her words are the newest of the first.
    others = {kind: payloads[-2 * WORDS :] for kind, payloads in others.items()}
    control(
        len(others["dtls"]) >= WORDS and others["rtcp"] and set(read) == set(words),
        f"so were {len(others['dtls'])} of her data, while ben read {len(read)} words, and {len(others['rtcp'])} reports",
    )

    await tap.caught_up()
    began = len(tap.seen)
    random.seed(7)
    replayed, reports, made = 0, 0, set[bytes]()
    for _ in range(int(ATTACK_S / 0.05)):
        for payload in random.sample(captured, 20):
            forger.send(speaker, SERVER, payload)
            replayed += 1
        for kind, payloads in others.items():
            for payload in random.choices(payloads, k=5):
                forger.send(speaker, SERVER, payload)
                reports += kind == "rtcp"
        # Of a number that was not sent yet: the window lets it pass, the seal does not.
        head, sequence, rest = captured[-1][:2], struct.unpack_from("!H", captured[-1], 2)[0], captured[-1][4:]
        made.add(forgery := head + struct.pack("!H", (sequence + 2_000 + len(made)) & 0xFFFF) + rest)
        forger.send(speaker, SERVER, forgery)
        await asyncio.sleep(0.05)
    known = set(numbers([it for it in tap.seen[:began] if it.source == speaker and it.kind == "rtp"]))
    fresh, out = 0, list[tuple[int, int]]()

    def is_even() -> bool:
        """Whether as many went as came, but for what is under way: after a while, if somebody had to wait for a processor."""
        nonlocal fresh, out
        span = tap.seen[began:]
        came = Counter(numbers([it for it in media(span, of=speaker, to=SERVER) if it.payload not in made]))
        fresh = sum(1 for number, count in came.items() if number not in known and count == 1)
        out = numbers(media(span, of=SERVER, to=listener))
        return abs(len(out) - fresh) <= UNDER_WAY

    await tap.caught_up()
    with contextlib.suppress(AssertionError):
        await until("as many go as come", 5, is_even)
    control(fresh > 40 * ATTACK_S, f"{fresh} fresh packets of ada's came meanwhile, and were passed on")
    measured(
        abs(len(out) - fresh) <= UNDER_WAY,
        f"{len(out)} packets went to ben for {fresh} fresh ones of ada's, though {replayed} replayed and "
        f"{len(made)} forged ones came beside them from her address",
    )
    measured(len(set(out)) == len(out), "no packet number went to ben twice")
    check(tap.lost() == 0, "the tap missed nothing")
    last = uttered("the last word of ada's")
    await ada.local_participant.publish_data(last, reliable=True)
    await until("ada is still heard in writing", 5, lambda: read[last])
    often = max(read.values())
    never(often > 1, "what was sent again is read again")
    measured(often == 1, f"ben read each of her {len(read)} words {often} time, though her data were replayed as well")
    expects("media_replayed", replayed + reports)
    expects("media_unauthentic", len(made))
    task.cancel()
    await ada.disconnect()
    await ben.disconnect()


scenario("replay", act)
