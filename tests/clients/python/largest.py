"""The largest messages that are taken, of each kind that may be large: they cost no memory that lasts, and keep nobody
waiting. They are decoded, looked at and answered; none of them ends the session of who sends it.

No SDK sends such: the client speaks the protocol by hand. Beside what `client` reads: `INCAMERA_PID`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import statistics
import time
from collections import Counter
from urllib.parse import urlsplit

import aiohttp
from client import (
    SIGNAL, best_of, check, control, fresh_room, join_request, measured, mint, scenario, tries, until, upgrade,
)  # fmt: skip
from livekit import api
from livekit.protocol import models, rtc as wire
from process import resident_kib

PID = int(os.environ["INCAMERA_PID"])
#: What the server takes: `SDP_MAX`, `SDP_PAYLOADS_MAX`, `FIELDS_MAX`, `METADATA_MAX` of its limits. Of twice as many
#: sections none could have all payload types.
SDP_BYTES, SECTIONS, PAYLOADS, FIELDS, METADATA_BYTES = 1 << 20, 64, 128, 16 << 10, 512 << 10
#: So often each of them comes, and first a few times unmeasured: what is allocated for the first of a kind stays.
ROUNDS, UNMEASURED = 20, 3
GROWTH_KIB_MAX = 10 * 1024
#: So many sessions say the largest offer and stay, and hold of it at most so much each: an offer has a megabyte.
STAYING, STAYING_KIB_MAX = 40, 256
#: By when what the server does not need has gone back to the system: it looks each 20 s.
GIVEN_BACK_WITHIN_S = 25
#: So many members say as much of themselves as they may, and so many join who read nothing of it. Of
#: all their answers `ANSWERS_ROOM_BYTES_MAX` is there at once, beside what a control thread is putting into a frame, and
#: what the heap keeps of those before.
TALKATIVE, UNREAD = 10, 100
ONE_GROWTH_KIB_MAX, ALL_GROWTH_KIB_MAX = 110 * 1024, 110 * 1024
#: After which the members' words have been told to all of them.
SETTLED_S = 3
#: For the status of each of their requests, and for somebody else's whole join into a small room.
ANSWER_S_MAX, JOIN_S_MAX = 25, 0.5
#: For somebody else's ping.
WAIT_MAX_S = 0.25


def offer(round: int) -> wire.SignalRequest:
    """As many sections as fit, each with as many payload types as may be, and parameters up to the last byte; under other
    names each time."""
    mids = [f"{round}-{number}" for number in range(SECTIONS)]
    fingerprint = ":".join(["AA"] * 32)
    head = f"v=0\r\no=- 1 {round + 1} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {' '.join(mids)}\r\n"
    payloads = range(PAYLOADS)
    maps = "".join(f"a=rtpmap:{it} codec{it}/90000\r\na=rtcp-fb:{it} nack pli\r\na=rtcp-fb:{it} transport-cc\r\n" for it in payloads)

    def section(mid: str, fmtp: str) -> str:
        return (
            f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, payloads))}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n"
            f"a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n"
            f"a=mid:{mid}\r\na=sendonly\r\na=msid:- {mid}\r\na=rtcp-mux\r\n{maps}"
            + "".join(f"a=fmtp:{it} {fmtp}\r\n" for it in payloads)
        )

    bare = len(head) + sum(len(section(mid, "")) for mid in mids)
    fmtp = "x=" + "1" * ((SDP_BYTES - bare) // (SECTIONS * PAYLOADS) - 2)
    text = head + "".join(section(mid, fmtp) for mid in mids)
    return wire.SignalRequest(offer=wire.SessionDescription(type="offer", sdp=text, id=round + 1))


def sids(count: int, kind: str = "TR") -> list[str]:
    return [f"{kind}_{number:012}" for number in range(count)]


def requests(round: int) -> dict[str, wire.SignalRequest]:
    """One of each kind. What is empty takes two bytes in a message and more in memory; a sid counts two fields, since
    its first letter could be one."""
    many = FIELDS - 64
    subscription = wire.UpdateSubscription(track_sids=sids(many // 4), subscribe=True)
    subscription.participant_tracks.extend(models.ParticipantTracks() for _ in range(many // 2))
    permission = wire.SubscriptionPermission()
    permission.track_permissions.extend(wire.TrackPermission() for _ in range(many // 2))
    permission.track_permissions.append(wire.TrackPermission(participant_sid="PA_1", track_sids=sids(many // 4 - 4)))
    sync = wire.SyncState(track_sids_disabled=sids(many // 8))
    sync.publish_tracks.extend(wire.TrackPublishedResponse(track=models.TrackInfo()) for _ in range(many // 8))
    sync.datachannel_receive_states.extend(wire.DataChannelReceiveState(publisher_sid=it) for it in sids(many // 16, "PA"))
    sync.data_channels.extend(wire.DataChannelInfo() for _ in range(many // 4))
    added = wire.AddTrackRequest(cid=f"cid-{round}", type=models.VIDEO, source=models.CAMERA)
    added.layers.extend(models.VideoLayer() for _ in range(many // 2 - 8))
    added.simulcast_codecs.extend(wire.SimulcastCodec() for _ in range(many // 2))
    metadata = wire.UpdateParticipantMetadata(metadata=f"{round}".ljust(METADATA_BYTES, "m"))
    for number in range(1000):
        metadata.attributes[f"key-{number}"] = f"{round}".ljust(40, "a")
    return {
        "offer": offer(round),
        "subscription": wire.SignalRequest(subscription=subscription),
        "track_setting": wire.SignalRequest(track_setting=wire.UpdateTrackSettings(track_sids=sids(many // 2))),
        "subscription_permission": wire.SignalRequest(subscription_permission=permission),
        "sync_state": wire.SignalRequest(sync_state=sync),
        "add_track": wire.SignalRequest(add_track=added),
        "update_metadata": wire.SignalRequest(update_metadata=metadata),
    }


class Pinger:
    """Somebody who asks the server whether it is there, on end."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream
        #: When each was asked and answered.
        self.waits: list[tuple[float, float]] = []

    def longest(self, begin: float, end: float) -> float:
        """How long the slowest took of those that were under way between these moments, or of the next one if none was."""
        since = [(asked, answered) for asked, answered in self.waits if answered > begin]
        longest = (answered - asked for number, (asked, answered) in enumerate(since) if number == 0 or asked < end)
        return max(longest, default=math.inf)

    async def go_on(self) -> None:
        while True:
            asked = time.monotonic()
            ping = wire.SignalRequest(ping_req=wire.Ping(timestamp=int(time.time() * 1000)))
            await self.stream.send_bytes(ping.SerializeToString())
            while True:
                told = wire.SignalResponse.FromString((await self.stream.receive(timeout=10)).data)
                if told.WhichOneof("message") == "pong_resp":
                    break
            self.waits.append((asked, time.monotonic()))
            await asyncio.sleep(0.01)


class Reader:
    """Somebody who takes what it is told."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream
        self.reading = asyncio.create_task(self.go_on())

    async def go_on(self) -> None:
        async for _ in self.stream:
            pass


async def enter(http: aiohttp.ClientSession, room: str, name: str) -> aiohttp.ClientWebSocketResponse:
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    params = {"access_token": mint(room, name, grants=grants), "join_request": join_request()}
    return await http.ws_connect(f"{SIGNAL}/rtc/v1", params=params, max_msg_size=0)


async def say(stream: aiohttp.ClientWebSocketResponse, request: wire.SignalRequest) -> list[str]:
    """What is told from here on, until the server has answered the ping behind it or has put the participant out."""
    told = []
    for each in (request, wire.SignalRequest(ping_req=wire.Ping(timestamp=1))):
        await stream.send_bytes(each.SerializeToString())
    while not stream.closed and "pong_resp" not in told:
        message = await stream.receive(timeout=10)
        if message.type is aiohttp.WSMsgType.BINARY:
            told.append(wire.SignalResponse.FromString(message.data).WhichOneof("message") or "")
    return told


async def leave(stream: aiohttp.ClientWebSocketResponse) -> None:
    if not stream.closed:
        await stream.send_bytes(wire.SignalRequest(leave=wire.LeaveRequest()).SerializeToString())
        await stream.close()


async def said(http: aiohttp.ClientSession, room: str, name: str, request: wire.SignalRequest) -> list[str]:
    """What somebody new is told who says this."""
    stream = await enter(http, room, name)
    told = await say(stream, request)
    # 1000: it was put out for what it said, not because that could not be read.
    check_code(name, stream.close_code)
    await leave(stream)
    return told


async def falls_to(kib: int) -> None:
    """Waits until no more than this is resident, for as long as that may take."""
    with contextlib.suppress(AssertionError):
        await until("memory falls", GIVEN_BACK_WITHIN_S, lambda: resident_kib(PID) <= kib)


def check_code(name: str, code: int | None) -> None:
    if code not in (None, 1000):
        raise AssertionError(f"{name} was closed with {code}")


#: When each of them, by kind, was said and answered.
Spans = dict[str, list[tuple[float, float]]]


async def rounds(http: aiohttp.ClientSession, room: str, numbers: range) -> tuple[Counter[str], Spans]:
    """All of them, so many times, each from somebody new: what one may ask for has a rate."""
    told, spans = Counter[str](), Spans()
    for number in numbers:
        for name, request in requests(number).items():
            began = time.monotonic()
            told.update(f"{name}: {it}" for it in await said(http, room, f"{name}-{number}", request))
            spans.setdefault(name, []).append((began, time.monotonic()))
    return told, spans


async def staying(http: aiohttp.ClientSession) -> None:
    """What sessions hold when they have said the largest offer and say nothing more."""
    room, before = fresh_room("staying"), resident_kib(PID)
    streams = []
    for number in range(STAYING):
        streams.append(await enter(http, room, f"staying-{number}"))
        await say(streams[-1], requests(number)["offer"])
    await falls_to(before + STAYING * STAYING_KIB_MAX)
    each = (resident_kib(PID) - before) / STAYING
    measured(
        each <= STAYING_KIB_MAX,
        f"{STAYING} sessions that said it hold {each:.0f} KiB each ({STAYING_KIB_MAX} are allowed, {SDP_BYTES >> 10} were said)",
    )
    for stream in streams:
        await leave(stream)


def unread_join(room: str, name: str) -> socket.socket:
    """Joins and reads nothing of what it is told but how its request was answered."""
    here = urlsplit(SIGNAL)
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect((here.hostname, here.port))
    stream.sendall(upgrade(mint(room, name), join_request()))
    stream.setblocking(False)
    return stream


async def answered(stream: socket.socket) -> str:
    """With which status."""
    line = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(stream, 12), ANSWER_S_MAX)
    return line[9:12].decode()


async def crowd(http: aiohttp.ClientSession, rooms: tuple[str, str], who: str, names: list[str], allowed: int) -> float:
    """People of these names join the one room and read nothing, while others join the other. Seconds of the slowest of
    those others."""
    (room, small), streams, others = rooms, [], []
    before, peak, told = resident_kib(PID), 0, Counter[str]()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_kib(PID))
            await asyncio.sleep(0.02)

    async def come(name: str) -> None:
        stream = unread_join(room, name)
        streams.append(stream)
        told[await answered(stream)] += 1

    watching = asyncio.create_task(watch())
    coming = asyncio.gather(*(come(name) for name in names))
    while not coming.done():
        began = time.monotonic()
        await leave(await enter(http, small, "visitor"))
        others.append(time.monotonic() - began)
        await asyncio.sleep(0.1)
    await coming
    await asyncio.sleep(1)
    watching.cancel()
    growth = peak - before
    each = TALKATIVE * METADATA_BYTES >> 10
    control(told["101"] >= 5, f"{who}: {dict(told)} of {UNREAD} joins that read nothing of {each} KiB each")
    control(others, f"{len(others)} others joined meanwhile")
    measured(
        growth <= allowed,
        f"{who} that read nothing: the server's memory grew by {growth} KiB ({allowed} are allowed)",
    )
    for stream in streams:
        stream.close()
    await falls_to(before + ALL_GROWTH_KIB_MAX // 4)
    left = resident_kib(PID) - before
    measured(left <= ALL_GROWTH_KIB_MAX // 4, f"once they are gone {left} KiB of it are left ({ALL_GROWTH_KIB_MAX // 4} are allowed)")
    return max(others)


async def answers_that_nobody_reads(http: aiohttp.ClientSession) -> None:
    """A room whose members have as much to say as they may, and people who join it and read nothing: of one token, and
    of many."""
    room, small = fresh_room("talkative"), fresh_room("small")
    members = []
    for number in range(TALKATIVE):
        members.append(Reader(await enter(http, room, f"member-{number}")))
        metadata = wire.UpdateParticipantMetadata(metadata=f"{number}".ljust(METADATA_BYTES, "m"))
        await members[-1].stream.send_bytes(wire.SignalRequest(update_metadata=metadata).SerializeToString())
    await asyncio.sleep(SETTLED_S)
    pinger = Pinger(await enter(http, small, "ben"))
    pinging = asyncio.create_task(pinger.go_on())
    for who, names, allowed in (("one token", ["mallory"] * UNREAD, ONE_GROWTH_KIB_MAX),
                                ("as many tokens", [f"silent-{it}" for it in range(UNREAD)], ALL_GROWTH_KIB_MAX)):

        async def once(who: str = who, names: list[str] = names, allowed: int = allowed) -> tuple[float, float]:
            began = time.monotonic()
            join = await crowd(http, (room, small), who, names, allowed)
            return join, pinger.longest(began, time.monotonic())

        came = await tries(once, lambda it: it[0] <= JOIN_S_MAX and it[1] <= WAIT_MAX_S)
        joins, waits = ([it * 1e3 for it in column] for column in zip(*came))
        measured(
            joins[-1] <= JOIN_S_MAX * 1e3,
            f"somebody else joined a small room within {joins[-1]:.0f} ms each time ({JOIN_S_MAX * 1e3:.0f} are allowed)"
            + best_of(joins),
        )
        measured(
            waits[-1] <= WAIT_MAX_S * 1e3,
            f"a ping there was answered within {waits[-1]:.0f} ms each time ({WAIT_MAX_S * 1e3:.0f} are allowed)"
            + best_of(waits),
        )
    check(not pinging.done(), "who was in the small room is still there")
    pinging.cancel()
    for member in members:
        member.reading.cancel()
        await leave(member.stream)
    await pinger.stream.close()


async def act() -> None:
    room = fresh_room("largest")
    async with aiohttp.ClientSession() as http:
        ben = await enter(http, room, "ben")
        pinger = Pinger(ben)
        await rounds(http, room, range(UNMEASURED))
        sizes = {name: request.ByteSize() for name, request in requests(0).items()}
        pinging = asyncio.create_task(pinger.go_on())
        before, peak, began = resident_kib(PID), 0, time.monotonic()
        saying = asyncio.create_task(rounds(http, room, range(UNMEASURED, UNMEASURED + ROUNDS)))
        while not saying.done():
            peak = max(peak, resident_kib(PID))
            await asyncio.sleep(0.02)
        (told, spans), took = await saying, time.monotonic() - began
        await falls_to(before + GROWTH_KIB_MAX)
        growth = resident_kib(PID) - before
        for what in ("offer: answer", "sync_state: leave", *(f"{name}: pong_resp" for name in sizes if name != "sync_state")):
            control(told[what] == ROUNDS, f"{what} {told[what]} times")
        control(peak > before, f"by the same measure, memory did grow while they were looked at: by {peak - before} KiB")
        measured(
            growth <= GROWTH_KIB_MAX,
            f"{ROUNDS} of each of the largest messages, {sum(sizes.values()) >> 10} KiB together, in {took:.0f} s: the server's "
            f"memory grew by {growth} KiB ({GROWTH_KIB_MAX} are allowed)",
        )
        check(not pinging.done(), "who was there before is still there")
        for name, each in spans.items():
            # This process may have to wait for a processor in some rounds; what the server needs it needs in all.
            wait = statistics.median(pinger.longest(*span) for span in each)
            measured(
                wait <= WAIT_MAX_S,
                f"{name}: the slowest of somebody else's pings meanwhile took {wait * 1e3:.0f} ms in the middle of "
                f"{len(each)} rounds ({WAIT_MAX_S * 1e3:.0f} are allowed)",
            )
        pinging.cancel()
        await ben.close()
        await staying(http)
        await answers_that_nobody_reads(http)


scenario("largest", act, timeout_s=230)
