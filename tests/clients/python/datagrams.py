"""Datagrams as others see and make them: a tap on an interface, and a forger of sender addresses. Needs root.

Source: packet(7), raw(7), RFC 791, RFC 768, RFC 7983 (how STUN, DTLS and media are told apart).
"""

from __future__ import annotations

import asyncio
import ctypes
import hmac
import secrets
import socket
import struct
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

Address = tuple[str, int]

_ETH_P_ALL, _ETH_P_IP, _OUTGOING = 0x0003, 0x0800, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SOL_PACKET, _PACKET_STATISTICS = 26, 33, 35, 263, 6
_BUFFER_BYTES = 64 << 20


def kind_of(payload: bytes) -> str:
    """`stun`, `dtls`, `rtp`, `rtcp` or `other`, by the first bytes."""
    if not payload:
        return "other"
    first = payload[0]
    if first < 4:
        return "stun"
    if 20 <= first <= 63:
        return "dtls"
    if 128 <= first <= 191 and len(payload) > 1:
        return "rtcp" if 192 <= payload[1] <= 223 else "rtp"
    return "other"


@dataclass(frozen=True)
class Datagram:
    """One UDP datagram, or several that the kernel carries as one; or a piece of a TCP stream."""

    #: When it passed (monotonic), however late it is looked at.
    at: float
    protocol: str
    source: Address
    target: Address
    payload: bytes

    @property
    def kind(self) -> str:
        return kind_of(self.payload)


def cable() -> str:
    """The one interface of a network apart that leads out of it."""
    return next(name for _, name in socket.if_nameindex() if name != "lo")


def datagrams_in() -> int:
    """UDP datagrams that have reached this network namespace, whether anybody wanted them or not (RFC 4113)."""
    with open("/proc/net/snmp") as table:
        names, numbers = [line.split()[1:] for line in table if line.startswith("Udp: ")]
    counted = dict(zip(names, map(int, numbers)))
    return counted["InDatagrams"] + counted["NoPorts"] + counted["InErrors"]


def unread(pid: int, port: int) -> int:
    """Datagrams that reached a port of this process's, and found no room since it had not read those before. Source:
    proc_net_udp, whose last column counts them."""
    dropped = 0
    for table in ("udp", "udp6"):
        with open(f"/proc/{pid}/net/{table}") as rows:
            sockets = [row.split() for row in rows][1:]
        dropped += sum(int(it[-1]) for it in sockets if int(it[1].rpartition(":")[2], 16) == port)
    return dropped


def _filter(ports: set[int]) -> bytes:
    """A program that lets packets of IPv4 pass from or to these ports. Source: Linux, networking/filter.rst."""
    load_header_length, load_half, jump_if_equal, give = 0xB1, 0x48, 0x15, 0x06
    program = [(load_header_length, 0, 0, 0)]
    tests = len(ports)
    for at in (0, 2):
        program.append((load_half, 0, 0, at))
        for number, port in enumerate(sorted(ports)):
            # To the last instruction, which comes after those that are left.
            left = tests - number - 1 + (tests + 1 if at == 0 else 0)
            program.append((jump_if_equal, left + 1, 0, port))
    program += [(give, 0, 0, 0), (give, 0, 0, 0xFFFFFFFF)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


class Tap:
    """Sees what passes an interface from or to some ports, each packet once, and keeps it."""

    def __init__(
        self, ports: set[int], interface: str = "lo", heed: Callable[[Datagram], None] | None = None
    ) -> None:
        self.seen: list[Datagram] = []
        self._ports = ports
        self._heed = heed
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._epoch = time.time() - time.monotonic()
        self._socket.settimeout(0.1)
        # What others send meanwhile would fill the buffer.
        program = _filter(ports)
        kept = ctypes.create_string_buffer(program, len(program))
        attached = struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
        # Loopback shows each packet twice: as it leaves and as it comes. Other interfaces have two directions.
        self._twice = interface == "lo"
        self._socket.bind((interface, _ETH_P_ALL))
        #: All that passed before this moment has been looked at.
        self._looked_to = 0.0
        self._over_at: float | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while self._over_at is None or self._looked_to < self._over_at:
            asked = time.monotonic()
            try:
                packet, [(_, _, stamp)], _, address = self._socket.recvmsg(1 << 17, socket.CMSG_SPACE(16))
            except TimeoutError:
                self._looked_to = asked
                continue
            seconds, nanoseconds = struct.unpack("qq", stamp)
            self._looked_to = at = seconds + nanoseconds / 1e9 - self._epoch
            if address[1] != _ETH_P_IP or (self._twice and address[2] == _OUTGOING):
                continue
            if (datagram := self._parse(packet, at)) is not None:
                self.seen.append(datagram)
                if self._heed is not None:
                    self._heed(datagram)

    def _parse(self, packet: bytes, at: float) -> Datagram | None:
        if len(packet) < 28 or packet[9] not in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            return None
        head = (packet[0] & 15) * 4
        source_port, target_port = struct.unpack_from("!HH", packet, head)
        if not self._ports & {source_port, target_port}:
            return None
        is_udp = packet[9] == socket.IPPROTO_UDP
        start = head + (8 if is_udp else (packet[head + 12] >> 4) * 4)
        return Datagram(
            at,
            "udp" if is_udp else "tcp",
            (socket.inet_ntoa(packet[12:16]), source_port),
            (socket.inet_ntoa(packet[16:20]), target_port),
            packet[start:],
        )

    def lost(self) -> int:
        """Packets since this was asked last that the kernel had no room to show."""
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return struct.unpack("II", counted)[1]

    async def caught_up(self) -> None:
        """Waits until all that has passed by now is in `seen`."""
        now = time.monotonic()
        while self._looked_to < now and self._thread.is_alive():
            await asyncio.sleep(0.02)

    def stop(self) -> list[Datagram]:
        """All that has passed by now."""
        self._over_at = time.monotonic()
        self._thread.join()
        return self.seen


def streams(seen: list[Datagram]) -> bytes:
    """All payloads, those of one direction of one connection behind each other, so that nothing is cut in two."""
    flows: dict[tuple[str, Address, Address], list[bytes]] = defaultdict(list)
    for datagram in seen:
        flows[datagram.protocol, datagram.source, datagram.target].append(datagram.payload)
    return b"\n".join(b"".join(pieces) for pieces in flows.values())


class Forger:
    """Sends datagrams under any sender's address."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.sent = 0
        self.bytes = 0

    def send(self, source: Address, target: Address, payload: bytes) -> None:
        # The kernel fills in length, identification and checksum of the IP header; UDP may go without one.
        total = 28 + len(payload)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0, 64, socket.IPPROTO_UDP, 0)
        ip += socket.inet_aton(source[0]) + socket.inet_aton(target[0])
        udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0)
        self._socket.sendto(ip + udp + payload, (target[0], 0))
        self.sent += 1
        self.bytes += len(payload)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def knock(username: bytes, password: bytes | None) -> bytes:
    """A binding request of ICE (RFC 8445 §7.2.2), signed with a password or with nonsense."""

    transaction = secrets.token_bytes(12)

    def head(length: int) -> bytes:
        return struct.pack("!HHI", 1, length, 0x2112A442) + transaction

    body = _attribute(0x0006, username) + _attribute(0x0024, b"\x6e\xff\xff\xff") + _attribute(0x802A, b"\1" * 8)
    body += _attribute(0x0025, b"")
    signed = head(len(body) + 24) + body
    tag = hmac.new(password, signed, "sha1").digest() if password is not None else b"\x5a" * 20
    body += _attribute(0x0008, tag)
    checksum = zlib.crc32(head(len(body) + 8) + body) ^ 0x5354554E
    return head(len(body) + 8) + body + _attribute(0x8028, struct.pack("!I", checksum))
