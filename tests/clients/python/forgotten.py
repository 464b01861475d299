"""What the server's memory holds of a call: nothing older than ten seconds, and nothing once it is over.

Marks go in as names, metadata, tokens, data packets, chat and media, and `/proc/PID/mem` is searched for
them all the while. Each search that must find nothing has one beside it that must find something. Needs root.
The same with end-to-end encryption: `blind`. What only a quiet server may keep: `quiet`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import time
from collections.abc import Iterator

from client import API_KEY, API_SECRET, NEVER, SERVER, check, measured, never, scenario, until
from guarded import found_behind_guards
from guest import begin_guest
from livekit import api, rtc
from marked import (
    AGE_MAX_S, KEPT, MEDIA_GONE_S, PERSONAL, PERSON_GONE_S, SPOKEN, aged, arrive, found, load, stopped, talk, token, vanished,
)  # fmt: skip
from memory import LOOK_LATE_S, Memory, Scan, Watch, mark

#: A client that was killed says nothing: after 30 s without a check it is put out.
KILLED_GONE_S = 30.0 + PERSON_GONE_S
#: After its last participant has left, a room can be come back to for 20 s.
ROOM_GONE_S = 20.0 + PERSON_GONE_S
TALK_S = 4.0
#: How often memory is looked at, and how long nobody looks at most: where much is found a look takes longer.
LOOKS_PER_S, LOOKS_APART_S = 1.5, LOOK_LATE_S


def permits(whose: rtc.Room, person: str) -> None:
    """Of all others this one alone, whose name is so in a message of somebody else's, may receive what is published."""
    allowed = rtc.ParticipantTrackPermission(participant_identity=mark(f"{person}_identity"), allow_all=True)
    whose.local_participant.set_track_subscription_permissions(
        allow_all_participants=False, participant_permissions=[allowed]
    )


@contextlib.contextmanager
def unfinished(jwt: str) -> Iterator[None]:
    """A request with a token whose end does not come: the server has it in hand meanwhile."""
    host, port = SERVER.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(f"GET /rtc/v1?access_token={jwt} HTTP/1.1\r\nHost: {host}\r\n".encode())
        yield


async def moderated(back_end: api.LiveKitAPI, watch: Watch, room: str) -> None:
    """A back end looks and writes, and would keep its connection."""
    people = await back_end.room.list_participants(api.ListParticipantsRequest(room=room))
    check(len(people.participants) == 2, "a back end sees both")
    change = api.UpdateParticipantRequest(
        room=room, identity=mark("ada_identity"), metadata=mark("ada_moderated")
    )
    await back_end.room.update_participant(change)
    await until("what it writes is found", 5, lambda: watch.most("ada_moderated"))


async def quiet_call(watch: Watch) -> None:
    """Two people; one talks, says nothing for ten seconds, and leaves; then the other does."""
    room = mark("quiet_room")
    jwt = token("ada", room)
    watch.memory.secrets["ada_token"] = jwt.encode()
    with unfinished(jwt):
        await until("the token is found", 5, lambda: watch.most("ada_token") and watch.most("token"))
    ada, ben = await arrive(jwt), await arrive(token("ben", room))
    heard: list[rtc.DataPacket] = []
    ben.on("data_received", heard.append)
    # In force until the end.
    permits(ben, "ada")
    await talk(ada, "ada", TALK_S)
    silent = time.monotonic()
    check(heard, f"ben hears {len(heard)} data packets of ada")
    scan = await watch.after(silent + AGE_MAX_S)
    await vanished(watch, scan, "ada", SPOKEN)
    found(watch, *(f"ada_{kind}" for kind in (*KEPT, *PERSONAL)))
    aged(watch, *(f"ada_{kind}" for kind in SPOKEN))
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as back_end:
        await moderated(back_end, watch, room)
        await ada.disconnect()
        left = time.monotonic()
        scan = await watch.after(left + PERSON_GONE_S)
    check(scan.found["ben_identity"] > 0, "ben's identity is found: he is still there")
    copies = await vanished(watch, scan, "ada", (*PERSONAL, "token", *SPOKEN, "moderated"))
    what = "ada's name, identity, metadata, token, words"
    measured(copies == 0, f"{what}: {copies} copies {scan.after(left)} her goodbye")
    await ben.disconnect()
    left = time.monotonic()
    await vanished(watch, await watch.after(left + PERSON_GONE_S), "ben", PERSONAL)
    found(watch, "quiet_room")
    last = await watch.gone(("quiet_room",), left, ROOM_GONE_S)
    measured(last <= ROOM_GONE_S, f"the room's name is found until {last:.1f} s after the last one left")


async def talkers(watch: Watch, room: str, *people: str) -> tuple[list[rtc.Room], list[asyncio.Task[None]]]:
    """People who talk until they are stopped, and whose tokens are looked for."""
    rooms = []
    for person in people:
        jwt = token(person, room)
        watch.memory.secrets[f"{person}_token"] = jwt.encode()
        rooms.append(await arrive(jwt))
    talking = [asyncio.create_task(talk(it, person, 600)) for it, person in zip(rooms, people, strict=True)]
    return rooms, talking


async def caught(watch: Watch, *people: str) -> None:
    """Those who talk have done so for a while, and longer if that is what it takes until all of it was found."""
    await asyncio.sleep(TALK_S)
    names = [f"{person}_{kind}" for person in people for kind in (*KEPT, *PERSONAL)]
    await until("who they are and what they say is found", 20, lambda: all(watch.most(name) for name in names))


async def ended(process: asyncio.subprocess.Process) -> None:
    """Clients of which some were put out may have given up by themselves."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def nothing_of(watch: Watch, scan: Scan, since: float, person: str, how: str) -> None:
    """Two seconds after the end of its session: it talked until then, and others talk on."""
    copies = await vanished(watch, scan, person, (*PERSONAL, "token", *SPOKEN))
    found(watch, *(f"{person}_{kind}" for kind in (*KEPT, *PERSONAL)))
    what = f"{copies} copies of words, names and token"
    measured(copies == 0, f"{person}, who talked until {how}: {what} {scan.after(since)}")


async def put_out(watch: Watch) -> None:
    """One leaves in the middle of a word, one is removed so, and so are cameras; one talks on with those who see them."""
    room = mark("put_room")
    process = await load("put_video", "video", 90, room=room)
    await until("their media are found", 20, lambda: watch.most("put_video") > 0)
    (fay, gus, hal), (fays, guss, hals) = await talkers(watch, room, "fay", "gus", "hal")
    await caught(watch, "fay", "gus", "hal")
    await stopped(fays)
    await fay.disconnect()
    left = time.monotonic()
    await nothing_of(watch, await watch.after(left + PERSON_GONE_S), left, "fay", "her goodbye")
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as back_end:

        async def remove(identity: str) -> None:
            await back_end.room.remove_participant(api.RoomParticipantIdentity(room=room, identity=identity))

        await remove(mark("gus_identity"))
        removed = time.monotonic()
        await stopped(guss)
        await nothing_of(watch, await watch.after(removed + PERSON_GONE_S), removed, "gus", "he was removed")
        await until("gus is told", 5, lambda: not gus.isconnected())
        for number in range(2):
            await remove(f"Publisher-{number}")
        removed = time.monotonic()
        scan = await watch.after(removed + MEDIA_GONE_S)
        copies = await vanished(watch, scan, "put", ("video",))
        people = (await back_end.room.list_participants(api.ListParticipantsRequest(room=room))).participants
    check(len(people) == 3 and hal.isconnected(), "those who saw them, and hal, are still there")
    found(watch, "put_video")
    aged(watch, "put_video", *(f"hal_{kind}" for kind in KEPT))
    what = "cameras that were removed from a call that goes on"
    measured(copies == 0, f"{what}: {copies} copies {scan.after(removed)}")
    await stopped(hals)
    await hal.disconnect()
    await ended(process)


async def deleted_room(watch: Watch) -> None:
    """A back end deletes a room in which two people talk and others send sound."""
    room = mark("deleted_room")
    process = await load("deleted_audio", "audio", 90, room=room)
    await until("their media are found", 20, lambda: watch.most("deleted_audio") > 0)
    people = ("ivy", "jim")
    _, talking = await talkers(watch, room, *people)
    await caught(watch, *people)
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as back_end:
        metadata = api.UpdateRoomMetadataRequest(room=room, metadata=mark("deleted_metadata"))
        await back_end.room.update_room_metadata(metadata)
        await until("the room's metadata are found", 20, lambda: watch.most("deleted_metadata") > 0)
        await back_end.room.delete_room(api.DeleteRoomRequest(room=room))
    deleted = time.monotonic()
    for task in talking:
        await stopped(task)
    sound = await watch.after(deleted + MEDIA_GONE_S)
    sounds = await vanished(watch, sound, "deleted", ("audio",))
    scan = await watch.after(deleted + PERSON_GONE_S)
    for person in people:
        await nothing_of(watch, scan, deleted, person, "the room was deleted")
    names = await vanished(watch, scan, "deleted", ("room", "metadata"))
    found(watch, "deleted_audio", "deleted_room", "deleted_metadata")
    measured(
        sounds + names == 0,
        f"a deleted room: {sounds} copies of its sound {sound.after(deleted)}, {names} of its name and metadata "
        f"{scan.after(deleted)}",
    )
    await ended(process)


async def killed_client(watch: Watch) -> None:
    """A person whose process is killed in the middle of a word, beside one who stays."""
    room = mark("killed_room")
    stays = await arrive(token("dee", room))
    process = await begin_guest(room, "cy")
    await until("cy talks", 20, lambda: watch.most("cy_chat") > 0)
    permits(stays, "cy")
    await caught(watch, "cy")
    stays.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    killed = time.monotonic()
    last = await watch.gone(tuple(f"cy_{kind}" for kind in (*SPOKEN, *PERSONAL)), killed, KILLED_GONE_S)
    found(watch, *(f"cy_{kind}" for kind in (*KEPT, *PERSONAL)))
    aged(watch, *(f"cy_{kind}" for kind in SPOKEN))
    measured(last <= KILLED_GONE_S, f"something of a killed client is found until {last:.1f} s after, and nothing later")
    await stays.disconnect()


async def media(watch: Watch, kind: str) -> None:
    """Sound or pictures in the clear, for longer than the history; then all leave."""
    name = f"open_{kind}"
    process = await load(name, kind, 4)
    code = await process.wait()
    left = time.monotonic()
    check(code == 0, f"the {kind} call went well")
    scan = await watch.after(left + MEDIA_GONE_S)
    copies = await vanished(watch, scan, "open", (kind,))
    measured(copies == 0, f"{kind}: {copies} copies {scan.after(left)} the last one left")
    found(watch, name)
    aged(watch, name)


async def killed_media(watch: Watch) -> None:
    """Both ends are killed in the middle of a call, which the server takes for a quiet one."""
    process = await load("killed_media", "audio", 60)
    await until("their media are found", 20, lambda: watch.most("killed_media") > 0)
    await asyncio.sleep(TALK_S)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    killed = time.monotonic()
    last = await watch.gone(("killed_media",), killed, AGE_MAX_S)
    aged(watch, "killed_media")
    measured(last <= AGE_MAX_S, f"media of killed clients are found until {last:.1f} s after, and not later")


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    await asyncio.to_thread(found_behind_guards)
    watch = Watch(Memory(int(os.environ["INCAMERA_PID"])))
    parts = (
        *(quiet_call(watch), killed_client(watch)),
        *(media(watch, "audio"), media(watch, "video"), killed_media(watch)),
        *(put_out(watch), deleted_room(watch)),
    )
    ends = await asyncio.gather(*parts, return_exceptions=True)
    failed = [end for end in ends if isinstance(end, BaseException)]
    if failed:
        # What is final counts before what gets a second try.
        raise min(failed, key=lambda it: NEVER not in str(it))
    scan = await watch.after(time.monotonic())
    for what in ("token", "base64"):
        never(scan.found[what], f"a {what} is left {dict(scan.where.get(what, {}))}")
        check(scan.found[what] == 0, f"no {what} at all is left {dict(scan.where.get(what, {}))}")
    found(watch, "base64")
    with open(os.environ["INCAMERA_SERVER_LOG"]) as log:
        released = [int(size) for size in re.findall(r"a room's history is zeroed and unmapped .*bytes=(\d+)", log.read())]
    check(any(released), f"the log says of {len(released)} histories how much was released: {sum(released) >> 10} KiB")
    began = [scan.began for scan in watch.scans]
    apart = max(later - earlier for earlier, later in itertools.pairwise(began))
    rate = len(began) / (began[-1] - began[0])
    size, unread = f"{watch.scans[-1].bytes >> 20} MiB", max(scan.unread for scan in watch.scans) >> 10
    size += f" but for {unread} KiB of guard pages at most"
    what = f"all memory of the server, {size}, was searched {len(began)} times, {rate:.1f} a second, {apart:.1f} s apart at most"
    measured(rate >= LOOKS_PER_S and apart <= LOOKS_APART_S, what)


scenario("forgotten", act, timeout_s=140)
