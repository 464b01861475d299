"""A server that has as much to do as it may refuses newcomers in time: the calls that go on lose nothing. Needs root
and a network apart (`xtask/src/network.rs`).

The server has one media worker and is told to be busy for a small share of its time only, so that few calls are too
much for it. The calls' clients are the load clients: they say what was missing.

Beside what `client` reads: `INCAMERA_PID`, `INCAMERA_LOAD`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time

import aiohttp
from client import (
    SERVER, check, control, enter, fresh_room, join, measured, mint, scenario, until, uttered,
)  # fmt: skip
from livekit import rtc

#: Each call is a small part of what the server may do, so that one more or less does not decide. The load clients join
#: at once when they are so few.
PUBLISHERS, SUBSCRIBERS = 3, 3
MEASURE_S = 20
#: So many at a time: more than enough comes before the server has noticed, so that it stays too busy.
AT_ONCE, CALLS_MAX = 8, 80
#: The server asks its workers twice a second how busy they were in the last one.
NOTICED_WITHIN_S = 4


async def call(number: int, seconds: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(os.environ["INCAMERA_LOAD"], "--server", SERVER.removeprefix("http://"), "--pid", os.environ["INCAMERA_PID"]),
        *("--room", fresh_room(f"overload-{number}"), "--kind", "video", "--seconds", str(seconds)),
        *("--publishers", str(PUBLISHERS), "--subscribers", str(SUBSCRIBERS)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def ask(path: str) -> tuple[int, str, str]:
    """Status, text and `Retry-After`."""
    async with aiohttp.ClientSession() as http, http.get(f"{SERVER}{path}") as answer:
        return answer.status, (await answer.text()).strip(), answer.headers.get("Retry-After", "")


async def knock(identity: str) -> tuple[int, str, str]:
    """What a newcomer is answered, as HTTP says it."""
    return await ask(f"/rtc/v1/validate?access_token={mint(fresh_room('overload'), identity)}")


async def is_ready(wanted: bool) -> float:
    """How long it took until the node said so."""
    began = time.monotonic()
    while ((await ask("/readyz"))[0] == 200) != wanted:
        if time.monotonic() > began + 20:
            raise AssertionError(f"the node is {'not ' if wanted else ''}ready after 20 s")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def fill() -> list[asyncio.subprocess.Process]:
    """Calls, some at a time, until the server has enough of them."""
    calls: list[asyncio.subprocess.Process] = []
    while len(calls) < CALLS_MAX:
        first = len(calls)
        calls += [await call(number, MEASURE_S) for number in range(first, first + AT_ONCE)]
        # Their clients come at once, and their media with them.
        give_up_at = time.monotonic() + 2.5
        while time.monotonic() < give_up_at:
            if (await ask("/readyz"))[0] != 200:
                return calls
            await asyncio.sleep(0.05)
    raise AssertionError(f"{CALLS_MAX} calls are not too much")


async def act() -> None:
    check(os.geteuid() == 0, "this is root")
    room_name = fresh_room("overload")
    ada, ben = await join(room_name, "ada"), await join(room_name, "ben")
    gone: list[object] = []
    ben.on("disconnected", gone.append)
    control((await knock("cy"))[0] == 200 and await is_ready(True) < 1, "people are let in while there is time")

    calls = await fill()
    status, text, retry_after = await knock("cy")
    measured(
        status == 503 and "too busy" in text and retry_after == "5",
        f"beside {len(calls)} calls a newcomer is answered {status}, to come back in {retry_after} s: {text}",
    )
    check((await ask("/readyz"))[1].startswith("busy"), "/readyz says why")
    check((await ask("/"))[0] == 200, "the node is well")
    with contextlib.suppress(rtc.ConnectError):
        await join(room_name, "cy")
        raise AssertionError("cy joins a busy node")
    check(True, "LiveKit's wheel hears of it as an error")
    said: list[bytes] = []
    ben.on("data_received", lambda packet: said.append(packet.data))
    again = await enter(rtc.Room(), room_name, "ada")
    await again.local_participant.publish_data(uttered("I am back"))
    await until("ben hears her", 5, lambda: said == [b"I am back"])
    measured(not gone, "whoever is in it may connect anew, and a call goes on")

    texts = [(await it.communicate())[0].decode() for it in calls]
    refused = [text for text in texts if "503 Service Unavailable" in text]
    lost = [re.search(r"([\d.]+) % lost", text) for text in texts if text not in refused]
    figures = [float(found[1]) for found in lost if found]
    whole = sum(it.returncode == 0 for it in calls)
    measured(
        0 < whole and len(refused) <= AT_ONCE and len(figures) == len(lost) == whole and not any(figures),
        f"{whole} calls filled it, and {max(figures, default=1):g} % was lost; {len(refused)} more came too late",
    )
    took = await is_ready(True)
    measured(took < NOTICED_WITHIN_S, f"{took:.1f} s after they ended people are let in again")
    await join(room_name, "cy")
    await ada.disconnect()


scenario("overload", act, timeout_s=110)
