"""`incamera doctor` names each fault that is planted, and no other, with what mends it. Needs root, to give it up and
to have a network apart."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import resource
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from authority import Authority
from client import check, mark_sensitive, scenario
from own_server import BINARY, HTTP_PORT, TCP_PORT, UDP_PORT, Server, refused

SECRET = secrets.token_urlsafe(32)
#: An address of nobody's (RFC 5737).
NOWHERE = "198.51.100.9"
#: Where no authority listens.
NO_AUTHORITY = "localhost:1"
NTP_EPOCH_S = 2_208_988_800
NOBODY = 65_534


class Answering:
    """A UDP server on this machine, as long as its block."""

    def __init__(self, answer: Callable[[bytes, tuple], bytes]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.answer = answer

    def __enter__(self) -> str:
        threading.Thread(target=self.run, daemon=True).start()
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self.socket.recvfrom(1500)
                self.socket.sendto(self.answer(data, source), source)

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def time_server(ahead_s: float) -> Answering:
    """A time server whose clock is so far ahead (RFC 5905)."""

    def answer(request: bytes, _: tuple) -> bytes:
        now = time.time() + ahead_s + NTP_EPOCH_S
        stamp = struct.pack("!II", int(now), int(now % 1 * 2**32))
        return bytes([0x24, 2, 0, 0]) + bytes(20) + request[40:48] + stamp + stamp

    return Answering(answer)


def stun_server(seen: str | None = None) -> Answering:
    """A STUN server that sees everybody at an address (RFC 8489); without one, where they are."""

    def answer(request: bytes, source: tuple) -> bytes:
        magic = request[4:8]
        address = bytes(a ^ b for a, b in zip(socket.inet_aton(seen or source[0]), magic))
        port = struct.pack("!H", source[1] ^ struct.unpack("!H", magic[:2])[0])
        attribute = struct.pack("!HHBB", 0x0020, 8, 0, 1) + port + address
        return struct.pack("!HH", 0x0101, len(attribute)) + request[4:20] + attribute

    return Answering(answer)


def examine(folder: Path, *options: str, files: int = 16_384) -> tuple[int, list[dict], str]:
    """Exit code, findings, and what a person reads."""

    def limited() -> None:
        # The hard limit is what counts: a server raises the soft one by itself.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 1024), files))

    words = [BINARY, "doctor", "--config", str(folder / "server.yaml"), *options]
    found = subprocess.run([*words, "--json"], capture_output=True, text=True, preexec_fn=limited)
    read = subprocess.run(words, capture_output=True, text=True, preexec_fn=limited)
    assert found.returncode == read.returncode, (found, read)
    assert found.stdout, found.stderr
    answer = json.loads(found.stdout)
    assert answer["is_good"] == (found.returncode == 0)
    for finding in answer["findings"]:
        if finding["level"] != "fine":
            assert finding["why"] and finding["fix"], finding
            assert all(finding[part] in read.stdout for part in ("what", "why", "fix")), finding
    return found.returncode, answer["findings"], read.stdout


def names(what: str, examined: tuple[int, list[dict], str], *words: str) -> None:
    """One thing is wrong, and all of `words` are said of it."""
    code, findings, _ = examined
    wrong = [finding for finding in findings if finding["level"] == "wrong"]
    said = [" ".join(finding.values()) for finding in wrong]
    if code != 1 or len(wrong) != 1 or any(word not in said[0] for word in words):
        raise AssertionError(f"{what}: exit code {code}, {said}")
    print(f"  ok: {what}: {wrong[0]['what']}\n      fix: {wrong[0]['fix']}", flush=True)


class Patient:
    """A machine on which a server would work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.heal()

    def heal(self) -> None:
        self.authority.certify(self.folder, ["localhost", "127.0.0.1"])
        self.write()

    def write(self, node_ip: str = "127.0.0.1", more: str = "") -> None:
        path = self.folder / "server.yaml"
        path.write_text(
            f"port: {HTTP_PORT}\nbind_addresses: [127.0.0.1]\n"
            "tls: {cert_file: server.pem, key_file: server.key}\n"
            f"rtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}, node_ip: {node_ip}}}\n"
            f"keys: {{clinic7: {SECRET}}}\nrevocations: revoked.yaml\n{more}"
        )
        (self.folder / "revoked.yaml").write_text("tokens: []\n")
        os.chmod(path, 0o640)


@contextlib.contextmanager
def taken(kind: socket.SocketKind, port: int) -> Iterator[None]:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield


def plant(patient: Patient) -> None:
    folder, day = patient.folder, datetime.timedelta(days=1)
    with taken(socket.SOCK_STREAM, HTTP_PORT):
        names("a taken TCP port", examine(folder), f"TCP 127.0.0.1:{HTTP_PORT} is taken", "ss -ltnp")
    with taken(socket.SOCK_STREAM, TCP_PORT):
        said = f"TCP 127.0.0.1:{TCP_PORT}, of media, is taken"
        names("a taken TCP port of media", examine(folder), said, "rtc.tcp_port")
    with taken(socket.SOCK_DGRAM, UDP_PORT):
        names("a taken UDP port", examine(folder), f"UDP 127.0.0.1:{UDP_PORT} is taken", "ss -lunp")

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        patient.write(more=f"prometheus: {{port: {port}}}\n")
        what = f"TCP 127.0.0.1:{port}, of metrics, is taken"
        names("a taken port of metrics", examine(folder), what, "another `prometheus.port`")
    patient.heal()
    # Both families at one port: neither takes the other's.
    patient.write(node_ip="[127.0.0.1, '::1']")
    code, findings, _ = examine(folder)
    wrong = [finding["what"] for finding in findings if finding["level"] == "wrong"]
    check(code == 0, f"media at addresses of both families is no fault {wrong}")
    patient.write(node_ip="['::1', 127.0.0.1]")
    with stun_server() as server:
        code, findings, _ = examine(folder, "--stun", server)
    wrong = [finding["what"] for finding in findings if finding["level"] == "wrong"]
    check(code == 0, f"nor that a STUN server has no address of the first one's {wrong}")
    patient.heal()

    patient.authority.certify(folder, ["localhost"], begins_in=-2 * day, ends_in=-day)
    names("an expired certificate", examine(folder), "server.pem", "has expired at 20", "renew it")
    patient.authority.certify(folder, ["localhost"], begins_in=day)
    names("one of tomorrow", examine(folder), "is not valid before 20", "set the clock")
    patient.authority.certify(folder, [])
    names("one for no host", examine(folder), "names no host", "subjectAltName")
    patient.heal()
    patient.authority.certify(folder, ["localhost"], stem="other")
    shutil.copy(folder / "other.key", folder / "server.key")
    names("a key of another", examine(folder), "server.key is not the key of this", "openssl pkey")
    patient.heal()

    patient.write(node_ip=f"[127.0.0.1, {NOWHERE}]")
    names(
        "an address that nobody reaches", examine(folder),
        f"{NOWHERE} is advertised", "rtc.node_ip", f"forward UDP {UDP_PORT}",
    )  # fmt: skip
    patient.heal()
    names("few open files", examine(folder, files=256), "256 files may be open", "LimitNOFILE=")
    with time_server(3600) as server:
        examined = examine(folder, "--ntp", server)
        names("a clock that is wrong", examined, "the clock is 3600 s behind", "timedatectl")
    with stun_server("203.0.113.7") as server:
        examined = examine(folder, "--stun", server)
        names("another address outside", examined, "is 203.0.113.7", "rtc.node_ip: 203.0.113.7")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        examined = examine(folder, "--stun", f"127.0.0.1:{silent.getsockname()[1]}")
        names("a STUN server that is silent", examined, "no answer", "let UDP out")
    patient.write(more="bind_adresses: []\nport: 1\n")
    names("settings that are wrong", examine(folder), "line 8: this key is there already", "mend")
    patient.heal()


def warns(folder: Path, patient: Patient) -> None:
    (folder / "server.key").chmod(0o644)
    code, findings, _ = examine(folder)
    said = [finding["what"] for finding in findings if finding["level"] == "warning"]
    in_the_open = any("server.key: every user of this machine can read it" in what for what in said)
    check(code == 0 and in_the_open, "a key in the open is a warning")
    patient.heal()
    (folder / "server.key").chmod(0o600)

    def warned(check_: str) -> list[str]:
        code, findings, _ = examine(folder)
        check(code == 0, "a warning is no fault")
        said = [it for it in findings if it["level"] == "warning" and it["check"] == check_]
        return [" ".join(finding.values()) for finding in said]

    def rights() -> list[tuple[str, str, str]]:
        """Level, file and command of each."""
        _, findings, _ = examine(folder)
        said = [it for it in findings if it["check"] == "rights"]
        return [(it["level"], it["what"].split(":")[0].rsplit("/")[-1], it["fix"].rsplit(" ", 1)[0]) for it in said]

    check(not rights(), "as it is, others may do nothing that they should not")
    (folder / "server.yaml").chmod(0o644)
    check(rights() == [("warning", "server.yaml", "chmod o=")], "settings with a secret in the open are a warning")
    (folder / "revoked.yaml").chmod(0o666)
    expected = [("warning", "server.yaml", "chmod o="), ("warning", "revoked.yaml", "chmod o-w")]
    check(rights() == expected, "and so is a revocation file that others write")
    (folder / "revoked.yaml").chmod(0o644)
    keys, text = folder / "keys.yaml", (folder / "server.yaml").read_text()
    keys.write_text(f"clinic7: {SECRET}\n")
    (folder / "server.yaml").write_text(text.replace(f"keys: {{clinic7: {SECRET}}}", "key_file: keys.yaml"))
    for mode, said_, fix in ((0o644, "wrong", "chmod o="), (0o662, "wrong", "chmod o-w")):
        keys.chmod(mode)
        what = f"a key file of {mode:o} is {said_}, and settings without a secret are not"
        check(rights() == [(said_, "keys.yaml", fix)], what)
        refusal = refused("serve", "--config", str(folder / "server.yaml"))
        check(f"{fix} " in refusal and "line 5" in refusal, "and no server starts with it, which says what mends that")
    keys.chmod(0o640)
    check(not rights(), "with the rights that it should have nothing is said")
    ca = folder / "ca.pem"
    shutil.copy(folder / "server.pem", ca)
    acme = "{acme: {domains: [localhost], accept_terms: true, state_dir: state, directory_ca_file: ca.pem,\n"
    directory = f"  directory_url: 'https://{NO_AUTHORITY}/dir'}}}}"
    text = (folder / "server.yaml").read_text()
    (folder / "server.yaml").write_text(text.replace("{cert_file: server.pem, key_file: server.key}", acme + directory))
    ca.chmod(0o644)
    check(not rights(), "whom an authority is known by everybody may read")
    ca.chmod(0o666)
    check(rights() == [("warning", "ca.pem", "chmod o-w")], "and if everybody may write it, that is a warning")
    with Server("serve", "--config", str(folder / "server.yaml")) as server:
        said_ = "about the rights of a file" in server.log() and f"chmod o-w {ca}" in server.log()
        check(said_, "of which the log of a server warns as well")
    patient.heal()
    (folder / "server.key").chmod(0o600)

    check(not any("CA:TRUE" in said for said in warned("certificate")), "a server's certificate is one")
    patient.authority.certify(folder, ["localhost"], is_authority=True)
    check(any("CA:FALSE" in said for said in warned("certificate")), "an authority's in its place is a warning")
    patient.heal()
    check(not warned("authority"), "nobody has an authority of their own here")
    kept = Path(os.environ["XDG_DATA_HOME"], "incamera", "authority")
    kept.mkdir(parents=True)
    for file in ("ca.pem", "issuer.pem", "issuer.key"):
        (kept / file).write_text("torn")
    said = warned("authority")
    check(len(said) == 1 and "rm -r" in said[0], "one that does not read is a warning")


def as_settings_change(patient: Patient) -> None:
    """What the file says now is not what a server runs with, which is no fault of its ports."""
    path = patient.folder / "server.yaml"
    patient.heal()
    (patient.folder / "server.key").chmod(0o600)
    with_tls = path.read_text()
    in_the_clear = with_tls.replace("tls: {cert_file: server.pem, key_file: server.key}\n", "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        moved = with_tls.replace(f"port: {HTTP_PORT}\n", f"port: {free.getsockname()[1]}\n", 1)
    for served, written, what in (
        (with_tls, moved, "its port has changed"),
        (with_tls, in_the_clear, "TLS is taken out"),
        (in_the_clear, with_tls, "TLS is put in"),
    ):
        path.write_text(served)
        with Server("serve", "--config", str(path)):
            path.write_text(written)
            code, findings, _ = examine(patient.folder)
        said = [it["what"] for it in findings if it["check"] == "port"]
        held = [it for it in said if "is held by a running server" in it]
        good = code == 0 and len(held) == (2 if written == moved else 3)
        check(good, f"beside a running server nothing is wrong if {what} {'' if good else said}")
    path.write_text(with_tls)


class Apart:
    """A network namespace in which IPv6 is switched off and ports below 1024 are root's, as long as its block."""

    def __enter__(self) -> Apart:
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "120"])
        own = os.readlink("/proc/self/ns/net")
        give_up_at = time.monotonic() + 10
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            assert time.monotonic() < give_up_at, "no network namespace"
            time.sleep(0.01)
        for words in (
            "ip link set lo up",
            "sysctl -qw net.ipv4.ip_unprivileged_port_start=1024 net.ipv6.conf.all.disable_ipv6=1",
        ):
            subprocess.run(self.words(*words.split()), check=True)
        return self

    def words(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *words]

    def __exit__(self, *_: object) -> None:
        self.holder.kill()
        self.holder.wait()


def without_privilege(folder: Path) -> None:
    """As the user of a unit that has CAP_NET_BIND_SERVICE, which whoever looks has not."""
    program = folder / "incamera"
    shutil.copy(BINARY, program)
    authority = Authority()
    authority.certify(folder, ["localhost"])
    settings = folder / "server.yaml"
    settings.write_text(
        "port: 443\nbind_addresses: ['']\ntls: {cert_file: server.pem, key_file: server.key}\n"
        "rtc: {udp_port: 443, tcp_port: 444, node_ip: 127.0.0.1}\nprometheus_port: 445\n"
        f"keys: {{clinic7: {SECRET}}}\nrevocations: revoked.yaml\n"
    )
    (folder / "revoked.yaml").write_text("tokens: []\n")
    for file in ("server.yaml", "server.pem", "server.key"):
        os.chown(folder / file, 0, NOBODY)
        (folder / file).chmod(0o640)
    folder.chmod(0o755)

    def ports(apart: Apart, is_root: bool = False) -> tuple[list[str], dict[str, str]]:
        """What is wrong, and how it is with each port."""
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
        words = apart.words(*([] if is_root else user), str(program), "doctor", "--config", str(settings), "--json")
        found = subprocess.run(words, capture_output=True, text=True)
        findings = json.loads(found.stdout)["findings"]
        wrong = [it["what"] for it in findings if it["level"] == "wrong"]
        assert bool(wrong) == (found.returncode == 1), found
        said = [it for it in findings if it["check"] == "port"]
        return wrong, {it["what"].split(" is ")[0]: f"{it['level']}: {it['what']} {it['why']}" for it in said}

    every = {"TCP [::]:443", "TCP [::]:445, of metrics,", "TCP 127.0.0.1:444, of media,", "UDP 127.0.0.1:443"}
    with Apart() as apart:
        wrong, said = ports(apart)
        warned = all(text.startswith("warning") and "CAP_NET_BIND_SERVICE" in text for text in said.values())
        good = not wrong and set(said) == every and warned
        check(good, f"ports that this user may not take are warnings {wrong or ''}")
        stranger = "import socket, time; held = socket.create_server(('127.0.0.1', 443)); time.sleep(60)"
        other = subprocess.Popen(apart.words("python3", "-c", stranger))
        try:
            give_up_at = time.monotonic() + 10
            while "taken by something else" not in said["TCP [::]:443"]:
                assert time.monotonic() < give_up_at, said
                wrong, said = ports(apart)
        finally:
            other.kill()
            other.wait()
        check(len(wrong) == 1, "one that something else has is a fault all the same")
        with open(os.environ["INCAMERA_SERVER_LOG"], "ab") as log:
            words = apart.words(str(program), "serve", "--config", str(settings))
            server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log)
        try:
            give_up_at = time.monotonic() + 10
            asked = {"TCP [::]:443", "TCP [::]:445, of metrics,"}
            while not all("held by a running server" in said[port] for port in asked):
                assert time.monotonic() < give_up_at, said
                wrong, said = ports(apart)
            unknown = all("whether by a running server is not known" in said[port] for port in every - asked)
            wrong_of_root, said_to_root = ports(apart, is_root=True)
            settings.write_text(settings.read_text().replace("port: 443\n", "port: 446\n", 1))
            moved, moved_to_root = ports(apart), ports(apart, is_root=True)
        finally:
            server.terminate()
            server.wait(10)
        check(not wrong and set(said) == every, "beside the running server they are known to be its, without IPv6 too")
        check(unknown, "but for those of media, of which this user may not know it")
        known = all("held by a running server" in text for text in said_to_root.values())
        check(not wrong_of_root and known, f"root knows it of those as well {'' if known else said_to_root}")
        wrong, said = moved
        unknown = all("whether by a running server is not known" in said[port] for port in every - asked)
        check(not wrong and unknown, f"if its port has changed that is no fault {wrong or ''}")
        wrong, said = moved_to_root
        known = all("held by a running server" in said[port] for port in every - {"TCP [::]:443"})
        check(not wrong and known, f"and root knows its other ports {wrong or ''}")


def made_by_root(folder: Path) -> None:
    """What root left in `state_dir`, with a server that it started by hand, keeps that of the unit from starting."""
    program, settings = folder / "incamera", folder / "server.yaml"
    shutil.copy(BINARY, program)
    state, inner = folder / "state", folder / "state" / "127.0.0.1-1-dir"
    inner.mkdir(parents=True)
    settings.write_text(
        f"port: {HTTP_PORT}\nkeys: {{clinic7: {SECRET}}}\n"
        "tls: {acme: {domains: [localhost], accept_terms: true, state_dir: state,\n"
        "             directory_url: 'https://127.0.0.1:1/dir'}}\n"
    )
    folder.chmod(0o755)
    os.chown(settings, NOBODY, NOBODY)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", str(program)]

    def wrong() -> list[str]:
        """Of what is in that folder."""
        found = subprocess.run([*user, "doctor", "--config", str(settings), "--json"], capture_output=True, text=True)
        said = [it["what"] for it in json.loads(found.stdout)["findings"] if it["level"] == "wrong"]
        return [what for what in said if str(state) in what]

    def start() -> str:
        words = [*user, "serve", "--config", str(settings)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=10)
        assert ended.returncode != 0, ended
        return ended.stderr

    state.chmod(0o700)
    inner.chmod(0o700)
    os.chown(state, NOBODY, NOBODY)
    said = wrong()
    check(len(said) == 1 and f"{inner} cannot be written to" in said[0], f"a folder of root's within is a fault {said}")
    check(str(inner) in start(), "and no server starts with it")
    os.chown(inner, NOBODY, NOBODY)
    check(not wrong(), "once it is given to the server's user, nothing is wrong there")
    inner.chmod(0o2770)
    check(not wrong(), "nor if its group has it as well, of which the server takes it back as it starts")
    os.chown(state, 0, NOBODY)
    state.chmod(0o2770)
    said = wrong()
    good = len(said) == 1 and f"{state} is open to others than its owner (mode 0770)" in said[0]
    check(good, f"a folder of root's that the group has is a fault {said}")
    check("is open to others than its owner" in start(), "and no server starts with it")
    os.chown(state, NOBODY, NOBODY)
    state.chmod(0o700)
    for name in ("failures", "hold"):
        (inner / name).touch(0o600)
        said = wrong()
        good = len(said) == 1 and f"{inner / name}: Permission denied" in said[0]
        check(good, f"a file of root's within, {name}, is a fault {said}")
        check(f"{inner / name}: Permission denied" in start(), "and no server starts with it")
        (inner / name).unlink()


async def main() -> None:
    mark_sensitive(SECRET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Whoever runs this may have an authority of their own.
        os.environ["XDG_DATA_HOME"] = str(folder / "data")
        patient = Patient(folder)
        (folder / "server.key").chmod(0o600)
        with time_server(0) as clock, stun_server() as outside:
            code, findings, text = examine(folder, "--ntp", clock, "--stun", outside)
        wrong = [finding for finding in findings if finding["level"] == "wrong"]
        check(code == 0 and not wrong, f"nothing is wrong with a good set-up {wrong}")
        check({"settings", "port", "reach", "stun", "certificate", "clock", "files", "swap"}
              <= {finding["check"] for finding in findings}, "all of it has been looked at")  # fmt: skip
        check(SECRET not in text, "no secret is said")
        plant(patient)
        warns(folder, patient)
        arguments = ["serve", "--log", "info,edge=debug", "--config", str(folder / "server.yaml")]
        with Server(*arguments):
            code, findings, _ = await asyncio.to_thread(examine, folder)
            said = " ".join(finding["what"] for finding in findings)
            check(code == 0 and "is held by a running server" in said, "a running server is no fault")
        await asyncio.to_thread(as_settings_change, patient)
    for case in (without_privilege, made_by_root):
        with tempfile.TemporaryDirectory() as name:
            await asyncio.to_thread(case, Path(name))


scenario("doctor", main, timeout_s=110)
