"""livekit-client by itself in Chromium, driven from Python. Needs node and the packages of ../web."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

PERSON = Path(__file__).parent.parent / "web" / "sdk_person.mjs"
#: A line tells at most a long text.
LINE_BYTES_MAX = 1 << 20


class SdkPerson:
    """A person in a page with nothing but livekit-client, in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def join(cls, room: str, identity: str, key: str) -> SdkPerson:
        """Joins an encrypted room."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("node", str(PERSON), room, identity, key),
            stdin=pipe,
            stdout=pipe,
            limit=LINE_BYTES_MAX,
        )
        person = cls(process)
        await person.hears("ready")
        return person

    def order(self, what: str, **details: object) -> None:
        """`call`, `text` or `bytes`."""
        self._process.stdin.write(f"{json.dumps({'do': what, **details})}\n".encode())

    async def hears(self, what: str) -> dict:
        """The next that it tells, which is of this sort."""
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        told = json.loads(line or "{}")
        assert told.get("is") == what, f"{what} was to be told, and not {told}"
        return told

    async def leave(self) -> None:
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 20)
