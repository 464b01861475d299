"""A person at the call page in Chromium, driven from Python. Needs node and the packages of ../web."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

PAGE = Path(__file__).parent.parent / "web" / "page.mjs"


class Page:
    """A person at the call page, in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.facts: dict = {}
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, room: str, identity: str, key: str) -> Page:
        return cls(
            await asyncio.create_subprocess_exec(
                "node",
                str(PAGE),
                room,
                identity,
                key,
                "180p",
                "1",
                "110",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    def receives(self, source: str) -> dict:
        tracks = self.facts.get("received", [])
        return next((track for track in tracks if track["source"] == source), {})

    def say(self, text: str) -> None:
        self._process.stdin.write(f"{text}\n".encode())

    async def close(self) -> None:
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 20)

    async def _read(self) -> None:
        async for line in self._process.stdout:
            self.facts = json.loads(line)
