"""A Python client and a Chromium page in one encrypted room, sharing a text as the key.

Needs node and the packages of ../web.
"""

from __future__ import annotations

import asyncio
import json
import time

from client import check, enter, fresh_key, fresh_room, join, never, scenario, until, uttered
from livekit import rtc
from media import AUDIBLE, Watcher, pitch_of, publish_audio, publish_video
from page import Page

#: How a key is changed: web/README.md.
KEY_RING_SIZE = 16
ANNOUNCED_WITHIN_S = 300
USE_AFTER_S = 1
ACCEPT_OLD_S = 10


async def act() -> None:
    name, key = fresh_room("e2ee"), fresh_key()
    wheel = rtc.Room()
    watcher = Watcher(wheel)
    heard: list[rtc.DataPacket] = []
    wheel.on("data_received", heard.append)
    await enter(wheel, name, "wheel", key=key)
    tasks = [await publish_audio(wheel, 1), await publish_video(wheel, 4)]
    page = await Page.open(name, "page", key)

    await until(
        "the page decodes the wheel's video",
        30,
        lambda: page.receives("camera").get("framesDecoded", 0) > 30,
    )
    await until(
        "the page hears the wheel",
        10,
        lambda: page.receives("microphone").get("audioEnergy", 0) > 0.001,
    )
    check(page.facts["lock"] == "sealed", f"the page's lock is closed ({page.facts['label']})")

    def seen() -> list[str]:
        return [track for track in watcher.luma if watcher.frames.get(track, 0) > 30]

    await until("the wheel decodes the page's video", 20, seen)
    blue, red = watcher.chroma[seen()[0]]
    check(
        blue < 110 and red < 110,
        f"and sees Chromium's green test picture (chroma {blue:.0f}, {red:.0f})",
    )
    await until(
        "the wheel hears the page", 10, lambda: any(v > AUDIBLE for v in watcher.loudness.values())
    )
    check(True, "and hears its beeps")

    await wheel.local_participant.publish_data(
        json.dumps({"id": "1", "timestamp": 0, "message": uttered("from the wheel")}), topic="lk-chat-topic"
    )
    await until(
        "the page shows what the wheel wrote",
        5,
        lambda: "from the wheel" in page.facts.get("said", []),
    )
    page.say("from the page")
    await until(
        "the wheel reads what the page wrote",
        5,
        lambda: any(b"from the page" in p.data for p in heard),
    )
    check(True, "chat passes both ways, encrypted")

    await rotate(name, key, wheel, page, watcher)

    eve = rtc.Room()
    eve_watcher = Watcher(eve)
    overheard: list[rtc.DataPacket] = []
    eve.on("data_received", overheard.append)
    await enter(eve, name, "eve", key=fresh_key())
    await until("eve is subscribed to all", 10, lambda: _subscribed(eve) == 4)
    # The wheel attaches its cryptor a moment after the track; until then ciphertext is noise, and some of it is on its way.
    await until("eve has a cryptor for each", 10, lambda: len(eve.e2ee_manager.frame_cryptors()) == 4)
    await asyncio.sleep(1.5)
    noise = dict(eve_watcher.frames)
    page.say("not for eve")
    await asyncio.sleep(4)
    tone = eve_watcher.pitch.get("audio-1", 0)
    never(eve_watcher.luma, "another key has opened a picture")
    never(abs(tone - pitch_of(1)) <= 20, f"another key has opened the tone: {tone:.0f} Hz")
    never(overheard, "another key has opened what was written")
    check(eve_watcher.frames == noise, "another key decodes nothing")
    check(not eve_watcher.luma, "sees nothing")
    check(abs(tone - pitch_of(1)) > 20, "hears nothing of the tone")
    check(not overheard, "and reads nothing")

    mallory = await join(name, "mallory")
    tasks.append(await publish_video(mallory, 2))
    await until("the page's lock opens", 10, lambda: page.facts["lock"] == "broken")
    label = page.facts["label"]
    check(
        "Not encrypted" in label and "mallory" in label, f"one in the clear opens the lock: {label}"
    )
    await mallory.local_participant.publish_data(
        json.dumps({"id": "2", "timestamp": 0, "message": uttered("written in the clear")}), topic="lk-chat-topic"
    )
    await asyncio.sleep(3)
    never("written in the clear" in page.facts["said"], "what was written in the clear is shown")
    check("written in the clear" not in page.facts["said"], "and nothing written in the clear is shown")
    never("mallory" in page.facts["shown"], "a picture in the clear is shown")
    check(sorted(page.facts["shown"]) == ["page", "wheel"], "nor any picture of theirs")
    await mallory.disconnect()
    await until("the lock closes when they leave", 10, lambda: page.facts["lock"] == "sealed")

    await page.close()
    for task in tasks:
        task.cancel()


async def rotate(name: str, key: str, wheel: rtc.Room, page: Page, watcher: Watcher) -> None:
    """The page announces a new key under the old one; the wheel takes it and goes on. Somebody else does not."""
    provider = wheel.e2ee_manager.key_provider
    held: list[int] = []
    changes: list[asyncio.Task[None]] = []

    async def change(index: int, before: int, fresh: bytes) -> None:
        await asyncio.sleep(USE_AFTER_S)
        for cryptor in _own_cryptors(wheel):
            cryptor.set_key_index(index)
        await asyncio.sleep(ACCEPT_OLD_S)
        # No slot can be emptied; a key that nobody knows opens nothing. Data are sealed with what was set last.
        provider.set_shared_key(fresh_key().encode(), before)
        provider.set_shared_key(fresh, index)

    def take(packet: rtc.DataPacket) -> None:
        if packet.topic != "incamera.key":
            return
        announced = json.loads(packet.data)
        is_theirs = announced["from"] == packet.participant.identity
        if not is_theirs or abs(time.time() - announced["at"] / 1_000) > ANNOUNCED_WITHIN_S:
            return
        index, fresh = announced["epoch"] % KEY_RING_SIZE, announced["key"].encode()
        before = _own_cryptors(wheel)[0].key_index
        provider.set_shared_key(fresh, index)
        held.append(index)
        changes.append(asyncio.create_task(change(index, before, fresh)))

    wheel.on("data_received", take)
    old = await join(name, "old", key=key)
    show = await publish_video(old, 3)
    await until("the wheel sees who has the old key", 20, lambda: watcher.frames.get("video-3", 0) > 10)
    page.say("/rotate")
    await until("the wheel is told a new key", 10, lambda: held)
    await asyncio.sleep(USE_AFTER_S / 2)
    indices = {cryptor.key_index for cryptor in _own_cryptors(wheel)}
    check(held[0] not in indices, "which it does not use before the others can have it")
    await asyncio.sleep(ACCEPT_OLD_S / 2)
    indices = {cryptor.key_index for cryptor in _own_cryptors(wheel)}
    check(indices == set(held), "but soon")
    count = watcher.frames["video-3"]
    await until("the old key is good still", 3, lambda: watcher.frames["video-3"] > count + 5)
    await changes[0]
    await asyncio.sleep(1)
    count = watcher.frames["video-3"]
    await asyncio.sleep(2)
    check(watcher.frames["video-3"] == count, "and ten seconds later the old key opens nothing")
    show.cancel()
    await old.disconnect()

    frames = {name: watcher.frames[name] for name in watcher.luma if name != "video-3"}
    decoded = page.receives("camera")["framesDecoded"]
    await until(
        "the wheel decodes the page under the new key",
        5,
        lambda: any(watcher.frames[name] > count + 20 for name, count in frames.items()),
    )
    await until(
        "the page decodes the wheel under the new key",
        5,
        lambda: page.receives("camera")["framesDecoded"] > decoded + 20,
    )
    line = json.dumps({"id": "3", "timestamp": 0, "message": "under another key"})
    await wheel.local_participant.publish_data(line, topic="lk-chat-topic")
    await until("the page reads the wheel", 5, lambda: "under another key" in page.facts["said"])
    await until("the page's lock is closed", 5, lambda: page.facts["lock"] == "sealed")
    check(True, f"both go on under key index {held[0]}")


def _own_cryptors(room: rtc.Room) -> list[rtc.FrameCryptor]:
    me = room.local_participant.identity
    return [it for it in room.e2ee_manager.frame_cryptors() if it.participant_identity == me]


def _subscribed(room: rtc.Room) -> int:
    publications = [
        p
        for person in room.remote_participants.values()
        for p in person.track_publications.values()
    ]
    return sum(1 for publication in publications if publication.track is not None)


scenario("e2ee", act)
