"""Two Python clients join one room, see each other come, and see each other go."""

import asyncio

from client import check, fresh_room, join, scenario, until


async def act() -> None:
    name = fresh_room("join")
    ada = await join(name, "ada")
    check(ada.name == name, f"ada is in {ada.name}")
    check((await ada.sid).startswith("RM_"), "the room has a sid")
    check(ada.local_participant.sid.startswith("PA_"), "ada has a sid")
    came: list[str] = []
    gone: list[str] = []
    ada.on("participant_connected", lambda person: came.append(person.identity))
    ada.on("participant_disconnected", lambda person: gone.append(person.identity))

    ben = await join(name, "ben")
    await until("ada hears that ben came", 5, lambda: came == ["ben"])
    await until("ben finds ada there", 5, lambda: "ada" in ben.remote_participants)
    check(ada.remote_participants["ben"].name == "ben", "names are carried")

    elsewhere = await join(fresh_room("join"), "cy")
    await asyncio.sleep(0.5)
    check(not elsewhere.remote_participants and came == ["ben"], "another room is another room")

    await ben.disconnect()
    await until("ada hears that ben left", 5, lambda: gone == ["ben"])
    check(not ada.remote_participants, "ada is alone again")

    again = await join(name, "ben")
    await until("ben may come back", 5, lambda: came == ["ben", "ben"])
    reasons: list[object] = []
    again.on("disconnected", reasons.append)
    await join(name, "ben")
    await until("a second ben puts out the first", 10, lambda: reasons)
    await until("the second ben is there", 5, lambda: "ben" in ada.remote_participants)
    check(True, f"a duplicate identity replaces the older one (reason {reasons[0]})")


scenario("join", act)
