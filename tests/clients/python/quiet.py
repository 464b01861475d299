"""What the memory of a server that is quiet holds of what passed: where others talk, they overwrite what should be gone.

The sealed datagrams themselves, since the keys that open them stay for as long as a session; where clients were; their
passwords for ICE. Each search that must find nothing has one beside it that must find something. Needs root.
What people said and who they were, while others talk: `forgotten`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address

import aiohttp
from client import SIGNAL, check, control, join_request, measured, scenario, sound_offer, until
from datagrams import Datagram, Tap
from guest import begin_guest
from livekit.protocol import models
from livekit.protocol import rtc as wire
from marked import AGE_MAX_S, PERSON_GONE_S, arrive, stopped, talk, token
from media import publish_audio, publish_video
from memory import Memory, mark
from whereabouts import forms, own_addresses

TALK_S = 4.0
#: Of each sealed datagram so much is looked for, in places that are so far apart. No two have so much in common.
PIECE_BYTES, PIECE_EVERY = 24, 600
#: How a record of DTLS begins that is none of a handshake (RFC 6347 §4.1).
APPLICATION_DATA = b"\x17"


def sealed_pieces(seen: list[Datagram], is_wanted: Callable[[Datagram], bool]) -> dict[bytes, Datagram]:
    """Of each datagram with media or data its end, which is a seal and like nothing else, and more from there on to the
    front."""
    found = {}
    for it in seen:
        if (it.kind == "rtp" or it.payload[:1] == APPLICATION_DATA) and is_wanted(it):
            for end in range(len(it.payload), PIECE_BYTES * 2, -PIECE_EVERY):
                found[it.payload[end - PIECE_BYTES : end]] = it
    return found


async def sealed(pid: int) -> None:
    """What came and left sealed can be opened as long as there are its keys, which a session has from beginning to end:
    so it is to be gone as well. On a server that is quiet otherwise, where nothing overwrites it."""
    port, memory, room = int(os.environ["INCAMERA_UDP_PORT"]), Memory(pid), mark("sealed_room")
    tap = Tap({port})
    ada, ben = await arrive(token("ada", room)), await arrive(token("ben", room))
    ways = {"came": lambda it: it.target[1] == port, "left": lambda it: it.source[1] == port}

    async def shows(seconds: float) -> list[asyncio.Task[None]]:
        tasks = [await publish_audio(ada, 1), await publish_video(ada, 2)]
        await talk(ada, "ada", seconds)
        most = dict.fromkeys(ways, 0)
        # They are there for half a second at most.
        for _ in range(40):
            contents = await asyncio.to_thread(memory.writable)
            latest = tap.seen[-500:]
            for way, is_wanted in ways.items():
                there = await asyncio.to_thread(memory.pieces, contents, sealed_pieces(latest, is_wanted))
                most[way] = max(most[way], len(there))
            if all(most.values()):
                break
        control(all(most.values()), f"pieces of sealed datagrams are found while they may be: {most}")
        return tasks

    async def none_left(pieces: dict[bytes, Datagram], what: str) -> None:
        contents, now = await asyncio.to_thread(memory.writable), time.monotonic()
        there = await asyncio.to_thread(memory.pieces, contents, pieces)
        ages = sorted(round(now - pieces[piece].at, 1) for piece in there)
        kinds = {(pieces[piece].kind, where) for piece, where in there.items()}
        count = f"{len(there)} of {len(pieces)} pieces of sealed datagrams"
        if there:
            raise AssertionError(f"something sealed is still there: {count}, of ages {ages[-3:]}, in {kinds}")
        measured(not there, f"{count} {what}")

    tasks = await shows(TALK_S)
    for task in tasks:
        await stopped(task)
    for publication in list(ada.local_participant.track_publications.values()):
        await ada.local_participant.unpublish_track(publication.sid)
    silent = time.monotonic()
    await asyncio.sleep(AGE_MAX_S)
    spoken = sealed_pieces(tap.seen, lambda it: it.at < silent)
    check(ada.isconnected() and ben.isconnected(), "both sessions are still there")
    await none_left(spoken, f"are there {AGE_MAX_S:g} s after the last of them")
    tasks = await shows(1.0)
    gone_at: list[float] = []
    ben.on("participant_disconnected", lambda _: gone_at.append(time.monotonic()))
    await ada.disconnect()
    await until("ada is gone", 5, lambda: gone_at)
    for task in tasks:
        await stopped(task)
    await asyncio.sleep(gone_at[0] + PERSON_GONE_S - time.monotonic())
    check(ben.isconnected(), "and the one who heard them is there, whose keys would open them")
    hers = sealed_pieces(tap.stop(), lambda it: it.at < gone_at[0])
    await none_left(hers, f"are there {PERSON_GONE_S:g} s after the session of the one who sent them")
    await ben.disconnect()


async def addresses(pid: int) -> None:
    """Where a client's datagrams and its signalling come from, in all forms in which a program has that."""
    room, memory = mark("far_room"), Memory(pid)
    stays = await arrive(token("kay", room))
    process = await begin_guest(room, "mia")
    await until("mia is there", 20, lambda: mark("mia_identity") in stays.remote_participants)
    await asyncio.sleep(TALK_S)
    hers = own_addresses(process.pid)
    check({protocol for protocol, *_ in hers} == {"udp", "tcp"}, "mia has datagrams and signalling")
    # Where signalling comes from nobody keeps even while it does. So that it would be found: somebody else's connection.
    with socket.create_connection(("127.0.0.1", int(os.environ["INCAMERA_TCP_PORT"]))) as other:
        ip, port = other.getsockname()
        theirs = ("tcp", IPv4Address(ip), port)
        memory.secrets = {name: form for at in (*hers, theirs) for name, form in forms(at).items()}
        scan = await asyncio.to_thread(memory.scan)
    there = {name: scan.found[name] for name in memory.secrets if scan.found[name]}
    control(any(name.startswith("udp") for name in there), f"where mia's datagrams come from is found: {there}")
    control(any(name in there for name in forms(theirs)), "and where a connection for media comes from")
    process.stdin.close()
    await process.wait()
    # Until now it may have sent something from there.
    left = time.monotonic()
    last = await memory.gone(tuple(memory.secrets), left, PERSON_GONE_S)
    await until("mia is gone", 5, lambda: mark("mia_identity") not in stays.remote_participants)
    measured(last <= PERSON_GONE_S, f"where a client was is found until {last:.1f} s after its process had ended, and not later")
    await stays.disconnect()


async def credentials(pid: int) -> None:
    """What a client's ICE has for names and passwords, of one that speaks the protocol by hand."""
    memory = Memory(pid)
    memory.secrets = {"ufrag": secrets.token_hex(8).encode(), "pwd": secrets.token_hex(16).encode()}
    ufrag, pwd = (it.decode() for it in memory.secrets.values())
    query = {"access_token": token("lee", mark("hand_room")), "join_request": join_request()}
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{SIGNAL}/rtc/v1", params=query) as socket:
        track = wire.AddTrackRequest(cid="sound", type=models.TrackType.AUDIO)
        await socket.send_bytes(wire.SignalRequest(add_track=track).SerializeToString())
        await socket.send_bytes(sound_offer(["sound"], ufrag, pwd).SerializeToString())
        async for message in socket:
            if wire.SignalResponse.FromString(message.data).WhichOneof("message") == "answer":
                break
        await asyncio.sleep(0.2)
        scan = await asyncio.to_thread(memory.scan)
        there = {name: scan.found[name] for name in memory.secrets}
        control(all(there.values()), f"a client's half of ICE is found: {there}")
        leave = wire.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED)
        await socket.send_bytes(wire.SignalRequest(leave=leave).SerializeToString())
        left = time.monotonic()
    last = await memory.gone(tuple(memory.secrets), left, PERSON_GONE_S)
    measured(last <= PERSON_GONE_S, f"a client's half of ICE is found until {last:.1f} s after its goodbye, and not later")


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    pid = int(os.environ["INCAMERA_PID"])
    await sealed(pid)
    # What stays by chance stays often.
    for _ in range(2):
        await addresses(pid)
    await credentials(pid)


scenario("quiet", act, timeout_s=80)
