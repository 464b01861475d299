"""What the Python scenarios share: the environment, tokens, rooms, waiting, and verdicts.

Environment: `INCAMERA_URL` (default http://127.0.0.1:7880), `INCAMERA_KEY` and `INCAMERA_SECRET`
(default devkey, secret), `INCAMERA_SENSITIVE` (a file to which every key, name, room and word is added
that no log may hold). A scenario exits with 0, or with 1 and a sentence saying what was wrong.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import functools
import os
import secrets
import sys
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from livekit import api, rtc
from livekit.protocol import rtc as wire

# The development secret is short; that is what it is for.
warnings.filterwarnings("ignore", message="The HMAC key is")

#: Begins what is said of what no processor excuses, and no second try makes good (`xtask/src/scenario.rs`).
NEVER = "this must never be"
#: How often an act is done at most whose figure this machine may spoil.
TRIES = 3

T = TypeVar("T")

SERVER = os.environ.get("INCAMERA_URL", "http://127.0.0.1:7880").rstrip("/")
SIGNAL = SERVER.replace("http", "ws", 1)
API_KEY = os.environ.get("INCAMERA_KEY", "devkey")
API_SECRET = os.environ.get("INCAMERA_SECRET", "secret")


@functools.cache
def mark_sensitive(value: str) -> None:
    """Notes a value that the server's log must not hold."""
    if path := os.environ.get("INCAMERA_SENSITIVE"):
        with open(path, "a") as file:
            file.write(f"{value}\n")


def sensitive() -> list[str]:
    """All of them, of this run of the scenario."""
    with open(os.environ["INCAMERA_SENSITIVE"]) as file:
        return file.read().split("\n")[:-1]


# A scenario with a server of its own may have another project than the development server's, which is always looked
# for.
if API_KEY != "devkey":
    mark_sensitive(API_KEY)


def mint(
    room: str,
    identity: str,
    *,
    key: str = API_KEY,
    secret: str = API_SECRET,
    ttl_s: int = 3600,
    grants: api.VideoGrants | None = None,
) -> str:
    """A join token, made by LiveKit's own server library."""
    # Of many it is what all are called that no log may hold.
    mark_sensitive(identity.rstrip("-0123456789") or identity)
    return (
        api.AccessToken(key, secret)
        .with_identity(identity)
        .with_name(identity)
        .with_ttl(datetime.timedelta(seconds=ttl_s))
        .with_grants(grants or api.VideoGrants(room_join=True, room=room))
        .to_jwt()
    )


def join_request(*, auto_subscribe: bool = True) -> str:
    """For those who speak the protocol by hand: of somebody without media. SDKs pad it, too."""
    request = wire.JoinRequest()
    request.client_info.protocol = 17
    request.connection_settings.auto_subscribe = auto_subscribe
    wrapped = wire.WrappedJoinRequest(join_request=request.SerializeToString())
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()


def sound_offer(
    cids: list[str], ufrag: str = "abcd", pwd: str = "abcdefghijklmnopqrstuvwx"
) -> wire.SignalRequest:
    """For those who speak the protocol by hand: the sound of these tracks, from a client that will not connect. `ufrag`
    and `pwd`: its half of ICE."""
    fingerprint, mids = ":".join(["AA"] * 32), " ".join(map(str, range(len(cids))))
    head = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n"
    sections = (
        f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\n"
        f"a=ice-pwd:{pwd}\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n"
        f"a=mid:{mid}\r\na=sendonly\r\na=msid:- {cid}\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
        f"a=ssrc:{1000 + mid} cname:x\r\n"
        for mid, cid in enumerate(cids)
    )
    described = wire.SessionDescription(type="offer", sdp=head + "".join(sections), id=len(cids))
    return wire.SignalRequest(offer=described)


def upgrade(token: str, request: str) -> bytes:
    """How a join begins: a request for a WebSocket."""
    return (
        f"GET /rtc/v1?access_token={token}&join_request={quote(request)} HTTP/1.1\r\nHost: incamera\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def fresh_room(name: str) -> str:
    room = f"{name}-{secrets.token_hex(4)}"
    mark_sensitive(room)
    return room


def uttered(words: str) -> str:
    """What somebody says in a call: no log may hold it. Telling words, that no log has for another reason."""
    mark_sensitive(words)
    return words


def fresh_key() -> str:
    return secrets.token_urlsafe(32)


async def join(room_name: str, identity: str, *, key: str | None = None) -> rtc.Room:
    """Joins a room; with `key`, end-to-end encrypted under that text."""
    return await enter(rtc.Room(), room_name, identity, key=key)


async def enter(
    room: rtc.Room, room_name: str, identity: str, *, key: str | None = None
) -> rtc.Room:
    """As `join`, for a room that has been given its handlers before."""
    options = rtc.RoomOptions(auto_subscribe=True)
    if key is not None:
        mark_sensitive(key)
        provider = rtc.KeyProviderOptions(shared_key=key.encode(), ratchet_window_size=0)
        options.encryption = rtc.E2EEOptions(key_provider_options=provider)
    await asyncio.wait_for(room.connect(SIGNAL, mint(room_name, identity), options), 15)
    return room


async def until(what: str, timeout_s: float, ask: Callable[[], object]) -> None:
    """Waits until `ask` answers something true; says what was waited for if it never does."""
    give_up_at = time.monotonic() + timeout_s
    while not ask():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(0.05)


async def tries(act: Callable[[], Awaitable[T]], is_good: Callable[[T], bool]) -> list[T]:
    """What came of an act that is done again until it is good, a few times at most. Whoever has to wait for a processor
    finds a figure worse than it is, and never better."""
    came = [await act()]
    while not is_good(came[-1]) and len(came) < TRIES:
        came.append(await act())
    return came


def best_of(came: list[float]) -> str:
    """Says with the best of some tries what the others were."""
    return "" if len(came) == 1 else f", the best of {', '.join(f'{it:.3g}' for it in came)}"


def never(condition: object, what: str) -> None:
    """Fails for good where `condition` holds."""
    if condition:
        raise AssertionError(f"{NEVER}: {what}")


def check(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)
    print(f"  ok: {what}", flush=True)


def control(condition: object, what: str) -> None:
    """The same measurement, where it must find something: without it a zero would mean nothing."""
    if not condition:
        raise AssertionError(f"positive control: {what}")
    print(f"  control: {what}", flush=True)


def measured(condition: object, what: str) -> None:
    """A figure that a promise is judged by; `cargo xtask prove` shows it."""
    if not condition:
        raise AssertionError(what)
    print(f"  measured: {what}", flush=True)


def expects(counter: str, least: int) -> None:
    """The server must have counted so many at its end."""
    print(f"  expects: {counter} {least}", flush=True)


def scenario(name: str, act: Callable[[], Awaitable[None]], *, timeout_s: float = 120) -> None:
    """Runs one scenario and ends the process with its verdict."""
    print(f"{name} against {SERVER}", flush=True)
    code = 0
    try:
        asyncio.run(asyncio.wait_for(act(), timeout_s))
        print(f"PASS {name}", flush=True)
    except Exception as error:
        code = 1
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        print(f"FAIL {name}: {error or type(error).__name__}", file=sys.stderr, flush=True)
    # The wheel's native threads may outlive the loop; the verdict is known.
    os._exit(code)
