"""Makes and recognises media: every track carries its number, as brightness or as pitch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import numpy as np
from livekit import rtc

WIDTH, HEIGHT, FPS = 160, 96, 10
RATE_HZ, FRAME_MS = 48_000, 20
#: Peak amplitude above which something is heard: comfort noise stays below.
AUDIBLE = 500
SAMPLES = RATE_HZ * FRAME_MS // 1000


def luma_of(number: int) -> int:
    """Brightness of a numbered video track: 15 apart, which VP8 at this size keeps."""
    return 60 + 15 * number


def pitch_of(number: int) -> int:
    """Pitch in Hz of a numbered audio track: a whole number of periods in 20 ms."""
    return 300 + 150 * number


async def publish_video(
    room: rtc.Room,
    number: int,
    *,
    colour: tuple[int, int] = (128, 128),
    codec: rtc.VideoCodec.ValueType = rtc.VideoCodec.VP8,
) -> asyncio.Task[None]:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    pictures = _pictures(luma_of(number), colour)
    # Until it is given one, a source sends black ones.
    source.capture_frame(next(pictures))
    track = rtc.LocalVideoTrack.create_video_track(f"video-{number}", source)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        simulcast=False,
        video_codec=codec,
        video_encoding=rtc.VideoEncoding(max_framerate=FPS, max_bitrate=80_000),
    )
    await room.local_participant.publish_track(track, options)
    return asyncio.create_task(_show(source, pictures))


async def publish_audio(room: rtc.Room, number: int) -> asyncio.Task[None]:
    source = rtc.AudioSource(RATE_HZ, 1)
    track = rtc.LocalAudioTrack.create_audio_track(f"audio-{number}", source)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False
    )
    await room.local_participant.publish_track(track, options)
    return asyncio.create_task(_sing(source, pitch_of(number)))


def _pictures(luma: int, colour: tuple[int, int]) -> Iterator[rtc.VideoFrame]:
    chroma = WIDTH * HEIGHT // 4
    for turn in itertools.count():
        picture = np.full(WIDTH * HEIGHT, luma, np.uint8).reshape(HEIGHT, WIDTH)
        # Something moves, so that frames differ.
        picture[:8, (turn * 8) % WIDTH : (turn * 8) % WIDTH + 8] = 235
        planes = picture.tobytes() + bytes([colour[0]]) * chroma + bytes([colour[1]]) * chroma
        yield rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, planes)


async def _show(source: rtc.VideoSource, pictures: Iterator[rtc.VideoFrame]) -> None:
    for picture in pictures:
        source.capture_frame(picture)
        await asyncio.sleep(1 / FPS)


async def _sing(source: rtc.AudioSource, pitch_hz: int) -> None:
    times = np.arange(SAMPLES) / RATE_HZ
    tone = (np.sin(2 * np.pi * pitch_hz * times) * 8_000).astype(np.int16).tobytes()
    while True:
        await source.capture_frame(rtc.AudioFrame(tone, RATE_HZ, 1, SAMPLES))


class Watcher:
    """Counts what arrives on every subscribed track, and remembers the latest of it."""

    def __init__(self, room: rtc.Room) -> None:
        self.frames: dict[str, int] = {}
        self.luma: dict[str, float] = {}
        self.size: dict[str, tuple[int, int]] = {}
        self.chroma: dict[str, tuple[float, float]] = {}
        self.pitch: dict[str, float] = {}
        self.loudness: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        room.on("track_subscribed", self._subscribed)

    def _subscribed(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        person: rtc.RemoteParticipant,
    ) -> None:
        name = publication.name or f"{person.identity}/{publication.sid}"
        watch = self._see if track.kind == rtc.TrackKind.KIND_VIDEO else self._hear
        self._tasks.add(asyncio.create_task(watch(name, track)))

    async def _see(self, name: str, track: rtc.Track) -> None:
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            frame = event.frame
            self.size[name] = (frame.width, frame.height)
            area = frame.width * frame.height
            planes = np.frombuffer(frame.data, np.uint8)
            # The lower half, where nothing moves.
            self.luma[name] = float(planes[area // 2 : area].mean())
            quarter = ((frame.width + 1) // 2) * ((frame.height + 1) // 2)
            self.chroma[name] = (
                float(planes[area : area + quarter].mean()),
                float(planes[area + quarter :].mean()),
            )
            self.frames[name] = self.frames.get(name, 0) + 1

    async def _hear(self, name: str, track: rtc.Track) -> None:
        recent = np.zeros(0, np.int16)
        async for event in rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1):
            recent = np.concatenate([recent, np.frombuffer(event.frame.data, np.int16)])[
                -RATE_HZ // 5 :
            ]
            loudness = float(np.abs(recent.astype(np.int32)).max())
            self.loudness[name] = max(loudness, self.loudness.get(name, 0.0))
            if loudness > AUDIBLE:
                # Silence before the first packet is no sound that arrived.
                self.frames[name] = self.frames.get(name, 0) + 1
                spectrum = np.abs(np.fft.rfft(recent))
                self.pitch[name] = float(spectrum[1:].argmax() + 1) * RATE_HZ / len(recent)
