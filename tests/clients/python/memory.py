"""Reads another process's memory from outside and counts what it was told to look for. Needs root.

Every readable mapping counts: heap, stacks, histories, the program itself. Of those that the process can write all is
read but guard pages (MADV_GUARD_INSTALL in madvise(2)), which hold nothing: of more than a few it is said that they could
not be read. Source: proc(5).
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
from client import never

#: Many more than a process has threads, each of which has one in its stack.
GUARD_PAGES_MAX = 64
PAGE = os.sysconf("SC_PAGE_SIZE")
#: What is unmapped while it is being read is missed; after so many rounds it is there, and cannot be read.
ROUNDS = 3
#: Where a look is due it begins no later than this after. What was there until then would not be seen.
LOOK_LATE_S = 1.5
#: A server that had to wait for a processor frees late. What is there so long after its time was kept.
FOR_GOOD_S = 5.0
#: One search finds all marks of this run, those of processes that it starts too.
RUN = os.environ.setdefault("INCAMERA_MARK", f"mark{secrets.token_hex(6)}")
#: The same within base64 of any kind, at each of three places in it: what hangs on its neighbours is left out.
_BASE64 = [
    base64.b64encode(b"\0" * at + RUN.encode())[first:].rstrip(b"=")[:-1] for at, first in enumerate((0, 2, 3))
]
_MARK = re.compile(rb"%s-([a-z0-9_]+)-(\d{13})?" % RUN.encode())
#: Anybody's token: the server makes some of its own, to refresh those that it was given.
_TOKEN = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{40,}\.[\w-]{20,}")
#: AccessToken2: its version, and zlib in base64.
_TOKEN2 = re.compile(rb"007e[JNAF][\w+/]{80,}")


def mark(name: str) -> str:
    """A text to look for under `name`: lower-case letters, digits and underlines."""
    return f"{RUN}-{name}-"


def stamped(name: str) -> str:
    """The same with the time behind it, so that copies have an age."""
    return f"{mark(name)}{time.time_ns() // 1_000_000:013} "


@dataclass
class Scan:
    """What one look found."""

    began: float
    bytes: int = 0
    #: Of mappings that the process can write: what could not be read.
    unread: int = 0
    found: Counter[str] = field(default_factory=Counter)
    #: Age in seconds of the oldest copy of a stamped mark.
    oldest: dict[str, float] = field(default_factory=dict)
    #: Which mappings hold a mark, for whoever wonders why.
    where: dict[str, Counter[str]] = field(default_factory=dict)

    def after(self, moment: float) -> str:
        """When it began, for whoever reads a figure."""
        return f"{self.began - moment:.1f} s after"

    def add(self, name: str, mapping: str) -> None:
        self.found[name] += 1
        self.where.setdefault(name, Counter())[mapping] += 1


class Memory:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        #: What cannot be marks, by name.
        self.secrets: dict[str, bytes] = {}

    def scan(self) -> Scan:
        scan = Scan(time.monotonic())
        for mapping, content, at in self._mappings("r", scan):
            self._look(scan, content, mapping, at)
        return scan

    async def looks(self) -> AsyncIterator[Scan]:
        """One after the other."""
        while True:
            yield await asyncio.to_thread(self.scan)
            await asyncio.sleep(0.1)

    def _mappings(self, access: str, scan: Scan) -> Iterator[tuple[str, bytes, float]]:
        """Name and content of each whose access begins like this, in pieces where something between cannot be read, and
        when (as `stamped` has it) its reading began: what waits after that makes no copy older."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            missed: list[range] = []
            for mapping, may, span in self._spans(access):
                pieces = _Pieces(memory.fileno(), span)
                yield from ((mapping, content, at) for content, at in pieces)
                if may.startswith("rw"):
                    missed += pieces.missed
            # What could not be read was unmapped meanwhile, or other memory is there now, or it is still there.
            for _ in range(ROUNDS):
                before, missed = missed, []
                for mapping, _, span in self._spans("rw") if before else ():
                    for it in before:
                        pieces = _Pieces(memory.fileno(), range(max(span.start, it.start), min(span.stop, it.stop)))
                        yield from ((mapping, content, at) for content, at in pieces)
                        missed += pieces.missed
                scan.unread = sum(map(len, missed))
                if scan.unread <= GUARD_PAGES_MAX * PAGE:
                    return
        raise AssertionError(f"{scan.unread >> 10} KiB of memory that can be written cannot be read")

    def _spans(self, access: str) -> Iterator[tuple[str, str, range]]:
        """Name, access and place of each mapping whose access begins like this."""
        with open(f"/proc/{self.pid}/maps") as maps:
            for line in maps:
                span, may, *rest = line.split()
                mapping = rest[3] if len(rest) > 3 else f"anonymous {span}"
                if may.startswith(access) and mapping not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
                    yield mapping, may, range(*(int(number, 16) for number in span.split("-")))

    def writable(self) -> list[tuple[str, bytes]]:
        """A copy of all that the process can write, to be searched in peace."""
        scan = Scan(time.monotonic())
        return [(mapping, content) for mapping, content, _ in self._mappings("rw", scan)]

    @staticmethod
    def pieces(contents: list[tuple[str, bytes]], wanted: Collection[bytes]) -> dict[bytes, str]:
        """Which of many pieces, all as long and of eight bytes at least, are there, and where."""
        by_head = {int.from_bytes(piece[:8], "little"): piece for piece in wanted}
        heads = np.array(sorted(by_head), np.uint64)
        found: dict[bytes, str] = {}
        for mapping, content in contents:
            for offset in range(min(8, len(content))):
                words = np.frombuffer(content, np.uint64, (len(content) - offset) // 8, offset)
                places = np.flatnonzero(words)
                words = words[places]
                nearest = np.minimum(np.searchsorted(heads, words), len(heads) - 1)
                for place in places[heads[nearest] == words]:
                    at = offset + int(place) * 8
                    piece = by_head[int.from_bytes(content[at : at + 8], "little")]
                    if content.startswith(piece, at):
                        found[piece] = mapping
        return found

    def _look(self, scan: Scan, content: bytes, mapping: str, at: float) -> None:
        scan.bytes += len(content)
        for match in _MARK.finditer(content):
            name = match[1].decode()
            scan.add(name, mapping)
            if match[2]:
                age = at - int(match[2]) / 1000
                scan.oldest[name] = max(age, scan.oldest.get(name, age))
        for _ in _TOKEN.finditer(content):
            scan.add("token", mapping)
        for _ in range(sum(content.count(form) for form in _BASE64)):
            scan.add("base64", mapping)
        for _ in _TOKEN2.finditer(content):
            scan.add("token2", mapping)
        for name, secret in list(self.secrets.items()):
            for _ in range(content.count(secret)):
                scan.add(name, mapping)

    async def gone(self, names: tuple[str, ...], since: float, within_s: float) -> float:
        return await _last_found(self.looks(), names, since, within_s)


class _Pieces:
    """Contents of a part of a process's memory, each up to a page that cannot be read, and when its reading began; then
    what was `missed`. Behind many such pages in a row nothing is tried any more: so many are no guard."""

    def __init__(self, memory: int, span: range) -> None:
        self._memory, self._span = memory, span
        self.missed: list[range] = []

    def __iter__(self) -> Iterator[tuple[bytes, float]]:
        at, end = self._span.start, self._span.stop
        in_a_row = 0
        while at < end:
            began, content = time.time(), self._read(at, end)
            if content:
                in_a_row = 0
                yield content, began
                at += len(content)
                continue
            in_a_row += 1
            begin, at = at, end if in_a_row > GUARD_PAGES_MAX else min(end, at + PAGE)
            self.missed.append(range(begin, at))

    def _read(self, at: int, end: int) -> bytes:
        try:
            return os.pread(self._memory, end - at, at)
        except OSError:
            return b""


async def _last_found(looks: AsyncIterator[Scan], names: tuple[str, ...], since: float, within_s: float) -> float:
    """Looks until none of these is found; how long after `since` (monotonic) the last look began that found one. The
    first that finds none may begin a little later than `within_s`. What is there long after that is there for good."""
    last, late = 0.0, ""
    async for scan in looks:
        after = scan.began - since
        there = {name: dict(scan.where[name]) for name in names if scan.found[name]}
        if not there:
            if late:
                raise AssertionError(late)
            if after > within_s + LOOK_LATE_S:
                raise AssertionError(f"nobody looked between {last:.1f} and {after:.1f} s after")
            break
        if after > within_s:
            late = f"{', '.join(there)} is still there after {after:.1f} s: {there}"
            never(after > within_s + FOR_GOOD_S, late)
        last = after
    return last


class Watch:
    """Looks again and again, and remembers what each look found."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.scans: list[Scan] = []
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        async for scan in self.memory.looks():
            self.scans.append(scan)

    def stop(self) -> None:
        self._task.cancel()

    async def after(self, moment: float, late_s: float = LOOK_LATE_S) -> Scan:
        """The first look that began at `moment` (monotonic) or soon after: where nothing is to be there, no later than
        `late_s`."""
        while not self.scans or self.scans[-1].began < moment:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.02)
        scan = next(scan for scan in self.scans if scan.began >= moment)
        if scan.began > moment + late_s:
            raise AssertionError(f"nobody looked for {scan.began - moment:.1f} s")
        return scan

    async def looks_from(self, moment: float) -> AsyncIterator[Scan]:
        """All that began at `moment` or later."""
        await self.after(moment)
        seen = 0
        while True:
            for scan in self.scans[seen:]:
                seen += 1
                if scan.began >= moment:
                    yield scan
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.02)

    async def gone(self, names: tuple[str, ...], since: float, within_s: float) -> float:
        return await _last_found(self.looks_from(since), names, since, within_s)

    def most(self, name: str) -> int:
        return max((scan.found[name] for scan in self.scans), default=0)

    def oldest(self, name: str) -> float:
        return max((scan.oldest.get(name, 0.0) for scan in self.scans), default=0.0)
