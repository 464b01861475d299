"""Media over TCP: a call where no UDP gets through, and UDP where it does.

All of it happens in a network namespace of its own, in which UDP to the server's media port is sent into a cable
whose far end nobody reads. Needs root, `ip`, `ss`, and what `e2ee` needs.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from client import API_KEY, API_SECRET, check, enter, fresh_key, fresh_room, scenario, until
from livekit import rtc
from media import AUDIBLE, Watcher, publish_audio, publish_video
from own_server import HTTP_PORT, TCP_PORT, UDP_PORT, Server
from page import Page

NAME = f"incamera-{os.getpid()}"
#: Set aside for measurements (RFC 2544): a network that browsers find.
HERE = "198.18.77.2"
#: 5 s of a call; checks of connections that are not used stay far below.
MEDIA_BYTES_MIN, IDLE_BYTES_MAX = 100_000, 30_000


def ip(words: str, must: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=must)


def make_network() -> None:
    ip(f"netns add {NAME}")
    ip(f"-n {NAME} link set lo up")
    ip(f"-n {NAME} link add near type veth peer name dead")
    ip(f"-n {NAME} address add {HERE}/24 dev near")
    for device in ("near", "dead"):
        ip(f"-n {NAME} link set {device} up")
    ip(f"-n {NAME} route add default dev near")
    # The rule of the kernel's own addresses comes first, unless it is told otherwise.
    ip(f"-n {NAME} rule add pref 200 lookup local")
    ip(f"-n {NAME} rule del pref 0")
    ip(f"-n {NAME} route add 127.0.0.1 dev near table 99")
    ip(f"-n {NAME} neigh add 127.0.0.1 lladdr 02:00:00:00:00:01 dev near nud permanent")


def block_udp(is_blocked: bool) -> None:
    """From inside the namespace."""
    ip(f"rule {'add' if is_blocked else 'del'} pref 100 ipproto udp dport {UDP_PORT} lookup 99")


def udp_is_blocked() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            there.bind(("127.0.0.1", UDP_PORT))
            there.settimeout(0.3)
            here.bind((HERE, 0))
            here.sendto(b"x", ("127.0.0.1", UDP_PORT))
            try:
                return there.recv(1) == b""
            except TimeoutError:
                return True


def sent_over_tcp() -> int:
    """Bytes that the server has sent over the media connections that are open now."""
    words = ["ss", "-tinH", "state", "established", f"sport = :{TCP_PORT}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return sum(int(number) for number in re.findall(r"bytes_sent:(\d+)", said))


async def call(what: str) -> int:
    """Chromium and the wheel see and hear each other, encrypted; what the server sent over TCP meanwhile."""
    name, key = fresh_room("tcp"), fresh_key()
    wheel = rtc.Room()
    watcher = Watcher(wheel)
    await enter(wheel, name, "ada", key=key)
    tasks = [await publish_audio(wheel, 1), await publish_video(wheel, 4)]
    page = await Page.open(name, "ben", key)
    try:
        await until(
            "the page decodes the wheel's video",
            40,
            lambda: page.receives("camera").get("framesDecoded", 0) > 50,
        )
        await until(
            "the page hears the wheel",
            10,
            lambda: page.receives("microphone").get("audioEnergy", 0) > 0.001,
        )
        await until(
            "the wheel decodes the page's video",
            20,
            lambda: any(watcher.frames.get(name, 0) > 50 for name in watcher.luma),
        )
        await until(
            "the wheel hears the page", 10, lambda: any(v > AUDIBLE for v in watcher.loudness.values())
        )
        check(page.facts["lock"] == "sealed", f"{what}, the page's lock is closed")
        read: list[bytes] = []
        wheel.on("data_received", lambda packet: read.append(packet.data))
        page.say("written over TCP")
        await until("the wheel reads what the page writes", 5, lambda: any(b"written over TCP" in it for it in read))
        await asyncio.sleep(5)
        sent = sent_over_tcp()
    finally:
        for task in tasks:
            task.cancel()
        await page.close()
        await wheel.disconnect()
    return sent


def garbage_is_cut() -> None:
    for what, first in (("HTTP", b"GET / HTTP/1.1\r\n\r\n"), ("noise", b"\0\x14" + b"\xff" * 20)):
        with socket.create_connection(("127.0.0.1", TCP_PORT), timeout=5) as connection:
            connection.sendall(first)
            try:
                said = connection.recv(64)
            except ConnectionResetError:
                said = b""
        check(said == b"", f"who begins with {what} on the media port is cut without a word")


async def inside() -> None:
    ports = ["--http-port", str(HTTP_PORT), "--udp-port", str(UDP_PORT), "--tcp-port", str(TCP_PORT)]
    dev = ["dev", "--bind", "127.0.0.1", "--log", "info,edge=debug", *ports]
    check(not udp_is_blocked(), "UDP gets through at first")
    block_udp(True)
    check(udp_is_blocked(), "and then it does not")
    with Server(*dev) as server:
        sent = await call("with UDP blocked")
        check(sent > MEDIA_BYTES_MIN, f"the server has sent {sent} bytes of it over TCP")
        garbage_is_cut()
    check(server.says("tcp_foreign"), "and was counted")

    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "server.yaml"
        settings.write_text(
            f"port: {HTTP_PORT}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: 0}}\n"
            f"keys: {{{API_KEY}x: {API_SECRET * 6}}}\n"
        )
        with Server("serve", "--config", str(settings)):
            with socket.socket() as probe:
                nobody = probe.connect_ex(("127.0.0.1", TCP_PORT)) != 0
            check(nobody, "with `tcp_port: 0` nobody listens there")

    block_udp(False)
    with Server(*dev):
        sent = await call("with UDP open")
        check(sent < IDLE_BYTES_MAX, f"the server has sent {sent} bytes over TCP: UDP is preferred")


async def main() -> None:
    try:
        make_network()
        child = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", NAME, sys.executable, __file__, "--inside"
        )
        check(await child.wait() == 0, "all of it in a network of its own")
    finally:
        ip(f"netns delete {NAME}", must=False)


scenario("tcp", inside if "--inside" in sys.argv else main, timeout_s=210)
