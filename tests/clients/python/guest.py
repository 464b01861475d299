"""A person in a process of their own, who may be killed.

`python guest.py ROOM PERSON`, or `begin_guest` from a scenario.
"""

from __future__ import annotations

import asyncio
import sys

from marked import arrive, stopped, talk, token


async def guest(room: str, person: str) -> None:
    """Another process: joins, talks, and stays until it is killed or its standard input ends."""
    there = await arrive(token(person, room))
    talking = asyncio.create_task(talk(there, person, 600))
    await asyncio.to_thread(sys.stdin.read)
    await stopped(talking)
    await there.disconnect()


async def begin_guest(room: str, person: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, __file__, room, person, stdin=asyncio.subprocess.PIPE
    )


if __name__ == "__main__":
    asyncio.run(guest(*sys.argv[1:3]))
