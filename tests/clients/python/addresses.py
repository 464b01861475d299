"""A server of several addresses, seen from another network: each is answered from where it was asked.

The clients live in a network namespace, behind a virtual cable whose near end has two IPv4 addresses, and one
of IPv6. Of its own the kernel would answer from the first, so where the second is asked, the first is nowhere for
the clients. Needs root and `ip`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

IS_CLIENT = "--client" in sys.argv
if not IS_CLIENT:
    os.environ["INCAMERA_KEY"] = "clinic7"
    os.environ["INCAMERA_SECRET"] = secrets.token_urlsafe(32)

from client import (  # noqa: E402
    API_SECRET, check, fresh_room, join, join_request, mark_sensitive, mint, never, scenario, until, uttered,
)  # fmt: skip
from own_server import HTTP_PORT, TCP_PORT, UDP_PORT, Server, refused  # noqa: E402

PID = os.getpid()
NAME, NEAR, FAR = f"incamera-{PID}", f"in{PID}n", f"in{PID}f"
#: Set aside for measurements (RFC 2544), and a network of nobody's (RFC 4193).
FIRST, SECOND = f"198.18.{PID % 256}.1", f"198.19.{PID % 256}.1"
SIXTH = f"fd12:3456:{PID % 0x10000:x}::1"
CLIENT, CLIENT_SIX = f"198.18.{PID % 256}.2", f"fd12:3456:{PID % 0x10000:x}::2"
#: An address of nobody's (RFC 5737).
NOWHERE = "198.51.100.9"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def make_network() -> None:
    ip(f"netns add {NAME}")
    ip(f"link add {NEAR} type veth peer name {FAR} netns {NAME}")
    for address in (f"{FIRST}/24", f"{SECOND}/24", f"{SIXTH}/64 nodad"):
        ip(f"address add {address} dev {NEAR}")
    ip(f"link set {NEAR} up")
    for address in (f"{CLIENT}/24", f"{CLIENT_SIX}/64 nodad"):
        ip(f"-n {NAME} address add {address} dev {FAR}")
    for device in (FAR, "lo"):
        ip(f"-n {NAME} link set {device} up")
    ip(f"-n {NAME} route add {SECOND}/32 dev {FAR}")


def remove_network() -> None:
    subprocess.run(["ip", "netns", "delete", NAME], stderr=subprocess.DEVNULL)


def settings(folder: Path, rtc: str, bind: str = f"['{FIRST}', '{SECOND}', '{SIXTH}']") -> str:
    path = folder / "server.yaml"
    path.write_text(
        f"port: {HTTP_PORT}\nbind_addresses: {bind}\nbehind_proxy: true\n"
        f"rtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}, {rtc}}}\nkeys: {{clinic7: {API_SECRET}}}\n"
    )
    return str(path)


async def call(address: str = FIRST) -> None:
    """Two clients in the namespace say something to each other over their data channels."""
    host = f"[{address}]" if ":" in address else address
    child = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", NAME, sys.executable, __file__, "--client",
        env={**os.environ, "INCAMERA_URL": f"http://{host}:{HTTP_PORT}"},
    )  # fmt: skip
    try:
        code = await asyncio.wait_for(child.wait(), 40)
    except asyncio.TimeoutError:
        child.kill()
        raise AssertionError("the call does not come about") from None
    check(code == 0, f"a call over what is advertised, signalled at {address}")


async def client() -> None:
    name = fresh_room("addresses")
    ada, ben = await join(name, "ada"), await join(name, "ben")
    said: list[bytes] = []
    ada.on("data_received", lambda packet: said.append(packet.data))
    await ben.local_participant.publish_data(uttered("here is ben"))
    await until("ada hears ben", 15, lambda: said == [b"here is ben"])
    await ada.disconnect()
    await ben.disconnect()


def listens(address: str, kind: socket.SocketKind, port: int) -> bool:
    """Whether somebody is there: a port that is taken cannot be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            return probe.connect_ex((address, port)) == 0
        try:
            probe.bind((address, port))
            return False
        except OSError:
            return True


class Router(asyncio.DatagramProtocol):
    """Forwards a port as a router does, with a port of its own for each client."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.clients: dict[tuple, asyncio.DatagramTransport] = {}
        self.waiting: dict[tuple, list[bytes]] = {}
        self.forwarded = 0
        self.outside: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.outside = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, source: tuple) -> None:
        self.forwarded += 1
        if inside := self.clients.get(source):
            inside.sendto(data)
        elif source in self.waiting:
            self.waiting[source].append(data)
        else:
            self.waiting[source] = [data]
            asyncio.create_task(self.admit(source))

    async def admit(self, source: tuple) -> None:
        router = self

        class Inside(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _: tuple) -> None:
                router.outside.sendto(data, source)

        loop = asyncio.get_running_loop()
        inside, _ = await loop.create_datagram_endpoint(Inside, remote_addr=self.target)
        self.clients[source] = inside
        for data in self.waiting.pop(source):
            inside.sendto(data)


async def behind_a_router(folder: Path) -> None:
    """The server is told the router's address and is bound to one of its own."""
    rules = f"ips: {{includes: [{SECOND}]}}, node_ip: {FIRST}"
    arguments = ["serve", "--config", settings(folder, rules)]
    with Server(*arguments, address=FIRST):
        loop = asyncio.get_running_loop()
        outside, router = await loop.create_datagram_endpoint(
            lambda: Router((SECOND, UDP_PORT)), local_addr=(FIRST, UDP_PORT)
        )
        await call()
        check(router.forwarded > 10, f"through the router, {router.forwarded} datagrams of it")
        outside.close()


def validated() -> int:
    """What the server says to a token of the scenario's key."""
    query = f"access_token={mint('any', 'ada')}&join_request={join_request()}"
    url = f"http://{FIRST}:{HTTP_PORT}/rtc/v1/validate?{query}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def lets_a_key_go_while_an_address_is_away(folder: Path) -> None:
    rules = f"ips: {{includes: [{SECOND}]}}"
    path = settings(folder, rules)
    with Server("serve", "--config", path, address=FIRST) as server:
        assert validated() == 200
        written = Path(path).read_text()
        Path(path).write_text(written.replace("{clinic7: ", "{clinic8: "))
        ip(f"address delete {SECOND}/24 dev {NEAR}")
        server.hang_up()
        await until("the files are read again", 5, lambda: server.says("certificate read again"))
        check(server.says("those of the start stay"), "that an address is away is said")
        status = validated()
        never(status == 200, "a key that has been removed is in force")
        check(status == 401, "and keeps no key in force that has been removed")
        ip(f"address add {SECOND}/24 dev {NEAR}")


async def main() -> None:
    mark_sensitive(API_SECRET)
    try:
        make_network()
        with tempfile.TemporaryDirectory() as name:
            await act(Path(name))
    finally:
        remove_network()


async def act(folder: Path) -> None:
    serve = ["serve", "--log", "info,edge=debug", "--config"]
    with Server(*serve, settings(folder, f"node_ip: {SECOND}"), address=FIRST):
        await call()
        ip(f"-n {NAME} route add unreachable {FIRST}/32")
        await call(SECOND)
        check(True, "replies leave from the second address when it was asked, the first is nowhere")
        ip(f"-n {NAME} route delete unreachable {FIRST}/32")
        await call(SIXTH)
        taken = [listens(address, socket.SOCK_STREAM, HTTP_PORT) for address in (FIRST, SECOND, SIXTH)]
        check(all(taken), "HTTP is served at all three addresses")
        check(not listens("127.0.0.1", socket.SOCK_STREAM, HTTP_PORT), "and at no other")
    with Server(*serve, settings(folder, f"node_ip: [{NOWHERE}, {SECOND}]"), address=FIRST):
        await call()
        check(True, "of two advertised addresses the one that is reached is enough")
    with Server(*serve, settings(folder, f"node_ip: '{SIXTH}'", "['']"), address=FIRST):
        await call(SIXTH)
        check(True, "IPv6 alone will do")
    rules = f"interfaces: {{includes: [{NEAR}]}}, ips: {{excludes: [{FIRST}]}}"
    with Server(*serve, settings(folder, rules), address=FIRST) as server:
        # A moment after it listens for HTTP; and whoever tries a port that is free takes it away meanwhile.
        await until("it has started", 5, lambda: server.says("edge::server: started"))
        bound = [listens(address, socket.SOCK_DGRAM, UDP_PORT) for address in (SECOND, SIXTH)]
        check(all(bound), "media is received at the interface that is chosen")
        others = [listens(address, socket.SOCK_DGRAM, UDP_PORT) for address in (FIRST, "127.0.0.1")]
        check(not any(others), "and nowhere else")
        await call()
    await behind_a_router(folder)
    await lets_a_key_go_while_an_address_is_away(folder)
    said = refused(*serve, settings(folder, "interfaces: {includes: [nowhere0]}"))
    check("line 4: " in said and FIRST in said, "an interface that is not there is named, with those that are")


scenario("addresses", client if IS_CLIENT else main, timeout_s=150)
