"""What anybody may send over TCP without a token, and all that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

#: The longest answer to whoever has no token or password, but for the files of the page.
STRANGER_BYTES_MAX = 2_048
#: What a TLS handshake has beside the certificates: a key share, extensions, a signature, two tickets.
HANDSHAKE_BYTES_MAX = 1_024
#: No connection that says nothing of use may be kept so long.
GIVE_UP_S = 20


async def over_tcp(host: str, port: int, sent: bytes) -> bytes:
    """All that is answered, until the server ends the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()
        async with until_it_is_cut():
            while piece := await reader.read(1 << 16):
                answer += piece
    writer.close()
    return answer


@contextlib.asynccontextmanager
async def until_it_is_cut() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(GIVE_UP_S):
            yield
    except TimeoutError as error:
        raise AssertionError(f"a stranger's connection is still open after {GIVE_UP_S} s") from error


def request(path: str, method: str = "GET") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: incamera\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return head.encode()


async def handshake(host: str, port: int, version: ssl.TLSVersion, *, is_finished: bool) -> tuple[int, int]:
    """Bytes out and in of a TLS handshake that goes no further than its hello, or is finished and then says nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection(host, port)
    sent = received = 0
    is_done = False

    def step() -> None:
        nonlocal is_done, sent
        if not is_done:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                is_done = True
        said = outgoing.read()
        sent += len(said)
        writer.write(said)

    step()
    with contextlib.suppress(ConnectionError):
        async with until_it_is_cut():
            while piece := await reader.read(1 << 16):
                received += len(piece)
                if is_finished:
                    incoming.write(piece)
                    step()
    writer.close()
    if is_finished and not is_done:
        raise AssertionError("the handshake was not finished")
    return sent, received
