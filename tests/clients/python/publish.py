"""Ten audio and ten video tracks of one client arrive at another, none mistaken for another; a hundred come one after
the other in one session, though a session description has room for fewer."""

from client import check, enter, fresh_room, join, scenario, until
from livekit import rtc
from media import Watcher, luma_of, pitch_of, publish_audio, publish_video

TRACKS = 10
ONE_BY_ONE = 100


async def act() -> None:
    await all_at_once()
    await one_by_one()


async def one_by_one() -> None:
    name = fresh_room("publish")
    ben, ada = await join(name, "ben"), await join(name, "ada")
    sid = ada.local_participant.sid
    came: list[str] = []
    disturbed: list[str] = []
    ben.on("track_subscribed", lambda _t, publication, _p: came.append(publication.sid))
    ben.on("participant_disconnected", lambda person: disturbed.append(person.identity))
    ada.on("reconnecting", lambda: disturbed.append("reconnecting"))
    for number in range(ONE_BY_ONE):
        publish = publish_video if number % 2 else publish_audio
        task = await publish(ada, number % TRACKS)
        await until(f"ben receives track {number}", 20, lambda: len(came) > number)
        task.cancel()
        await ada.local_participant.unpublish_track(came[number])
    watcher = Watcher(ben)
    task = await publish_video(ada, 1)
    await until("ben sees the last of them", 10, lambda: watcher.frames.get("video-1", 0) > 5)
    task.cancel()
    check(not disturbed, f"neither reconnected: {disturbed}")
    check(
        len(set(came)) == ONE_BY_ONE + 1 and ada.local_participant.sid == sid,
        f"ada publishes {len(came)} tracks one after the other in one session",
    )


async def all_at_once() -> None:
    name = fresh_room("publish")
    ben = rtc.Room()
    watcher = Watcher(ben)
    speaking: list[str] = []

    def hear(speakers: list[rtc.Participant]) -> None:
        speaking[:] = [person.identity for person in speakers]

    ben.on("active_speakers_changed", hear)
    await enter(ben, name, "ben")
    ada = await join(name, "ada")
    tasks = []
    for number in range(TRACKS):
        tasks.append(await publish_audio(ada, number))
        tasks.append(await publish_video(ada, number))
    check(True, f"ada publishes {TRACKS} audio and {TRACKS} video tracks")

    names = [f"{kind}-{number}" for kind in ("audio", "video") for number in range(TRACKS)]

    def missing() -> list[str]:
        return [track for track in names if watcher.frames.get(track, 0) < 20]

    try:
        await until("all tracks arrive", 30, lambda: not missing())
    except AssertionError as error:
        raise AssertionError(f"{error}; missing {missing()}") from None
    check(True, "ben receives 20 frames of every track")
    await until("ben is told that ada speaks", 5, lambda: speaking == ["ada"])
    check(True, "and is told that ada speaks")
    for number in range(TRACKS):
        luma, pitch = watcher.luma[f"video-{number}"], watcher.pitch[f"audio-{number}"]
        assert abs(luma - luma_of(number)) < 7, (
            f"video-{number} has brightness {luma:.0f}, not {luma_of(number)}"
        )
        assert abs(pitch - pitch_of(number)) < 20, (
            f"audio-{number} has {pitch:.0f} Hz, not {pitch_of(number)}"
        )
    check(True, "every track carries what was put into it")

    late = rtc.Room()
    late_watcher = Watcher(late)
    await enter(late, name, "cy")
    await until(
        "a late joiner receives all",
        30,
        lambda: all(late_watcher.frames.get(n, 0) > 5 for n in names),
    )
    check(True, "a late joiner receives every track")

    gone: list[str] = []
    ben.on("track_unsubscribed", lambda _t, publication, _p: gone.append(publication.name))
    sids = [
        sid for sid, p in ada.local_participant.track_publications.items() if p.name == "video-3"
    ]
    await ada.local_participant.unpublish_track(sids[0])
    await until("ben hears that video-3 ended", 5, lambda: gone == ["video-3"])
    before = watcher.frames["video-4"]
    await until("the others go on", 5, lambda: watcher.frames["video-4"] > before + 5)
    check(True, "unpublishing one track leaves the others alone")
    for task in tasks:
        task.cancel()
    await until("ben is told that ada speaks no more", 5, lambda: not speaking)
    check(True, "who falls silent is shown as speaking no more")
    for room in (ben, ada, late):
        await room.disconnect()


scenario("publish", act, timeout_s=170)
