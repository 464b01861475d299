"""What the server's memory holds of a call of browsers whose every encoded frame carries marks, as their packets come, are
kept, are sent again and end: nothing older than ten seconds, and nothing of somebody who has left.

Without end-to-end encryption. The call loses one packet in ten both ways: sound, VP8 in layers, H.264, and what comes
again of both pictures on streams of its own. Needs root. The same of a load client's media, people and words: `forgotten`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from client import check, control, fresh_room, measured, scenario
from marked import AGE_MAX_S, MEDIA_GONE_S, aged, found, vanished
from memory import Memory, Scan, Watch, mark

CALL = Path(__file__).parent.parent / "web" / "stamped_call.mjs"
KINDS = ("audio", "vp8", "h264")
NAMES = [f"stamped_{kind}" for kind in KINDS]
#: Longer than anything may be kept.
CALL_S = AGE_MAX_S + 4.0
AGAIN_S = 3.0
#: Longer than it said nothing that was read.
STAYS_S = 2.0
#: Of each picture, each way: packets that come again of those that were lost, and frames, where the call itself has seen
#: to it that both layers of the camera were sent at first; so much longer is waited for them, since a busy machine encodes few.
AGAIN_MIN, FRAMES_MIN, LONGER_S = 10, 20, 30.0


#: Beside two browsers' joins the first line waits for the layers, 30 s at most.
SAID_WITHIN_S = 60


class Call:
    """Two browsers and a server, in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process, self._orders, self._lines = process, process.stdin, process.stdout

    @classmethod
    async def begin(cls) -> Call:
        words = ("node", str(CALL), fresh_room("stamped"), mark("stamped").removesuffix("-") + "_")
        return cls(
            await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        )

    async def said(self) -> dict:
        line = await asyncio.wait_for(self._lines.readline(), SAID_WITHIN_S)
        if not line:
            raise AssertionError("the call has ended by itself")
        return json.loads(line)

    async def tells(self) -> dict:
        """What it says next of itself."""
        while "server" not in (told := await self.said()):
            pass
        return told

    async def goes_on(self, seconds: float) -> dict:
        """What it says last of itself within so long."""
        end, told = time.monotonic() + seconds, await self.tells()
        while time.monotonic() < end:
            told = await self.tells()
        return told

    async def does(self, order: str) -> float:
        """When it was done."""
        self._orders.write(f"{order}\n".encode())
        while (await self.said()).get("did") != order:
            pass
        return time.monotonic()

    async def end(self) -> None:
        self._orders.close()
        check(await asyncio.wait_for(self.process.wait(), 20) == 0, "the call and its server end")


def is_enough(told: dict) -> bool:
    """Whether pictures have come, in layers, and come again, to the server and from it."""

    def has(way: str, codec: str) -> bool:
        counts = told[way].get(f"video/{codec}", {"frames": [], "again": 0})
        return any(it >= FRAMES_MIN for it in counts["frames"]) and counts["again"] >= AGAIN_MIN

    return all(has(way, codec) for way in ("sent", "came") for codec in ("vp8", "h264"))


async def nothing(watch: Watch, scan: Scan, since: float, what: str) -> None:
    copies = await vanished(watch, scan, "stamped", KINDS)
    measured(copies == 0, f"sound, VP8 and H.264 of a browser: {copies} copies {scan.after(since)} {what}")


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    call = await Call.begin()
    watch = Watch(Memory((await call.tells())["server"]))
    told, end = await call.goes_on(CALL_S), time.monotonic() + LONGER_S
    while not is_enough(told) and time.monotonic() < end:
        told = await call.tells()
    control(is_enough(told), f"to the server: {told['sent']}; from it: {told['came']}")
    silent = await call.does("pause")
    found(watch, *NAMES)
    aged(watch, *NAMES)
    await nothing(watch, await watch.after(silent + AGE_MAX_S), silent, "it sent the last")
    await call.does("go on")
    before = len(watch.scans)
    await call.goes_on(AGAIN_S)
    again = {name: max(scan.found[name] for scan in watch.scans[before:]) for name in NAMES}
    control(all(again.values()), f"once it goes on they are found again: {again}")
    left = await call.does("leave")
    await nothing(watch, await watch.after(left + MEDIA_GONE_S), left, "it left a call in which somebody stays")
    control((await call.goes_on(STAYS_S))["stays"], "the other one is still there")
    watch.stop()
    await call.end()


scenario("stamped", act, timeout_s=150)
