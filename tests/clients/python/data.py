"""Everything that data channels carry, in the clear and encrypted: reliable, lossy, addressed, RPC, text and byte
streams; the last three between a Python client and livekit-client in Chromium too, both ways."""

import asyncio
import hashlib
import os
from collections.abc import Coroutine

from client import check, fresh_key, fresh_room, join, never, scenario, until, uttered
from livekit import rtc
from sdk_person import SdkPerson

RELIABLE_COUNT = 200
LOSSY_COUNT = 50
# Larger than one message of a data channel, so it travels in chunks.
LARGE_BYTES = 300_000


class Mailbox:
    """What comes to a participant by stream: letters by topic, parcels by name."""

    def __init__(self, room: rtc.Room) -> None:
        self.letters: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self.parcels: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        room.register_text_stream_handler("letter", lambda *it: self._start(self._read_letter(*it)))
        room.register_byte_stream_handler("parcel", lambda *it: self._start(self._read_parcel(*it)))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _read_letter(self, reader: rtc.TextStreamReader, sender: str) -> None:
        self.letters.put_nowait((sender, reader.info.topic, await reader.read_all()))

    async def _read_parcel(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        content = b"".join([chunk async for chunk in reader])
        self.parcels.put_nowait((sender, reader.info.name, content))


async def act() -> None:
    for key in (None, fresh_key()):
        print(f"  {'in the clear' if key is None else 'under a channel key'}:", flush=True)
        await all_kinds(key)
    await with_a_browser()


async def with_a_browser() -> None:
    """Calls and streams between different clients under one channel key."""
    print("  with livekit-client in Chromium, under a channel key:", flush=True)
    name, key = fresh_room("data"), fresh_key()
    ada = await join(name, "ada", key=key)
    ben = await SdkPerson.join(name, "ben", key)
    await until("ada sees ben", 10, lambda: "ben" in ada.remote_participants)
    await calls_with_a_browser(ada, ben)
    await streams_with_a_browser(ada, ben)
    await ben.leave()
    await ada.disconnect()


async def calls_with_a_browser(ada: rtc.Room, ben: SdkPerson) -> None:
    async def greet(call: rtc.RpcInvocationData) -> str:
        return f"{call.caller_identity} said {call.payload}"

    async def refuse(_call: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(code=101, message="no", data="really")

    me = ada.local_participant
    me.register_rpc_method("greet", greet)
    me.register_rpc_method("refuse", refuse)
    for payload in ("hello", "x" * 14_000):
        answer = await me.perform_rpc(destination_identity="ben", method="greet", payload=payload)
        check(answer == f"ada said {payload}", f"Chromium answers a call of {len(payload)} letters")
        ben.order("call", to="ada", method="greet", payload=payload)
        told = await ben.hears("answer")
        check(told.get("answer") == f"ben said {payload}", "and Python one of Chromium's")
    try:
        await me.perform_rpc(destination_identity="ben", method="refuse", payload="")
    except rtc.RpcError as error:
        check(error.code == 101, "Chromium's refusal has its code")
    else:
        raise AssertionError("calling `refuse` should fail")
    ben.order("call", to="ada", method="refuse", payload="")
    check((await ben.hears("answer")).get("code") == 101, "and so has Python's")


async def streams_with_a_browser(ada: rtc.Room, ben: SdkPerson) -> None:
    mailbox = Mailbox(ada)
    letter = "Grüße aus dem Raum. " * 5_000
    await ada.local_participant.send_text(letter, topic="letter")
    told = await ben.hears("text")
    check((told["from"], told["text"]) == ("ada", letter), "a text stream arrives in Chromium")
    ben.order("text", text=letter)
    heard = await asyncio.wait_for(mailbox.letters.get(), 10)
    check(heard == ("ben", "letter", letter), "and one of Chromium's in Python")

    parcel = os.urandom(LARGE_BYTES)
    out = await ada.local_participant.stream_bytes("a.bin", total_size=LARGE_BYTES, topic="parcel")
    await out.write(parcel)
    await out.aclose()
    told = await ben.hears("bytes")
    check(
        (told["from"], told["name"], told["digest"])
        == ("ada", "a.bin", hashlib.sha256(parcel).hexdigest()),
        f"a byte stream of {told['length']} bytes arrives in Chromium",
    )
    ben.order("bytes", name="b.bin", length=LARGE_BYTES)
    sent = await ben.hears("sent")
    sender, name, received = await asyncio.wait_for(mailbox.parcels.get(), 20)
    check(
        (sender, name, hashlib.sha256(received).hexdigest()) == ("ben", "b.bin", sent["digest"]),
        f"and one of Chromium's of {len(received)} bytes in Python",
    )


async def all_kinds(key: str | None) -> None:
    name = fresh_room("data")
    ada, ben, cy = [await join(name, person, key=key) for person in ("ada", "ben", "cy")]
    await until(
        "all see all", 10, lambda: all(len(r.remote_participants) == 2 for r in (ada, ben, cy))
    )
    await packets(ada, ben, cy)
    await calls(ada, ben)
    await streams(ada, ben)
    if key is not None:
        await overheard(name, ada, ben)
    for room in (ada, ben, cy):
        await room.disconnect()


async def overheard(name: str, ada: rtc.Room, ben: rtc.Room) -> None:
    """Without the key nothing of it can be read."""
    eve = await join(name, "eve", key=fresh_key())
    heard: dict[str, list[rtc.DataPacket]] = {"ben": [], "eve": []}
    ben.on("data_received", heard["ben"].append)
    eve.on("data_received", heard["eve"].append)
    await until("eve is there", 10, lambda: len(ada.remote_participants) == 3)
    await ada.local_participant.publish_data(uttered("not for eve"))
    await until("ben reads it", 5, lambda: heard["ben"])
    await asyncio.sleep(0.5)
    never(heard["eve"], "another key has opened what was written")
    check(not heard["eve"], "another key reads nothing of it")
    await eve.disconnect()


async def packets(ada: rtc.Room, ben: rtc.Room, cy: rtc.Room) -> None:
    heard: dict[str, list[rtc.DataPacket]] = {"ben": [], "cy": []}
    ben.on("data_received", heard["ben"].append)
    cy.on("data_received", heard["cy"].append)

    for number in range(RELIABLE_COUNT):
        await ada.local_participant.publish_data(f"{number}", reliable=True, topic="count")
    await until("ben has all reliable packets", 10, lambda: len(heard["ben"]) >= RELIABLE_COUNT)
    numbers = [int(packet.data) for packet in heard["ben"]]
    check(
        numbers == list(range(RELIABLE_COUNT)),
        f"{RELIABLE_COUNT} reliable packets arrive once each, in order",
    )
    packet = heard["ben"][0]
    check(packet.participant and packet.participant.identity == "ada", "a packet names its sender")
    check(packet.topic == "count", "a packet keeps its topic")

    heard["ben"].clear()
    for number in range(LOSSY_COUNT):
        await ada.local_participant.publish_data(f"{number}", reliable=False)
        await asyncio.sleep(0.005)
    # Nothing is lost on a wire within one machine, nor overtaken.
    await until("ben has the lossy packets", 5, lambda: len(heard["ben"]) >= LOSSY_COUNT)
    lossy = all(packet.kind == rtc.DataPacketKind.KIND_LOSSY for packet in heard["ben"])
    numbers = [int(packet.data) for packet in heard["ben"]]
    check(
        lossy and numbers == list(range(LOSSY_COUNT)), f"{LOSSY_COUNT} lossy packets arrive, as lossy"
    )

    await asyncio.sleep(0.3)
    for packets_heard in heard.values():
        packets_heard.clear()
    await ada.local_participant.publish_data(uttered("psst"), destination_identities=["cy"])
    await until("cy is addressed", 5, lambda: heard["cy"])
    await asyncio.sleep(0.3)
    check(not heard["ben"], "ben does not hear what is meant for cy")


async def calls(ada: rtc.Room, ben: rtc.Room) -> None:
    async def greet(call: rtc.RpcInvocationData) -> str:
        return f"{call.caller_identity} said {call.payload}"

    async def refuse(_call: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(code=101, message="no", data="really")

    ben.local_participant.register_rpc_method("greet", greet)
    ben.local_participant.register_rpc_method("refuse", refuse)
    me = ada.local_participant
    answer = await me.perform_rpc(destination_identity="ben", method="greet", payload="hello")
    check(answer == "ada said hello", "a remote procedure answers")
    for method, code in (("refuse", 101), ("nothing", rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD)):
        try:
            await me.perform_rpc(destination_identity="ben", method=method, payload="")
        except rtc.RpcError as error:
            check(error.code == code, f"calling `{method}` fails with code {code}")
        else:
            raise AssertionError(f"calling `{method}` should fail")
    long = "x" * 14_000
    answer = await me.perform_rpc(destination_identity="ben", method="greet", payload=long)
    check(answer.endswith(long), "a long payload passes")


async def streams(ada: rtc.Room, ben: rtc.Room) -> None:
    mailbox = Mailbox(ben)
    letter = "Grüße aus dem Raum. " * 5_000
    await ada.local_participant.send_text(letter, topic="letter")
    sender, topic, text = await asyncio.wait_for(mailbox.letters.get(), 10)
    check(
        (sender, topic) == ("ada", "letter") and text == letter,
        f"a text stream of {len(letter)} letters arrives",
    )

    writer = await ada.local_participant.stream_text(topic="letter")
    for word in ("in ", "three ", "parts"):
        await writer.write(word)
    await writer.aclose()
    check(
        (await asyncio.wait_for(mailbox.letters.get(), 10))[2] == "in three parts", "a text stream may grow"
    )

    parcel = os.urandom(LARGE_BYTES)
    out = await ada.local_participant.stream_bytes(
        "parcel.bin", total_size=LARGE_BYTES, topic="parcel"
    )
    await out.write(parcel)
    await out.aclose()
    _, name, received = await asyncio.wait_for(mailbox.parcels.get(), 20)
    check(
        name == "parcel.bin" and received == parcel,
        f"a byte stream of {LARGE_BYTES} bytes arrives whole",
    )


scenario("data", act)
