"""`serve` behind TLS with stock clients; certificates that change, are wrong, and end while a call goes on.

The authority is the scenario's own; clients are told to trust it as any client is: by `SSL_CERT_FILE`, or by
the certificate store of the person who runs the browser. Needs root, to look into the server's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import os
import resource
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from authority import Authority

HTTP_PORT = int(os.environ["INCAMERA_HTTP_PORT"])
#: This script again, as somebody who trusts nobody but the system's authorities.
IS_STRANGER = "--stranger" in sys.argv
FOLDER = Path(tempfile.mkdtemp(prefix="incamera-tls-"))
AUTHORITY = Authority()


def trust() -> None:
    """From now on this process and its children trust the authority."""
    path = FOLDER / "root.pem"
    path.write_text(AUTHORITY.root())
    os.environ["SSL_CERT_FILE"] = str(path)
    home = FOLDER / "home"
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    add = ["-A", "-t", "C,,", "-n", "scenario", "-i", str(path)]
    for words in (["-N", "--empty-password"], add):
        subprocess.run(["certutil", "-d", f"sql:{store}", *words], check=True)
    os.environ["INCAMERA_BROWSER_HOME"] = str(home)


# Before anything reads them, as the clients do when they are imported.
os.environ["INCAMERA_URL"] = f"https://localhost:{HTTP_PORT}"
if not IS_STRANGER:
    os.environ["INCAMERA_KEY"] = "clinic7"
    os.environ["INCAMERA_SECRET"] = secrets.token_urlsafe(32)
    trust()

import aiohttp  # noqa: E402
from client import (  # noqa: E402
    API_SECRET, SERVER, SIGNAL, check, control, fresh_key, fresh_room, join, mark_sensitive, measured,
    scenario, until, uttered,
)  # fmt: skip
from livekit import api, rtc  # noqa: E402
from memory import Memory, mark  # noqa: E402
from own_server import BINARY, TCP_PORT, UDP_PORT, Server, nothing_grows, refused  # noqa: E402
from process import open_many_files, resident_kib  # noqa: E402
from stranger import HANDSHAKE_BYTES_MAX, STRANGER_BYTES_MAX, handshake, over_tcp, request  # noqa: E402

NAMES = ["localhost", "127.0.0.1"]
WEB = Path(__file__).parents[1] / "web"
#: The server looks four times a second, and waits until the files have rested.
SHOWN_WITHIN_S = 3
HANDSHAKE_S = 10
#: Handshakes that stand still at once, from so many networks, since one may not have so many; a place for the
#: connection, for TLS and for what is under way.
CROWD, CROWD_NETWORKS, CROWD_KIB_EACH_MAX = 3_000, 6, 40
JOIN_WITHIN_S = 3.0
#: Open files of a server that has none left for its certificate.
FILES = 72
#: The promise of `forgotten`.
FORGOTTEN_WITHIN_S = 2.0
#: A key of a certificate that is shown no more is gone from memory after this.
KEY_GONE_S = 2.0


def write_settings(folder: Path, stem: str = "server") -> str:
    path = folder / "server.yaml"
    path.write_text(
        f"port: {HTTP_PORT}\n"
        "bind_addresses: ['0.0.0.0']\n"
        "tls:\n"
        f"  cert_file: {stem}.pem\n"
        f"  key_file: {stem}.key\n"
        f"rtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}, node_ip: 127.0.0.1}}\n"
        f"keys: {{clinic7: {API_SECRET}}}\n"
    )
    return str(path)


def s_client(*options: str) -> tuple[int, str]:
    """What OpenSSL makes of the server."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{HTTP_PORT}", "-brief", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def serial(root: str) -> int:
    """The number of the certificate that a newcomer is shown."""
    context = ssl.create_default_context(cadata=root)
    context.check_hostname = False
    # One that has ended has a number too.
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5) as connection:
        with context.wrap_socket(connection) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
    from cryptography import x509

    return x509.load_der_x509_certificate(der).serial_number


async def refuses_what_it_should(folder: Path, authority: Authority) -> None:
    day = datetime.timedelta(days=1)
    authority.certify(folder, NAMES, stem="expired", begins_in=-2 * day, ends_in=-day)
    authority.certify(folder, NAMES, stem="future", begins_in=day)
    authority.certify(folder, NAMES, stem="other")
    for stem, reason in [
        ("expired", "line 4: expired.pem: its certificate 1 has expired at 20"),
        ("future", "line 4: future.pem: its certificate 1 is not valid before 20"),
        ("missing", "missing.pem: No such file"),
    ]:
        said = refused("serve", "--config", write_settings(folder, stem))
        check(reason in said, f"refused with line and reason: {said.strip().split(': ', 2)[2]}")
    (folder / "mixed.pem").write_text((folder / "other.pem").read_text())
    authority.certify(folder, NAMES, stem="third")
    (folder / "mixed.key").write_text((folder / "third.key").read_text())
    said = refused("serve", "--config", write_settings(folder, "mixed"))
    check("line 5: mixed.key is not the key of this certificate" in said, "nor with another's key")


async def speaks_as_it_should() -> None:
    for version in ["tls1_2", "tls1_3"]:
        code, said = s_client(f"-{version}", "-alpn", "h2,http/1.1", "-CAfile", ca_file())
        check(code == 0 and "Verification: OK" in said, f"OpenSSL accepts the chain over {version}")
    for version in ["tls1", "tls1_1"]:
        code, said = s_client(f"-{version}", "-cipher", "ALL:@SECLEVEL=0")
        check(code != 0, f"{version} is refused")
    code, said = s_client("-alpn", "h2")
    check(code != 0 and "no application protocol" in said, "h2 alone is refused")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{HTTP_PORT}/rtc/v1/validate") as answer:
            said = await answer.text()
            check(answer.status == 400 and "https://" in said, f"in the clear: {said.strip()}")
    stranger = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--stranger",
        env={name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"},
    )  # fmt: skip
    code = await asyncio.wait_for(stranger.wait(), 60)
    check(code == 0, "who does not know the authority is not served")


async def stranger() -> None:
    """Neither the wheel nor aiohttp, on which livekit-api stands, gets past the certificate."""
    FOLDER.rmdir()
    try:
        await join(fresh_room("tls"), "eve")
        raise AssertionError("the wheel trusts an unknown authority")
    except rtc.ConnectError as error:
        assert "certificate" in str(error), error
    async with aiohttp.ClientSession() as session:
        try:
            await session.get(SERVER)
            raise AssertionError("aiohttp trusts an unknown authority")
        except aiohttp.ClientConnectorCertificateError:
            pass


def ca_file() -> str:
    return os.environ["SSL_CERT_FILE"]


def incamera_room(
    url: str, environment: Mapping[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BINARY, "room", "list", "--url", url, "--api-key", "clinic7", *options],
        env={**environment, "INCAMERA_API_SECRET": API_SECRET}, capture_output=True, text=True,
    )  # fmt: skip


async def answers_livekit_api() -> None:
    async with api.LiveKitAPI(SERVER, "clinic7", API_SECRET) as server:
        await server.room.list_rooms(api.ListRoomsRequest())
    check(True, "livekit-api is answered over https://")
    for name, url in [("localhost", SERVER), ("127.0.0.1", f"https://127.0.0.1:{HTTP_PORT}")]:
        listed = incamera_room(url, os.environ)
        check(listed.returncode == 0 and "PARTICIPANTS" in listed.stdout, f"so is `incamera room`, by {name}")
    unknown = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    failed = incamera_room(SERVER, unknown)
    check(failed.returncode == 1 and "UnknownIssuer" in failed.stderr, "unless it does not know the authority")
    check(incamera_room(SERVER, unknown, "--ca-file", ca_file()).returncode == 0, "of which it can be told")
    failed = incamera_room(SERVER.replace("https", "http"), unknown)
    check("ask it as https://" in failed.stderr, f"in the clear it says: {failed.stderr.strip()}")
    async with aiohttp.ClientSession() as session:
        async with session.get(SERVER) as answer:
            check(await answer.text() == "OK", "so is a health check")


async def holds_a_call_with_a_browser() -> None:
    name, key = fresh_room("tls"), fresh_key()
    ada = await join(name, "ada", key=key)
    page = await asyncio.create_subprocess_exec(
        "node", str(WEB / "page.mjs"), name, "ben", key, "180p", "1", "60",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    frames = 0

    async def count(track: rtc.Track) -> None:
        nonlocal frames
        async for _ in rtc.VideoStream(track):
            frames += 1

    counting: list[asyncio.Task] = []

    def subscribed(track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            counting.append(asyncio.create_task(count(track)))

    ada.on("track_subscribed", subscribed)
    await until("ada decodes 30 frames of ben", 40, lambda: frames >= 30)
    line = json.loads(await page.stdout.readline())
    while line["state"] != "connected":
        line = json.loads(await page.stdout.readline())
    check("ada" in str(line["others"]), "livekit-client in Chromium joined over https")
    check(True, f"the wheel joined over wss and decodes {frames} frames of it, encrypted")
    page.stdin.close()
    await asyncio.wait_for(page.wait(), 15)
    await ada.disconnect()


async def forgets_what_rode_under_it(server: Server) -> None:
    """TLS has buffers of its own; what passed through them is as gone as all else."""
    memory, room_name = Memory(server.process.pid), fresh_room("tls")
    jwt = (
        api.AccessToken("clinic7", API_SECRET)
        .with_identity(mark("ada_identity"))
        .with_name(mark("ada_name"))
        .with_metadata(mark("ada_metadata"))
        .with_grants(api.VideoGrants(room_join=True, room=room_name))
        .to_jwt()
    )
    memory.secrets["ada_token"] = jwt.encode()
    mark_sensitive(jwt)
    ben, ada = await join(room_name, "ben"), rtc.Room()
    await asyncio.wait_for(ada.connect(SIGNAL, jwt), 15)
    await until("ben sees ada", 5, lambda: mark("ada_identity") in ben.remote_participants)
    # Her name in a message of somebody who stays, and says nothing more.
    permitted = rtc.ParticipantTrackPermission(participant_identity=mark("ada_identity"), allow_all=True)
    ben.local_participant.set_track_subscription_permissions(
        allow_all_participants=False, participant_permissions=[permitted]
    )
    await asyncio.sleep(0.2)
    names = ("ada_identity", "ada_name", "ada_metadata", "ada_token")
    scan = await asyncio.to_thread(memory.scan)
    there = {name: scan.found[name] for name in names}
    check(all(there[name] for name in names[:3]), f"while ada is there, so are {there}")
    await ada.disconnect()
    await until("ben sees ada go", 5, lambda: not ben.remote_participants)
    await asyncio.sleep(FORGOTTEN_WITHIN_S)
    scan = await asyncio.to_thread(memory.scan)
    where = {name: dict(scan.where[name]) for name in names if scan.found[name]}
    check(not where, f"and {FORGOTTEN_WITHIN_S:g} s after nothing of her is {where or ''}".rstrip())
    await ben.disconnect()


def both_ways(number: int) -> dict[str, bytes]:
    """A secret number of 32 bytes as it may lie in memory."""
    return {f"key_{order}": number.to_bytes(32, order) for order in ("big", "little")}


async def forgets_keys_that_were_renewed(
    server: Server, folder: Path, authority: Authority, number: int
) -> None:
    """By themselves and by SIGHUP, while a call goes on that began under the first: of a key that nobody is shown any
    more nothing is left."""
    ada = await join(fresh_room("tls"), "ada")
    memory, names = Memory(server.process.pid), ("key_big", "key_little")
    memory.secrets = both_ways(number)
    for reload in (False, True):
        scan = await asyncio.to_thread(memory.scan)
        there = {name: scan.found[name] for name in names}
        control(sum(there.values()), f"the key of the certificate that is shown is found: {there}")
        before = serial(authority.root())
        number = authority.certify(folder, NAMES)
        if reload:
            server.hang_up()
        await until("a new one is shown", SHOWN_WITHIN_S, lambda b=before: serial(authority.root()) != b)
        last = await memory.gone(names, time.monotonic(), KEY_GONE_S)
        how = "SIGHUP" if reload else "the files changed"
        measured(last <= KEY_GONE_S, f"a key that was renewed, as {how}: found until {last:.1f} s after, and not later")
        memory.secrets = both_ways(number)
    check(ada.isconnected(), "and a call goes on that began under it")
    await ada.disconnect()


async def shows_a_new_one(server: Server, folder: Path, authority: Authority) -> None:
    name = fresh_room("tls")
    ada, ben = await join(name, "ada"), await join(name, "ben")
    gone: list[object] = []
    ada.on("disconnected", gone.append)
    before = serial(authority.root())
    authority.certify(folder, NAMES)
    await until("a new certificate is shown", SHOWN_WITHIN_S, lambda: serial(authority.root()) != before)
    check(server.says("certificate read again"), "a certificate that was replaced is shown by itself")
    shown = serial(authority.root())

    good = (folder / "server.key").read_text()
    authority.certify(folder, NAMES, stem="foreign", kind="rsa")
    (folder / "server.key").write_text((folder / "foreign.key").read_text())
    await until("it is refused", SHOWN_WITHIN_S, lambda: server.says("the certificate is wrong"))
    server.hang_up()
    await until("at SIGHUP too", SHOWN_WITHIN_S, lambda: server.says("the files are wrong"))
    check(serial(authority.root()) == shown, "with a key that is another's the old one stays")
    (folder / "server.key").write_text(good)

    authority.certify(folder, NAMES, kind="rsa")
    server.hang_up()
    await until("an RSA one", SHOWN_WITHIN_S, lambda: serial(authority.root()) != shown)
    said: list[bytes] = []
    ada.on("data_received", lambda packet: said.append(packet.data))
    await ben.local_participant.publish_data(uttered("still here"))
    await until("who was there talks on", 5, lambda: said == [b"still here"])
    check(not gone, "while a call went on")
    await ada.disconnect()
    await ben.disconnect()


async def ends_while_a_call_goes_on(server: Server, folder: Path, authority: Authority) -> None:
    before = serial(authority.root())
    lives = datetime.timedelta(seconds=8)
    authority.certify(folder, NAMES, ends_in=lives)
    ends_at = time.monotonic() + lives.total_seconds()
    await until("it is shown", SHOWN_WITHIN_S, lambda: serial(authority.root()) != before)
    check(server.says("the certificate ends soon"), "the log says that it ends soon")
    name = fresh_room("tls")
    ada, ben = await join(name, "ada"), await join(name, "ben")
    with nothing_grows(server, "a certificate that ended meanwhile"):
        await asyncio.sleep(max(0.0, ends_at - time.monotonic()) + 1.5)
        check(server.says("the certificate has expired"), "and that it has ended")
        try:
            await join(name, "cy")
            raise AssertionError("cy joins under a certificate that has ended")
        except rtc.ConnectError:
            check(True, "whoever comes then is turned away by their client")
        said: list[bytes] = []
        ada.on("data_received", lambda packet: said.append(packet.data))
        await ben.local_participant.publish_data(uttered("still here"))
        await until("the call goes on", 5, lambda: said == [b"still here"])
    check(server.log().count("the certificate has expired") == 1, "it is said once")
    read = server.log().count("certificate read again")
    server.hang_up()
    await until("SIGHUP", SHOWN_WITHIN_S, lambda: server.says("certificate read again", read + 1))
    check(True, "keys and revocations are read again all the same")
    ended = serial(authority.root())
    authority.certify(folder, NAMES)
    await until("it is renewed", SHOWN_WITHIN_S, lambda: serial(authority.root()) != ended)
    await join(name, "cy")
    check(True, "renewed, it lets cy in")
    await ada.disconnect()
    await ben.disconnect()


async def shows_it_on_if_the_settings_have_none(server: Server, folder: Path, authority: Authority) -> None:
    """Where a certificate comes from is settled when the server starts."""
    path = folder / "server.yaml"
    with_files = path.read_text()
    without = "".join(line for line in with_files.splitlines(True) if not line.startswith(("tls:", "  ")))

    async def reload(text: str) -> None:
        path.write_text(text)
        count = server.log().count("revocations and certificate read again")
        server.hang_up()
        await until("a reload", 5, lambda: server.says("revocations and certificate read again", count + 1))

    await reload(without + "behind_proxy: true\n")
    before = serial(authority.root())
    authority.certify(folder, NAMES)
    await until("it is read again", SHOWN_WITHIN_S, lambda: serial(authority.root()) != before)
    check(True, "settings that have lost their certificate keep none from being renewed")
    # Between two looks, so that none of them sees it.
    before = serial(authority.root())
    authority.certify(folder, NAMES)
    await reload(with_files)
    check(serial(authority.root()) != before, "and once they have it again, what is in its files is shown")


async def reads_again_what_could_not_be_read(folder: Path, authority: Authority) -> None:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    with Server("serve", "--config", write_settings(folder), before=few_files) as server:
        before = serial(authority.root())
        held = [socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5) for _ in range(FILES)]
        authority.certify(folder, NAMES)
        await until("no file can be opened", SHOWN_WITHIN_S, lambda: server.says("the certificate is wrong"))
        for connection in held:
            connection.close()

        def is_another_shown() -> bool:
            # Until all those are gone, whoever comes may be turned away.
            with contextlib.suppress(OSError):
                return serial(authority.root()) != before
            return False

        await until("one can", SHOWN_WITHIN_S, is_another_shown)
        said = server.log().count("the certificate is wrong")
        check(said == 1, f"a certificate for which no file could be opened is read once one can; said {said} times")


def cut_after_s() -> float:
    """How long a connection may be silent."""
    with socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=30) as connection:
        began = time.monotonic()
        # The head of a record that never comes.
        connection.sendall(bytes([22, 3, 1, 2, 0]))
        while connection.recv(64):
            pass
        return time.monotonic() - began


async def standing(number: int, hello: bytes, answered: list[int]) -> float:
    """How long a connection is held that says its hello, or half of it, and nothing more."""
    here = (f"127.0.{1 + number % CROWD_NETWORKS}.7", 0)
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", HTTP_PORT, local_addr=here)
    # Half of them have the server sign first.
    writer.write(hello if number % 2 else hello[: len(hello) // 2])
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2 * HANDSHAKE_S):
            if await reader.read(1):
                answered.append(number)
            while await reader.read(1 << 16):
                pass
    writer.close()
    return time.monotonic() - began


async def stands_a_crowd(server: Server) -> None:
    """Thousands who begin a handshake and go no further; somebody joins meanwhile."""
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing := ssl.MemoryBIO(), server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    answered: list[int] = []
    before = resident_kib(server.process.pid)
    held = [asyncio.create_task(standing(number, hello, answered)) for number in range(CROWD)]
    await until("the hellos are answered", HANDSHAKE_S / 2, lambda: len(answered) >= CROWD // 2)
    growth = resident_kib(server.process.pid) - before
    began = time.monotonic()
    ben = await join(fresh_room("beside"), "ben")
    took = time.monotonic() - began
    still = sum(not it.done() for it in held)
    check(
        still == CROWD and growth <= CROWD * CROWD_KIB_EACH_MAX and took <= JOIN_WITHIN_S,
        f"beside {still} handshakes that stand still, which took {growth >> 10} MiB, ben joined in {took:.1f} s",
    )
    await ben.disconnect()
    seconds = await asyncio.gather(*held)
    check(
        HANDSHAKE_S - 0.5 <= min(seconds) and max(seconds) <= HANDSHAKE_S + 2,
        f"they are cut after {min(seconds):.1f} to {max(seconds):.1f} s",
    )


async def answers_strangers(folder: Path) -> None:
    """Who shows no token costs a line the certificates and little more, whatever it says."""
    end = "-----END CERTIFICATE-----"
    *chain, _ = (folder / "server.pem").read_text().split(end)
    certificates = sum(len(ssl.PEM_cert_to_DER_cert(one.strip() + end)) for one in chain)
    here = ("127.0.0.1", HTTP_PORT)
    kinds = list(itertools.product([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], [False, True]))
    answers = await asyncio.gather(*(handshake(*here, version, is_finished=done) for version, done in kinds))
    for (version, is_finished), (sent, received) in zip(kinds, answers):
        what = f"{version.name}, {'finished and then silent' if is_finished else 'a hello and nothing more'}"
        check(
            certificates < received <= certificates + HANDSHAKE_BYTES_MAX,
            f"{what}: {received} bytes for {sent}, of which the certificates have {certificates}",
        )
    for what, sent in {
        "a request in the clear": request("/"), "noise": bytes(range(128, 256)), "an old hello": b"\x16\3\0\0\4\1\0\0\0",
    }.items():  # fmt: skip
        answer = await over_tcp(*here, sent)
        check(len(answer) <= STRANGER_BYTES_MAX, f"{what}: {len(answer)} bytes for {len(sent)}")


async def main() -> None:
    try:
        await act()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


async def act() -> None:
    mark_sensitive(API_SECRET)
    open_many_files()
    folder, authority = FOLDER, AUTHORITY
    await refuses_what_it_should(folder, authority)
    number = authority.certify(folder, NAMES)
    with Server("serve", "--log", "info,edge=debug", "--config", write_settings(folder)) as server:
        cut = asyncio.create_task(asyncio.to_thread(cut_after_s))
        answered = asyncio.create_task(answers_strangers(folder))
        await speaks_as_it_should()
        await answers_livekit_api()
        await answered
        await stands_a_crowd(server)
        await holds_a_call_with_a_browser()
        await forgets_what_rode_under_it(server)
        await forgets_keys_that_were_renewed(server, folder, authority, number)
        await shows_a_new_one(server, folder, authority)
        await ends_while_a_call_goes_on(server, folder, authority)
        await shows_it_on_if_the_settings_have_none(server, folder, authority)
        seconds = await cut
        check(
            HANDSHAKE_S - 0.5 <= seconds <= HANDSHAKE_S + 2,
            f"a handshake that stands still is cut after {seconds:.1f} s",
        )
    await reads_again_what_could_not_be_read(folder, authority)
    for counter in ["handshakes_late", "handshakes_failed", "connections_in_the_clear"]:
        check(server.says(f"name={counter} "), f"{counter} has been counted")


scenario("tls", stranger if IS_STRANGER else main, timeout_s=170)
