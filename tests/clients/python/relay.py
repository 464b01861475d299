"""A room over two workers: every participant is with another worker than the one before.

Media, data and muting pass as they do within one worker. That the room was spread, the server's
counter says.
"""

from __future__ import annotations

import asyncio

from client import check, enter, fresh_key, fresh_room, scenario, until, uttered
from livekit import rtc
from media import Watcher, luma_of, pitch_of, publish_audio, publish_video

PEOPLE = ("ada", "ben", "cy", "eve")


async def act() -> None:
    name, key = fresh_room("relay"), fresh_key()
    rooms = {person: rtc.Room() for person in PEOPLE}
    watchers = {person: Watcher(room) for person, room in rooms.items()}
    read: dict[str, list[bytes]] = {person: [] for person in PEOPLE}
    for person, room in rooms.items():
        room.on("data_received", lambda packet, person=person: read[person].append(packet.data))
        await enter(room, name, person, key=key)
    ada, eve = rooms["ada"], rooms["eve"]
    tasks = [await publish_audio(ada, 1), await publish_video(ada, 2)]
    tasks += [await publish_video(rooms["ben"], 5)]

    def missing(count: int) -> list[str]:
        """Who has seen too little of the others."""
        wanted = [
            (person, track)
            for track, owner in (("audio-1", "ada"), ("video-2", "ada"), ("video-5", "ben"))
            for person in PEOPLE
            if person != owner
        ]
        return [
            f"{track} to {person}"
            for person, track in wanted
            if watchers[person].frames.get(track, 0) < count
        ]

    try:
        await until("everybody receives everything", 20, lambda: not missing(30))
    except AssertionError as error:
        raise AssertionError(f"{error}; missing {missing(30)}") from None
    for person in ("ben", "cy", "eve"):
        luma, pitch = watchers[person].luma["video-2"], watchers[person].pitch["audio-1"]
        assert abs(luma - luma_of(2)) < 7, f"{person} sees brightness {luma:.0f}"
        assert abs(pitch - pitch_of(1)) < 20, f"{person} hears {pitch:.0f} Hz"
    check(True, "sound and pictures reach all others, on the same worker and on the other")

    await ada.local_participant.publish_data(uttered("to all"), reliable=True)
    await eve.local_participant.publish_data(uttered("to ada alone"), destination_identities=["ada"])
    others = ("ben", "cy", "eve")
    await until("all read ada", 5, lambda: all(b"to all" in read[person] for person in others))
    await until("ada reads eve", 5, lambda: b"to ada alone" in read["ada"])
    await asyncio.sleep(0.5)
    check(not any(b"to ada alone" in read[person] for person in others), "data passes, to its goal")

    publications = ada.local_participant.track_publications.values()
    camera = next(p.track for p in publications if p.name == "video-2")
    seen = [watchers[person].frames for person in others]
    camera.mute()
    await asyncio.sleep(1)
    before = [frames["video-2"] for frames in seen]
    goes_on = [watchers[person].frames["video-5"] for person in ("ada", "cy", "eve")]
    await asyncio.sleep(1.5)
    check([frames["video-2"] for frames in seen] == before, "muting ends it on both workers")
    others_see = [watchers[person].frames for person in ("ada", "cy", "eve")]
    await until(
        "the other camera goes on",
        5,
        lambda: all(frames["video-5"] > count + 5 for frames, count in zip(others_see, goes_on)),
    )
    check(True, "and the other camera goes on")
    camera.unmute()
    await until(
        "unmuting brings it back to both",
        5,
        lambda: all(frames["video-2"] > count + 5 for frames, count in zip(seen, before)),
    )
    check(True, "unmuting brings it back on both")

    gone: list[str] = []
    for person in others:
        rooms[person].on("participant_disconnected", lambda left: gone.append(left.identity))
    for task in tasks[:2]:
        task.cancel()
    await ada.disconnect()
    await until("the others see ada leave", 5, lambda: gone.count("ada") == 3)
    before = [watchers[person].frames["video-5"] for person in ("cy", "eve")]
    await until(
        "ben's camera goes on",
        5,
        lambda: all(
            watchers[person].frames["video-5"] > count + 5
            for person, count in zip(("cy", "eve"), before)
        ),
    )
    check(True, "one leaves, the others go on")
    tasks[2].cancel()
    for person in others:
        await asyncio.wait_for(rooms[person].disconnect(), 5)


scenario("relay", act)
