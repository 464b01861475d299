"""What an operator sees of a node: its figures as Prometheus reads them, its health, its log, `incamera room`.

Beside what `client` and `own_server` read: nothing. It starts a server of its own, whose port of metrics it knows and
whose log is JSON, since both are the operator's to choose; the log is searched like any other's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
from client import API_KEY, check, fresh_room, mark_sensitive, mint, never, scenario, until
from livekit import rtc
from media import publish_audio, publish_video
from own_server import BINARY, HTTP_PORT, LOG, TCP_PORT, UDP_PORT
from prometheus_client.parser import text_string_to_metric_families
from stranger import STRANGER_BYTES_MAX, over_tcp, request

PASSWORD = "a password that no log may hold"
METADATA = "metadata that no log may hold"
PACKETS = 20
READY_WITHIN_S = 3.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """`incamera serve` with metrics behind a password and a log in JSON."""

    def __init__(self, folder: Path) -> None:
        self.metrics = free_port()
        self.url = f"http://127.0.0.1:{HTTP_PORT}"
        self.secret = "x" * 43
        settings = folder / "settings.yaml"
        settings.write_text(
            f"port: {HTTP_PORT}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}}}\n"
            f"keys: {{{API_KEY}: {self.secret}}}\n"
            f"prometheus: {{port: {self.metrics}, username: monitor, password: {PASSWORD}}}\n"
        )
        settings.chmod(0o600)
        words = ["serve", "--config", str(settings), "--log", "info,edge=debug", "--log-format", "json"]
        self.process = subprocess.Popen(
            [BINARY, *words], stdout=subprocess.DEVNULL, stderr=LOG.open("ab")
        )

    async def ask(self, path: str) -> int:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"{self.url}{path}") as response:
                    return response.status
            except aiohttp.ClientError:
                return 0

    async def ready(self) -> None:
        for _ in range(200):
            if await self.ask("/readyz") == 200:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the node is not ready within 10 s")

    async def scrape(self, password: str = PASSWORD) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http:
            login = base64.b64encode(f"monitor:{password}".encode()).decode()
            url = f"http://127.0.0.1:{self.metrics}/metrics"
            headers = {"Authorization": f"Basic {login}"}
            async with http.get(url, headers=headers) as response:
                return response.status, await response.text()

    async def figures(self) -> dict[tuple[str, str], float]:
        """Every sample by its name and what tells it from others of that name."""
        _, text = await self.scrape()
        found = {}
        for family in text_string_to_metric_families(text):
            check_kind = family.type in ("counter", "gauge")
            assert check_kind and family.documentation, f"{family.name} says what it is"
            for sample in family.samples:
                labels = dict(sample.labels)
                assert labels.pop("node_id").startswith("ND_"), sample
                assert labels.pop("node_type") == "SERVER", sample
                found[sample.name, "/".join(labels.values())] = sample.value
        return found

    def room(self, *words: str) -> str:
        """`incamera room`, as an operator types it."""
        printed = subprocess.run(
            [BINARY, "room", *words, "--url", self.url],
            env={**os.environ, "INCAMERA_API_KEY": API_KEY, "INCAMERA_API_SECRET": self.secret},
            capture_output=True,
            text=True,
        )
        assert printed.returncode == 0, printed.stderr
        return printed.stdout

    async def join(self, room: str, identity: str) -> rtc.Room:
        joined = rtc.Room()
        token = mint(room, identity, secret=self.secret)
        await asyncio.wait_for(joined.connect(self.url.replace("http", "ws"), token), 15)
        return joined

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


async def figures(node: Node) -> None:
    status, _ = await node.scrape("guessed")
    never(status == 200, "whoever guesses the password has metrics")
    check(status == 401, "metrics are for those who know the password")
    for what, sent in {"a path": request("/metrics"), "a long one": request("/" + "a" * 40_000), "noise": bytes(range(128, 256))}.items():
        answer = await over_tcp("127.0.0.1", node.metrics, sent)
        check(len(answer) <= STRANGER_BYTES_MAX, f"others are answered with little: {what}, {len(answer)} bytes")
    before = await node.figures()
    check(before["livekit_room_total", ""] == 0, "Prometheus' parser reads them: no room yet")
    check(before["livekit_participant_total", ""] == 0, "and nobody there")
    name = fresh_room("observed")
    ada, ben = await node.join(name, "ada"), await node.join(name, "ben")
    tasks = [await publish_audio(ada, 1), await publish_video(ada, 1)]
    await until("ben has both tracks", 15, lambda: len(both(ben)) == 2)
    ways = [("livekit_packet_total", f"{way}/initial") for way in ("incoming", "outgoing")]
    expected = {
        ("livekit_room_total", ""): 1,
        ("livekit_participant_total", ""): 2,
        ("livekit_track_published_total", "AUDIO"): 1,
        ("livekit_track_published_total", "VIDEO"): 1,
        ("livekit_track_subscribed_total", "AUDIO"): 1,
        ("livekit_track_subscribed_total", "VIDEO"): 1,
        ("livekit_participant_join_total", "signal_connected"): 2,
        ("livekit_participant_join_total", "rtc_connected"): 2,
        ("incamera_participants_joined_total", ""): 2,
        ("incamera_silent", ""): 0,
    }
    for _ in range(50):
        after = await node.figures()
        if all(after.get(way, 0) > PACKETS for way in ways) and expected.items() <= after.items():
            break
        await asyncio.sleep(0.2)
    for sample, value in expected.items():
        check(after[sample] == value, f"{' '.join(sample)}: {after[sample]:g}")
    for sample, way in ways:
        packets = after[sample, way]
        size = after["livekit_packet_bytes_total", way] / packets
        check(packets > PACKETS and 20 < size < 1500, f"{packets:g} packets {way}, {size:.0f} bytes each")
    check(after["process_resident_memory_bytes", ""] > 1e6, "the process's memory is there")
    missing = before.keys() - after.keys()
    check(not missing, f"no figure goes away: {missing}")
    fallen = [name for name in before if name[0].endswith("_total") and name[0].startswith("incamera")
              and after[name] < before[name]]
    check(not fallen, f"no counter falls: {fallen}")

    node.room("list")
    listed = "RoomService/ListRooms/success//200"
    counted = (await node.figures())["livekit_node_twirp_request_status_total", listed]
    check(counted == 1, "a request to the server API is counted by its method")
    for task in tasks:
        task.cancel()
    await by_command(node, name, ada, ben)


def both(room: rtc.Room) -> list[object]:
    tracks = [t for p in room.remote_participants.values() for t in p.track_publications.values()]
    return [track for track in tracks if track.subscribed and track.track]


async def by_command(node: Node, name: str, ada: rtc.Room, ben: rtc.Room) -> None:
    """An operator moderates a call at the command line."""
    heard: list[rtc.DataPacket] = []
    left: list[object] = []
    ben.on("data_received", heard.append)
    ben.on("disconnected", left.append)
    check(name in node.room("list"), "incamera room list")
    people = node.room("participants", name).splitlines()
    check([line.split()[0] for line in people] == ["IDENTITY", "ada", "ben"], "… participants")
    shown = node.room("show", name, "ada")
    track = next(line.split() for line in shown.splitlines() if "microphone" in line)[1]
    node.room("mute", name, "ada", track)
    muted = json.loads(node.room("show", name, "ada", "--json"))["tracks"]
    check(any(one["sid"] == track and one["muted"] for one in muted), "… mute, show")
    node.room("update", name, "ada", "--metadata", METADATA, "--can-publish=false")
    await until("… update", 10, lambda: ben.remote_participants["ada"].metadata == METADATA)
    await until("her tracks go", 10, lambda: not ada.local_participant.permissions.can_publish)
    check(ada.local_participant.permissions.can_subscribe, "what was not named stays")
    node.room("metadata", name, "the agenda")
    await until("… metadata", 10, lambda: ben.metadata == "the agenda")
    node.room("send", name, "two minutes left", "--to", "ben", "--topic", "notice")
    await until("… send", 10, lambda: [packet.data for packet in heard] == [b"two minutes left"])
    node.room("remove", name, "ben")
    await until("… remove", 10, lambda: left)
    node.room("delete", name)
    await until("… delete", 10, lambda: not ada.isconnected())
    check(name not in node.room("list"), "and nothing is left of it")
    made = node.room("create", name, "--max-participants", "2", "--empty-timeout", "1m").strip()
    check(made.startswith("RM_") and made in node.room("list"), "… create")
    node.room("delete", name)


async def health(node: Node) -> None:
    """A stopped process answers nothing; woken up, it is ready again soon."""
    for path in ("/livez", "/readyz", "/"):
        check(await node.ask(path) == 200, f"{path} answers 200")
    os.kill(node.process.pid, signal.SIGSTOP)
    await asyncio.sleep(6)
    os.kill(node.process.pid, signal.SIGCONT)
    check(await node.ask("/livez") == 200, "after a stop of 6 s the process lives")
    woken = time.monotonic()
    await node.ready()
    took = time.monotonic() - woken
    check(took <= READY_WITHIN_S and await node.ask("/") == 200, f"and is ready again after {took:.1f} s")


def log(node: Node) -> None:
    lines = LOG.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    check(len(entries) > 20, f"each of {len(entries)} lines of the log is JSON")
    for entry in entries:
        assert {"timestamp", "level", "target", "fields"} <= entry.keys(), entry
    messages = [entry["fields"].get("message") for entry in entries]
    joined = [e["fields"] for e in entries if e["fields"].get("message") == "participant joined"]
    check(len(joined) == 2 and all("peer" in fields for fields in joined), "joins carry ids")
    asked = [e["fields"] for e in entries if "method" in e["fields"]]
    check(any(fields["method"] == "RemoveParticipant" for fields in asked), "and so do requests")
    check(not any("token" in fields for fields in asked), "with no digest of what their tokens say")
    totals = [e["fields"]["total"] for e in entries if e["fields"].get("message") == "counted"]
    check(totals and all(type(total) is int for total in totals), "numbers are no text")
    check("stopped" in messages, "the log ends in order")
    text = "\n".join(lines)
    check("eyJ" not in text and "007eJ" not in text, "no token is in it")
    for value in ["ada", "ben", "agenda", METADATA, PASSWORD, node.secret]:
        # Three letters are in the digits of many a pseudonym.
        word = rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])"
        check(not re.search(word, text), f"{value[:12]}… is not in it")


async def act() -> None:
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder))
        try:
            for value in ("agenda", METADATA, PASSWORD, node.secret):
                mark_sensitive(value)
            await node.ready()
            await figures(node)
            await health(node)
            await asyncio.to_thread(node.stop)
            log(node)
        finally:
            node.process.kill()


scenario("observed", act)
