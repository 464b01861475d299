"""Every kind of key by the builders that back ends use; rights that end in a call; revocation; rotation.

Beside what `client` reads: `INCAMERA_SETTINGS` (the folder of the server's settings and keys, which this may
change), `INCAMERA_PID` (the server) and `INCAMERA_SERVER_LOG`. Needs root, to look into the server's memory.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hmac
import itertools
import json
import os
import re
import secrets
import signal
import struct
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
from client import (
    SERVER, SIGNAL, check, control, fresh_room, join_request, mark_sensitive, measured, never, scenario, until, uttered,
)  # fmt: skip
from clock import an_hour_ago
from livekit import api, rtc
from livekit.protocol import rtc as wire
from media import publish_audio, publish_video
from memory import Memory, Watch

FOLDER = Path(os.environ["INCAMERA_SETTINGS"])
PID = int(os.environ["INCAMERA_PID"])
INCAMERA = os.environ["INCAMERA_BIN"]
NODE_BUILDERS = Path(__file__).parents[1] / "web" / "mint.mjs"
ROOM = fresh_room("keys")
#: What an operator revokes, and what has ended by its own time, must be gone after this.
WITHIN_S = 1.0
#: After this whoever is in has a token under another key of the server's.
REFRESHED_WITHIN_S = 2.0
#: The promise of `forgotten`.
FORGOTTEN_WITHIN_S = 2.0


def read(name: str) -> str:
    return (FOLDER / name).read_text()


def value(line: str) -> str:
    return line.split(": ", 1)[1].strip()


APP, CERTIFICATE = read("app").split()
SHARED = value(read("eddsa/shared.yaml"))
#: What the projects are called: by their kind, and by this, which stands nowhere else.
TAG = re.search(r"^  eddsa-(\w+):", read("settings.yaml"), re.MULTILINE)[1]
EDDSA, EDDSA_SET, ES256, ES256_SET = (f"{kind}-{TAG}{more}" for kind in ("eddsa", "es256") for more in ("", "-set"))
SHARED_NAME, ROTATED = f"{EDDSA}-shared", f"rotated-{TAG}"
FOREIGN = "not the secret of the server, though it is long enough"
for secret in (APP, SHARED, CERTIFICATE, EDDSA, EDDSA_SET, ES256, ES256_SET, SHARED_NAME, ROTATED):
    mark_sensitive(secret)


def node(*requests: dict) -> list[str]:
    """Tokens by the builders for Node."""
    printed = subprocess.run(
        ["node", str(NODE_BUILDERS)], input=json.dumps(requests), capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def incamera(*words: str, text: str = "") -> str:
    printed = subprocess.run([INCAMERA, *words], input=text, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


def token_id(token: str) -> str:
    return incamera("token", "id", text=token)


#: Two tokens of the same content are one, which is revoked as one: each gets a beginning of its own.
MINTED = itertools.count()


def claims(key: str, identity: str, ttl_s: int = 600, **more: object) -> dict:
    now = int(time.time())
    grant = {"roomJoin": True, "room": ROOM}
    begin = now - 300 - next(MINTED)
    plain = {"iss": key, "sub": identity, "nbf": begin, "exp": now + ttl_s, "video": grant}
    return {**plain, **more}


@dataclass
class Kind:
    """A kind of key and its builder: how to mint with it, well and otherwise."""

    name: str

    def mint(self, identity: str = "ada", ttl_s: int = 600) -> str:
        raise NotImplementedError

    def expired(self) -> str:
        """Good until two seconds from now at most."""
        return self.mint(ttl_s=-200)

    def foreign(self) -> str:
        """By the same builder, with a key that is not the server's."""
        raise NotImplementedError

    def confused(self) -> dict[str, str]:
        """For this key, by the means of another kind."""
        raise NotImplementedError


def hs256(key: str, secret: bytes, identity: str = "ada") -> str:
    """By hand, because libraries refuse a public key as a secret; rightly so."""

    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    header = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    body = f"{part(header)}.{part(json.dumps(claims(key, identity)).encode())}"
    return f"{body}.{part(hmac.new(secret, body.encode(), 'sha256').digest())}"


class LiveKitPython(Kind):
    def mint(self, identity: str = "ada", ttl_s: int = 600, secret: str = SHARED) -> str:
        token = api.AccessToken(SHARED_NAME, secret).with_identity(identity)
        token = token.with_ttl(datetime.timedelta(seconds=ttl_s))
        return token.with_grants(api.VideoGrants(room_join=True, room=ROOM)).to_jwt()

    def foreign(self) -> str:
        return self.mint(secret=FOREIGN)

    def confused(self) -> dict[str, str]:
        return {
            "EdDSA for a shared secret": jwt.encode(
                claims(SHARED_NAME, "ada"), read("eddsa/private.pem"), "EdDSA"
            ),
            "HS384 for a shared secret": jwt.encode(claims(SHARED_NAME, "ada"), SHARED, "HS384"),
        }


class LiveKitNode(LiveKitPython):
    def expired(self) -> str:
        with an_hour_ago():
            return self.mint(ttl_s=600)

    def mint(self, identity: str = "ada", ttl_s: int = 600, secret: str = SHARED) -> str:
        return node(
            {
                "builder": "livekit-server-sdk",
                "key": SHARED_NAME,
                "secret": secret,
                "room": ROOM,
                "identity": identity,
                "ttl_s": ttl_s,
            }
        )[0]


@dataclass
class Private(Kind):
    """A private key, of which the server has the public half."""

    key: str
    folder: str
    algorithm: str

    def kid(self) -> str | None:
        named = json.loads(read(f"{self.folder}/public.jwks.json"))["keys"][0]["kid"]
        return named if self.key.endswith("-set") else None

    def sign(self, content: dict, pem: str, algorithm: str) -> str:
        headers = {"kid": self.kid()} if self.kid() else None
        return jwt.encode(content, pem, algorithm, headers=headers)

    def mint(self, identity: str = "ada", ttl_s: int = 600) -> str:
        content = claims(self.key, identity, ttl_s)
        return self.sign(content, read(f"{self.folder}/private.pem"), self.algorithm)

    def foreign(self) -> str:
        pem = read(f"foreign-{self.folder}/private.pem")
        return self.sign(claims(self.key, "ada"), pem, self.algorithm)

    def confused(self) -> dict[str, str]:
        other = {"EdDSA": ("es256", "ES256"), "ES256": ("eddsa", "EdDSA")}[self.algorithm]
        pem = read(f"{self.folder}/public.pem").encode()
        content = claims(self.key, "ada")
        return {
            "HS256 with the public PEM": hs256(self.key, pem),
            "HS256 with the public PEM, trimmed": hs256(self.key, pem.strip()),
            "HS256 with the key set": hs256(
                self.key, read(f"{self.folder}/public.jwks.json").encode()
            ),
            f"{other[1]} by another project": jwt.encode(
                content, read(f"{other[0]}/private.pem"), other[1]
            ),
            "alg none": jwt.encode(content, None, "none"),
        }


class PrivateNode(Private):
    def sign(self, content: dict, pem: str, algorithm: str) -> str:
        return node(
            {
                "builder": "jose",
                "algorithm": algorithm,
                "kid": self.kid(),
                "pem": pem,
                "claims": content,
            }
        )[0]


class Command(Private):
    """`incamera token create`, which the operator of a back end may use."""

    def expired(self) -> str:
        with an_hour_ago():
            return self.mint(ttl_s=600)

    def mint(self, identity: str = "ada", ttl_s: int = 600) -> str:
        file = str(FOLDER / self.folder / "private.pem")
        words = ["--api-key", self.key, "--private-key-file", file, "--valid-for", f"{ttl_s}s"]
        return incamera("token", "create", *words, "--join", "--room", ROOM, "--identity", identity)


class Agora(Kind):
    def mint(
        self,
        identity: str = "ada",
        ttl_s: int = 600,
        certificate: str = CERTIFICATE,
        ends: list[int] | None = None,
        room: str = ROOM,
        uid: str | int | None = None,
    ) -> str:
        return node(
            {
                "builder": "agora-token",
                "app": APP,
                "certificate": certificate,
                "room": room,
                "uid": identity if uid is None else uid,
                "ends": ends or [ttl_s, 0, 0, 0, 0],
            }
        )[0]

    def expired(self) -> str:
        return self.mint(ttl_s=1)

    def foreign(self) -> str:
        return self.mint(certificate="0" * 32)

    def confused(self) -> dict[str, str]:
        return {
            "HS256 with the certificate": hs256(APP, CERTIFICATE.encode()),
            "a token of the old form": "006" + self.mint()[3:],
        }


KINDS = [
    LiveKitPython("HS256 by livekit-api"),
    LiveKitNode("HS256 by livekit-server-sdk"),
    Private("EdDSA by PyJWT, PEM", EDDSA, "eddsa", "EdDSA"),
    Private("EdDSA by PyJWT, key set", EDDSA_SET, "eddsa", "EdDSA"),
    PrivateNode("EdDSA by jose, key set", EDDSA_SET, "eddsa", "EdDSA"),
    Command("EdDSA by incamera, key set", EDDSA_SET, "eddsa", "EdDSA"),
    Private("ES256 by PyJWT, PEM", ES256, "es256", "ES256"),
    Private("ES256 by PyJWT, key set", ES256_SET, "es256", "ES256"),
    PrivateNode("ES256 by jose, PEM", ES256, "es256", "ES256"),
    Command("ES256 by incamera, PEM", ES256, "es256", "ES256"),
    Agora("AccessToken2 by agora-token"),
]


async def ask(token: str) -> tuple[int, str]:
    query = {"access_token": token, "join_request": join_request(auto_subscribe=False)}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{SERVER}/rtc/v1/validate", params=query) as response:
            return response.status, (await response.text()).strip()


async def connect(token: str, room: rtc.Room | None = None) -> rtc.Room:
    room = room or rtc.Room()
    await asyncio.wait_for(room.connect(SIGNAL, token), 15)
    return room


class Revocations:
    """The operator's file."""

    def __init__(self) -> None:
        self.tokens: list[object] = []
        self.identities: list[dict] = []
        self.keys: list[str] = []

    def write(self) -> float:
        """Puts a whole new file in the place of the old one; says when (monotonic)."""
        fresh = FOLDER / "revoked.new"
        fresh.write_text(json.dumps(vars(self)))
        fresh.replace(FOLDER / "revoked.yaml")
        return time.monotonic()


REVOKED = Revocations()
#: Tokens that were presented, by what was wrong with them.
PRESENTED: Counter[str] = Counter()


async def stays_out(token: str, what: str) -> None:
    """Of a token that is refused since before: no machine is so busy that it opens the door."""
    status, text = await ask(token)
    never(status == 200, f"{what}: it opens the door")
    check(status == 401, f"{what}: {status} {text}")


async def refused_after(answer: Callable[[], Awaitable[tuple[int, str]]], at: float) -> float:
    """How long after `at` a token, whose bearer is answered so, is refused as revoked."""
    while True:
        asked = time.monotonic()
        status, text = await answer()
        if (status, text) == (401, "the token is revoked"):
            return asked - at
        if asked - at > WITHIN_S:
            raise AssertionError(f"not `the token is revoked` {asked - at:.2f} s after, but {status} {text}")
        await asyncio.sleep(0.05)


async def matrix() -> None:
    """Every kind of key: valid, expired, foreign, confused and revoked."""
    expired = [(kind, kind.expired()) for kind in KINDS]
    await asyncio.sleep(2)
    slowest = 0.0
    refusals: list[int] = []
    for kind, old in expired:
        good = kind.mint()
        status, text = await ask(good)
        check(status == 200, f"{kind.name}, valid: {status} {text}")
        room = await connect(good)
        check(room.local_participant.identity == "ada", f"{kind.name}: the wheel is in")
        await room.disconnect()
        PRESENTED["good"] += 1
        PRESENTED["expired"] += 1
        status, text = await ask(old)
        never(status == 200, f"{kind.name}: an expired token opens the door")
        check((status, text) == (401, "the token has expired"), f"{kind.name}: {text}")
        refusals.append(status)
        status, text = await ask(kind.foreign())
        never(status == 200, f"{kind.name}: a foreign token opens the door")
        check(
            (status, text) == (401, "the token's signature is wrong"),
            f"{kind.name}, foreign: {status} {text}",
        )
        PRESENTED["forged"] += 1
        refusals.append(status)
        for how, token in kind.confused().items():
            PRESENTED["confused"] += 1
            status, text = await ask(token)
            never(status == 200, f"{kind.name}: {how} opens the door")
            check(status == 401, f"{kind.name}, {how}: {status} {text}")
            refusals.append(status)
            check("signature" not in text, "and the key is not even tried")
        REVOKED.tokens.append(token_id(good))
        PRESENTED["revoked"] += 1
        after = await refused_after(lambda good=good: ask(good), REVOKED.write())
        refusals.append((await ask(good))[0])
        check(True, f"{kind.name}: revoked after {after:.2f} s")
        slowest = max(slowest, after)
        try:
            await connect(good)
        except rtc.ConnectError:
            pass
        else:
            never(True, f"{kind.name}: the wheel was let in with a revoked token")
        status, _ = await ask(kind.mint(identity="ben"))
        check(status == 200, f"{kind.name}: others are not concerned")
    opened = sum(status != 401 for status in refusals)
    never(opened, f"{opened} tokens opened the door that must not")
    measured(
        opened == 0,
        f"with {len(KINDS)} kinds of key and builder: {opened} of {PRESENTED['forged']} tokens by foreign keys, of "
        f"{PRESENTED['confused']} by the means of another kind, of {PRESENTED['expired']} expired and of "
        f"{PRESENTED['revoked']} revoked ones opened the door",
    )
    measured(slowest <= WITHIN_S, f"a revoked token was refused after {slowest:.2f} s at the latest (1 s is allowed)")
    control(PRESENTED["good"] == len(KINDS), f"all {PRESENTED['good']} good ones did, before they were revoked")


async def back_end() -> None:
    """A back end's token is refused like anybody's once it is revoked."""
    token = api.AccessToken(SHARED_NAME, SHARED)
    token = token.with_grants(api.VideoGrants(room_list=True)).to_jwt()
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{SERVER}/twirp/livekit.RoomService/ListRooms"

    async def rooms() -> tuple[int, str]:
        async with aiohttp.ClientSession() as http:
            async with http.post(url, json={}, headers=headers) as response:
                return response.status, (await response.json()).get("msg", "")

    check((await rooms())[0] == 200, "a back end lists rooms")
    REVOKED.tokens.append(token_id(token))
    after = await refused_after(rooms, REVOKED.write())
    answer = await rooms()
    never(answer[0] == 200, "a back end lists rooms with a token that was refused as revoked")
    check(answer == (401, "the token is revoked"), f"until its token is revoked, {after:.2f} s after: {answer}")


async def names() -> None:
    """Agora's names for anybody name nobody here."""
    agora = Agora("")
    for what, token in {
        "uid 0": agora.mint(uid=0),
        "uid '0'": agora.mint(uid="0"),
        "no uid": agora.mint(uid=""),
        "any channel": agora.mint(room="*"),
        "no channel": agora.mint(room=""),
    }.items():
        status, text = await ask(token)
        never(status == 200, f"{what} opens the door")
        check(status == 400, f"{what}: {status} {text}")


def issued(token: str) -> int:
    """When its builder, another program, says that it was made: of an AccessToken2, in seconds of Unix time."""
    content = zlib.decompress(base64.b64decode(token.removeprefix("007")))
    begin = 0
    for _signature_and_app in range(2):
        (length,) = struct.unpack_from("<H", content, begin)
        begin += 2 + length
    return struct.unpack_from("<I", content, begin)[0]


async def ends() -> None:
    """Each privilege ends in the call, within a second of its end."""
    ben = await connect(Agora("").mint("ben"))
    heard: list[str] = []
    gone: dict[str, float] = {}
    ben.on("data_received", lambda packet: heard.append(packet.data.decode()))
    ben.on("track_unpublished", lambda track, _: gone.setdefault(track.name, time.time()))
    ada = rtc.Room()
    left: list[tuple[float, object]] = []
    told: list[tuple[float, object]] = []
    ada.on("disconnected", lambda reason: left.append((time.time(), reason)))
    ada.on("local_track_unpublished", lambda publication: told.append((time.time(), publication)))
    # Far enough apart that nobody who has to wait for a processor misses what is between two of them.
    token = Agora("").mint("ada", ends=[600, 22, 7, 12, 17])
    began = issued(token)
    await connect(token, ada)
    tasks = [await publish_audio(ada, 0), await publish_video(ada, 0)]
    early, late, too_late = (uttered(f"{when} {secrets.token_hex(4)}") for when in ("early", "late", "too late"))
    await ada.local_participant.publish_data(early, reliable=True)
    await until("ben hears ada", 5, lambda: heard == [early])
    people = ben.remote_participants
    await until("ben sees ada's tracks", 5, lambda: len(people["ada"].track_publications) == 2)

    def is_on_time(what: str, at: float, after: float) -> None:
        late = at - began - after
        measured(0 <= late <= WITHIN_S, f"{what} {late:+.2f} s after its end")

    await until("sound ends", 12, lambda: "audio-0" in gone)
    is_on_time("ada's sound is gone", gone["audio-0"], 7)

    def permissions() -> object:
        return ada.local_participant.permissions

    def sources() -> list[int]:
        return list(permissions().can_publish_sources)

    # Ada and Ben are told by two connections, of which either may be the quicker one.
    await until("she may publish all but sound", 2, lambda: sources() == [1, 3])
    check(permissions().can_publish, "she may publish the rest")
    check("video-0" not in gone, "her picture goes on")
    await until("picture ends", 10, lambda: "video-0" in gone)
    is_on_time("ada's picture is gone", gone["video-0"], 12)
    await until("she is told to publish nothing", 2, lambda: not permissions().can_publish)
    check(permissions().can_publish_data, "she may send data alone")
    await ada.local_participant.publish_data(late, reliable=True)
    await until("ben still hears ada", 2, lambda: heard == [early, late])
    await until("data ends", 10, lambda: not permissions().can_publish_data)
    is_on_time("data is gone", time.time(), 17)
    try:
        await ada.local_participant.publish_data(too_late, reliable=True)
    except Exception:
        pass
    await until("ada is put out", 10, lambda: left)
    is_on_time("ada is put out", left[0][0], 22)
    removed = rtc.DisconnectReason.Value("PARTICIPANT_REMOVED")
    check(left[0][1] == removed, f"and told so: {left[0][1]}")
    never(too_late in heard, "ada was heard after her right had ended")
    check(heard == [early, late], "nothing was heard of her after her right had ended")
    await until("ben sees her gone", 2, lambda: "ada" not in ben.remote_participants)
    for task in tasks:
        task.cancel()
    await ben.disconnect()


async def forgotten() -> None:
    """An AccessToken2 is gone from the server's memory when it has been answered, as any token."""
    # Longer than anything of what came before is kept.
    await asyncio.sleep(FORGOTTEN_WITHIN_S)
    watch = Watch(Memory(PID))
    address = SERVER.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*address.split(":"))
    head = f"GET /rtc/v1/validate?join_request={join_request(auto_subscribe=False)} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
    writer.write(f"{head}Authorization: Bearer {Agora('').mint()}\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.5)
    held = (await watch.after(time.monotonic())).found["token2"]
    control(held > 0, f"an AccessToken2 is found in the server's memory while it is being sent ({held} times)")
    writer.write(b"\r\n")
    answer = await reader.read()
    writer.close()
    check(answer.startswith(b"HTTP/1.1 200"), f"it is a good one: {answer[:60]!r}")
    answered = time.monotonic()
    last = await watch.gone(("token2",), answered, FORGOTTEN_WITHIN_S)
    measured(last <= FORGOTTEN_WITHIN_S, f"a copy of it is found until {last:.1f} s after the answer, and not later")
    watch.stop()


async def live_revocation() -> None:
    """Revocation ends what lives, whatever the client was refreshed to, and by identity and time."""
    private = KINDS[2]
    for what in ("token", "name", "identity"):
        room, left = rtc.Room(), []
        room.on("disconnected", lambda reason: left.append((time.monotonic(), reason)))
        named = f"t-{what}-{time.time_ns()}"
        mark_sensitive(named)
        token = jwt.encode(
            claims(EDDSA, "cy", jti=named), read("eddsa/private.pem"), "EdDSA"
        )
        fresh = await refreshed(token)
        check((await ask(fresh))[0] == 200, "a fresh token is taken")
        await connect(token, room)
        bystander = await connect(private.mint(identity="grace"))
        if what == "token":
            REVOKED.tokens.append(token_id(fresh))
        elif what == "name":
            REVOKED.tokens.append({"key": EDDSA, "jti": named})
        else:
            REVOKED.identities.append({"identity": "cy", "issued_before": int(time.time()) - 10})
        at = REVOKED.write()
        await until("cy is put out", 5, lambda: left)
        out = left[0][0] - at
        measured(out <= WITHIN_S, f"a running session, revoked by {what}: out after {out:.2f} s")
        removed = rtc.DisconnectReason.Value("PARTICIPANT_REMOVED")
        check(left[0][1] == removed, f"and told so: {left[0][1]}")
        for held in (token, fresh):
            await stays_out(held, f"revoked by {what}, no way back with what is held")
        control(bystander.isconnected(), "the session beside it, not revoked, went on")
        await bystander.disconnect()
    token = jwt.encode(
        claims(EDDSA, "cy", iat=int(time.time())), read("eddsa/private.pem"), "EdDSA"
    )
    check((await ask(token))[0] == 200, "cy may come back with a token that is minted after")

    for what, wrong in {"wrong": "tokens: [not a token]\n", "emptied": "", "shorter": "tokens: []\n"}.items():
        (FOLDER / "revoked.yaml").write_text(wrong)
        await asyncio.sleep(WITHIN_S)
        await stays_out(fresh, f"a file that is {what} revokes no less")
    (FOLDER / "revoked.yaml").unlink()
    await asyncio.sleep(WITHIN_S)
    await stays_out(fresh, "nor does a missing one")


@contextlib.asynccontextmanager
async def signalling(token: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Joined, without media."""
    query = {"access_token": token, "join_request": join_request(auto_subscribe=False)}
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{SIGNAL}/rtc/v1", params=query) as socket:
            yield socket


async def given(socket: aiohttp.ClientWebSocketResponse) -> str:
    """The next fresh token that the server gives there."""
    async for message in socket:
        response = wire.SignalResponse.FromString(message.data)
        if response.WhichOneof("message") == "refresh_token":
            return response.refresh_token
    raise AssertionError("no fresh token came")


async def refreshed(token: str) -> str:
    """The fresh token that the server gives to whoever joins with `token`."""
    async with signalling(token) as socket:
        return await given(socket)


async def rotation() -> None:
    """Keys come and go while calls go on."""
    REVOKED.write()
    await asyncio.sleep(WITHIN_S)
    settings = FOLDER / "settings.yaml"
    old, text = Private("", ES256, "es256", "ES256"), settings.read_text()
    new = Private("", ROTATED, "foreign-es256", "ES256")
    left: list[float] = []
    room = await connect(old.mint(identity="eve"))
    room.on("disconnected", lambda _: left.append(time.monotonic()))

    async def reload(with_text: str, token: str, status: int) -> None:
        settings.write_text(with_text)
        os.kill(PID, signal.SIGHUP)
        give_up_at = time.monotonic() + 3
        while (await ask(token))[0] != status:
            assert time.monotonic() < give_up_at, f"the answer is not {status}"
            await asyncio.sleep(0.05)

    overlap = text.replace("keys:\n", f"keys:\n  {ROTATED}: {{public_key: foreign-es256/public.pem}}\n")
    await stays_out(new.mint(), "a new key is not known yet")
    await reload(overlap, new.mint(), 200)
    check((await ask(old.mint()))[0] == 200, "new and old key overlap")
    only = "".join(line for line in overlap.splitlines(True) if not line.startswith(f"  {ES256}:"))
    await reload(only, old.mint(), 401)
    await stays_out(old.mint(), "the old key is gone")
    check((await ask(new.mint()))[0] == 200, "the new one stays")
    settings.write_text(only.replace("keys:\n", f"keys:\n  wrong-{TAG}: {{}}\n"))

    def refused() -> int:
        return Path(os.environ["INCAMERA_SERVER_LOG"]).read_text().count("the files are wrong")

    times = refused() + 1
    os.kill(PID, signal.SIGHUP)
    await until("the server says that a file is wrong", 3, lambda: refused() == times)
    check((await ask(new.mint()))[0] == 200, "a file that is wrong changes nothing")
    check(room.isconnected() and not left, "eve's call goes on under the key that is gone")
    bystander = await connect(new.mint(identity="grace"))
    REVOKED.keys.append(ES256)
    at = REVOKED.write()
    await until("eve is put out", 5, lambda: left)
    out = left[0] - at
    measured(out <= WITHIN_S, f"until the key is revoked, as one that was stolen is: out after {out:.2f} s")
    control(bystander.isconnected(), "who came in with the new key went on")
    await bystander.disconnect()
    settings.write_text(text)


async def another_refresh_key() -> None:
    """Who is in has a token that is taken, whatever a reload makes of the key of those."""
    REVOKED.write()
    await asyncio.sleep(WITHIN_S)
    settings, secret = FOLDER / "settings.yaml", FOLDER / "refresh"
    text = settings.read_text()
    secret.touch(0o600)
    secret.write_text(secrets.token_urlsafe(32))
    mark_sensitive("mary")
    async with signalling(Private("", EDDSA, "eddsa", "EdDSA").mint(identity="mary")) as socket:
        before = await given(socket)
        control((await ask(before))[0] == 200, "a fresh token is taken")
        for what, with_text in {"comes": f"{text}refresh_secret_file: refresh\n", "goes": text}.items():
            settings.write_text(with_text)
            at = time.monotonic()
            os.kill(PID, signal.SIGHUP)
            after = await asyncio.wait_for(given(socket), 10)
            took = time.monotonic() - at
            measured(took <= REFRESHED_WITHIN_S, f"the key {what}: another fresh token after {took:.2f} s")
            check((await ask(after))[0] == 200, "which is taken")
            await stays_out(before, "and the one before is not any more")
            before = after


async def act() -> None:
    await matrix()
    await back_end()
    await names()
    await ends()
    await forgotten()
    await live_revocation()
    await another_refresh_key()
    await rotation()


scenario("dynamic_keys", act, timeout_s=160)
