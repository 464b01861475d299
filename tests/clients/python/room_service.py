"""The server API by both of LiveKit's server libraries, protobuf from Python and JSON from Node, and by hand.

A call of the wheel's clients is moderated through each in turn, and every change is seen where people see it;
then what must be refused is refused, by the code that LiveKit's libraries know.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
from client import API_KEY, API_SECRET, SERVER, SIGNAL, check, enter, fresh_room, mark_sensitive, mint
from client import never, scenario, until
from google.protobuf.json_format import MessageToDict
from livekit import api, rtc
from media import Watcher, publish_audio, publish_video

NODE_CLIENT = Path(__file__).parents[1] / "web" / "room_client.mjs"
#: What sings and paints, for as long as this runs.
TASKS: list[asyncio.Task] = []
PERMISSION = {"canPublish": True, "canSubscribe": True, "canPublishData": True}


class Refused(Exception):
    """What a library says of an answer that is none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code = status, code


class Python:
    """`livekit-api`, which speaks protobuf."""

    name = "livekit-api"

    async def __aenter__(self) -> Python:
        self.client = api.LiveKitAPI(SERVER, API_KEY, API_SECRET)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def call(self, method: str, request: object) -> dict:
        try:
            answer = await getattr(self.client.room, method)(request)
        except api.TwirpError as error:
            raise Refused(error.status, error.code, error.message) from None
        return MessageToDict(answer) if answer is not None else {}

    async def rooms(self, *names: str) -> list[dict]:
        return (await self.call("list_rooms", api.ListRoomsRequest(names=names))).get("rooms", [])

    async def participants(self, room: str) -> list[dict]:
        found = await self.call("list_participants", api.ListParticipantsRequest(room=room))
        return found.get("participants", [])

    async def participant(self, room: str, identity: str) -> dict:
        named = api.RoomParticipantIdentity(room=room, identity=identity)
        return await self.call("get_participant", named)

    async def remove(self, room: str, identity: str) -> None:
        await self.call(
            "remove_participant", api.RoomParticipantIdentity(room=room, identity=identity)
        )

    async def mute(self, room: str, identity: str, sid: str, muted: bool) -> dict:
        request = api.MuteRoomTrackRequest(
            room=room, identity=identity, track_sid=sid, muted=muted
        )
        return (await self.call("mute_published_track", request))["track"]

    async def update(self, room: str, identity: str, **change: object) -> dict:
        if permission := change.pop("permission", None):
            change["permission"] = api.ParticipantPermission(
                can_publish=permission["canPublish"],
                can_subscribe=permission["canSubscribe"],
                can_publish_data=permission["canPublishData"],
                hidden=permission.get("hidden", False),
            )
        request = api.UpdateParticipantRequest(room=room, identity=identity, **change)
        return await self.call("update_participant", request)

    async def subscribe(self, room: str, identity: str, sids: list[str], wanted: bool) -> None:
        request = api.UpdateSubscriptionsRequest(
            room=room, identity=identity, track_sids=sids, subscribe=wanted
        )
        await self.call("update_subscriptions", request)

    async def send(self, room: str, data: bytes, topic: str, to: list[str]) -> None:
        request = api.SendDataRequest(
            room=room, data=data, topic=topic, destination_identities=to
        )
        await self.call("send_data", request)

    async def describe(self, room: str, metadata: str) -> dict:
        request = api.UpdateRoomMetadataRequest(room=room, metadata=metadata)
        return await self.call("update_room_metadata", request)

    async def delete(self, room: str) -> None:
        await self.call("delete_room", api.DeleteRoomRequest(room=room))

    async def create(self, room: str, metadata: str, most: int) -> dict:
        request = api.CreateRoomRequest(name=room, metadata=metadata, max_participants=most)
        return await self.call("create_room", request)


class Node:
    """`livekit-server-sdk`, which speaks JSON."""

    name = "livekit-server-sdk"

    async def __aenter__(self) -> Node:
        self.process = await asyncio.create_subprocess_exec(
            "node",
            str(NODE_CLIENT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
            env={
                **os.environ,
                "INCAMERA_URL": SERVER,
                "INCAMERA_KEY": API_KEY,
                "INCAMERA_SECRET": API_SECRET,
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.stdin.close()
        await self.process.wait()

    async def call(self, method: str, *args: object) -> object:
        line = json.dumps({"method": method, "args": args})
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()
        answer = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 15))
        if error := answer.get("error"):
            raise Refused(error["status"], error["code"], error["message"])
        return answer["result"]

    async def rooms(self, *names: str) -> list[dict]:
        return await self.call("listRooms", list(names))

    async def participants(self, room: str) -> list[dict]:
        return await self.call("listParticipants", room)

    async def participant(self, room: str, identity: str) -> dict:
        return await self.call("getParticipant", room, identity)

    async def remove(self, room: str, identity: str) -> None:
        await self.call("removeParticipant", room, identity)

    async def mute(self, room: str, identity: str, sid: str, muted: bool) -> dict:
        return await self.call("mutePublishedTrack", room, identity, sid, muted)

    async def update(self, room: str, identity: str, **change: object) -> dict:
        return await self.call("updateParticipant", room, identity, change)

    async def subscribe(self, room: str, identity: str, sids: list[str], wanted: bool) -> None:
        await self.call("updateSubscriptions", room, identity, sids, wanted)

    async def send(self, room: str, data: bytes, topic: str, to: list[str]) -> None:
        options = {"topic": topic, "destinationIdentities": to}
        sent = {"bytes": base64.b64encode(data).decode()}
        await self.call("sendData", room, sent, 0, options)

    async def describe(self, room: str, metadata: str) -> dict:
        return await self.call("updateRoomMetadata", room, metadata)

    async def delete(self, room: str) -> None:
        await self.call("deleteRoom", room)

    async def create(self, room: str, metadata: str, most: int) -> dict:
        options = {"name": room, "metadata": metadata, "maxParticipants": most}
        return await self.call("createRoom", options)


Back = Python | Node


class Heard:
    """What a client's room tells its application."""

    EVENTS = [
        "track_muted",
        "track_unpublished",
        "track_subscribed",
        "participant_connected",
        "participant_disconnected",
        "participant_name_changed",
        "participant_metadata_changed",
        "participant_attributes_changed",
        "local_track_unpublished",
        "room_metadata_changed",
        "data_received",
        "disconnected",
    ]

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.all: list[tuple] = []
        for event in self.EVENTS:
            self.room.on(event, lambda *what, event=event: self.all.append((event, *what)))

    def has(self, event: str) -> tuple | None:
        return next((what for what in self.all if what[0] == event), None)

    async def until(self, event: str, timeout_s: float = 10) -> tuple:
        await until(event, timeout_s, lambda: self.has(event))
        return self.has(event)


async def refused(what: str, asked, status: int, code: str) -> None:
    try:
        await asked
    except Refused as refusal:
        check(
            (refusal.status, refusal.code) == (status, code), f"{what} is refused: {refusal}"
        )
    else:
        raise AssertionError(f"{what} is not refused")


async def call(name: str) -> tuple[Heard, Heard, Watcher]:
    """Ada, who publishes, and Ben, who receives both tracks and watches them."""
    ada, ben = Heard(), Heard()
    watcher = Watcher(ben.room)
    await enter(ada.room, name, "ada")
    await enter(ben.room, name, "ben")
    TASKS.extend([await publish_audio(ada.room, 1), await publish_video(ada.room, 1)])
    await until(
        "ben receives both tracks",
        15,
        lambda: sum(what[0] == "track_subscribed" for what in ben.all) == 2,
    )
    await until("ben sees pictures", 10, lambda: watcher.frames.get("video-1", 0) > 3)
    ben.all.clear()
    return ada, ben, watcher


async def moderate(back: Back) -> None:
    name = fresh_room("moderated")
    ada, ben, watcher = await call(name)
    print(f"{back.name}:", flush=True)

    rooms = await back.rooms(name, "no such room")
    check([room["name"] for room in rooms] == [name], "the room is listed by its name")
    check(rooms[0]["numParticipants"] == 2, "with two participants")
    check(name in [room["name"] for room in await back.rooms()], "and among all rooms")
    people = await back.participants(name)
    check(sorted(who["identity"] for who in people) == ["ada", "ben"], "both people are listed")
    info = await back.participant(name, "ada")
    tracks = {track.get("type", "AUDIO"): track["sid"] for track in info["tracks"]}
    check(sorted(tracks) == ["AUDIO", "VIDEO"], "a participant is shown with its tracks")
    check(await back.participants("no such room") == [], "a room that is not there holds nobody")

    muted = await back.mute(name, "ada", tracks["AUDIO"], True)
    check(muted["sid"] == tracks["AUDIO"] and muted["muted"], "a track is muted")
    await ben.until("track_muted")
    own = ada.room.local_participant.track_publications[tracks["AUDIO"]]
    await until("ada's client has muted its track", 10, lambda: own.muted)
    await refused(
        "unmuting somebody",
        back.mute(name, "ada", tracks["AUDIO"], False),
        412,
        "failed_precondition",
    )

    change = {"name": "Ada L.", "metadata": "first", "attributes": {"seat": "7"}}
    info = await back.update(name, "ada", **change)
    check((info["name"], info["metadata"]) == ("Ada L.", "first"), "a profile is changed")
    for event in ["name", "metadata", "attributes"]:
        await ben.until(f"participant_{event}_changed")
    seen = ben.room.remote_participants["ada"]
    check((seen.name, seen.metadata) == ("Ada L.", "first"), "and ben sees the new one")
    check(seen.attributes == {"seat": "7"}, "with its attributes")

    await back.subscribe(name, "ben", [tracks["VIDEO"]], False)
    # The wheel says nothing of it to its application.
    await asyncio.sleep(1)
    before = watcher.frames["video-1"]
    await asyncio.sleep(1)
    check(watcher.frames["video-1"] == before, "ben receives the camera no more")
    await back.subscribe(name, "ben", [tracks["VIDEO"]], True)
    await until("he receives it again", 10, lambda: watcher.frames["video-1"] > before + 3)

    await back.send(name, b"to ben alone", "notice", ["ben"])
    packet = (await ben.until("data_received"))[1]
    check(packet.data == b"to ben alone" and packet.topic == "notice", "ben gets data")
    check(packet.participant is None, "in nobody's name")
    await asyncio.sleep(0.3)
    check(not ada.has("data_received"), "and ada does not")

    mark_sensitive(f"agenda of {name}")
    room = await back.describe(name, f"agenda of {name}")
    check(room["metadata"] == f"agenda of {name}", "a room is described")
    await until("ben reads it", 10, lambda: ben.room.metadata == f"agenda of {name}")

    ben.all.clear()
    permission = {**PERMISSION, "canPublish": False}
    info = await back.update(name, "ada", permission=permission)
    check(not info["permission"].get("canPublish"), "ada may publish no more")
    await until(
        "ben sees both tracks go",
        10,
        lambda: sum(what[0] == "track_unpublished" for what in ben.all) == 2,
    )
    info = await back.participant(name, "ada")
    check(not info.get("tracks"), "and they are not listed")

    await back.update(name, "ada", permission={**PERMISSION, "hidden": True})
    await ben.until("participant_disconnected")
    check(len(await back.participants(name)) == 2, "a hidden one is still listed")
    await back.update(name, "ada", permission=PERMISSION)
    await ben.until("participant_connected")

    ada.all.clear()
    await back.update(name, "ben", metadata="guest", attributes={"seat": "8"})
    await ada.until("participant_attributes_changed")
    ada.all.clear()
    await back.remove(name, "ben")
    reason = (await ben.until("disconnected"))[1]
    check(reason == rtc.DisconnectReason.PARTICIPANT_REMOVED, "ben is removed and told so")
    who = (await ada.until("participant_disconnected"))[1]
    check((who.name, who.metadata) == ("ben", "guest"), "ada sees it, and who it was")
    check(who.attributes == {"seat": "8"}, "with his attributes")
    changed = [event for event, *_ in ada.all if event.startswith("participant_") and "changed" in event]
    check(not changed, f"and that nothing of him changed before: {changed}")
    check(not ada.room.remote_participants, "and that he is gone")
    await refused("removing somebody twice", back.remove(name, "ben"), 404, "not_found")
    await back.delete(name)
    reason = (await ada.until("disconnected"))[1]
    check(reason == rtc.DisconnectReason.ROOM_DELETED, "the room is deleted and ada told so")
    check(await back.rooms(name) == [], "and it is listed no more")

    await refused("deleting it again", back.delete(name), 404, "not_found")
    await refused("describing it", back.describe(name, "x"), 404, "not_found")
    await refused("sending there", back.send(name, b"x", "", []), 404, "not_found")
    await refused("showing nobody", back.participant(name, "eve"), 404, "not_found")
    await refused("muting nobody", back.mute(name, "eve", "TR_1", True), 404, "not_found")
    await refused("updating nobody", back.update(name, "eve", name="x"), 404, "not_found")


async def prepare(back: Back) -> None:
    """A room that is made before anybody comes."""
    name = fresh_room("prepared")
    made = await back.create(name, "prepared", 1)
    check(made["metadata"] == "prepared" and made["maxParticipants"] == 1, "a room is made")
    check((await back.create(name, "", 0))["sid"] == made["sid"], "and made once")
    check([room["name"] for room in await back.rooms(name)] == [name], "it is there, and empty")
    ada = Heard()
    await enter(ada.room, name, "ada")
    check(ada.room.metadata == "prepared", "ada comes and reads what is said of it")
    check(await ada.room.sid == made["sid"], "it is the same room")
    try:
        await enter(Heard().room, name, "ben")
    except rtc.ConnectError as error:
        check("the room is full" in str(error), f"it holds one, and says so: {error}")
    else:
        raise AssertionError("a room for one holds two")
    await back.delete(name)


async def made_by_a_token() -> None:
    """A room that a join makes is as its token says; what a later token says changes nothing."""
    name = fresh_room("token")

    async def come(identity: str, **config: Any) -> rtc.Room:
        token = api.AccessToken(API_KEY, API_SECRET).with_identity(identity)
        token = token.with_grants(api.VideoGrants(room_join=True, room=name))
        # Whoever dispatches agents says so here too; there are none, and the call is no worse for it.
        agents = [api.RoomAgentDispatch(agent_name="echo")]
        jwt = token.with_room_config(api.RoomConfiguration(agents=agents, **config)).to_jwt()
        room = rtc.Room()
        await asyncio.wait_for(room.connect(SIGNAL, jwt), 15)
        return room

    ada = await come("ada", max_participants=1, metadata="by token")
    check(ada.metadata == "by token", "ada reads what her token says of the room")
    try:
        await come("ben", max_participants=9)
    except rtc.ConnectError as error:
        check("the room is full" in str(error), f"it holds one, whatever ben's token says: {error}")
    else:
        raise AssertionError("a room for one holds two")
    await ada.disconnect()


async def come_again(back: Back) -> None:
    """What a moderator took away does not come back with the token of before, and does with a later one."""
    name = fresh_room("again")
    before = mint(name, "ada")
    ben = Heard()
    await enter(ben.room, name, "ben")

    async def may_publish(token: str) -> tuple[bool, Heard]:
        ada = Heard()
        await asyncio.wait_for(ada.room.connect(SIGNAL, token, rtc.RoomOptions()), 15)
        info = await back.participant(name, "ada")
        return bool(info["permission"].get("canPublish")), ada

    may, ada = await may_publish(before)
    check(may, "ada may publish")
    await back.update(name, "ada", permission={**PERMISSION, "canPublish": False})
    # Tokens say the second in which they were issued.
    await asyncio.sleep(1.1)
    await ada.room.disconnect()
    may, ada = await may_publish(before)
    check(not may, "and may not when she leaves and comes again with the same token")
    try:
        TASKS.append(await asyncio.wait_for(publish_audio(ada.room, 1), 5))
    except Exception as error:  # noqa: BLE001
        check(True, f"so that her client cannot: {type(error).__name__}")
    else:
        raise AssertionError("she publishes all the same")
    await ada.room.disconnect()
    may, ada = await may_publish(mint(name, "ada"))
    check(may, "with a token that the back end issued later she may")
    await back.delete(name)


async def limits(back: Back) -> None:
    name = fresh_room("limits")
    ada = Heard()
    await enter(ada.room, name, "ada")
    long = "x" * (512 * 1024)
    info = await back.update(name, "ada", metadata=long)
    check(info["metadata"] == long, "512 KiB of metadata are taken")
    await refused(
        "more", back.update(name, "ada", metadata=f"{long}x"), 400, "invalid_argument"
    )
    await refused("more of a room", back.describe(name, f"{long}x"), 400, "invalid_argument")
    await refused(
        "a large packet", back.send(name, b"x" * 70_000, "", []), 400, "invalid_argument"
    )
    await refused(
        "a long name", back.update(name, "ada", name="x" * 257), 400, "invalid_argument"
    )
    await back.delete(name)


async def by_hand() -> None:
    """What no library sends."""
    json_type = "application/json"

    def token(ttl_s: int = 600, secret: str = API_SECRET, **grants: object) -> str:
        grants = api.VideoGrants(**grants)
        return mint("", "moderator", secret=secret, ttl_s=ttl_s, grants=grants)

    admin = token(room_admin=True, room="red", room_list=True)

    async def post(
        method: str, body: bytes, bearer: str | None, kind: str = json_type
    ) -> tuple[int, str]:
        headers = {"Content-Type": kind}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        url = f"{SERVER}/twirp/livekit.RoomService/{method}"
        async with aiohttp.ClientSession() as http:
            async with http.post(url, data=body, headers=headers) as response:
                check(response.content_type == json_type, f"{method}: an answer in JSON")
                return response.status, (await response.json()).get("code", "answered")

    in_red = json.dumps({"room": "red", "identity": "ada"}).encode()
    in_blue = json.dumps({"room": "blue", "identity": "ada"}).encode()
    join = token(room_join=True, room="red")
    denied = (401, "unauthenticated")
    for what, method, body, bearer, expect in [
        ("in order", "ListRooms", b"{}", admin, (200, "answered")),
        ("without a token", "ListRooms", b"{}", None, denied),
        ("with a token that is none", "ListRooms", b"{}", "a.b.c", denied),
        ("under another secret", "ListRooms", b"{}", token(secret="x" * 40, room_list=True), denied),
        ("that has expired", "ListRooms", b"{}", token(-200, room_list=True), denied),
        ("with the right to join alone", "ListRooms", b"{}", join, denied),
        ("the same", "ListParticipants", in_red, join, denied),
        ("the same", "DeleteRoom", in_red, admin, denied),
        ("for another room", "GetParticipant", in_blue, admin, denied),
        ("for another room", "RemoveParticipant", in_blue, admin, denied),
        ("of nobody", "GetParticipant", in_red, admin, (404, "not_found")),
        ("broken off", "ListRooms", b'{"names": [', admin, (400, "malformed")),
        ("of the wrong type", "ListRooms", b'{"names": 7}', admin, (400, "malformed")),
        ("far too deep", "ListRooms", b"[" * 1000, admin, (400, "malformed")),
        ("without a room", "GetParticipant", b"{}", admin, (400, "invalid_argument")),
        ("too large", "ListRooms", b" " * (10 * 1024 * 1024 + 1), admin, (413, "resource_exhausted")),
        ("of no method", "Sing", b"{}", admin, (404, "bad_route")),
        ("of a method not served", "PerformRpc", in_red, admin, (501, "unimplemented")),
    ]:
        answer = await post(method, body, bearer)
        never(expect == denied and answer[0] == 200, f"{method}, {what}, is answered")
        check(answer == expect, f"{method}, {what}: {answer[0]} {answer[1]}")
    await as_livekit_writes_it(admin)
    answer = await post("ListRooms", b"\x0a\xff", admin, "application/protobuf")
    check(answer == (400, "malformed"), f"broken protobuf: {answer}")
    answer = await post("ListRooms", b"{}", admin, "text/plain")
    check(answer == (404, "bad_route"), f"another content type: {answer}")
    async with aiohttp.ClientSession() as http:
        for path, status in [("/livez", 200), ("/readyz", 200), ("/", 200)]:
            async with http.get(f"{SERVER}{path}") as response:
                check(response.status == status, f"{path} answers {response.status}")
        url = f"{SERVER}/twirp/livekit.RoomService/ListRooms"
        async with http.get(url, headers={"Authorization": f"Bearer {admin}"}) as response:
            check(response.status == 404, f"a method asked for by GET: {response.status}")


async def not_here() -> None:
    """LiveKit's other services say that they are not here, so that whoever calls them learns it."""
    async with api.LiveKitAPI(SERVER, API_KEY, API_SECRET) as client:
        for service, asked in [
            ("Egress", client.egress.list_egress(api.ListEgressRequest())),
            ("Ingress", client.ingress.list_ingress(api.ListIngressRequest())),
            ("SIP", client.sip.list_sip_dispatch_rule(api.ListSIPDispatchRuleRequest())),
            ("AgentDispatchService", client.agent_dispatch.list_dispatch("red")),
        ]:
            try:
                await asked
            except api.TwirpError as error:
                check(
                    (error.status, error.code, error.message)
                    == (501, "unimplemented", f"this server has no {service}"),
                    f"{service} is not here: {error.message}",
                )
            else:
                raise AssertionError(f"{service} answers")


async def as_livekit_writes_it(admin: str) -> None:
    """What is read without a library has the names of LiveKit's server, and says what is zero and empty."""

    async def ask(method: str, request: dict) -> dict:
        headers = {"Authorization": f"Bearer {admin}"}
        url = f"{SERVER}/twirp/livekit.RoomService/{method}"
        async with aiohttp.ClientSession() as http:
            async with http.post(url, json=request, headers=headers) as response:
                return await response.json()

    nobody = await ask("ListRooms", {"names": ["no such room"]})
    check(nobody == {"rooms": []}, f"no room is an empty list: {nobody}")
    ada = Heard()
    await enter(ada.room, "red", "ada")
    room = (await ask("ListRooms", {"names": ["red"]}))["rooms"][0]
    check(room["num_participants"] == 1 and room["num_publishers"] == 0, "counts, and zeros")
    check(room["active_recording"] is False and room["enabled_codecs"] != [], "and the rest")
    check(int(room["creation_time"]) > 0, "times are strings")
    person = await ask("GetParticipant", {"room": "red", "identity": "ada"})
    check((person["state"], person["kind"]) == ("ACTIVE", "STANDARD"), "enums by name")
    check(person["tracks"] == [] and person["attributes"] == {}, "empty ones are said")
    check(person["permission"]["can_publish_sources"] == [], "in messages within too")
    await ada.room.disconnect()


async def act() -> None:
    for value in ["Ada L.", "to ben alone"]:
        mark_sensitive(value)
    for kind in [Python, Node]:
        async with kind() as back:
            await moderate(back)
            await prepare(back)
            await come_again(back)
            await limits(back)
    await made_by_a_token()
    await not_here()
    await by_hand()


scenario("room_service", act)
