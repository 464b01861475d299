"""Somebody who reads nothing for a while, as a phone in a tunnel does, while another copies a file to the room.

Who sends waits for whoever is slow, by the flow control of its own data channel; nobody is put out, nothing is lost,
and what people write to each other meanwhile arrives at once. All are LiveKit's own clients; the slow one is a process
that is stopped.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time

from client import (
    SIGNAL, best_of, check, control, expects, fresh_room, join, measured, mint, scenario, tries, until,
)  # fmt: skip
from livekit import rtc

CHUNK_BYTES = 14_000
#: 4 MB.
CHUNKS = 286
STOPPED_S = 3.0
#: A word, while the file is copied and somebody is slow.
WORD_S = 0.5
#: So many of them are looked at.
WORDS_MIN = 20
#: The rest of the file, once everybody reads.
REST_S = 15.0


class Chunks:
    """What comes to one of them: the chunks by number, and each word with its delay, by when it was said."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.delays: dict[float, float] = {}

    def take(self, packet: rtc.DataPacket) -> None:
        if packet.topic == "word":
            # Of the same machine's clock.
            said = float(packet.data)
            self.delays[said] = time.monotonic() - said
        else:
            is_whole = len(packet.data) == CHUNK_BYTES
            self.numbers.append(int.from_bytes(packet.data[:4]) if is_whole else -1)


async def guest(room_name: str) -> None:
    """Another process: joins as `ben` and says what it has when it is asked."""
    chunks, room = Chunks(), rtc.Room()
    room.on("data_received", chunks.take)
    for event in ("reconnecting", "disconnected"):
        room.on(event, lambda *_, event=event: print(event, flush=True))
    await room.connect(SIGNAL, mint(room_name, "ben"))
    print("joined", flush=True)
    said = 0
    while True:
        await asyncio.sleep(0.05)
        if len(chunks.numbers) != said:
            said = len(chunks.numbers)
            print("whole" if chunks.numbers == list(range(CHUNKS)) else f"has {said}", flush=True)


async def copy(ada: rtc.Room) -> None:
    for number in range(CHUNKS):
        chunk = number.to_bytes(4).ljust(CHUNK_BYTES, b"x")
        await ada.local_participant.publish_data(chunk, reliable=True)


async def write(dee: rtc.Room, words: list[float], stop: asyncio.Event) -> None:
    while not stop.is_set():
        words.append(time.monotonic())
        await dee.local_participant.publish_data(str(words[-1]), reliable=True, topic="word")
        await asyncio.sleep(0.1)


async def act() -> None:
    slowest = await tries(one_copy, lambda word: word < WORD_S)
    measured(
        min(slowest) < WORD_S,
        f"each of those words within {min(slowest):.2f} s ({WORD_S:g} are allowed){best_of(slowest)}",
    )


async def one_copy() -> float:
    """Seconds of the slowest word while ben reads nothing."""
    name = fresh_room("slow")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "guest", name), stdout=asyncio.subprocess.PIPE
    )
    try:
        return await with_a_guest(name, process)
    finally:
        process.kill()


async def with_a_guest(name: str, process: asyncio.subprocess.Process) -> float:
    said: list[str] = []

    async def listen() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode().strip())

    reader = asyncio.create_task(listen())
    await until("ben joins", 20, lambda: "joined" in said)
    ada, cy, dee = [await join(name, person) for person in ("ada", "cy", "dee")]
    chunks, left = Chunks(), []
    cy.on("data_received", chunks.take)
    cy.on("participant_disconnected", lambda who: left.append(who.identity))
    await until("all are there", 10, lambda: len(cy.remote_participants) == 3)

    os.kill(process.pid, signal.SIGSTOP)
    words, stop = list[float](), asyncio.Event()
    tasks = [asyncio.create_task(copy(ada)), asyncio.create_task(write(dee, words, stop))]
    await asyncio.sleep(STOPPED_S)
    # What is held back is less than the file.
    control(
        0 < len(chunks.numbers) < CHUNKS,
        f"cy, who reads, has {len(chunks.numbers)} of {CHUNKS} chunks after {STOPPED_S:.0f} s: ada is held back",
    )
    await until(f"cy has heard {WORDS_MIN} words of dee's meanwhile", 3, lambda: len(chunks.delays) > WORDS_MIN)
    woken, heard = time.monotonic(), dict(chunks.delays)
    # The latest may be under way.
    due = [word for word in words if word <= woken - WORD_S]
    control(
        len(due) >= WORDS_MIN,
        f"dee has said {len(due)} words until {WORD_S:g} s before, and cy has heard {sum(word in heard for word in due)} of them",
    )
    os.kill(process.pid, signal.SIGCONT)
    await until("ben and cy have the file", REST_S, lambda: "whole" in said and len(chunks.numbers) >= CHUNKS)
    later = time.monotonic() - woken
    measured(later <= REST_S, f"ben, who read nothing for {STOPPED_S:.0f} s, has all of it {later:.1f} s later")
    stop.set()
    await asyncio.gather(*tasks)
    check(chunks.numbers == list(range(CHUNKS)), "cy has every chunk once, in order")
    check(not left and not {"reconnecting", "disconnected"} & set(said), "and nobody was put out")
    latest = max(chunks.delays.values())
    measured(latest < REST_S, f"with words behind much of the file: within {latest:.2f} s")
    expects("data_receivers_lagged", 1)
    reader.cancel()
    for person in (ada, cy, dee):
        await person.disconnect()
    return max(heard.get(word, math.inf) for word in due)


if sys.argv[1:2] == ["guest"]:
    asyncio.run(guest(sys.argv[2]))
else:
    scenario("slow_reader", act, timeout_s=110)
