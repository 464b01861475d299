"""Where a process sends from, and how that lies in another's memory. Source: proc(5), ip(7), ipv6(7)."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

#: By which protocol, whence, and from which port.
Address = tuple[str, IPv4Address | IPv6Address, int]


def _ip(digits: str) -> IPv4Address | IPv6Address:
    """The kernel prints the words of an address as numbers."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def own_addresses(pid: int) -> list[Address]:
    """Those that a process's sockets are bound to, but for any and none."""
    held = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{descriptor}")):
                held.add(found[1])
    all_of_them: list[Address] = []
    for protocol in ("udp", "udp6", "tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{protocol}") as table:
            for row in list(table)[1:]:
                fields = row.split()
                digits, port = fields[1].split(":")
                ip = _ip(digits)
                if fields[9] in held and not ip.is_unspecified:
                    all_of_them.append((protocol.rstrip("6"), ip, int(port, 16)))
    return all_of_them


def forms(address: Address) -> dict[str, bytes]:
    """As the kernel has it, as a program in Rust has it, and as text."""
    protocol, ip, port = address
    if isinstance(ip, IPv4Address):
        kernel = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + ip.packed
        return {
            f"{protocol}_{port}_kernel": kernel,
            f"{protocol}_{port}_rust": ip.packed + struct.pack("=H", port),
            f"{protocol}_{port}_text": f"{ip}:{port}".encode(),
        }
    head = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0)
    return {f"{protocol}6_{port}_kernel": head + ip.packed, f"{protocol}6_{port}_text": f"[{ip}]:{port}".encode()}
