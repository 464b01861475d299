"""An authority of a scenario's own that gives whatever is asked for, and is odd where it is told to be.

It speaks as much of ACME as a client needs that keeps to it, looks at no name, and verifies nothing.
"""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from authority import Authority

ERRORS = "urn:ietf:params:acme:error:"
#: From when and until when a certificate holds, reckoned from now: as it should be, and as it should not.
GOOD = (datetime.timedelta(hours=-1), datetime.timedelta(days=90))
EXPIRED = (datetime.timedelta(days=-90), datetime.timedelta(seconds=-5))
EARLY = (datetime.timedelta(days=30), datetime.timedelta(days=90))
OVERDUE = (datetime.timedelta(days=-89), datetime.timedelta(days=1))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class OddAuthority:
    """In a `with` it answers; the certificate with which it speaks TLS is `stem`'s."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.issuer = Authority()
        self.holds = GOOD
        #: Answers everything so, if there is one: how long it wants to be left alone.
        self.weary: str | None = None
        #: Refuses a contact with these words, of which the one argument is the address.
        self.refusal: Callable[[str], dict[str, str]] | None = None
        #: What the directory says of where numbers are given, if not the truth.
        self.nonces: str | None = None
        #: In what state an order is said to be when it is next looked at, and how long it is to be waited for. Once.
        self.once: tuple[str, str] | None = None
        #: How many authorizations it wants for each name, and the token of a challenge over HTTP in each, if there is one.
        self.authorizations = 1
        self.token: str | None = None
        self.asked = self.orders = 0
        self._order: dict[str, Any] = {}
        self._chain = ""
        odd = self

        class Handler(_Handler):
            authority = odd

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{stem}.pem", folder / f"{stem}.key")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://localhost:{self._server.server_port}"
        self.directory_url = f"{self.url}/dir"

    def __enter__(self) -> OddAuthority:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def directory(self) -> dict[str, Any]:
        return {
            "newNonce": self.nonces or f"{self.url}/nonce", "newAccount": f"{self.url}/account",
            "newOrder": f"{self.url}/order", "revokeCert": f"{self.url}/revoke", "keyChange": f"{self.url}/change",
        }  # fmt: skip

    def answer(self, path: str, said: Any) -> tuple[int, Any, dict[str, str]]:
        """Status, body and head of what is answered to what is `said` at `path`."""
        if path == "/account":
            for contact in said.get("contact", []) if self.refusal else []:
                return 400, self.refusal(contact.removeprefix("mailto:")), {}
            return 201, {"status": "valid"}, {"Location": f"{self.url}/account/1"}
        if path == "/order":
            self.orders += 1
            self._order = {
                "status": "ready", "finalize": f"{self.url}/finalize",
                "authorizations": self.authorizations
                * [f"{self.url}/names/{it['value']}" for it in said["identifiers"]],
            }  # fmt: skip
            return 201, self._order, {"Location": f"{self.url}/order/1"}
        if path == "/order/1" and self.once:
            (status, wait), self.once = self.once, None
            return 200, {**self._order, "status": status}, {"Retry-After": wait}
        if path == "/order/1":
            return 200, self._order, {}
        if path == "/finalize":
            begins, ends = self.holds
            self._chain = self.issuer.certify_request(_decoded(said["csr"]), begins_in=begins, ends_in=ends)
            self._order |= {"status": "valid", "certificate": f"{self.url}/certificate"}
            return 200, self._order, {}
        if path == "/certificate":
            return 200, self._chain, {}
        name = {"type": "dns", "value": path.removeprefix("/names/")}
        if self.token is None:
            return 200, {"status": "valid", "challenges": [], "identifier": name}, {}
        challenge = {"type": "http-01", "url": f"{self.url}/done", "token": self.token, "status": "pending"}
        return 200, {"status": "pending", "challenges": [challenge], "identifier": name}, {}


class _Handler(http.server.BaseHTTPRequestHandler):
    authority: OddAuthority

    def do_HEAD(self) -> None:  # noqa: N802
        self._say(200, "", {})

    def do_GET(self) -> None:  # noqa: N802
        self._say(200, self.authority.directory(), {})

    def do_POST(self) -> None:  # noqa: N802
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = _decoded(asked["payload"])
        self._say(*self.authority.answer(self.path, json.loads(said) if said else None))

    def _say(self, status: int, said: Any, head: dict[str, str]) -> None:
        self.authority.asked += 1
        if self.authority.weary is not None:
            status, said, head = 429, "", {"Retry-After": self.authority.weary}
        body = (said if isinstance(said, str) else json.dumps(said)).encode()
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.send_header("Replay-Nonce", f"n{time.time_ns()}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
