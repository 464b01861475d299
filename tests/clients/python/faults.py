"""What a machine does to a server: killed, stopped, out of disk, out of descriptors, its clock set. Needs root, for a
small disk and to look into the server's memory.

After each fault: a call that could go on has gone on, what was refused was refused in words, and nothing has grown.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["INCAMERA_KEY"] = "clinic7"
os.environ["INCAMERA_SECRET"] = secrets.token_urlsafe(32)
os.environ["INCAMERA_URL"] = f"http://127.0.0.1:{os.environ['INCAMERA_HTTP_PORT']}"

import aiohttp  # noqa: E402
from client import (  # noqa: E402
    API_SECRET, SERVER, check, control, fresh_room, join, mark_sensitive, measured, mint, scenario, until, uttered,
)  # fmt: skip
from clock import faketime  # noqa: E402
from media import Watcher, publish_audio  # noqa: E402
from memory import Memory, mark  # noqa: E402
from own_server import HTTP_PORT, LOG, TCP_PORT, UDP_PORT, Server, nothing_grows  # noqa: E402
from process import processor_s  # noqa: E402

FOLDER = Path(tempfile.mkdtemp(prefix="incamera-faults-"))
#: The promised ten seconds, and the scanner's own time.
FORGOTTEN_S = 10.0
#: After the end of a server, of which a second is for the restart.
BACK_WITHIN_S = 10.0
#: Of fcntl(2): how much a pipe holds.
F_SETPIPE_SZ = 1031
#: How often the clock is set to each time.
STEPS = 20
#: Open files that a server may have that has none left for strangers.
FILES = 72


def settings() -> str:
    path = FOLDER / "server.yaml"
    if not path.exists():
        path.write_text(
            f"port: {HTTP_PORT}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}}}\n"
            f"keys: {{clinic7: {API_SECRET}}}\n"
        )
    return str(path)


def serve(**how: object) -> Server:
    return Server("serve", "--log", "info,edge=debug", "--config", settings(), **how)


async def answered(path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(f"{SERVER}{path}") as answer:
        return answer.status, (await answer.text()).strip()


class Call:
    """Two people, of whom one sings and both say something now and then."""

    def __init__(self) -> None:
        self.name = fresh_room("faults")
        self.lost: list[str] = []
        self.back: list[str] = []
        self.gone: list[str] = []
        self._tasks: list[asyncio.Task] = []

    async def begin(self) -> Call:
        self.ada, self.ben = await join(self.name, "ada"), await join(self.name, "ben")
        for person, room in (("ada", self.ada), ("ben", self.ben)):
            room.on("reconnecting", lambda person=person: self.lost.append(person))
            room.on("reconnected", lambda person=person: self.back.append(person))
            room.on("disconnected", lambda *_, person=person: self.gone.append(person))
        self._watcher = Watcher(self.ben)
        self._tasks.append(await publish_audio(self.ada, 0))
        await self.goes_on("a call begins")
        return self

    def _heard(self) -> int:
        """Pieces of 10 ms that are no silence."""
        return self._watcher.frames.get("audio-0", 0)

    async def goes_on(self, when: str, timeout_s: float = 15) -> None:
        """Both ways, data and sound."""
        said: set[bytes] = set()
        words = [uttered(secrets.token_hex(4)).encode() for _ in range(2)]
        hears = [lambda packet: said.add(packet.data) for _ in range(2)]
        for room, hear in zip((self.ada, self.ben), hears):
            room.on("data_received", hear)
        await self.ada.local_participant.publish_data(words[0])
        await self.ben.local_participant.publish_data(words[1])
        before = self._heard()
        await until(f"{when}: both are heard", timeout_s, lambda: said >= set(words) and self._heard() >= before + 100)
        for room, hear in zip((self.ada, self.ben), hears):
            room.off("data_received", hear)
        check(True, f"{when}: data and sound arrive")

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for room in (self.ada, self.ben):
            # The call is over; that its clients come to an end is not what is looked at.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(room.disconnect(), 10)


async def stopped_and_woken() -> None:
    """As a debugger or a machine that is moved does it."""
    with serve() as server:
        call = await Call().begin()
        with nothing_grows(server, "stopped for 5 s"):
            os.kill(server.process.pid, signal.SIGSTOP)
            await asyncio.sleep(5)
            os.kill(server.process.pid, signal.SIGCONT)
            await call.goes_on("woken after 5 s")
        measured(not call.gone, f"nobody fell out of it; {len(set(call.lost))} of 2 resumed their sessions")
        check((await answered("/readyz"))[0] == 200, "the node is ready")
        await (await join(call.name, "cy")).disconnect()
        check(not server.says("too busy"), "and lets people in: a halt is no load")
        await call.end()


async def killed_and_started_again() -> None:
    await started_again_after("kill -9", signal.SIGKILL)


async def stopped_and_started_again() -> None:
    """As an upgrade does it."""
    await started_again_after("SIGTERM", signal.SIGTERM)


async def started_again_after(what: str, by: signal.Signals) -> None:
    server = serve()
    call = await Call().begin()
    asked = time.monotonic()
    server.process.send_signal(by)
    code = await asyncio.to_thread(server.process.wait, 10)
    ended = time.monotonic()
    check(code == (0 if by == signal.SIGTERM else -by), f"{what} ends it within {ended - asked:.1f} s")
    await asyncio.sleep(1)
    with serve() as server:
        await until("both are back", 40, lambda: sorted(set(call.back)) == ["ada", "ben"])
        took = time.monotonic() - asked
        measured(
            took <= BACK_WITHIN_S and not call.gone,
            f"{took:.1f} s after {what}, one of them for the restart, both are back by themselves",
        )
        await call.goes_on(f"after {what}")
        check(server.says("participant joined", 2), "as newcomers, whom the restarted server had never seen")
        await call.end()


async def the_disk_is_full() -> None:
    disk = FOLDER / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        with (disk / "log").open("wb") as log, serve(errors=log) as server:
            call = await Call().begin()
            with contextlib.suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
                while True:
                    rest.write(b"\0" * 512)
            full = os.statvfs(disk).f_bavail
            control(full == 0, "the disk of the log is full")
            with nothing_grows(server, "disk full"):
                # Until the last page that the log has is full, too.
                written = -1
                while written != (written := (disk / "log").stat().st_size):
                    await (await join(fresh_room("faults"), "cy")).disconnect()
                await call.goes_on("with a full disk")
            (disk / "rest").unlink()
            await (await join(fresh_room("faults"), "cy")).disconnect()
            lost = b"lines of the log were lost"
            await until("the log goes on", 5, lambda: lost in (disk / "log").read_bytes())
            measured(not call.lost and not call.gone, "nobody noticed; the log says how many lines it lost")
            await call.end()
        # It is searched with the others.
        with LOG.open("ab") as all_logs:
            all_logs.write((disk / "log").read_bytes())
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def nobody_reads_the_log() -> None:
    """A pipe whose reader hangs, and then is gone."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    with serve(errors=writer) as server:
        os.close(writer)
        call = await Call().begin()
        with nothing_grows(server, "a log that nobody reads"):
            # More than the pipe holds, if every line of it is written.
            for _ in range(12):
                await (await join(fresh_room("faults"), "cy")).disconnect()
            await call.goes_on("with a log that nobody reads")
            # What it has said is searched with the other logs.
            with LOG.open("ab") as all_logs:
                all_logs.write(os.read(reader, 1 << 16) + b"\n")
            os.close(reader)
            await (await join(fresh_room("faults"), "cy")).disconnect()
            await call.goes_on("with a log whose reader is gone")
        measured(not call.lost and not call.gone, "nobody noticed")
        await call.end()


class Clock:
    """The time of day as the server sees it. The clock that only goes forward stays the machine's."""

    def __init__(self) -> None:
        self._file = FOLDER / "clock"
        self.set()
        self.environment = {
            **os.environ,
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: datetime.timedelta = datetime.timedelta()) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{int(ahead.total_seconds()):+d}")
        new.rename(self._file)


async def the_clock_is_set() -> None:
    hour, day = datetime.timedelta(hours=1), datetime.timedelta(days=1)
    clock = Clock()
    with serve(environment=clock.environment) as server:
        call = await Call().begin()
        memory = Memory(server.process.pid)
        short = mint(call.name, "cy", ttl_s=600)
        mark_sensitive(short)
        target = f"/rtc/v1/validate?access_token={short}"
        control((await answered(target))[0] == 200, "a token of ten minutes is good now")
        await call.ada.local_participant.publish_data(mark("said"))
        await asyncio.sleep(0.3)
        found = (await asyncio.to_thread(memory.scan)).found["said"]
        control(found, f"what was said is in the server's memory, {found} times")
        sent = time.monotonic()
        steps = ((hour, 401, "expired"), (-day, 401, "not valid yet"), (datetime.timedelta(), 200, ""))
        with nothing_grows(server, f"a clock that is set {len(steps) * STEPS} times"):
            for ahead, status, words in steps:
                clock.set(ahead)
                got, text = await answered(target)
                check(got == status and words in text, f"with the clock set to {ahead or 'now'} it has {got}: {text}")
                await call.goes_on(f"with the clock set to {ahead or 'now'}")
            # What is kept until a time of day must not stay because that is never again.
            for ahead, status, _ in steps * (STEPS - 1):
                clock.set(ahead)
                got, text = await answered(target)
                check(got == status, f"with the clock set to {ahead or 'now'} once more it has {got}: {text}")
        clock.set(-day)
        await asyncio.sleep(max(0.0, sent + FORGOTTEN_S - time.monotonic()))
        found = (await asyncio.to_thread(memory.scan)).found["said"]
        measured(not found, f"{FORGOTTEN_S:g} s after it was said, {found} copies of it, whatever the clock says")
        clock.set(hour)
        await asyncio.sleep(1)
        await call.goes_on("an hour ahead again")
        check((await answered("/readyz"))[0] == 200, "the node is ready")
        measured(not call.lost and not call.gone, "tokens followed the clock, and nothing of the call did")
        await call.end()


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def first_words(connection: socket.socket) -> bytes:
    """What a connection is told without asking."""
    connection.settimeout(3)
    try:
        return connection.recv(256)
    except TimeoutError:
        return b"(nothing)"
    except OSError:
        return b"(cut)"


async def no_descriptor_is_left() -> None:
    with serve(before=few_files) as server:
        pid = server.process.pid
        call = await Call().begin()
        with nothing_grows(server, "no descriptor left"):
            # Those that have a place are not told anything for ten seconds.
            held = [socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5) for _ in range(FILES + 8)]
            await asyncio.sleep(1)
            told = await asyncio.to_thread(first_words, held[-1])
            measured(b"503" in told and b"node is full" in told, f"the last of {len(held)} is told: {told[:40]!r}…")
            used = len(os.listdir(f"/proc/{pid}/fd"))
            control(used >= FILES - 2, f"of {FILES} descriptors the server uses {used}")
            before, began, knocks = processor_s(pid), time.monotonic(), 0
            while time.monotonic() < began + 2:
                with socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5):
                    knocks += 1
                await asyncio.sleep(0.002)
            share = (processor_s(pid) - before) / (time.monotonic() - began)
            measured(share < 0.2, f"with the call and {knocks} who knock meanwhile it takes {share * 100:.0f} % of a core")
            await call.goes_on("with no descriptor left")
            for connection in held:
                connection.close()
            said = server.log().count("connections cannot be accepted")
            measured(1 <= said <= 2, f"the log says so {said} times")
            await asyncio.sleep(0.5)
            await (await join(call.name, "cy")).disconnect()
        measured(not call.lost and not call.gone, "who was in it noticed nothing, and then cy could join")
        await call.end()


async def act() -> None:
    check(os.geteuid() == 0, "this is root")
    mark_sensitive(API_SECRET)
    try:
        for fault in (
            stopped_and_woken, killed_and_started_again, stopped_and_started_again, the_disk_is_full, nobody_reads_the_log,
            the_clock_is_set, no_descriptor_is_left,
        ):  # fmt: skip
            began = time.monotonic()
            print(f"{fault.__name__.replace('_', ' ')}:", flush=True)
            await fault()
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


scenario("faults", act, timeout_s=170)
