"""What the server's memory holds of a call: nothing older than ten seconds, and nothing once it is over.

Marks go in as names, metadata, tokens, data packets, chat and media, and `/proc/PID/mem` is searched for
them all the while. Each search that must find nothing has one beside it that must find something. Needs root.
Media are the load client's, since no SDK lets a test say what an encoded frame holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

from client import (
    API_KEY,
    API_SECRET,
    SERVER,
    SIGNAL,
    check,
    fresh_key,
    mark_sensitive,
    scenario,
    until,
)
from livekit import api, rtc
from memory import Memory, Watch, mark, stamped

#: The policy's, and those of the promise that goes beyond it.
AGE_MAX_S, MEDIA_GONE_S, PERSON_GONE_S = 10.0, 1.0, 2.0
#: A client that was killed says nothing: after 30 s without a check it is put out.
KILLED_GONE_S = 30.0 + PERSON_GONE_S
#: After its last participant has left, a room can be come back to for 20 s.
ROOM_GONE_S = 20.0 + PERSON_GONE_S
TALK_S = 4.0

#: What is known of a person, and what it says. Lossy packets are kept for nobody: to find one is luck.
PERSONAL = ("identity", "name", "metadata", "attribute")
KEPT = ("reliable", "chat")
SPOKEN = (*KEPT, "lossy")


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
    mark_sensitive(jwt)
    return jwt


async def arrive(jwt: str, key: str | None = None) -> rtc.Room:
    room = rtc.Room()
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


async def load(stamp: str, kind: str, seconds: int, *more: str) -> asyncio.subprocess.Process:
    arguments = [
        *("--server", SERVER.removeprefix("http://"), "--pid", os.environ["INCAMERA_PID"]),
        *("--room", stamp, "--kind", kind, "--publishers", "2", "--subscribers", "2"),
        *("--seconds", str(seconds), "--stamp", mark(stamp), *more),
    ]
    return await asyncio.create_subprocess_exec(os.environ["INCAMERA_LOAD"], *arguments)


async def guest(room: str) -> None:
    """Another process: joins as `cy`, talks, and stays until it is killed."""
    await talk(await arrive(token("cy", room)), "cy", 600)


def vanished(scan, person: str, what: tuple[str, ...]) -> None:
    for kind in what:
        name = f"{person}_{kind}"
        where = dict(scan.where.get(name, {}))
        check(not where, f"{name} is gone {where or ''}".rstrip())


def found(watch: Watch, *names: str) -> None:
    for name in names:
        most = watch.most(name)
        check(most > 0, f"{name} is found while it may be: {most} copies at most")


def aged(watch: Watch, *names: str) -> None:
    for name in names:
        oldest = watch.oldest(name)
        check(oldest <= AGE_MAX_S, f"the oldest copy of {name} was {oldest:.1f} s old")


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
    await talk(ada, "ada", TALK_S)
    silent = time.monotonic()
    check(heard, f"ben hears {len(heard)} data packets of ada")
    scan = await watch.after(silent + AGE_MAX_S)
    vanished(scan, "ada", SPOKEN)
    found(watch, *(f"ada_{kind}" for kind in (*KEPT, *PERSONAL)))
    aged(watch, *(f"ada_{kind}" for kind in SPOKEN))
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as back_end:
        await moderated(back_end, watch, room)
        await ada.disconnect()
        scan = await watch.after(time.monotonic() + PERSON_GONE_S)
    check(scan.found["ben_identity"] > 0, "ben's identity is found: he is still there")
    vanished(scan, "ada", (*PERSONAL, "token", *SPOKEN, "moderated"))
    await ben.disconnect()
    left = time.monotonic()
    vanished(await watch.after(left + PERSON_GONE_S), "ben", PERSONAL)
    found(watch, "quiet_room")
    gone = await watch.gone("quiet_room", ROOM_GONE_S) - left
    check(gone <= ROOM_GONE_S, f"the room's name is gone {gone:.1f} s after the last one left")


async def killed_client(watch: Watch) -> None:
    """A person whose process is killed in the middle of a word, beside one who stays."""
    room = mark("killed_room")
    stays = await arrive(token("dee", room))
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "guest", room)
    await until("cy talks", 20, lambda: watch.most("cy_chat") > 0)
    await asyncio.sleep(TALK_S)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    killed = time.monotonic()
    gone = 0.0
    for kind in (*SPOKEN, *PERSONAL):
        gone = max(gone, await watch.gone(f"cy_{kind}", KILLED_GONE_S) - killed)
    found(watch, *(f"cy_{kind}" for kind in (*KEPT, *PERSONAL)))
    aged(watch, *(f"cy_{kind}" for kind in SPOKEN))
    check(gone <= KILLED_GONE_S, f"all of a killed client is gone {gone:.1f} s after")
    await stays.disconnect()


async def media(watch: Watch, kind: str) -> None:
    """Sound or pictures in the clear, for longer than the history; then all leave."""
    name = f"open_{kind}"
    process = await load(name, kind, 4)
    code = await process.wait()
    left = time.monotonic()
    check(code == 0, f"the {kind} call went well")
    vanished(await watch.after(left + MEDIA_GONE_S), "open", (kind,))
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
    gone = await watch.gone("killed_media", AGE_MAX_S + 1) - killed
    aged(watch, "killed_media")
    check(gone <= AGE_MAX_S, f"media of killed clients are gone {gone:.1f} s after")


async def sealed_call(watch: Watch) -> None:
    """The same with end-to-end encryption: what was said is nowhere at any time, nor is the key."""
    room, key = mark("sealed_room"), mark("sealed_key") + fresh_key()
    derived = hashlib.pbkdf2_hmac("sha256", key.encode(), b"LKFrameEncryptionKey", 100_000, 16)
    watch.memory.secrets["sealed_derived"] = derived
    mark_sensitive(key)
    eve, grace = await arrive(token("eve", room), key), await arrive(token("grace", room), key)
    heard: list[rtc.DataPacket] = []
    grace.on("data_received", heard.append)
    process = await load("sealed_audio", "audio", 6, "--passphrase", key)
    await talk(eve, "eve", TALK_S)
    check(heard and mark("eve_reliable").encode() in heard[0].data, "grace reads what eve says")
    check(await process.wait() == 0, "the sealed audio call went well")
    found(watch, "eve_identity")
    for name in (*(f"eve_{kind}" for kind in SPOKEN), "sealed_audio", "sealed_key", "sealed_derived"):
        check(watch.most(name) == 0, f"{name} is found nowhere, at no time")
    await eve.disconnect()
    await grace.disconnect()
    vanished(await watch.after(time.monotonic() + PERSON_GONE_S), "eve", PERSONAL)


async def act() -> None:
    check(os.geteuid() == 0, "this is root, who alone may read the server's memory")
    watch = Watch(Memory(int(os.environ["INCAMERA_PID"])))
    parts = (
        *(quiet_call(watch), killed_client(watch), sealed_call(watch)),
        *(media(watch, "audio"), media(watch, "video"), killed_media(watch)),
    )
    for part in [asyncio.create_task(part) for part in parts]:
        await part
    scan = await watch.after(time.monotonic())
    check(scan.found["token"] == 0, f"no token at all is left {dict(scan.where.get('token', {}))}")
    looks = len(watch.scans)
    print(f"  {looks} looks at {watch.scans[-1].bytes >> 20} MiB each", flush=True)


if sys.argv[1:2] == ["guest"]:
    asyncio.run(guest(sys.argv[2]))
else:
    scenario("forgotten", act, timeout_s=140)
