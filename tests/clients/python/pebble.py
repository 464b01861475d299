"""Let's Encrypt's own test authority, pebble, and its DNS server, on ports of a scenario's.

It validates what it is asked for over the network, rejects every twentieth nonce as real authorities may, and knows the
names alone that it is told. Its root is a new one each time it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from authority import Authority


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens at, none of which the system gives to an outgoing connection meanwhile."""
    (first_given, _) = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, int(first_given))
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            if port not in ports:
                ports.append(port)
    return ports


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    give_up_at = time.monotonic() + 15
    while True:
        if process.poll() is not None:
            raise AssertionError(f"{process.args} ended at its start")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > give_up_at:
                raise AssertionError(f"{process.args} does not listen") from None
            time.sleep(0.05)


class Dns:
    """A DNS server that knows nothing but what it is told."""

    def __init__(self, folder: Path, *names: str) -> None:
        # UDP and TCP alike.
        self.port, management = free_ports(2)
        with (folder / "dns.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "pebble-challtestsrv", "-defaultIPv4", "", "-defaultIPv6", "",
                    "-dns01", f"127.0.0.1:{self.port}", "-management", f"127.0.0.1:{management}",
                    "-http01", "", "-https01", "", "-tlsalpn01", "",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        _until_it_listens(self.process, management)
        for name in names:
            told = json.dumps({"host": f"{name}.", "addresses": ["127.0.0.1"]}).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{management}/add-a", told, timeout=5)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Pebble:
    """An authority whose certificates live for `life_s`; it looks for servers at these two ports."""

    def __init__(
        self, folder: Path, dns: Dns, *, name: str, life_s: int, tls_port: int, http_port: int
    ) -> None:
        self.folder, self.dns, self.name, self.log = folder, dns, name, folder / f"{name}.log"
        self.port, self.management = free_ports(2)
        self.authority = Authority()
        # As it speaks TLS itself: judged by this root, and not by that of what it issues.
        self.authority.certify(folder, ["localhost", "127.0.0.1"], stem=name)
        self.ca_file = folder / f"{name}.root.pem"
        self.ca_file.write_text(self.authority.root())
        self.config = folder / f"{name}.json"
        self.config.write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(folder / f"{name}.pem"),
            "privateKey": str(folder / f"{name}.key"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "certificateValidityPeriod": life_s,
        }}))  # fmt: skip
        self.start()

    @property
    def directory_url(self) -> str:
        return f"https://localhost:{self.port}/dir"

    def start(self) -> None:
        # No reuse of an authorization: each order is validated.
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
        environment.pop("PEBBLE_VA_ALWAYS_VALID", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["pebble", "-config", str(self.config), "-dnsserver", f"127.0.0.1:{self.dns.port}"],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        _until_it_listens(self.process, self.port)
        self.root = self._ask("roots/0")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _ask(self, path: str) -> str:
        context = ssl.create_default_context(cadata=self.authority.root())
        url = f"https://localhost:{self.management}/{path}"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            return answer.read().decode()

    def orders(self) -> int:
        """How many certificates it has given since it was first started."""
        return self.log.read_text().count("Issued certificate serial")

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "directory_url": self.directory_url, "directory_ca_file": str(self.ca_file),
            "accept_terms": True, **more,
        }  # fmt: skip
