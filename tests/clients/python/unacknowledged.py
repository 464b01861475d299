"""Reliable data for somebody who hears it and acknowledges nothing: what becomes of the words, and of the receiver.

The receiver is LiveKit's own client; what it answers to data is dropped on its way, by the kernel, while the checks of
its path go through: the server sees somebody who is there and takes nothing. The words are looked for in the server's
memory as `forgotten` does it. Needs root, `tc`, and a network apart (`xtask/src/network.rs`).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from client import check, control, expects, measured, scenario, tries, until
from datagrams import cable
from livekit import rtc
from marked import AGE_MAX_S, KEPT, aged, arrive, found, talk, token
from memory import Memory, Watch, mark

TALK_S = 4.0
#: After the first word that is not acknowledged, the receiver is put out.
CUT_S = 9.0, 10.0
#: The client comes again by itself; its first try is at once.
BACK_S = 20.0
#: A record of DTLS that holds data.
APPLICATION_DATA = "0x17"


async def guest(room: str) -> None:
    """Another process: joins as `cy` and says what happens to it."""
    cy = rtc.Room()
    cy.on("data_received", lambda _: print("heard", flush=True))
    cy.on("reconnected", lambda: print("reconnected", flush=True))
    await arrive(token("cy", room), room=cy)
    print("joined", flush=True)
    await asyncio.sleep(600)


class Guest:
    """Who hears and does not acknowledge."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(line.decode().strip())

    def ports(self) -> set[int]:
        """Of its UDP sockets."""
        pid = self.process.pid
        inodes = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target.removeprefix("socket:[").removesuffix("]"))
        lines = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return {int(row[1].split(":")[1], 16) for row in rows if row[9] in inodes}


def tc(*words: str) -> None:
    subprocess.run(("tc", *words), check=True)


def silence(ports: set[int]) -> None:
    """From now on nothing that holds data leaves from these ports."""
    device = cable()
    tc("qdisc", "replace", "dev", device, "root", "handle", "1:", "htb")
    # A datagram in some minutes, and nothing waits.
    tc("class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", "8bit")
    tc("qdisc", "add", "dev", device, "parent", "1:1", "pfifo", "limit", "1")
    for port in ports:
        udp = ("match", "ip", "protocol", "17", "0xff", "match", "ip", "sport", str(port), "0xffff")
        # Behind the headers of IP and UDP.
        data = ("match", "u8", APPLICATION_DATA, "0xff", "at", "28")
        tc(*("filter", "add", "dev", device, "parent", "1:", "protocol", "ip", "u32"), *udp, *data, "flowid", "1:1")


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    watch = Watch(Memory(int(os.environ["INCAMERA_PID"])))
    room = mark("silent_room")
    ben = await arrive(token("ben", room))
    came: list[float] = []
    left: list[float] = []

    def note(times: list[float], who: rtc.RemoteParticipant) -> None:
        if who.identity == mark("cy_identity"):
            times.append(time.monotonic())

    ben.on("participant_connected", lambda who: note(came, who))
    ben.on("participant_disconnected", lambda who: note(left, who))
    heard: list[rtc.DataPacket] = []
    ben.on("data_received", heard.append)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "guest", room), stdout=asyncio.subprocess.PIPE
    )
    cy = Guest(process)
    await until("cy joins", 20, lambda: "joined" in cy.said and came)
    ada = await arrive(token("ada", room))
    waits = await tries(lambda: put_out(watch, ada, cy, came, left), is_in_time)
    measured(
        any(map(is_in_time, waits)),
        f"cy was put out {', '.join(f'{it:.1f}' for it in waits)} s after the first word that it left unacknowledged "
        f"({CUT_S[0]:g} to {CUT_S[1]:g} are allowed)",
    )
    check(len(left) == len(waits) and ben.isconnected() and heard, f"ben heard {len(heard)} packets and nothing happened to him")
    expects("data_receivers_cut", len(waits))
    process.kill()


def is_in_time(wait: float) -> bool:
    return CUT_S[0] <= wait <= CUT_S[1]


async def put_out(watch: Watch, ada: rtc.Room, cy: Guest, came: list[float], left: list[float]) -> float:
    """How long after the first word that it left unacknowledged; it comes again. `came`, `left`: when it did, so far."""
    past, words = len(left), cy.said.count("heard")
    await talk(ada, "ada", 1)
    await until("cy hears ada", 10, lambda: cy.said.count("heard") > words)
    # What is under way is acknowledged by then.
    await asyncio.sleep(1)
    silence(cy.ports())
    before, began = cy.said.count("heard"), time.monotonic()
    await talk(ada, "ada", TALK_S)
    more = cy.said.count("heard") - before
    control(more > 0, f"cy hears {more} words that it does not acknowledge")
    check(len(left) == past, "and is still there when ada falls silent")
    await watch.after(began + TALK_S + AGE_MAX_S + 1)
    found(watch, *(f"ada_{kind}" for kind in KEPT))
    aged(watch, *(f"ada_{kind}" for kind in KEPT))
    check(len(left) > past, "cy was put out")
    await until("cy comes again", BACK_S, lambda: len(came) > past + 1)
    back = came[past + 1] - left[past]
    measured(back <= BACK_S, f"cy is back by itself {back:.1f} s later")
    words = cy.said.count("heard")
    await talk(ada, "ada", 2)
    await until("cy hears ada again", 5, lambda: cy.said.count("heard") > words)
    tc("qdisc", "del", "dev", cable(), "root")
    return left[past] - began


if sys.argv[1:2] == ["guest"]:
    asyncio.run(guest(sys.argv[2]))
else:
    scenario("unacknowledged", act, timeout_s=140)
