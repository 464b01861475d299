"""What is revoked stays revoked, and what is revoked now ends within a second, whatever becomes of the files.

Files that lost their end, as a full disk leaves them; pipes and files that do not answer in the place of files; reloads.
Needs root, to look into the server's memory, and since fanotify(7) holds up whoever opens a file, as a disk does
that is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import tempfile
import time
from pathlib import Path

SECRET = secrets.token_urlsafe(32)
os.environ["INCAMERA_KEY"] = "clinic7"
os.environ["INCAMERA_SECRET"] = SECRET
os.environ["INCAMERA_URL"] = f"https://127.0.0.1:{os.environ['INCAMERA_HTTP_PORT']}"

import aiohttp  # noqa: E402
from authority import Authority  # noqa: E402
from client import SERVER, check, control, mark_sensitive, measured, never, scenario, until  # noqa: E402
from livekit import api  # noqa: E402
from memory import Memory  # noqa: E402
from own_server import HTTP_PORT, TCP_PORT, UDP_PORT, Server, refused  # noqa: E402

#: What an operator revokes must be gone after this.
WITHIN_S = 1.0
#: The server looks four times a second: after this it has; for the log to say so nobody has promised a time.
LOOKED_S, TOLD_S = 0.8, 3.0
#: What does not answer is given up after a second, and tried again after another.
GIVEN_UP_S = 1.5
TRIED_AGAIN_S = 3.0
#: Of sys/fanotify.h: whoever opens the file waits until we allow it.
FAN_CLASS_CONTENT, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD = 0x4, 0x1, 0x10000, -100

#: A secret that is in no file any more is gone from memory after this.
ROTATED_S = 2.0

AUTHORITY = Authority()
#: What a start knows and a reload does not: secrets, in the settings and in a file of their own, and an app.
ROTATED = {name: secrets.token_urlsafe(32) for name in ("rotated_here", "rotated_there")}
#: What the projects of those secrets are called.
HERE, THERE = (f"{where}-{secrets.token_hex(4)}" for where in ("here", "there"))
APP, APP_CERTIFICATE = secrets.token_hex(16), secrets.token_hex(16)
#: As in the settings.
PEOPLE = {name: f"{name}-{secrets.token_hex(4)}" for name in ("one", "two", "three", "four", "five", "six")}


def token(name: str) -> str:
    """A back end's, with a name of its own."""
    claims = api.AccessToken("clinic7", SECRET).with_grants(api.VideoGrants(room_list=True)).claims
    import jwt

    now = int(time.time())
    content = {**claims.asdict(), "iss": "clinic7", "jti": PEOPLE[name], "nbf": now - 5, "exp": now + 600}
    return jwt.encode(content, SECRET, "HS256")


TOKENS = {name: token(name) for name in PEOPLE}


def entries(*names: str) -> str:
    """A list, a line for each."""
    return "tokens:\n" + "".join(f"  - {{key: clinic7, jti: {PEOPLE[name]}}}\n" for name in names)


async def answer(name: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {TOKENS[name]}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
        url = f"{SERVER}/twirp/livekit.RoomService/ListRooms"
        async with http.post(url, json={}, headers=headers) as response:
            return response.status, (await response.json()).get("msg", "")


async def is_revoked(name: str) -> bool:
    status, text = await answer(name)
    if (status, text) == (401, "the token is revoked"):
        return True
    assert status == 200, f"{status} {text}"
    return False


async def stay_revoked(what: str, *names: str) -> None:
    """Of those that were refused before: no machine is so busy that they are let in."""
    let_in = [name for name in names if not await is_revoked(name)]
    never(let_in, f"{what}: {', '.join(let_in)} is let in again")
    measured(not let_in, f"{what}: {', '.join(names)} stays revoked")


async def revoked_after(name: str, at: float) -> float:
    """How long after `at` (monotonic) it is; a second is allowed."""
    while True:
        asked = time.monotonic()
        if await is_revoked(name):
            return asked - at
        assert asked - at <= WITHIN_S, f"{name} is let in {asked - at:.2f} s after it was revoked"
        await asyncio.sleep(0.02)


class Files:
    """The operator's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings, self.revoked = folder / "server.yaml", folder / "revoked.yaml"
        self.keys, self.certificate = folder / "keys.yaml", folder / "server.pem"
        self.keys.touch(0o600)
        self.write_keys({"clinic7": SECRET, THERE: ROTATED["rotated_there"]})
        AUTHORITY.certify(folder, ["127.0.0.1"])
        self.settings.touch(0o600)
        self.write_settings(
            more=f"keys: {{{HERE}: {ROTATED['rotated_here']}}}\n"
            f"agora: {{apps: [{{app_id: {APP}, app_certificate: {APP_CERTIFICATE}}}]}}\n"
        )

    def write_keys(self, keys: dict[str, str]) -> None:
        self.keys.write_text("".join(f"{name}: {secret}\n" for name, secret in keys.items()))

    def write_settings(self, *, names_revocations: bool = True, more: str = "") -> None:
        self.settings.write_text(
            f"port: {HTTP_PORT}\nbind_addresses: [127.0.0.1]\ntls: {{cert_file: server.pem, key_file: server.key}}\n"
            f"rtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}}}\nkey_file: keys.yaml\n"
            + ("revocations: revoked.yaml\n" if names_revocations else "")
            + more
        )

    def put(self, path: Path, text: str) -> float:
        """Puts a whole file in the place of another; says when (monotonic)."""
        fresh = self.folder / "fresh"
        fresh.touch(0o600)
        fresh.write_text(text)
        fresh.replace(path)
        return time.monotonic()

    def put_pipe(self, path: Path) -> None:
        """Nobody writes into it, and whoever opens it as a file waits for ever."""
        fresh = self.folder / "fresh"
        os.mkfifo(fresh)
        fresh.replace(path)


class HeldUp:
    """Whoever opens the file waits, until the block ends. Another in its place opens well."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.fanotify_init(FAN_CLASS_CONTENT, os.O_RDONLY)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        mask = ctypes.c_uint64(FAN_OPEN_PERM)
        if libc.fanotify_mark(self._fd, FAN_MARK_ADD, mask, AT_FDCWD, str(path).encode()) != 0:
            raise OSError(ctypes.get_errno(), "fanotify_mark")

    def __enter__(self) -> HeldUp:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


async def secrets_that_are_rotated(server: Server, files: Files) -> None:
    """What no file has any more, memory has no more either, that of the start included."""
    memory = Memory(server.process.pid)
    memory.secrets = {name: secret.encode() for name, secret in ROTATED.items()}
    memory.secrets |= {"app_certificate": APP_CERTIFICATE.encode(), "app": APP.encode()}
    memory.secrets["stays"] = SECRET.encode()
    gone = tuple(name for name in memory.secrets if name != "stays")
    scan = await asyncio.to_thread(memory.scan)
    there = {name: scan.found[name] for name in memory.secrets}
    control(all(there.values()), f"secrets that are in force are found: {there}")
    files.write_keys({"clinic7": SECRET})
    files.write_settings()
    server.hang_up()
    read = "keys, revocations and certificate read again"
    await until("the files are read again", 3, lambda: server.says(read))
    last = await memory.gone(gone, time.monotonic(), ROTATED_S)
    scan = await asyncio.to_thread(memory.scan)
    copies = sum(scan.found[name] for name in gone)
    what = f"secrets that were rotated out: found until {last:.1f} s after the reload, and {copies} copies later"
    measured(last <= ROTATED_S and copies == 0, what)
    control(scan.found["stays"] > 0, "the secret that stays is found")


async def a_file_that_lost_its_end(server: Server, files: Files) -> None:
    """Only adds. Written in place, as an editor, a script or a full disk leaves it."""
    control(not await is_revoked("two"), "before it is revoked a token is let in")
    after = await revoked_after("two", files.put(files.revoked, entries("one", "two")))
    measured(after <= WITHIN_S, f"then it is refused, {after:.2f} s after")

    whole = entries("one", "two")
    wrong, less = "the revocation file is wrong", "revocations read again"
    for what, left, says in (
        ("emptied", "", wrong),
        ("`tokens:` alone", "tokens:\n", wrong),
        ("cut in its last line", whole[:-8], wrong),
        ("cut at the end of a line", entries("one"), less),
        ("an empty list", "tokens: []\n", less),
    ):
        times = server.log().count(says) + 1
        files.revoked.write_text(left)
        await until(f"it is looked at, {what}", TOLD_S, lambda says=says, times=times: server.says(says, times))
        await stay_revoked(f"a revocation file, {what}", "one", "two")
    check(server.says(wrong, 3), "what makes no sense is an error in the log")
    check(server.says("revocations are gone from their file"), "what has less in it is a warning")

    at = files.put(files.revoked, entries("one", "three"))
    after = await revoked_after("three", at)
    measured(after <= WITHIN_S, f"what is new in a file that lost something: refused after {after:.2f} s")
    await stay_revoked("and what it lost", "two")


async def a_reload(server: Server, files: Files) -> None:
    """Takes back, and is the only thing that does."""

    async def hang_up(says: str) -> None:
        times = server.log().count(says) + 1
        server.hang_up()
        await until(f"`{says}` is said", 3, lambda: server.says(says, times))

    files.revoked.write_text("")
    await hang_up("the files are wrong")
    await stay_revoked("a reload with a file that says nothing", "two")
    files.write_settings(names_revocations=False)
    files.put(files.revoked, entries("one", "three"))
    await hang_up("the settings name no revocation file any more")
    await stay_revoked("one with settings that lost that line", "one", "two")
    files.write_settings()
    await hang_up("revocations are taken back")
    check(server.says("taken_back=1"), "it says how many it takes back")
    check(not await is_revoked("two"), "what a whole file does not revoke any more is let in after a reload")
    await stay_revoked("which takes back no more", "one", "three")


async def pipes(server: Server, files: Files) -> None:
    files.put_pipe(files.revoked)
    await until("a pipe is refused", TOLD_S, lambda: server.says("revoked.yaml: is a pipe or a device"))
    server.hang_up()
    await until("at a reload too", 3, lambda: server.says("the files are wrong", 2))
    await stay_revoked("a pipe in the place of the revocation file", "one")
    after = await revoked_after("four", files.put(files.revoked, entries("one", "three", "four")))
    measured(after <= WITHIN_S, f"a file where a pipe was: what it revokes is refused after {after:.2f} s")

    for path, what in ((files.certificate, "certificate"), (files.keys, "key file")):
        good = path.read_text()
        files.put_pipe(path)
        if path == files.certificate:
            said = "the certificate is wrong"
            await until(f"a pipe as {what} is refused", 3, lambda said=said: server.says(said))
        times = server.log().count("the files are wrong") + 1
        server.hang_up()
        await until(f"a pipe as {what} at a reload", 3, lambda t=times: server.says("the files are wrong", t))
        name = "five" if path == files.certificate else "six"
        listed = [name for name in PEOPLE if name not in ("two", "five", "six")] + ["five", name]
        after = await revoked_after(name, files.put(files.revoked, entries(*dict.fromkeys(listed))))
        measured(after <= WITHIN_S, f"with a pipe as {what}: revoked after {after:.2f} s")
        files.put(path, good)
    times = server.log().count("keys, revocations and certificate read again") + 1
    server.hang_up()
    read = "keys, revocations and certificate read again"
    await until("all files are good again", 3, lambda: server.says(read, times))


async def files_that_do_not_answer(server: Server, files: Files) -> None:
    says = "the files of the certificate do not answer"
    with HeldUp(files.certificate):
        files.certificate.touch()
        await until("a certificate that does not answer is given up", GIVEN_UP_S + 1, lambda: server.says(says))
        server.hang_up()
        # Half of the time that a reload has.
        await asyncio.sleep(2.5)
        at = files.put(files.revoked, entries("one", "two", "three", "four", "five", "six"))
        after = await revoked_after("two", at)
        measured(after <= WITHIN_S, f"while a certificate does not answer, at a reload too: revoked after {after:.2f} s")
        says = "the files do not answer"
        await until("the reload is given up", 6, lambda: server.says(says))
    times = server.log().count("certificate read again") + 1
    AUTHORITY.certify(files.folder, ["127.0.0.1"])
    await until("the certificate answers again", 8, lambda: server.says("certificate read again", times))

    files.put(files.revoked, entries(*(name for name in PEOPLE if name != "two")))
    server.hang_up()
    await until("a token is taken back", 3, lambda: server.says("revocations are taken back", 2))
    control(not await is_revoked("two"), "and is let in again")
    with HeldUp(files.revoked):
        files.revoked.touch()
        says = "the revocation file does not answer"
        await until("a revocation file that does not answer is given up", GIVEN_UP_S + 1, lambda: server.says(says))
        await stay_revoked("a revocation file that does not answer", "one")
        at = files.put(files.revoked, entries(*PEOPLE))
        while not await is_revoked("two"):
            assert time.monotonic() - at < TRIED_AGAIN_S, "a file that answers is not read"
            await asyncio.sleep(0.02)
        after = time.monotonic() - at
        measured(after < TRIED_AGAIN_S, f"a file in the place of one that does not answer: read {after:.2f} s after")


async def act() -> None:
    for secret in (SECRET, APP, APP_CERTIFICATE, HERE, THERE, *ROTATED.values()):
        mark_sensitive(secret)
    for name in PEOPLE.values():
        mark_sensitive(name)
    with tempfile.TemporaryDirectory() as name:
        files = Files(Path(name))
        for nothing in ("", "tokens:\n", "# one\n"):
            files.revoked.write_text(nothing)
            said = await asyncio.to_thread(refused, "serve", "--config", str(files.settings))
            check("[]" in said, f"nothing starts with {nothing!r}: {said.strip()[-60:]}")
        files.put_pipe(files.revoked)
        said = await asyncio.to_thread(refused, "serve", "--config", str(files.settings))
        check("is a pipe" in said, "nor with a pipe")
        files.put(files.revoked, entries("one"))
        began = 0.0
        with Server("serve", "--log", "info,edge=debug", "--config", str(files.settings)) as server:
            await secrets_that_are_rotated(server, files)
            await a_file_that_lost_its_end(server, files)
            await a_reload(server, files)
            await pipes(server, files)
            await files_that_do_not_answer(server, files)
            held = HeldUp(files.revoked)
            files.revoked.touch()
            await asyncio.sleep(LOOKED_S)
            began = time.monotonic()
        held.__exit__()
        seconds = time.monotonic() - began
        check(seconds < 6, f"SIGTERM ends it within {seconds:.1f} s, whatever a file does")


scenario("revoked", act, timeout_s=80)
