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
#: Of each picture meanwhile, each way: packets that come again of those that were lost, frames.
AGAIN_MIN, FRAMES_MIN = 10, 30


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
        line = await asyncio.wait_for(self._lines.readline(), 40)
        if not line:
            raise AssertionError("the call has ended by itself")
        return json.loads(line)

    async def goes_on(self, seconds: float) -> dict:
        """What it says last of itself within so long."""
        end, told = time.monotonic() + seconds, await self.said()
        while time.monotonic() < end:
            told = await self.said()
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


def comes_and_comes_again(told: dict) -> None:
    for way, what in (("sent", "to the server"), ("came", "from it")):
        codecs = told[way]
        pictures = [codecs.get(f"video/{kind}", {}) for kind in ("vp8", "h264")]
        control(
            all(it.get("again", 0) >= AGAIN_MIN and it.get("frames", 0) >= FRAMES_MIN for it in pictures),
            f"{what}: {codecs}",
        )
    control(told["sent"]["video/vp8"]["streams"] >= 2, "one of the pictures is sent in layers")


async def nothing(watch: Watch, scan: Scan, since: float, what: str) -> None:
    copies = await vanished(watch, scan, "stamped", KINDS)
    measured(copies == 0, f"sound, VP8 and H.264 of a browser: {copies} copies {scan.after(since)} {what}")


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    call = await Call.begin()
    watch = Watch(Memory((await call.said())["server"]))
    comes_and_comes_again(await call.goes_on(CALL_S))
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
    watch.stop()
    await call.end()


scenario("stamped", act, timeout_s=100)
