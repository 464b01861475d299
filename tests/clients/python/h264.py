"""H.264 of the wheel's own encoder: another client decodes it in its size, in the clear and encrypted."""

from __future__ import annotations

import asyncio

from client import check, enter, fresh_key, fresh_room, join, scenario, until
from livekit import rtc
from media import Watcher, luma_of, publish_video

FRAMES = 30


async def codecs_of(track: rtc.Track) -> set[str]:
    """What a receiver's statistics say that it decodes."""
    return {
        stat.codec.codec.mime_type
        for stat in await track.get_stats()
        if stat.HasField("codec") and stat.codec.codec.mime_type
    }


async def call(what: str, key: str | None) -> None:
    name = fresh_room("h264")
    ben = rtc.Room()
    watcher = Watcher(ben)
    tracks: list[rtc.Track] = []
    ben.on("track_subscribed", lambda track, _publication, _person: tracks.append(track))
    await enter(ben, name, "ben", key=key)
    ada = await join(name, "ada", key=key)
    painting = await publish_video(ada, 3, codec=rtc.VideoCodec.H264)
    await until(
        f"ben decodes {FRAMES} frames, {what}",
        20,
        lambda: watcher.frames.get("video-3", 0) >= FRAMES,
    )
    decoded = await codecs_of(tracks[0])
    check(decoded == {"video/H264"}, f"ben decodes H.264 and nothing else, {what} ({decoded})")
    check(
        watcher.size["video-3"] == (160, 96), f"in the size it was sent ({watcher.size['video-3']})"
    )
    luma = watcher.luma["video-3"]
    check(abs(luma - luma_of(3)) < 7, f"and the picture is that of ada (brightness {luma:.0f})")

    late = rtc.Room()
    late_watcher = Watcher(late)
    await enter(late, name, "cy", key=key)
    await until(
        "a late joiner decodes it", 10, lambda: late_watcher.frames.get("video-3", 0) >= FRAMES
    )
    check(True, f"a late joiner decodes it too, {what}")
    painting.cancel()
    for room in (ada, ben, late):
        await asyncio.wait_for(room.disconnect(), 5)


async def act() -> None:
    await call("in the clear", None)
    await call("encrypted", fresh_key())


scenario("h264", act)
