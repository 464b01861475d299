"""Who insists. Who has others told all of it again and again, by muting and by changing nothing, is told of at a rate.
Those who let others receive their tracks and keep them out, over and over, put nobody out.
Who asks with one good token whether it might come in, with requests that inflate, is answered at a rate.

No SDK does so: the clients speak the protocol by hand.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import socket
import time
from urllib.parse import urlsplit

import aiohttp
from client import (
    SERVER, SIGNAL, check, control, expects, fresh_room, join, join_request, measured, mint, scenario,
    sound_offer, until, uttered, upgrade,
)  # fmt: skip
from livekit import api, rtc
from livekit.protocol import models, rtc as wire
from load_call import call, lost

#: Others who read at 10 Mbit/s what they are told.
READERS, READ_BYTES_PER_S = 4, 1_250_000
#: A participant may have so many tracks, with names of so many bytes, of which everybody is told.
TRACKS, NAME_BYTES = 60, 256
#: So many requests are taken at once, and so many a second on end; it sends more.
REQUESTS_BURST, REQUESTS_PER_S, FLOOD_S = 500, 50, 6
#: What a participant has each other told (`UPDATE_BYTES_PER_SECOND`, `UPDATE_AHEAD_MAX` of the server's limits), and
#: what else they are told meanwhile.
TOLD_BYTES_PER_S, TOLD_AHEAD_S, BESIDE_BYTES = 32 << 10, 0.7, 20_000
#: How long the last of it may take, when it had much told.
LAST_WITHIN_S = 6

#: So many with as many tracks let others receive them and keep them out, for so long; and how long the last of it may
#: take: 64 tracks each tenth of a second (`ALLOWED_TOLD_MAX`, `UPDATE_WAIT_MAX`), behind what they asked for in vain.
FICKLE, FICKLE_S, ALLOWED_WITHIN_S = 2, 5, 8

#: One good token's question whether a join would do, of a kilobyte, inflates to so much.
INFLATED_BYTES = 500_000
#: So many ask it over and over. What counts as a request of its own, and how many of these one token may make at once
#: and a second (`VISIT_BYTES`, `VISITS_TOKEN_BURST`, `VISITS_TOKEN_PER_SECOND`).
ASKERS, VISIT_BYTES, VISITS_BURST, VISITS_PER_S = 8, 16 << 10, 150, 10
JOIN_WITHIN_S = 3


class Reader:
    """Somebody who reads what is told at some rate, by hand."""

    def __init__(self, room: str, identity: str) -> None:
        there = urlsplit(SERVER)
        self.stream = socket.socket()
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        self.stream.connect((there.hostname, there.port))
        self.stream.sendall(upgrade(mint(room, identity), join_request()))
        self.read, self.is_cut, self.is_over = 0, False, False

    def go_on(self) -> None:
        """Reads until it is over."""
        self.stream.settimeout(0.2)
        while not self.is_over:
            with contextlib.suppress(TimeoutError):
                try:
                    piece = self.stream.recv(1 << 14)
                except ConnectionError:
                    piece = b""
                if not piece:
                    self.is_cut = True
                    return
                self.read += len(piece)
                time.sleep(len(piece) / READ_BYTES_PER_S)
        self.stream.close()


def cid(number: int) -> str:
    return f"c{number:03d}".ljust(NAME_BYTES, "x")


async def publish_much(mallory: aiohttp.ClientWebSocketResponse) -> str:
    """Publishes as much as may be. The name of one of the tracks."""
    sids = []
    for first in range(0, TRACKS, 20):
        for number in range(first, first + 20):
            added = wire.AddTrackRequest(cid=cid(number), name="n" * NAME_BYTES, stream="s" * NAME_BYTES)
            added.type, added.source = models.AUDIO, models.MICROPHONE
            await mallory.send_bytes(wire.SignalRequest(add_track=added).SerializeToString())
        while len(sids) < first + 20:
            told = wire.SignalResponse.FromString((await mallory.receive(timeout=5)).data)
            if told.WhichOneof("message") == "track_published":
                sids.append(told.track_published.track.sid)
        offered = sound_offer([cid(number) for number in range(first + 20)])
        await mallory.send_bytes(offered.SerializeToString())
        await asyncio.sleep(0.3)
    return sids[0]


class Watcher:
    """Somebody who reads everything and notes what mallory is like."""

    def __init__(self) -> None:
        self.longest, self.heard, self.version, self.muted = 0, 0, 0, False

    async def go_on(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        async for message in stream:
            told = wire.SignalResponse.FromString(message.data)
            for info in told.update.participants:
                if info.identity == "mallory":
                    self.longest, self.heard = max(self.longest, len(message.data)), self.heard + 1
                    if info.version < self.version:
                        raise AssertionError("an older state came behind a newer one")
                    self.version = info.version
                    self.muted = info.tracks[0].muted if info.tracks else False


async def told_again_and_again() -> None:
    """A member who mutes and unmutes, and changes nothing, as fast as it can, beside others."""
    room = fresh_room("told")
    readers = [Reader(room, f"reader-{number}") for number in range(READERS)]
    reading = [asyncio.create_task(asyncio.to_thread(reader.go_on)) for reader in readers]
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    tokens = mint(room, "watcher"), mint(room, "mallory", grants=grants)
    async with aiohttp.ClientSession() as http:
        watching, mallory = [
            await http.ws_connect(
                f"{SIGNAL}/rtc/v1", params={"access_token": token, "join_request": join_request()}, max_msg_size=0
            )
            for token in tokens
        ]
        watcher = Watcher()
        watched = asyncio.create_task(watcher.go_on(watching))
        track = await publish_much(mallory)

        async def drain() -> None:
            async for _ in mallory:
                pass

        drained = asyncio.create_task(drain())
        # What it asked for until here is paid for.
        await asyncio.sleep(4)
        control(watcher.longest > 40_000, f"{watcher.longest} bytes say all of mallory with {TRACKS} tracks")
        before, heard, began = [reader.read for reader in readers], watcher.heard, time.monotonic()
        asked = 0
        while time.monotonic() - began < FLOOD_S:
            muted = wire.SignalRequest(mute=wire.MuteTrackRequest(sid=track, muted=asked % 4 == 0))
            nothing = wire.SignalRequest(update_metadata=wire.UpdateParticipantMetadata())
            await mallory.send_bytes((nothing if asked % 2 else muted).SerializeToString())
            asked += 1
            await asyncio.sleep(0.002 if asked < REQUESTS_BURST else 1 / REQUESTS_PER_S / 2)
        took = time.monotonic() - began
        read = max(reader.read - held for reader, held in zip(readers, before))
        allowed = (took + TOLD_AHEAD_S) * TOLD_BYTES_PER_S + watcher.longest + BESIDE_BYTES
        unpaid = asked * watcher.longest / 4
        check(not any(reader.is_cut for reader in readers), f"of {READERS} others who read at 10 Mbit/s nobody is cut")
        measured(
            read <= allowed,
            f"{asked} requests in {took:.0f} s, of which each second one changes nothing, had others read "
            f"{read / 1e3:.0f} kB each ({allowed / 1e3:.0f} are allowed; one for each change would be {unpaid / 1e6:.0f} MB)",
        )
        control(watcher.heard > heard, f"{watcher.heard - heard} updates said how mallory was meanwhile")
        # It may ask again; what it says last holds.
        await asyncio.sleep(1)
        for muted in (False, True):
            request = wire.SignalRequest(mute=wire.MuteTrackRequest(sid=track, muted=muted))
            await mallory.send_bytes(request.SerializeToString())
            await until(f"muted={muted} is heard", LAST_WITHIN_S, lambda muted=muted: watcher.muted == muted)
        # Nothing that is older comes behind it.
        await asyncio.sleep(3)
        measured(watcher.muted and not watched.done(), f"its last words were heard, each within {LAST_WITHIN_S} s")
        for reader in readers:
            reader.is_over = True
        await asyncio.gather(*reading)
        drained.cancel()
        watched.cancel()
        await mallory.close()


class Listener:
    """Somebody who reads everything and notes which tracks it may receive."""

    def __init__(self) -> None:
        self.allowed, self.heard = {}, 0

    async def go_on(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        async for message in stream:
            told = wire.SignalResponse.FromString(message.data)
            if told.WhichOneof("message") == "subscription_permission_update":
                update = told.subscription_permission_update
                self.allowed[update.track_sid], self.heard = update.allowed, self.heard + 1


def allow(everybody: bool) -> bytes:
    permission = wire.SubscriptionPermission(all_participants=everybody)
    return wire.SignalRequest(subscription_permission=permission).SerializeToString()


async def let_in_and_kept_out() -> None:
    """Members who let all others receive their tracks and keep them out, as fast as they can, beside others."""
    room = fresh_room("fickle")
    readers = [Reader(room, f"reader-{number}") for number in range(READERS)]
    reading = [asyncio.create_task(asyncio.to_thread(reader.go_on)) for reader in readers]
    wheel, lapses, words = rtc.Room(), [], []
    for lapse in ("reconnecting", "disconnected"):
        wheel.on(lapse, lambda *_, lapse=lapse: lapses.append(lapse))
    wheel.on("data_received", lambda packet: words.append(packet.data))
    await wheel.connect(SIGNAL, mint(room, "wheel"))
    speaker = await join(room, "speaker")
    async with aiohttp.ClientSession() as http:

        async def come(identity: str) -> aiohttp.ClientWebSocketResponse:
            query = {"access_token": mint(room, identity), "join_request": join_request()}
            return await http.ws_connect(f"{SIGNAL}/rtc/v1", params=query, max_msg_size=0)

        listening = await come("listener")
        listener = Listener()
        heard = asyncio.create_task(listener.go_on(listening))
        fickle = [await come(f"fickle-{number}") for number in range(FICKLE)]
        for stream in fickle:
            await publish_much(stream)
        # Of what each says until then, there is nothing to read.
        drained = [asyncio.create_task(Listener().go_on(stream)) for stream in fickle]
        await asyncio.sleep(3)
        began, asked = time.monotonic(), 0
        while time.monotonic() - began < FICKLE_S:
            for stream in fickle:
                await stream.send_bytes(allow(asked % 2 == 1))
            asked += 1
            await asyncio.sleep(0.002 if asked < REQUESTS_BURST else 0.02)
        during = listener.heard
        for number, stream in enumerate(fickle):
            await stream.send_bytes(allow(number % 2 == 0))
        said = time.monotonic()
        last = {True: TRACKS * ((FICKLE + 1) // 2), False: TRACKS * (FICKLE // 2)}

        def is_told() -> bool:
            return last == {state: list(listener.allowed.values()).count(state) for state in last}

        await asyncio.sleep(2)
        while not is_told() and time.monotonic() < said + ALLOWED_WITHIN_S:
            await asyncio.sleep(0.05)
        took = time.monotonic() - said
        # Nothing that is older comes behind it.
        await asyncio.sleep(2)
        await speaker.local_participant.publish_data(uttered("still there?"), reliable=True)
        await until("a word after the flood", 5, lambda: words)
        check(not any(reader.is_cut for reader in readers), f"of {READERS} others who read at 10 Mbit/s nobody is cut")
        check(not lapses and not heard.done(), f"LiveKit's own client stays as well, and hears the next word: {lapses}")
        control(during > TRACKS, f"{during} times meanwhile one of them was told what it may receive")
        most = (FICKLE_S + 1) * 640 + 128
        measured(
            during <= most,
            f"{FICKLE * asked} permissions in {FICKLE_S} s for {FICKLE * TRACKS} tracks had each told {during} times "
            f"({most} are allowed; one for each change would be {FICKLE * asked * TRACKS})",
        )
        measured(is_told() and took <= ALLOWED_WITHIN_S, f"the last word on each track was heard, within {took:.1f} s ({ALLOWED_WITHIN_S} are allowed)")
        for reader in readers:
            reader.is_over = True
        await asyncio.gather(*reading)
        for task in [heard, *drained]:
            task.cancel()
        for stream in fickle:
            await stream.close()
    await speaker.disconnect()
    await wheel.disconnect()


class Asker:
    """Asks one thing as fast as it is answered, and comes again when it is shown the door."""

    def __init__(self, request: bytes) -> None:
        self.request, self.statuses, self.is_over = request, {}, False

    def go_on(self) -> None:
        there = urlsplit(SERVER)
        while not self.is_over:
            with socket.create_connection((there.hostname, there.port), 10) as stream, contextlib.suppress(ConnectionError):
                while not self.is_over:
                    stream.sendall(self.request)
                    status = stream.recv(1 << 14)[9:12].decode()
                    if not status:
                        break
                    self.statuses[status] = self.statuses.get(status, 0) + 1


async def asked_again_and_again() -> None:
    """One good token, and questions that are dear to answer, beside a call and a newcomer."""
    room = fresh_room("asked")
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    request = wire.JoinRequest(metadata="m" * INFLATED_BYTES)
    request.client_info.protocol = 17
    packed = gzip.compress(request.SerializeToString(), 9)
    wrapped = wire.WrappedJoinRequest(compression=wire.WrappedJoinRequest.GZIP, join_request=packed)
    query = base64.urlsafe_b64encode(wrapped.SerializeToString()).decode().replace("=", "%3D")
    path = f"/rtc/v1/validate?access_token={mint(room, 'mallory', grants=grants)}&join_request={query}"
    asker = Asker(f"GET {path} HTTP/1.1\r\nHost: incamera\r\n\r\n".encode())
    began = time.monotonic()
    asking = [asyncio.create_task(asyncio.to_thread(asker.go_on)) for _ in range(ASKERS)]
    beside = asyncio.create_task(call("beside-the-asked"))
    joins = []
    for number in range(3):
        await asyncio.sleep(1)
        joining = time.monotonic()
        newcomer = await join(fresh_room("newcomer"), f"ada-{number}")
        joins.append(time.monotonic() - joining)
        await newcomer.disconnect()
    code, text = await beside
    asker.is_over = True
    await asyncio.gather(*asking)
    took = time.monotonic() - began
    answered, refused = asker.statuses.get("200", 0), asker.statuses.get("429", 0)
    each = 1 + INFLATED_BYTES // VISIT_BYTES
    most = (VISITS_BURST + took * VISITS_PER_S) / each + ASKERS
    control(answered > 0 and refused > 100, f"{refused} more were refused, with 429")
    check(set(asker.statuses) == {"200", "429"}, f"nothing else was answered: {asker.statuses}")
    measured(
        answered <= most,
        f"of {answered + refused} questions of {len(asker.request)} bytes with one good token, each of which inflates to "
        f"{INFLATED_BYTES >> 10} KiB, {answered} were answered in {took:.0f} s ({most:.0f} are allowed)",
    )
    measured(code == 0 and lost(text) == 0, f"a call beside it lost {lost(text):g} %")
    slowest = max(joins)
    measured(slowest <= JOIN_WITHIN_S, f"newcomers joined within {slowest:.1f} s ({JOIN_WITHIN_S} are allowed)")
    expects("validations_refused_rate", refused)


async def act() -> None:
    await told_again_and_again()
    await let_in_and_kept_out()
    await asked_again_and_again()


scenario("insistence", act, timeout_s=110)
