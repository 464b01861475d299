"""What the server and the wire know of a call that is encrypted end to end: neither what was said nor the key.

Marks go in as data packets, chat, sound and pictures, and so does the channel key, which is a mark, too. They are searched for in
`/proc/PID/mem`, in the server's log, in its metrics, and in every packet from and to the server. Each place has its
positive control: something of the same kind that must be found there. That names are forgotten: `forgotten`. Needs root.

Beside what `client` reads: `INCAMERA_PID`, `INCAMERA_UDP_PORT`, `INCAMERA_TCP_PORT`, `INCAMERA_SERVER_LOG`,
`INCAMERA_LOAD`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections import Counter
from urllib.parse import urlsplit

import figures
from client import SERVER, check, control, fresh_key, mark_sensitive, measured, never, scenario, until
from datagrams import Tap, streams
from livekit import rtc
from marked import SPOKEN, arrive, found, load, talk, token
from memory import Memory, Watch, mark

TALK_S = 5.0
MEDIA = ("audio", "video")
UDP_PORT = int(os.environ["INCAMERA_UDP_PORT"])
HTTP_PORT = urlsplit(SERVER).port or 80
#: The salt of LiveKit's clients, for the key that is derived from the text.
SALT, ROUNDS = b"LKFrameEncryptionKey", 100_000


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory and listen in")
    watch = Watch(Memory(int(os.environ["INCAMERA_PID"])))
    tap = Tap({UDP_PORT, HTTP_PORT})
    room, key = mark("sealed_room"), mark("sealed_key") + fresh_key()
    derived = hashlib.pbkdf2_hmac("sha256", key.encode(), SALT, ROUNDS, 16)
    watch.memory.secrets["sealed_derived"] = derived
    mark_sensitive(key)
    eve, grace = await arrive(token("eve", room), key), await arrive(token("grace", room), key)
    heard: list[rtc.DataPacket] = []
    grace.on("data_received", heard.append)
    # The same without a channel key, so that there is something to find.
    calls = [await load(f"sealed_{kind}", kind, 4, "--passphrase", key) for kind in MEDIA]
    calls += [await load(f"open_{kind}", kind, 4) for kind in MEDIA]
    copies = await held(calls[0].pid, derived)
    control(copies > 0, f"the same search finds the derived key in the memory of a client that has it, {copies} times")
    await talk(eve, "eve", TALK_S)
    # What is not reliable waits for no channel, and may come first.
    said = mark("eve_reliable").encode()
    await until("grace reads what eve says", 5, lambda: any(said in packet.data for packet in heard))
    for call in calls:
        check(await call.wait() == 0, "the media of all calls arrived whole")
    hidden = {f"eve_{kind}": mark(f"eve_{kind}").encode() for kind in SPOKEN}
    hidden |= {f"sealed_{kind}": mark(f"sealed_{kind}").encode() for kind in MEDIA}
    hidden |= {"the channel key": key.encode(), "the derived key": derived}

    in_memory("sealed", watch)
    in_log(hidden)
    in_metrics(hidden)
    await on_the_wire(tap, hidden)
    await eve.disconnect()
    await grace.disconnect()


async def held(pid: int, secret: bytes) -> int:
    """How many copies of it another process has, once it has any."""
    memory = Memory(pid)
    memory.secrets["secret"] = secret
    async with asyncio.timeout(10):
        async for scan in memory.looks():
            if copies := scan.found["secret"]:
                return copies
    return 0


def in_memory(what: str, watch: Watch) -> None:
    names = [f"eve_{kind}" for kind in SPOKEN]
    names += [f"{what}_{kind}" for kind in (*MEDIA, "key", "derived")]
    copies = {name: watch.most(name) for name in names}
    looks, size = len(watch.scans), watch.scans[-1].bytes >> 20
    check(looks > 10, "it was looked for all the time")
    nowhere("memory", copies, f"{looks} looks at {size} MiB")
    found(watch, "eve_identity", *(f"open_{kind}" for kind in MEDIA))


def nowhere(where: str, copies: dict[str, int], size: str) -> None:
    """Of what was said and of the key nothing is there."""
    never(any(copies.values()), f"a secret was found in {where}: {copies}")
    check(True, f"{where}: {copies}")
    count = sum(copies.values())
    measured(count == 0, f"{where}: {count} copies in {size}")


def in_log(hidden: dict[str, bytes]) -> None:
    with open(os.environ["INCAMERA_SERVER_LOG"], "rb") as log:
        text = log.read()
    copies = {name: text.count(content) for name, content in hidden.items()}
    nowhere("log", copies, f"{len(text.splitlines())} lines")
    words = text.count(b"participant joined")
    control(words >= 2, f"the same search finds the server's own words in the log, {words} times")


def in_metrics(hidden: dict[str, bytes]) -> None:
    page = figures.page()
    text = page.encode()
    people = {name: mark(name).encode() for name in ("eve_identity", "grace_identity", "sealed_room")}
    copies = {name: text.count(content) for name, content in (hidden | people).items()}
    nowhere("metrics", copies, f"{len(text.splitlines())} lines, also of names of people and rooms")
    sent = figures.total(page, "datagrams_sent")
    control(sent > 500, f"the same text counts the {sent} datagrams that the call has been sent")


async def on_the_wire(tap: Tap, hidden: dict[str, bytes]) -> None:
    # Unsealed, to the same port: what anything would look like that is not encrypted.
    planted = b"planted " + mark("planted").encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(planted, ("127.0.0.1", UDP_PORT))
    await tap.caught_up()
    check(tap.lost() == 0, "the tap missed nothing")
    seen = tap.stop()
    content = streams(seen)
    copies = {name: content.count(secret) for name, secret in hidden.items()}
    # Nor what is not encrypted end to end.
    copies |= {f"open_{kind}": content.count(mark(f"open_{kind}").encode() + b"1") for kind in MEDIA}
    kinds = Counter(it.kind for it in seen if it.protocol == "udp")
    check(kinds["rtp"] > 500 and kinds["dtls"] > 50, f"media and data were seen: {dict(kinds)}")
    sealed = f"{kinds['rtp']} of sealed media, {kinds['dtls']} of sealed data"
    nowhere("wire", copies, f"{len(seen)} packets, {len(content) >> 10} KiB ({sealed})")
    control(planted in content, "the same search finds a text that was sent unsealed to the media port")
    names = content.count(mark("eve_identity").encode())
    control(names > 0, f"and eve's identity {names} times in the signalling, which has no TLS here")


scenario("blind", act, timeout_s=55)
