"""A call goes on, and people join, while ten times its datagrams come from forged addresses. Needs root and a network
apart (`xtask/src/network.rs`).

The call's clients are the load clients: they say what was missing and how long the longest silence was.

Beside what `client` reads: `INCAMERA_UDP_PORT`, `INCAMERA_PID`, `INCAMERA_LOAD`, `INCAMERA_HOSTILE`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from urllib.parse import urlsplit

from client import SERVER, best_of, check, control, expects, fresh_room, measured, scenario, tries
from datagrams import Address, Tap, cable, unread
from load_call import number

HOST = urlsplit(SERVER).hostname or ""
MEDIA: Address = (HOST, int(os.environ["INCAMERA_UDP_PORT"]))
#: Sound of four to four and a camera to four: 440 datagrams a second come, 1,760 go.
TALKERS, CAMERAS = ("audio", 4, 4), ("video", 1, 4)
CALL_RATE = 2_200
FLOOD_RATE = 10 * CALL_RATE
MEASURE_S = 8
JOINERS = 100
GAP_MS_MAX = 60
#: What the sender of hostile datagrams sends at most: it is told when the measurement is over.
FLOOD_S_MAX = 90


async def start(program: str, *words: object, stdin: int | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(os.environ[program], *map(str, words)),
        stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def call(room: str, shape: tuple[str, int, int], seconds: int) -> asyncio.subprocess.Process:
    kind, publishers, subscribers = shape
    return await start(
        *("INCAMERA_LOAD", "--server", SERVER.removeprefix("http://"), "--pid", os.environ["INCAMERA_PID"]),
        *("--room", fresh_room(room), "--kind", kind, "--publishers", publishers, "--subscribers", subscribers),
        *("--seconds", seconds),
    )


async def said(process: asyncio.subprocess.Process) -> str:
    printed, _ = await process.communicate()
    return printed.decode()


async def attack() -> float:
    """One call under one flood. Milliseconds of the longest silence in its sound."""
    tap = Tap({MEDIA[1]}, interface=cable())
    calls = [await call("sound", TALKERS, MEASURE_S), await call("camera", CAMERAS, MEASURE_S)]
    # Until all have come and the server knows what each can take; that is when they begin to measure.
    await asyncio.sleep(9)
    clients = Counter(it.source for it in tap.stop() if it.target == MEDIA and it.kind in ("rtp", "rtcp"))
    check(len(clients) >= 13, f"the addresses of {len(clients)} clients are known")
    also = [word for host, port in clients for word in ("--also", f"{host}:{port}")]
    hostile = await start(
        *("INCAMERA_HOSTILE", "--target", f"{MEDIA[0]}:{MEDIA[1]}", "--until-closed"),
        *("--count", FLOOD_RATE * FLOOD_S_MAX, "--rate", FLOOD_RATE, *also),
        stdin=asyncio.subprocess.PIPE,
    )
    joining = await call("newcomers", ("audio", 1, JOINERS), 1)
    gap = 0.0
    for kind, process in zip(("sound", "pictures"), calls):
        text = await said(process)
        lost = number(r"([\d.]+) % lost", text)
        least = number(r"([\d.]+) % of it in the stream that got least", text)
        measured(
            lost == 0 and process.returncode == 0,
            f"{kind}: {lost:g} % lost; {least:g} % of what was said came in the stream that got least",
        )
        if kind == "sound":
            gap = number(r"([\d.]+) ms was the longest silence", text)
    text = await said(joining)
    # Whoever does not come in, or gets no media, ends it in failure.
    measured(joining.returncode == 0, f"all of {JOINERS + 1} newcomers joined meanwhile, and had media (99 of 100 must)")
    control(hostile.returncode is None, "the flood went on until the measurement was over")
    assert hostile.stdin is not None
    hostile.stdin.close()
    text = await said(hostile)
    check(hostile.returncode == 0, f"the sender went through: {text}")
    sent = json.loads(text)
    measured(
        sent["sent"] / sent["seconds"] >= 0.95 * FLOOD_RATE,
        f"beside {CALL_RATE} datagrams a second of the call, {sent['sent'] / sent['seconds']:.0f} forged ones came, "
        "half of them from the clients' own addresses",
    )
    expects("datagrams_received", int(0.95 * sent["sent"]) - unread(int(os.environ["INCAMERA_PID"]), MEDIA[1]))
    expects("media_unauthentic", sent["sent"] // 20)
    return gap


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may forge addresses")
    gaps = await tries(attack, lambda gap: gap <= GAP_MS_MAX)
    measured(min(gaps) <= GAP_MS_MAX, f"sound: the longest silence was {min(gaps):g} ms ({GAP_MS_MAX} are allowed){best_of(gaps)}")


scenario("flood", act, timeout_s=140)
