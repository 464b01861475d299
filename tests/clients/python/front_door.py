"""What strangers get of the server: for media nothing, over HTTP ten seconds and little. Needs root and a network apart.

Every address of 198.19.0.0/16 is this namespace's (`xtask/src/network.rs`), so that an answer to any of them is seen.
HTTP answers with more bytes than it was asked with: over TCP, its sender has been shown to be there. They are bounded.

Beside what `client` reads: `INCAMERA_UDP_PORT`, `INCAMERA_TCP_PORT`, `INCAMERA_PID`, `INCAMERA_HOSTILE`,
`INCAMERA_HOSTILE_COUNT`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import socket
import struct
import time
import zlib
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from client import (
    SERVER, SIGNAL, check, control, expects, fresh_room, join, join_request, measured, mint, scenario, until, uttered,
    upgrade,
)  # fmt: skip
from datagrams import Address, Datagram, Forger, Tap, cable, datagrams_in, knock, unread
from livekit import api
from livekit.protocol import rtc as wire
from process import open_many_files, processor_s, resident_kib
from stranger import STRANGER_BYTES_MAX, over_tcp, request

HOST = urlsplit(SERVER).hostname or ""
HTTP: Address = (HOST, urlsplit(SERVER).port or 80)
MEDIA: Address = (HOST, int(os.environ["INCAMERA_UDP_PORT"]))
MEDIA_TCP: Address = (HOST, int(os.environ["INCAMERA_TCP_PORT"]))
PID = int(os.environ["INCAMERA_PID"])
COUNT = int(os.environ["INCAMERA_HOSTILE_COUNT"])
GROWTH_KIB_MAX = 1024
#: A second; a worker takes more.
RATE = 250_000
#: So many times as many are sent at most for as many to be read.
SENT_MAX = 3
#: A request's head may take this long; so may a reader that does not read.
HEAD_S, LATE_S = 10.0, 2.5
#: How long a client that has sent another byte of its head looks for an answer.
LOOK_S = 1.0
HEADS, READERS = 5_000, 50
#: What is told is kept once for all who do not read it; beside that each has one message under way, as it is encoded
#: and as it is written. Twice that is allowed.
TOLD_BYTES = 30_000
#: So many tell it, each once a second: more than the buffers of who reads nothing hold.
TALKERS = 40
#: The heads come from so many networks, since one may not have so many.
HEAD_NETWORKS = 25
#: Memory of the server for each: 32 for the head, and what is around it.
HEAD_KIB_MAX = 40
JOIN_WITHIN_S = 3.0
#: Fewer where datagrams are fewer: in `cargo xtask prove`, which has three minutes for everything.
TOKENS, TOKEN_NETWORKS, TOKENS_AT_ONCE = min(1_000_000, COUNT // 10), 100, 50
#: So many of one network are judged at once; what comes beyond is not looked at, and says nothing of what one costs.
JUDGED_AT_ONCE = 1_000
#: What the server computes for a forged token, beside what it computes for a request without one.
TOKEN_COST_MAX = 2.0
BOMBS = 200
#: The room that strangers ask for.
GUESSED = fresh_room("guessed")
#: That attacks on tokens and requests may leave behind.
LEFT_KIB_MAX = 10 * 1024


async def flood(count: int, *also: Address) -> dict:
    """What the sender of hostile datagrams sent, each other from `also` if that is given."""
    more = [word for host, port in also for word in ("--also", f"{host}:{port}")]
    process = await asyncio.create_subprocess_exec(
        os.environ["INCAMERA_HOSTILE"], "--target", f"{MEDIA[0]}:{MEDIA[1]}", "--count", str(count), "--rate", str(RATE),
        *more, stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    check(process.returncode == 0, "the sender went through")
    return json.loads(printed)


class Flooded(NamedTuple):
    sent: int
    bytes: int
    seconds: float
    #: That the server has read, for all that can be seen from outside.
    came: int
    #: To anybody here.
    answers: int
    growth_kib: int


async def flooded(count: int, *also: Address) -> Flooded:
    """Floods the server until it has read so many datagrams."""
    # Once before it is measured: what is allocated for the first of a kind stays.
    await flood(20_000, *also)
    await asyncio.sleep(0.5)
    before, heard, unheard = resident_kib(PID), datagrams_in(), unread(PID, MEDIA[1])
    sent = size = came = 0
    began = time.monotonic()
    # What came while the server had to wait for a processor, and found no room, shows nothing: as many more are sent.
    while came < count and sent < SENT_MAX * count:
        it = await flood(min(max(count - came, 20_000), SENT_MAX * count - sent), *also)
        sent, size = sent + it["sent"], size + it["bytes"]
        await asyncio.sleep(0.5)
        came = sent - (unread(PID, MEDIA[1]) - unheard)
    answers, growth = datagrams_in() - heard, resident_kib(PID) - before
    return Flooded(sent, size, time.monotonic() - began, came, answers, growth)


def username_of(request: bytes) -> bytes | None:
    """The user name of a binding request, which everybody on the way can read."""
    at = 20
    while request[:2] == b"\0\1" and at + 4 <= len(request):
        kind, length = struct.unpack_from("!HH", request, at)
        if kind == 6:
            return request[at + 4 : at + 4 + length]
        at += 4 + length + (-length % 4)
    return None


async def strangers(others: int) -> None:
    """Datagrams of all shapes from many addresses; `others` have come before."""
    it = await flooded(COUNT)
    measured(
        it.answers == 0,
        f"{it.sent} datagrams of eight shapes from random addresses, {it.bytes >> 20} MiB in {it.seconds:.0f} s: "
        f"{it.answers} answers, and so no byte out for those in (1 each is allowed)",
    )
    measured(it.came >= COUNT, f"{it.came} of them found room at the server's port ({COUNT} must, of {SENT_MAX} times as many at most)")
    measured(it.growth_kib <= GROWTH_KIB_MAX, f"its memory grew by {it.growth_kib} KiB ({GROWTH_KIB_MAX} are allowed)")
    expects("datagrams_received", int(0.99 * (others + it.came)))


async def knocks() -> int:
    """Binding requests under a participant's own name, which everybody on the way can read. How many datagrams came in the
    end from her address."""
    tap, came_before = Tap({MEDIA[1]}, interface=cable()), datagrams_in()
    ada = await join(fresh_room("door"), "ada")
    await asyncio.sleep(1)
    control(datagrams_in() > came_before, f"{datagrams_in() - came_before} datagrams to ada, who joins, are counted by the same count")
    names = {it.source: username for it in tap.seen if it.target == MEDIA and (username := username_of(it.payload))}
    check(names, "ada's checks were seen")
    forger = Forger()
    client, username = next(iter(names.items()))
    elsewhere = [(f"198.19.7.{last}", 40_000 + last) for last in range(1, 201)]
    for address in elsewhere:
        forger.send(address, MEDIA, knock(username, None))
        forger.send(address, MEDIA, knock(username, b"a guess at the password"))
    knocked = time.monotonic()

    def to_ada() -> list[Datagram]:
        return [it for it in tap.seen if it.source == MEDIA and it.target == client and it.kind == "stun"]

    # By then the server has had time for those before.
    await until("ada's next knock is answered", 10, lambda: any(it.at > knocked for it in to_ada()))
    await asyncio.sleep(1)
    await tap.caught_up()
    answered = [it for it in tap.seen if it.source == MEDIA and it.target in elsewhere]
    what = f"{forger.sent} knocks under ada's own public name, without her password"
    measured(not answered, f"{what}: {len(answered)} answers")
    control(to_ada(), f"{len(to_ada())} answers to ada's own knocks were seen on the same wire")
    check(tap.lost() == 0, "the tap missed nothing")
    tap.stop()
    came = await in_adas_name(client)
    heard: list[bytes] = []
    ada.on("data_received", lambda packet: heard.append(packet.data))
    ben = await join(ada.name, "ben")
    await ben.local_participant.publish_data(b"still here?", reliable=True)
    await until("ada hears what is said to her afterwards", 10, lambda: heard)
    await ben.disconnect()
    await ada.disconnect()
    return came


async def in_adas_name(client: Address) -> int:
    """Datagrams from the address of somebody who is in: those come as far as the session. How many."""
    it = await flooded(COUNT // 10, client)
    measured(
        it.came >= COUNT // 10 and it.growth_kib <= GROWTH_KIB_MAX,
        f"{it.sent} datagrams, half of them under ada's own address, of which {it.came} found room: memory grew by "
        f"{it.growth_kib} KiB ({GROWTH_KIB_MAX} are allowed)",
    )
    # Of those in her name a quarter is media, under numbers of streams that nobody has.
    expects("media_unauthentic", it.came // 8)
    return it.came


def shapes() -> dict[str, bytes]:
    """What a stranger may send to the port of media over TCP, in frames (RFC 4571) and without."""
    datagrams = {
        "a check of nobody's": knock(b"AAAAAAAAAAAAAAAA:abcd", b"a guess at the password"),
        "a DTLS hello": b"\x16\xfe\xfd" + b"\0" * 8 + b"\0\x36\1\0\0\x2a\0\0\0\0\0\0\0\0\x2a\xfe\xfd" + b"\7" * 40,
        "media": b"\x80\x6f\0\1" + b"\0" * 48,
        "noise": bytes(range(64, 128)),
    }
    framed = {f"{what}, framed": struct.pack("!H", len(it)) + it for what, it in datagrams.items()}
    return {**datagrams, **framed, "a request": b"GET / HTTP/1.1\r\nHost: incamera\r\n\r\n", "nothing": b""}


async def strangers_over_tcp() -> None:
    """Nothing for media; over HTTP little."""
    answers = await asyncio.gather(*(over_tcp(*MEDIA_TCP, it) for it in shapes().values()))
    out = sum(map(len, answers))
    measured(out == 0, f"{out} bytes for {len(answers)} shapes of what strangers send to the media port over TCP (0 are allowed)")
    forged = mint(fresh_room("door"), "eve", secret="not the secret, though long enough")
    asked = {
        "/": "", "/call/": "", "/livez": "", "/readyz": "", "/metrics": "", "/rtc": "", "/rtc/v1": "", "/nothing": "",
        f"/rtc/v1?access_token={forged}": "", f"/rtc/v1/validate?access_token={forged}": "", "/rtc/v1/validate": "",
        "/" + "a" * 40_000: "", "/twirp/livekit.RoomService/ListRooms": "POST", "/../../etc/passwd": "",
    }
    longest = 0
    asked = {path: request(path, method or "GET") for path, method in asked.items()}
    asked["a join"] = upgrade(forged, join_request())
    for path, sent in asked.items():
        answer = await over_tcp(*HTTP, sent)
        control(answer.startswith(b"HTTP/1.1 "), f"{path[:32]} is answered: {answer[9:12].decode()}, {len(answer)} bytes")
        longest = max(longest, len(answer))
    measured(
        longest <= STRANGER_BYTES_MAX,
        f"over HTTP the longest answer to whoever has no token has {longest} bytes ({STRANGER_BYTES_MAX} are allowed)",
    )


def forged_tokens(network: int, count: int, *, is_shown: bool = True) -> tuple[int, int, int]:
    """So many requests with tokens of another key, from one network, or as long ones that show none. How many were
    judged, how many not even that, and how many not read behind one that was not, since the network had asked too often
    or had shown too many."""
    forged = mint(GUESSED, "eve", secret="not the secret, though long enough").rsplit(".", 1)[0]
    name = "access_token" if is_shown else "other_things"
    judged = unheard = unread = 0
    for first in range(0, count, TOKENS_AT_ONCE):
        requests = b""
        for number in range(first, first + TOKENS_AT_ONCE):
            signature = base64.urlsafe_b64encode(struct.pack("!IQ", network, number) + b"\5" * 20).rstrip(b"=").decode()
            requests += f"GET /rtc/v1/validate?{name}={forged}.{signature} HTTP/1.1\r\nHost: i\r\n\r\n".encode()
        requests = requests.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
        answers = b""
        with socket.create_connection(HTTP, 10, (f"198.19.{network}.5", 0)) as stream:
            with contextlib.suppress(ConnectionError):
                stream.sendall(requests)
                while piece := stream.recv(1 << 16):
                    answers += piece
        denied, put_off = answers.count(b"HTTP/1.1 401"), answers.count(b"HTTP/1.1 429")
        judged, unheard = judged + denied, unheard + put_off
        # With an answer that says so ends the connection.
        if put_off:
            unread += TOKENS_AT_ONCE - denied - put_off
        if b"HTTP/1.1 200" in answers:
            raise AssertionError("a forged token opened something")
    return judged, unheard, unread


def bomb(number: int) -> int:
    """A join request that would be 4 MiB, of 6 KB. The status of the answer."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    inflated = packed.compress(b"\0" * (4 << 20)) + packed.flush()
    wrapped = wire.WrappedJoinRequest(compression=wire.WrappedJoinRequest.GZIP, join_request=inflated).SerializeToString()
    knock = upgrade(mint(GUESSED, f"bomber-{number}"), base64.urlsafe_b64encode(wrapped).decode())
    with socket.create_connection(HTTP, timeout=10) as stream:
        stream.sendall(knock)
        return int(stream.recv(64)[9:12])


async def tokens_and_bombs() -> None:
    """Forged tokens by the hundred thousand, and requests that inflate, while somebody is in a call."""

    async def shown(networks: range, each: int, *, is_shown: bool = True) -> tuple[int, int, int, float]:
        """How many were judged, not judged, not even read, and what all of it took of a processor."""
        began = processor_s(PID)
        showing = (asyncio.to_thread(forged_tokens, network, each, is_shown=is_shown) for network in networks)
        judged, unheard, unread = (sum(column) for column in zip(*await asyncio.gather(*showing)))
        return judged, unheard, unread, processor_s(PID) - began

    name = fresh_room("guessed")
    ada = await join(name, "ada")
    await asyncio.to_thread(forged_tokens, 230, 1_000)
    await asyncio.to_thread(bomb, 0)
    each = TOKENS // TOKEN_NETWORKS
    # From others than the tokens: a network may ask so often over connections that it has.
    asked, *_, plain_s = await shown(range(TOKEN_NETWORKS), JUDGED_AT_ONCE, is_shown=False)
    before, began, networks = resident_kib(PID), time.monotonic(), range(100, 100 + TOKEN_NETWORKS)
    *first, first_s = await shown(networks, JUDGED_AT_ONCE)
    *rest, _ = await shown(networks, each - JUDGED_AT_ONCE)
    judged, unheard, unread = map(sum, zip(first, rest, strict=True))
    took = time.monotonic() - began
    joined = time.monotonic()
    ben = await join(name, "ben")
    joined = time.monotonic() - joined
    measured(
        judged + unheard + unread >= TOKENS * 0.95 and unread <= unheard * TOKENS_AT_ONCE and joined <= JOIN_WITHIN_S,
        f"of {TOKENS} forged tokens {judged} were judged and {unheard} were over their network's budget, which ended the "
        f"connection and {unread} behind them, in {took:.1f} s; none was let in, and ben joined in {joined:.1f} s",
    )
    looked_at, *others = first
    control(
        looked_at >= 0.95 * TOKEN_NETWORKS * JUDGED_AT_ONCE and sum(others) <= looked_at / 20,
        f"the signatures of {looked_at} of the first {TOKEN_NETWORKS * JUDGED_AT_ONCE} were looked at",
    )
    one_s, plain_one_s = first_s / looked_at, plain_s / asked
    measured(
        one_s <= plain_one_s * TOKEN_COST_MAX,
        f"a forged token that is looked at takes {one_s / plain_one_s:.2f} times the computing of a request without one "
        f"({TOKEN_COST_MAX:g} times is allowed), {one_s * 1e6:.1f} us",
    )
    statuses = [await asyncio.to_thread(bomb, number) for number in range(BOMBS)]
    check(set(statuses) == {400}, f"requests that inflate to 4 MiB are read and refused: {set(statuses)}")
    growth = resident_kib(PID) - before
    measured(
        growth <= LEFT_KIB_MAX and ada.isconnected(),
        f"after these and {BOMBS} requests that inflate, memory had grown by {growth} KiB ({LEFT_KIB_MAX} are allowed)",
    )
    await ben.disconnect()
    await ada.disconnect()


async def unfinished_head(number: int) -> float:
    """How long the server holds a request whose end does not come."""
    began = time.monotonic()
    here = (f"198.19.{200 + number % HEAD_NETWORKS}.7", 0)
    reader, writer = await asyncio.open_connection(*HTTP, local_addr=here)
    writer.write(b"GET / HTTP/1.1\r\nHost: incamera\r\n")
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < HEAD_S + LATE_S:
            # A byte now and then, as the slowest of clients would.
            writer.write(b"X")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                if not await asyncio.wait_for(reader.read(1024), LOOK_S):
                    break
    held = time.monotonic() - began
    writer.close()
    return held


async def heads() -> None:
    """Many requests that are never finished; another is answered meanwhile, and somebody joins."""
    before = resident_kib(PID)
    unfinished = [asyncio.create_task(unfinished_head(number)) for number in range(HEADS)]
    await asyncio.sleep(5)
    growth = resident_kib(PID) - before
    began = time.monotonic()
    ben = await join(fresh_room("beside"), "ben")
    measured(
        time.monotonic() - began <= JOIN_WITHIN_S and growth <= HEADS * HEAD_KIB_MAX,
        f"beside {sum(not it.done() for it in unfinished)} of them, which took {growth >> 10} MiB, ben joined in "
        f"{time.monotonic() - began:.1f} s",
    )
    await ben.disconnect()
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*HTTP)
    writer.write(b"GET / HTTP/1.1\r\nHost: incamera\r\nConnection: close\r\n\r\n")
    answer = await reader.read(64)
    control(
        answer.startswith(b"HTTP/1.1 200"),
        f"a request with an end is answered meanwhile, in {(time.monotonic() - began) * 1000:.0f} ms",
    )
    writer.close()
    held = [await task for task in unfinished]
    measured(
        max(held) <= HEAD_S + LOOK_S and min(held) >= HEAD_S - LOOK_S,
        f"{HEADS} request heads without an end were cut after {min(held):.1f} to {max(held):.1f} s ({HEAD_S:g} are allowed, "
        f"and {LOOK_S:g} in which the client looks)",
    )


async def slow_readers() -> None:
    """Participants who never read what they are told, while others give them much to read."""
    name, word = fresh_room("slow"), uttered(secrets.token_hex(8))
    readers = [sleeper(name, number) for number in range(READERS)]
    ada = await join(name, "ada")
    async with aiohttp.ClientSession() as http:
        talkers = [await talker(http, name, number) for number in range(TALKERS)]
        reading = [asyncio.create_task(read_all(talking)) for talking in talkers]
        peak = before = resident_kib(PID)
        end = time.monotonic() + HEAD_S + LATE_S
        told = 0
        # Each of them is told of once a second, since its words are long.
        while time.monotonic() < end:
            talking = talkers[told % TALKERS]
            update = wire.UpdateParticipantMetadata(metadata=f"{told} {word} " + "m" * TOLD_BYTES)
            await talking.send_bytes(wire.SignalRequest(update_metadata=update).SerializeToString())
            told += 1
            await asyncio.sleep(1 / TALKERS)
            peak = max(peak, resident_kib(PID))
        cut = sum(await asyncio.gather(*(asyncio.to_thread(has_ended, reader) for reader in readers)))
        measured(
            cut == READERS,
            f"{cut} of {READERS} participants who read nothing of {told * 30} KB were cut within {HEAD_S + LATE_S:g} s",
        )
        control(peak > before, f"by the same measure, memory did grow while they waited: by {peak - before} KiB")
        bound = 2 * (told + 2 * READERS) * TOLD_BYTES >> 10
        measured(
            peak - before <= bound,
            f"what waited for them took {peak - before} KiB at most ({bound} are allowed; a copy for each would be "
            f"{told * READERS * TOLD_BYTES >> 10})",
        )
        is_there = ada.isconnected() and not any(task.done() for task in reading)
        control(is_there, f"ada and the {TALKERS} who tell, who read, are still there")
        for task in reading:
            task.cancel()
    await ada.disconnect()


async def talker(http: aiohttp.ClientSession, room: str, number: int) -> aiohttp.ClientWebSocketResponse:
    """A participant without media who may say what it likes of itself."""
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    token = mint(room, f"talker-{number}", grants=grants)
    params = {"access_token": token, "join_request": join_request()}
    return await http.ws_connect(f"{SIGNAL}/rtc/v1", params=params, max_msg_size=0)


async def read_all(talking: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in talking:
        pass


def has_ended(stream: socket.socket) -> bool:
    """Whether the server has given the connection up, which shows behind what it had sent before."""
    # With no more room than it had, that it reads now would be told to the server's kernel by the next probe only, of
    # which there are fewer and fewer.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    stream.settimeout(15)
    with contextlib.closing(stream), contextlib.suppress(TimeoutError):
        try:
            while stream.recv(1 << 16):
                pass
        except ConnectionError:
            return True
        return True
    return False


def sleeper(room: str, number: int) -> socket.socket:
    """A signalling connection that takes almost nothing in."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(HTTP)
    stream.sendall(upgrade(mint(room, f"sleeper-{number}"), join_request()))
    head = stream.recv(12)
    if not head.startswith(b"HTTP/1.1 101"):
        raise AssertionError(f"a participant who will not read was not let in: {head!r}")
    return stream


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may forge addresses and listen in")
    open_many_files()
    await strangers(await knocks())
    await tokens_and_bombs()
    await slow_readers()
    # Both are waiting for the most part, the second for a few connections beside thousands.
    await asyncio.gather(heads(), strangers_over_tcp())
    expects("connections_malformed", HEADS)
    expects("sockets_slow", READERS)


scenario("front_door", act, timeout_s=350)
