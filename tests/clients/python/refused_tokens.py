"""Who is let in: good tokens are; others get a 401 before the upgrade, and the wheel says so."""

from __future__ import annotations

import base64
import hmac
import json
import time

import aiohttp
from client import API_KEY, API_SECRET, SERVER, SIGNAL, check, fresh_room, join, join_request, mint, never, scenario
from livekit import api, rtc

ROOM = fresh_room("tokens")


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: dict, claims: dict, secret: bytes | None, digest: str = "sha256") -> str:
    """A token whose every part is chosen; without a secret its signature is empty."""
    body = f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"
    signature = hmac.new(secret, body.encode(), digest).digest() if secret is not None else b""
    return f"{body}.{base64url(signature)}"


def claims(**changes: object) -> dict:
    now = int(time.time())
    grant = {"roomJoin": True, "room": ROOM}
    plain = {"iss": API_KEY, "sub": "ada", "nbf": now - 10, "exp": now + 600, "video": grant}
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


HS256 = {"alg": "HS256", "typ": "JWT"}
SECRET = API_SECRET.encode()
GOOD = mint(ROOM, "ada")
BODY = GOOD.rsplit(".", 1)[0]

REFUSED: dict[str, str | None] = {
    "no token": None,
    "nonsense": "nonsense",
    "a token with three empty parts": "..",
    "the wrong secret": mint(ROOM, "ada", secret="not the secret, though long enough"),
    "a foreign key": mint(ROOM, "ada", key="foreign"),
    "an expired token": forge(HS256, claims(nbf=1, exp=int(time.time()) - 120), SECRET),
    "a token of the far future": forge(HS256, claims(nbf=int(time.time()) + 3600), SECRET),
    "alg none": forge({"alg": "none", "typ": "JWT"}, claims(), None),
    "alg none with a signature": forge({"alg": "none", "typ": "JWT"}, claims(), SECRET),
    "alg RS256 over an HMAC": forge({"alg": "RS256", "typ": "JWT"}, claims(), SECRET),
    "a stripped signature": f"{BODY}.",
    "a changed signature": GOOD[:-6] + ("AAAAAA" if GOOD[-6:] != "AAAAAA" else "BBBBBB"),
    "changed claims": f"{BODY[:-4]}AAAA.{GOOD.rsplit('.', 1)[1]}",
    "no right to join": mint(ROOM, "ada", grants=api.VideoGrants(room=ROOM)),
    "no grant at all": forge(HS256, claims(video=None), SECRET),
}

#: Well signed: what is still taken, and what is larger than a request line (16 KiB), a token (as much), a request's
#: head (32 KiB).
OVERSIZED = [(8_000, False, 200), (13_000, False, 414), (13_000, True, 401), (40_000, True, 431)]


async def act() -> None:
    async with aiohttp.ClientSession() as http:
        check(await validate(http, GOOD) == 200, "a good token validates with 200")
        check(await validate(http, GOOD, header=True) == 200, "in the Authorization header too")
        for what, token in REFUSED.items():
            status = await validate(http, token)
            never(status == 200, f"{what} is valid")
            check(status == 401, f"{what}: validate answers {status}")
            status = await upgrade(http, token)
            never(status == 101, f"{what} opens the door")
            check(status == 401, f"{what}: no upgrade, {status}")
        for size, header, expected in OVERSIZED:
            huge = forge(HS256, claims(metadata="m" * size), SECRET)
            status = await validate(http, huge, header=header)
            where = "a header" if header else "the request line"
            check(status == expected, f"a token of {len(huge)} letters in {where}: {status}")
        status = await validate(http, GOOD)
        check(status == 200, "and the server goes on")

    for what in ("the wrong secret", "an expired token"):
        try:
            await rtc.Room().connect(SIGNAL, REFUSED[what] or "")
        except rtc.ConnectError as error:
            check(
                "401" in error.message or "nauthorized" in error.message,
                f"the wheel says: {error.message}",
            )
        else:
            never(True, f"the wheel was let in with {what}")

    limited = api.VideoGrants(room_join=True, room=ROOM, can_publish=False, can_publish_data=False)
    room = rtc.Room()
    await room.connect(SIGNAL, mint(ROOM, "ben", grants=limited))
    permission = room.local_participant.permissions
    check(not permission.can_publish and permission.can_subscribe, "grants become permissions")
    track = rtc.LocalAudioTrack.create_audio_track("forbidden", rtc.AudioSource(48_000, 1))
    try:
        await room.local_participant.publish_track(track)
    except Exception as error:
        check(True, f"who may not publish cannot: {error}")
    else:
        never(True, "a listener could publish")
    await join(ROOM, "ada")
    check(True, "and ada still gets in")


async def validate(http: aiohttp.ClientSession, token: str | None, *, header: bool = False) -> int:
    query = {"join_request": join_request()}
    headers = {}
    if token is not None and header:
        headers["Authorization"] = f"Bearer {token}"
    elif token is not None:
        query["access_token"] = token
    async with http.get(f"{SERVER}/rtc/v1/validate", params=query, headers=headers) as response:
        return response.status


async def upgrade(http: aiohttp.ClientSession, token: str | None) -> int:
    query = {"join_request": join_request()}
    if token is not None:
        query["access_token"] = token
    try:
        async with http.ws_connect(f"{SIGNAL}/rtc/v1", params=query):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


scenario("refused_tokens", act)
