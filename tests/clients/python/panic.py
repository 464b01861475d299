"""A fault that one participant provokes ends that participant's session alone. Needs a server in which clients may
raise faults (decision 0015), of which the words below are a client's way to ask for one.

Three people talk in one room and two in another, spread over two workers. One after the other of the three has the
server panic over them: in the task of their connection, in the hub, in the worker of their media. Each comes back, as
LiveKit's clients do by themselves; the media of all others go on meanwhile, and the log does not repeat what the panic
said.

Beside what `client` reads: `INCAMERA_PID`, `INCAMERA_HTTP_PORT`, `INCAMERA_TCP_PORT`, `INCAMERA_SERVER_LOG`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time

import figures
import numpy as np
from client import (
    SIGNAL, best_of, check, control, expects, fresh_room, mark_sensitive, measured, mint, scenario, tries, until,
)  # fmt: skip
from livekit import api, rtc
from media import AUDIBLE, RATE_HZ, publish_audio, publish_video

ROOMS = {"red": ("ada", "ben", "cy"), "blue": ("eve", "grace")}
#: Of a picture each 100 ms and of sound each 10 ms.
GAP_MS_MAX = 300
#: The same length of time without a fault before it, and with one.
WATCH_S = 3
COUNTERS = {"connection": "connections_panicked", "hub": "hub_panics", "worker": "worker_panics"}


class Person:
    """One of LiveKit's clients, and when it received each picture and each audible sound."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.room = rtc.Room()
        self.events: list[str] = []
        self.at: dict[str, list[float]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.back_at = 0.0
        for event in ("reconnecting", "reconnected", "disconnected"):
            self.room.on(event, lambda *_, event=event: self.note(event))
        self.room.on("participant_disconnected", lambda left: self.events.append(f"{left.identity} left"))
        self.room.on("track_subscribed", self.subscribed)

    def note(self, event: str) -> None:
        self.events.append(event)
        if event == "reconnected":
            self.back_at = time.monotonic()

    async def enter(self, room: str) -> None:
        grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
        token = mint(room, self.name, grants=grants)
        await asyncio.wait_for(self.room.connect(SIGNAL, token, rtc.RoomOptions(auto_subscribe=True)), 15)
        self.tasks.add(await publish_audio(self.room, self.number))
        self.tasks.add(await publish_video(self.room, self.number))

    def subscribed(self, track: rtc.Track, publication: rtc.RemoteTrackPublication, owner: rtc.RemoteParticipant) -> None:
        watch = self.see if track.kind == rtc.TrackKind.KIND_VIDEO else self.hear
        times = self.at.setdefault(f"{owner.identity}'s {publication.name}", [])
        self.tasks.add(asyncio.create_task(watch(track, times)))

    async def see(self, track: rtc.Track, times: list[float]) -> None:
        async for _ in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            times.append(time.monotonic())

    async def hear(self, track: rtc.Track, times: list[float]) -> None:
        async for event in rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1):
            # What is made up for a packet that is missing fades within some packets.
            if np.abs(np.frombuffer(event.frame.data, np.int16).astype(np.int32)).max() > AUDIBLE:
                times.append(time.monotonic())

    async def provoke(self, part: str, canary: str) -> None:
        """Has the server panic over this person; the panic says the canary."""
        wish = f"incamera-sabotage: panic in the {part}, over {canary}"
        if part == "worker":
            await self.room.local_participant.publish_data(wish.encode(), reliable=True)
            return
        try:
            await asyncio.wait_for(self.room.local_participant.set_metadata(wish), 1)
        except Exception:  # noqa: BLE001
            pass  # Who panics does not answer.


def longest(people: list[Person], begin: float, end: float, without: str) -> tuple[float, str]:
    """The longest time, in milliseconds, in which somebody received nothing of a track that goes on."""
    gaps = []
    for person in people:
        for track, times in person.at.items():
            if track.startswith(f"{without}'s "):
                continue
            marks = [begin, *(at for at in times if begin < at < end), end]
            gaps.append((max(b - a for a, b in zip(marks, marks[1:])), f"{track} to {person.name}"))
    gap, what = max(gaps)
    return gap * 1000, what


def counted() -> dict[str, int]:
    text = figures.page()
    return {name: figures.total(text, name) for name in COUNTERS.values()}


def said() -> list[str]:
    with open(os.environ["INCAMERA_SERVER_LOG"]) as log:
        return [line for line in log if "panick" in line]


async def act() -> None:
    everybody: dict[str, Person] = {}
    for room, names in ROOMS.items():
        name = fresh_room(room)
        for identity in names:
            everybody[identity] = Person(identity, len(everybody))
            await everybody[identity].enter(name)
    people = list(everybody.values())
    expected = {name: 2 * (len(names) - 1) for names in ROOMS.values() for name in names}
    await until(
        "everybody receives everybody else",
        20,
        lambda: all(
            len(it.at) == expected[it.name] and all(len(times) > 20 for times in it.at.values()) for it in people
        ),
    )

    async def watched() -> tuple[float, str]:
        begin = time.monotonic()
        await asyncio.sleep(WATCH_S)
        return longest(people, begin, time.monotonic(), "nobody")

    gaps = [gap for gap, _ in await tries(watched, is_short)]
    control(
        min(gaps) <= GAP_MS_MAX,
        f"before any fault nobody misses anything: the longest gap is {min(gaps):.0f} ms{best_of(gaps)}",
    )
    check(not said() and not any(counted().values()), "and the server has not panicked")

    for victim, part in zip(ROOMS["red"], COUNTERS):
        judge(part, await tries(lambda victim=victim, part=part: one_fault(people, everybody[victim], part), is_short))
    for counter in COUNTERS.values():
        expects(counter, 1)
    for person in people:
        for task in person.tasks:
            task.cancel()
        await asyncio.wait_for(person.room.disconnect(), 5)


def is_short(gap: tuple[float, str]) -> bool:
    return gap[0] <= GAP_MS_MAX


def judge(part: str, gaps: list[tuple[float, str]]) -> None:
    gap, what = min(gaps)
    measured(
        gap <= GAP_MS_MAX,
        f"{part}: the others' media go on: the longest gap of anybody is {gap:.0f} ms ({GAP_MS_MAX} are allowed)"
        + best_of([gap for gap, _ in gaps])
        + ("" if gap <= GAP_MS_MAX else f", in {what}"),
    )


async def one_fault(people: list[Person], victim: Person, part: str) -> tuple[float, str]:
    """The longest gap of anybody else, who goes on as the victim comes back."""
    others = [person for person in people if person is not victim]
    lines, totals = said(), counted()
    before = {person.name: len(person.events) for person in people}
    canary = secrets.token_hex(16)
    mark_sensitive(canary)
    begin = time.monotonic()
    await victim.provoke(part, canary)
    hears = asyncio.create_task(until(f"{victim.name} hears of it", 10, lambda: len(victim.events) > before[victim.name]))
    await asyncio.wait({hears})
    await asyncio.sleep(max(0, WATCH_S - (time.monotonic() - begin)))
    gap, what = longest(others, begin, time.monotonic(), victim.name)
    try:
        await hears
        await comes_back(victim, others, part, begin, before)
    except AssertionError:
        # Whoever took others along may not come back: then it is they who count.
        judge(part, [(gap, what)])
        raise
    fresh = said()[len(lines) :]
    check(len(fresh) == 1 and ".rs:" in fresh[0], f"{part}: the log has one line of it, by place: {fresh}")
    check(canary not in fresh[0], f"{part}: and not what the panic said")
    counter = COUNTERS[part]
    check(
        counted() == totals | {counter: totals[counter] + 1},
        f"{part}: the metrics count it: {counter} is {totals[counter] + 1}",
    )
    return gap, what


async def comes_back(victim: Person, others: list[Person], part: str, begin: float, before: dict[str, int]) -> None:
    """By itself, and to all others, who notice nothing else. `before`: how many events each had heard of."""
    await until(f"{victim.name} is back", 15, lambda: "reconnected" in victim.events[before[victim.name] :])
    back = victim.back_at
    await until(
        f"{victim.name} and the others receive each other again",
        15,
        lambda: all(
            any(track.startswith(f"{victim.name}'s video") and times[-1] > back + 0.3 for track, times in it.at.items())
            for it in others
            if it.name in ROOMS["red"]
        )
        and all(times[-1] > back + 0.3 for times in victim.at.values()),
    )
    news = {it.name: it.events[before[it.name] :] for it in others}
    seen = [it for events in news.values() for it in events if it != f"{victim.name} left"]
    check(not seen, f"{part}: nobody else's session was touched: {news}")
    told = [it for it in victim.events[before[victim.name] :] if not it.endswith(" left")]
    measured(
        told[:2] == ["reconnecting", "reconnected"],
        f"{part}: {victim.name}'s client was told ({', '.join(told)}) and is back {back - begin:.1f} s after the fault",
    )


scenario("panic", act, timeout_s=140)
