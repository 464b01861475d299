"""People and media that can be found again: all that they are and say carries a mark (`memory`).

Media are the load client's; those of browsers: `stamped`.
"""

from __future__ import annotations

import asyncio
import math
import os
import time

from client import API_KEY, API_SECRET, SERVER, SIGNAL, check, control, fresh_room, mark_sensitive, measured, never
from livekit import api, rtc
from memory import FOR_GOOD_S, RUN, Scan, Watch, mark, stamped

#: What docs/security.md promises of what is said, and of a person.
AGE_MAX_S, PERSON_GONE_S = 10.0, 2.0
#: From the last goodbye of a call, or from its sender's removal, to the end of its media.
MEDIA_GONE_S = 1.0

#: What is known of a person, and what it says. Lossy packets are kept for nobody: to find one is luck.
PERSONAL = ("identity", "name", "metadata", "attribute")
KEPT = ("reliable", "chat")
SPOKEN = (*KEPT, "lossy")

# Every mark begins with it.
mark_sensitive(RUN)


def token(person: str, room: str) -> str:
    jwt = (
        api.AccessToken(API_KEY, API_SECRET)
        .with_identity(mark(f"{person}_identity"))
        .with_name(mark(f"{person}_name"))
        .with_metadata(mark(f"{person}_metadata"))
        .with_attributes({"colour": mark(f"{person}_attribute")})
        .with_grants(api.VideoGrants(room_join=True, room=room))
        .to_jwt()
    )
    for sensitive in (jwt, *(mark(f"{person}_{kind}") for kind in PERSONAL)):
        mark_sensitive(sensitive)
    return jwt


async def arrive(jwt: str, key: str | None = None, room: rtc.Room | None = None) -> rtc.Room:
    """Joins; in `room`, if it has been given its handlers before."""
    room = room or rtc.Room()
    options = rtc.RoomOptions(auto_subscribe=True)
    if key is not None:
        provider = rtc.KeyProviderOptions(shared_key=key.encode(), ratchet_window_size=0)
        options.encryption = rtc.E2EEOptions(key_provider_options=provider)
    await asyncio.wait_for(room.connect(SIGNAL, jwt, options), 15)
    return room


async def talk(room: rtc.Room, person: str, seconds: float) -> None:
    """Data packets of both kinds, and chat."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        me = room.local_participant
        await me.publish_data(stamped(f"{person}_reliable"), reliable=True, topic="notes")
        await me.publish_data(stamped(f"{person}_lossy"), reliable=False, topic="notes")
        await me.send_text(stamped(f"{person}_chat"), topic="lk.chat")
        await asyncio.sleep(0.1)


async def load(
    stamp: str, kind: str, seconds: int, *more: str, room: str | None = None
) -> asyncio.subprocess.Process:
    arguments = [
        *("--server", SERVER.removeprefix("http://"), "--pid", os.environ["INCAMERA_PID"]),
        *("--room", room or fresh_room(stamp), "--kind", kind, "--publishers", "2", "--subscribers", "2"),
        *("--seconds", str(seconds), "--stamp", mark(stamp), *more),
    ]
    return await asyncio.create_subprocess_exec(os.environ["INCAMERA_LOAD"], *arguments)


async def vanished(watch: Watch, scan: Scan, person: str, what: tuple[str, ...]) -> int:
    """How many copies a look has found of what must be gone, for the figure that is shown."""
    copies = 0
    for kind in what:
        name = f"{person}_{kind}"
        if where := dict(scan.where.get(name, {})):
            later = await watch.after(scan.began + FOR_GOOD_S, math.inf)
            never(later.found[name], f"{name} is still there {later.after(scan.began)} it was first too late: {where}")
            raise AssertionError(f"{name} is still there: {where}")
        copies += scan.found[name]
        check(True, f"{name} is gone")
    return copies


def found(watch: Watch, *names: str) -> None:
    for name in names:
        most = watch.most(name)
        control(most > 0, f"{name} is found while it may be: {most} copies at most")


def aged(watch: Watch, *names: str) -> None:
    """How old what was found became. What may be lost is kept nowhere and may never be caught in memory: then there is
    nothing to say of it; of the rest `found` demands that it was."""
    for name in names:
        if watch.most(name) == 0:
            continue
        oldest = watch.oldest(name)
        never(oldest > AGE_MAX_S + FOR_GOOD_S, f"a copy of {name} was {oldest:.1f} s old")
        measured(oldest <= AGE_MAX_S, f"the oldest copy of {name} was {oldest:.1f} s old")


async def stopped(talking: asyncio.Task[None]) -> None:
    """Whoever is put out may be in the middle of a word, which then fails."""
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
