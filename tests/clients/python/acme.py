"""`serve` with a certificate by ACME, against Let's Encrypt's own test authority, which validates over the network.

The first certificate, restarts, renewal during a call, an authority that is gone, has forgotten everything, or wants to
be left alone, a name that is not this server's, a folder in which nothing can be kept or others can look; over
TLS-ALPN-01 and HTTP-01. And one of our own that says what makes no sense, and gives what does not hold.
"""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pebble import Dns, Pebble, free_ports

HTTP_PORT = int(os.environ["INCAMERA_HTTP_PORT"])
FOLDER = Path(tempfile.mkdtemp(prefix="incamera-acme-"))
CHALLENGE_PORT = free_ports(1)[0]
NAMES = ["localhost", "calls.example"]
#: Renewed at two thirds.
LIFE_S = 24
DNS = Dns(FOLDER, *NAMES)
PORTS = {"tls_port": HTTP_PORT, "http_port": CHALLENGE_PORT}
PEBBLE = Pebble(FOLDER, DNS, name="pebble", life_s=90 * 86_400, **PORTS)
HASTY = Pebble(FOLDER, DNS, name="hasty", life_s=LIFE_S, **PORTS)

# Before anything reads them, as the clients do when they are imported.
os.environ["INCAMERA_URL"] = f"https://localhost:{HTTP_PORT}"
os.environ["INCAMERA_KEY"] = "clinic7"
os.environ["INCAMERA_SECRET"] = secrets.token_urlsafe(32)
(FOLDER / "roots.pem").write_text(PEBBLE.root + HASTY.root)
os.environ["SSL_CERT_FILE"] = str(FOLDER / "roots.pem")

from odd_authority import EARLY, ERRORS, EXPIRED, GOOD, OVERDUE, OddAuthority

from client import API_SECRET, check, expects, fresh_room, join, mark_sensitive, scenario, until, uttered  # noqa: E402
from livekit import rtc  # noqa: E402
from own_server import BINARY, TCP_PORT, UDP_PORT, Server, refused  # noqa: E402
from stranger import STRANGER_BYTES_MAX, over_tcp, request  # noqa: E402

#: What an authority says that is asked too much.
HOLD_S = 3_600
#: What the log says while nothing is shown.
REFUSED = "no certificate was given: nobody can join"
ATTEMPTS_PER_HOUR = 4
AUTHORIZATIONS_MAX = 50
#: A few requests to an authority on the same machine, and it is asked every half second whether it is done.
GIVEN_WITHIN_S = 30


def write(acme: dict[str, Any], more: str = "") -> str:
    """The path of settings with this below `tls.acme`."""
    path = FOLDER / "server.yaml"
    path.write_text(
        f"port: {HTTP_PORT}\n"
        "bind_addresses: [127.0.0.1]\n"
        f"rtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}, node_ip: 127.0.0.1}}\n"
        f"keys: {{clinic7: {API_SECRET}}}\n"
        f"{more}tls:\n  acme: {json.dumps(acme)}\n"
    )
    return str(path)


def started(acme: dict[str, Any]) -> Server:
    return Server("serve", "--log", "info,edge=debug", "--config", write(acme))


def of(pebble: Pebble, state: str, **more: Any) -> dict[str, Any]:
    return pebble.settings(domains=NAMES[:1], state_dir=str(FOLDER / state), **more)


def kept_in(state: str) -> Path:
    """The one folder below: that of the directory."""
    (folder,) = (FOLDER / state).iterdir()
    return folder


def shown(root: str | None, name: str = "localhost") -> tuple[int, dict[str, Any]]:
    """Number and content of the certificate that a newcomer is shown; judged by `root` unless there is none."""
    context = ssl.create_default_context(cadata=root)
    if root is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", HTTP_PORT), timeout=5) as connection:
        with context.wrap_socket(connection, server_hostname=name) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
            content = wrapped.getpeercert() or {}
    from cryptography import x509

    return x509.load_der_x509_certificate(der).serial_number, content


def ask(path: str, root: str | None) -> tuple[int, str]:
    context = ssl.create_default_context(cadata=root)
    if root is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(
            f"https://localhost:{HTTP_PORT}{path}", context=context, timeout=5
        ) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


async def given(server: Server, times: int = 1) -> None:
    words = "a certificate was given"
    try:
        await until("a certificate", GIVEN_WITHIN_S, lambda: server.says(words, times))
    except AssertionError as error:
        raise AssertionError(f"{error}: {server.log()[-2000:]}") from None


async def talk(name: str) -> tuple[rtc.Room, rtc.Room]:
    ada, ben = await join(name, "ada"), await join(name, "ben")
    await hears(ada, ben, "hello, ada")
    return ada, ben


async def hears(ada: rtc.Room, ben: rtc.Room, words: str) -> None:
    said: list[bytes] = []
    ada.on("data_received", lambda packet: said.append(packet.data))
    await ben.local_participant.publish_data(uttered(words))
    await until("ada hears ben", 10, lambda: words.encode() in said)


def of_odd(odd: OddAuthority, state: str, **more: Any) -> dict[str, Any]:
    return {**of(PEBBLE, state, **more), "directory_url": odd.directory_url}


def open_to_others() -> Path:
    path = FOLDER / "wide"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    return path


def refuses_what_cannot_work() -> None:
    good = of(PEBBLE, "refused")
    unaccepted = {key: value for key, value in good.items() if key != "accept_terms"}
    (FOLDER / "file").write_text("")
    for acme, reason in [
        (unaccepted, "read the terms of service that https://localhost"),
        ({**good, "state_dir": str(FOLDER / "file" / "in")}, "each start would ask for new ones"),
        ({**good, "state_dir": str(open_to_others())}, "is open to others than its owner (mode 0755)"),
        ({**good, "directory_ca_file": str(FOLDER / "file")}, "holds no certificate in PEM"),
        ({**good, "domains": ["*.example"]}, "give each name"),
    ]:
        said = refused("serve", "--config", write(acme))
        check(reason in said and "line 6: " in said, f"refused with line and reason: {said.strip()[-160:]}")
    said = refused("serve", "--config", write(good, "behind_proxy: true\n"))
    check("the proxy that needs the certificate" in said, "nor with a proxy that speaks TLS")


async def waits_for_an_authority() -> None:
    """One that takes connections and says nothing; then none at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}/dir"
        server = started({**of(PEBBLE, "silent"), "directory_url": url})
        await until("it asks", 5, lambda: server.says("asking for a certificate"))
        check(ask("/livez", None) == (200, "alive"), "without a certificate the server lives")
        check(ask("/readyz", None) == (503, "no certificate yet"), "it is not ready, and says why")
        check(ask("/rtc/v1?access_token=t", None)[0] == 503, "and serves nobody")
        try:
            await join(fresh_room("acme"), "cy")
            raise AssertionError("cy joins under a certificate of nobody's")
        except rtc.ConnectError:
            pass
        began = time.monotonic()
        with server:
            pass
        seconds = time.monotonic() - began
        check(seconds < 6, f"SIGTERM ends it within {seconds:.1f} s, whatever the authority does")
    with started({**of(PEBBLE, "gone"), "directory_url": url}) as server:
        await until("it fails", 10, lambda: server.says("no certificate was given: nobody can join"))
        check(server.says("Connection refused"), "an authority that is not there is named as such")


async def leaves_alone_who_wants_it() -> None:
    with OddAuthority(FOLDER, "pebble") as odd:
        odd.weary = str(HOLD_S)
        acme = of_odd(odd, "weary")
        patience = "or wants to be left alone"
        with started(acme) as server:
            await until("it is refused", 10, lambda: server.says(REFUSED))
        hold = kept_in("weary") / "hold"
        check(server.says(": says 429 Too Many Requests"), "what is refused without a word is told by its status")
        since, ends = held_by("weary")
        mode = stat.S_IMODE(hold.stat().st_mode)
        check(ends - since == HOLD_S and mode == 0o600, "for how long an authority wants to be left alone is kept")
        asked = odd.asked
        # The second time the clock says that it was set back, by far.
        for ahead in [0, 400 * 86_400]:
            hold.write_text(f"{since + ahead}\n{ends + ahead}\n")
            with started(acme) as server:
                await until("it waits", 10, lambda: server.says(patience))
                await asyncio.sleep(2)
            begun, _ = held_by("weary")
            check(odd.asked == asked, "a restart leaves it alone as well")
            check(abs(begun - time.time()) < 60, "and no longer than it said, whatever the clock does")
        hold.unlink()
        odd.weary = email.utils.formatdate(time.time() + HOLD_S, usegmt=True)
        with started(acme) as server:
            await until("it is refused", 10, lambda: server.says(REFUSED))
        check(odd.asked > asked, "without a hold it would be asked")
        since, ends = held_by("weary")
        check(abs(ends - since - HOLD_S) < 10, "a date when to come back is taken as well")
        # That is longer than an attempt waits.
        odd.weary, odd.once = None, ("processing", str(HOLD_S))
        with started(of_odd(odd, "slow")) as server:
            await until("it is told to wait", 10, lambda: server.says(REFUSED))
        since, ends = held_by("slow")
        check(abs(ends - since - HOLD_S) < 10, "and when an order is to be looked at again")


def held_by(state: str) -> tuple[int, int]:
    since, ends = map(int, (kept_in(state) / "hold").read_text().split())
    return since, ends


async def goes_on_whatever_an_authority_says() -> None:
    with OddAuthority(FOLDER, "pebble") as odd:
        odd.once = ("invalid", str(2**64 - 1))
        with started(of_odd(odd, "odd")) as server:
            await until("it fails", 10, lambda: server.says(REFUSED))
            check(server.says("the order is void"), "a wait of all time is no reason, the order's state is")
            # Its library for ACME has it that an address there is one.
            odd.nonces = "no address"
            server.hang_up()
            await until("it fails again", 10, lambda: server.says(REFUSED, 2))
            check(server.says("a fault of this server ended it"), "an attempt that panics is one that has failed")
            check(ask("/readyz", None) == (503, "no certificate yet"), "and the server goes on")
            odd.nonces, odd.authorizations = None, AUTHORIZATIONS_MAX + 1
            server.hang_up()
            await until("it fails a third time", 10, lambda: server.says(REFUSED, 3))
            check(server.says("far more names than are wanted"), "nor are more names looked at than there may be")
            odd.authorizations = AUTHORIZATIONS_MAX
            server.hang_up()
            await given(server)
            serial, _ = shown(odd.issuer.root())
        odd.authorizations, odd.token = 1, "t" * 1_000
        with started(of_odd(odd, "token", http_port=CHALLENGE_PORT)) as server:
            await until("it fails", 10, lambda: server.says(REFUSED))
            check(server.says("too long a token"), "nor is anything kept of a token that is none")
        odd.token = None
        await shows_nothing_that_does_not_hold(odd, serial)
        await begins_with_nothing_that_does_not_hold(odd)
        await asks_no_more_for_what_is_overdue(odd)


async def shows_nothing_that_does_not_hold(odd: OddAuthority, serial: int) -> None:
    words = "no new certificate was given: the one before stays"
    kept = kept_in("odd") / "certificate.pem"
    was = kept.read_text()
    odd.holds = EXPIRED
    # For another name, too: so another is wanted.
    with started({**of_odd(odd, "odd"), "domains": NAMES}) as server:
        for times, why in [(1, "its certificate 1 has expired at"), (2, "its certificate 1 is not valid before")]:
            await until("it fails", 10, lambda times=times: server.says(words, times))
            check(server.says(why), f"of what it gives {why} …")
            check(shown(odd.issuer.root())[0] == serial and kept.read_text() == was, "the one before is shown and kept")
            check(ask("/readyz", odd.issuer.root()) == (200, "ready"), "and the server is ready")
            odd.holds = EARLY if times == 1 else GOOD
            server.hang_up()
        await given(server)
        check(shown(odd.issuer.root())[0] != serial, "one that holds takes its place")


async def begins_with_nothing_that_does_not_hold(odd: OddAuthority) -> None:
    odd.holds = EARLY
    with started(of_odd(odd, "early")) as server:
        await until("it fails", 10, lambda: server.says(REFUSED))
        check(ask("/readyz", None) == (503, "no certificate yet"), "one that begins in a month makes nobody ready")
        check(not (kept_in("early") / "certificate.pem").exists(), "and is not kept")
        odd.holds = GOOD
        server.hang_up()
        await given(server)
        check(ask("/readyz", odd.issuer.root()) == (200, "ready"), "the next one does")
    kept = kept_in("early") / "certificate.pem"
    odd.issuer.certify(FOLDER, NAMES, stem="early", begins_in=EARLY[0], ends_in=EARLY[1])
    kept.write_text((FOLDER / "early.pem").read_text() + (FOLDER / "early.key").read_text())
    code, findings = doctor(of_odd(odd, "early"))
    (wrong,) = [finding for finding in findings if finding["level"] == "wrong"]
    what = "certificate.pem: its certificate 1 is not valid before"
    check(code == 1 and what in wrong["what"] and "remove that file" in wrong["fix"], f"doctor: {wrong['what'][-90:]}")
    with started(of_odd(odd, "early")) as server:
        check(server.says("the certificate that is kept does not hold now"), "so does the log at the start")


async def asks_no_more_for_what_is_overdue(odd: OddAuthority) -> None:
    odd.holds, odd.orders = OVERDUE, 0
    with started(of_odd(odd, "overdue")) as server:
        for times in range(1, ATTEMPTS_PER_HOUR + 1):
            await given(server, times)
            check(server.says("is to be renewed already", times), "what is to be renewed already is shown, and said")
            server.hang_up()
        await until("it waits", 10, lambda: server.says("the authority is not asked now"))
    with started(of_odd(odd, "overdue")) as server:
        await until("it waits", 10, lambda: server.says("the authority is not asked now"))
        await asyncio.sleep(2)
    check(odd.orders == ATTEMPTS_PER_HOUR, f"whoever asks, of that there are {odd.orders} in an hour")


async def takes_no_contact_for_an_answer() -> None:
    """A contact's address that the settings take and the authority does not: it says so and quotes it."""
    contact = "on..call@example.org"
    encoded, spelt = contact.replace("@", "%40"), contact.replace("@", " AT ")
    for written in [contact, contact.upper(), encoded, encoded.upper(), "on..call", "ON..CALL"]:
        mark_sensitive(written)
    with started(of(PEBBLE, "contact", email=contact)) as server:
        await until("it is refused", 10, lambda: server.says(REFUSED))
        check(server.says("(tls.acme.email): invalidContact"),
              "whose contact's address an authority refuses is told where it stands")
    with OddAuthority(FOLDER, "pebble") as odd:
        for number, (kind, words) in enumerate([
            ("invalidContact", f"MAILTO:{contact.upper()} / {encoded}"),
            ("malformed", f"nobody is known as {spelt.upper()}"),
        ]):  # fmt: skip
            odd.refusal = lambda _, kind=kind, words=words: {"type": ERRORS + kind, "detail": words}
            with started(of_odd(odd, f"contact{number}", email=contact)) as server:
                await until("it is refused", 10, lambda: server.says(REFUSED))
                check(server.says(f"(tls.acme.email): {kind}"), f"the kind alone is told: {kind}")


async def gets_the_first(state: str) -> int:
    with started(of(PEBBLE, state, email="ops@example.org")) as server:
        await given(server)
        serial, content = shown(PEBBLE.root)
        check(content["subjectAltName"] == (("DNS", "localhost"),), "who trusts the authority is shown its certificate")
        check(ask("/readyz", PEBBLE.root) == (200, "ready"), "and the server is ready")
        ada, ben = await talk(fresh_room("acme"))
        check(True, "LiveKit's SDK holds a call over it")
        await ada.disconnect()
        await ben.disconnect()
        folder = kept_in(state)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
        names = {"account.json", "certificate.pem", "failures"}
        check(
            modes.pop(folder.name) == 0o700 and set(modes) == names and set(modes.values()) == {0o600},
            f"what is kept is the server's alone: {sorted(modes)}",
        )
        mark_sensitive(json.loads((folder / "account.json").read_text())["key_pkcs8"])
    return serial


async def keeps_it(state: str, serial: int) -> None:
    orders = PEBBLE.orders()
    with started(of(PEBBLE, state)) as server:
        check(shown(PEBBLE.root)[0] == serial, "a restart shows the one that is kept, at once")
        path = FOLDER / "server.yaml"
        path.write_text(f"# Of the ward.\n{path.read_text()}")
        server.hang_up()
        await until("SIGHUP", 5, lambda: server.says("read again"))
        check(not server.says("has its certificate from elsewhere"), "a line above makes no other authority of it")
        await asyncio.sleep(2)
        check(not server.says("asking for a certificate") and PEBBLE.orders() == orders,
              "and nobody is asked for another")  # fmt: skip
        await asyncio.to_thread(examines_it)
    # Names that were added are asked for, and what is there is shown meanwhile.
    with started({**of(PEBBLE, state), "domains": ["localhost", "nowhere.example"]}) as server:
        await until("it is refused", GIVEN_WITHIN_S, lambda: server.says("the one before stays"))
        (line,) = [line for line in server.log().splitlines() if "the one before stays" in line]
        check("nowhere.example: " in line and "next=" in line, f"a name that is not ours: {line[28:300]}")
        check(shown(PEBBLE.root)[0] == serial, "the one before is shown on")
    with started({**of(PEBBLE, state), "domains": NAMES}) as server:
        await given(server)
        fresh, content = shown(PEBBLE.root, "calls.example")
        names = {name for _, name in content["subjectAltName"]}
        check(fresh != serial and names == set(NAMES), "a name that is, is added")
    broken = kept_in(state) / "certificate.pem"
    broken.write_text("nothing")
    said = refused("serve", "--config", write(of(PEBBLE, state)))
    check("certificate.pem: holds no certificate" in said and "remove it" in said, "a broken one is named at the start")


def doctor(acme: dict[str, Any]) -> tuple[int, list[dict[str, str]]]:
    words = [BINARY, "doctor", "--config", write(acme), "--json"]
    found = subprocess.run(words, capture_output=True, text=True)
    findings = json.loads(found.stdout)["findings"]
    return found.returncode, [it for it in findings if it["check"] == "acme"]


def examines_it() -> None:
    """What `doctor` says next to the running server, and of faults that are planted."""
    code, findings = doctor(of(PEBBLE, "kept"))
    said = " ".join(finding["what"] for finding in findings)
    for words in [
        f"{PEBBLE.directory_url} answers; its terms of service: data:text/plain",
        "can be written to", "a certificate is kept that holds until 20",
        f"whether TCP 443 there comes to TCP {HTTP_PORT} of this server",
    ]:  # fmt: skip
        check(words in said, f"doctor: {words}")
    check(all(finding["level"] != "wrong" for finding in findings), f"nothing is wrong {code}")
    for acme, what, fix in [
        ({"directory_url": "https://localhost:1/dir"}, "does not answer as an authority", "directory_url"),
        ({"directory_ca_file": str(HASTY.ca_file)}, "does not answer as an authority", "directory_ca_file"),
        ({"directory_ca_file": str(FOLDER / "file")}, "holds no certificate in PEM", "ca-certificates"),
        ({"domains": ["nowhere.invalid"]}, "nowhere.invalid does not resolve", "A or AAAA"),
        ({"state_dir": str(FOLDER / "file" / "in")}, "cannot be written to by this user", "install -d"),
        ({"state_dir": str(open_to_others())}, "is open to others than its owner (mode 0755)", "chmod 0700"),
    ]:
        code, findings = doctor({**of(PEBBLE, "kept"), **acme})
        wrong = [finding for finding in findings if finding["level"] == "wrong"]
        check(
            code == 1 and len(wrong) == 1 and what in wrong[0]["what"] and fix in wrong[0]["fix"],
            f"doctor: {what}: {fix} {wrong if len(wrong) != 1 else ''}",
        )


async def answers_over_http() -> None:
    acme = of(PEBBLE, "http", http_port=CHALLENGE_PORT)
    with started(acme) as server:
        await given(server)
        check(shown(PEBBLE.root)[1], "a certificate is given over HTTP-01, too")
        connection = http.client.HTTPConnection("127.0.0.1", CHALLENGE_PORT, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        said = answer.read().decode()
        check(answer.status == 404 and "only an authority" in said, f"nobody else is answered there: {said.strip()}")
        asked = [request("/"), request("/.well-known/acme-challenge/" + "a" * 40_000), bytes(range(128, 256))]
        answers = await asyncio.gather(*(over_tcp("127.0.0.1", CHALLENGE_PORT, it) for it in asked))
        longest = max(map(len, answers))
        check(0 < longest <= STRANGER_BYTES_MAX, f"and with {longest} bytes at most")


async def renews_during_a_call() -> None:
    with started(of(HASTY, "hasty")) as server:
        await given(server)
        first, _ = shown(HASTY.root)
        name = fresh_room("acme")
        ada, ben = await talk(name)
        gone: list[object] = []
        ada.on("disconnected", gone.append)
        # Stands for a disk that is full.
        in_the_way = kept_in("hasty") / "certificate.new"
        in_the_way.mkdir()
        await until("it is renewed", LIFE_S + 5, lambda: shown(None)[0] != first)
        second, _ = shown(HASTY.root)
        await hears(ada, ben, "heard when renewed")
        check(not gone, "a certificate is renewed at two thirds of its life, and a call goes on")
        await until("it is said", 5, lambda: server.says("is shown and cannot be kept"))
        check(True, "what cannot be kept is shown, and that is said")
        in_the_way.rmdir()

        HASTY.stop()
        words = "no new certificate was given: the one before stays"
        await until("it fails", LIFE_S, lambda: server.says(words))
        check(shown(HASTY.root)[0] == second, "an authority that is gone leaves the one before")
        await until("it is said", 5, lambda: server.says("the certificate ends soon"))
        check(ask("/readyz", HASTY.root) == (200, "ready"), "of which the log warns")
        await until("it ends", LIFE_S, lambda: server.says("the certificate has expired"))
        check(ask("/readyz", None) == (503, "the certificate has expired"), "when it has ended the server is not ready")
        await hears(ada, ben, "heard when it ended")
        check(not gone, "and the call goes on")

        # As one that has lost its accounts.
        HASTY.start()
        server.hang_up()
        await given(server, 3)
        check(shown(HASTY.root)[0] != second, "SIGHUP tries at once, with an account of its own where there is none")
        check(ask("/readyz", HASTY.root) == (200, "ready"), "and the server is ready again")
        await hears(ada, ben, "heard again")
        check(not gone, "all in one call")
        await ada.disconnect()
        await ben.disconnect()


async def main() -> None:
    mark_sensitive(API_SECRET)
    try:
        await asyncio.to_thread(refuses_what_cannot_work)
        await waits_for_an_authority()
        await leaves_alone_who_wants_it()
        await takes_no_contact_for_an_answer()
        await goes_on_whatever_an_authority_says()
        serial = await gets_the_first("kept")
        await keeps_it("kept", serial)
        await answers_over_http()
        await renews_during_a_call()
        for counter in ["challenges_answered", "certificates_obtained", "certificates_failed"]:
            expects(counter, 1)
    finally:
        for each in [PEBBLE, HASTY, DNS]:
            each.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)


scenario("acme", main, timeout_s=230)
