"""The service as it is shipped: systemd's own judge of the unit, and a call on a server that runs as it says.

systemd need not run here: of what the unit takes away, the user, capabilities, new privileges and, where the kernel can,
writable code are taken away by hand; system calls, address families and parts of the file system are not, which the
judge alone looks at. Needs root, to give it up.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ["INCAMERA_KEY"] = "clinic7"
os.environ["INCAMERA_SECRET"] = secrets.token_urlsafe(32)
os.environ["INCAMERA_URL"] = f"http://127.0.0.1:{os.environ['INCAMERA_HTTP_PORT']}"

from client import API_SECRET, check, control, fresh_room, join, mark_sensitive, scenario, until, uttered  # noqa: E402
from own_server import BINARY, HTTP_PORT, TCP_PORT, UDP_PORT, Server  # noqa: E402

UNIT = Path(__file__).parents[3] / "deploy" / "incamera.service"
#: In tenths, of ten: systemd calls less than 2 "OK", its best word but one.
EXPOSURE_MAX = 20
NOBODY = 65_534
#: prctl(2), of linux/prctl.h: no memory becomes executable that was writable.
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


def settings_of_the_unit() -> dict[str, str]:
    lines = [line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line]
    return {name: value for name, value in lines if not name.startswith("#")}


def judge_the_unit(folder: Path) -> None:
    text = UNIT.read_text()
    assert "/usr/local/bin/incamera " in text
    # The judge looks whether the program is there.
    unit = folder / UNIT.name
    unit.write_text(text.replace("/usr/local/bin/incamera ", f"{BINARY} "))
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    said = (verified.stdout + verified.stderr).strip()
    check(verified.returncode == 0 and UNIT.name not in said, f"systemd takes the unit {said}")
    security = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    judged = subprocess.run(
        [*security, f"--threshold={EXPOSURE_MAX}", str(unit)], capture_output=True, text=True
    )
    check(judged.returncode == 0, f"of its exposure it says: {judged.stdout.strip().splitlines()[-1]}")
    bare = folder / "bare.service"
    bare.write_text(f"[Service]\nExecStart={BINARY} serve\n")
    judged = subprocess.run(
        [*security, f"--threshold={EXPOSURE_MAX}", str(bare)], capture_output=True, text=True
    )
    check(judged.returncode != 0, "which it does not say of a unit that takes nothing away")


def give_up() -> None:
    said = settings_of_the_unit()
    files = int(said["LimitNOFILE"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    # The unit forbids core dumps, and so does the server itself.
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0
    # Kernels before 6.3 do not know it.
    if refused and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "PR_SET_MDWE")


def dumps_nothing(pid: int) -> None:
    """Neither into a core file nor to another process of the same user, be it a crash reporter or a debugger."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    check(core.split()[4:6] == ["0", "0"], "it leaves no core file, though it was started with leave to")

    def is_open_to_its_user(pid: int) -> bool:
        # Asked of the kernel as one asks for a process's memory, without what some systems forbid of that besides.
        read = ["cat", f"/proc/{pid}/maps"]
        return subprocess.run(read, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True).returncode == 0

    other = subprocess.Popen(["sleep", "60"], user=NOBODY, group=NOBODY, extra_groups=[])
    try:
        control(is_open_to_its_user(other.pid), "another process of nobody's is open to that user")
    finally:
        other.kill()
        other.wait()
    check(not is_open_to_its_user(pid), "the server is not")


async def holds_a_call(folder: Path) -> None:
    binary = folder / "incamera"
    shutil.copy(BINARY, binary)
    binary.chmod(0o755)
    config = folder / "server.yaml"
    config.write_text(
        f"port: {HTTP_PORT}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: {TCP_PORT}}}\nkeys: {{clinic7: {API_SECRET}}}\n"
    )
    os.chown(config, 0, NOBODY)
    config.chmod(0o640)
    folder.chmod(0o755)
    words = [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", str(binary),
    ]  # fmt: skip
    arguments = ["serve", "--log", "info,edge=debug", "--config", str(config)]
    with Server(*arguments, program=tuple(words), before=give_up) as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        bare = int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
        check(
            bare and facts["NoNewPrivs"] == "1" and facts["Uid"].split() == [str(NOBODY)] * 4,
            "it runs as nobody, without a capability and without the way to one",
        )
        dumps_nothing(server.process.pid)
        name = fresh_room("deployment")
        ada, ben = await join(name, "ada"), await join(name, "ben")
        said: list[bytes] = []
        ada.on("data_received", lambda packet: said.append(packet.data))
        await ben.local_participant.publish_data(uttered("here is ben"))
        await until("ada hears ben", 15, lambda: said == [b"here is ben"])
        check(True, "and holds a call")
        await ada.disconnect()
        await ben.disconnect()


async def says_what_a_reload_does_not_do(folder: Path) -> None:
    config = folder / "server.yaml"
    read, odd, waits = "read again", "about the settings", "take effect when the server is started again"

    def write(port: int = HTTP_PORT, more: str = "") -> None:
        config.write_text(
            f"port: {port}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: 0}}\nkeys: {{clinic7: {API_SECRET}}}\n{more}"
        )

    write()
    with Server("serve", "--config", str(config)) as server:
        reloads = 0

        async def reload(what: str, oddities: int, waiting: int) -> None:
            nonlocal reloads
            reloads += 1
            server.hang_up()
            await until("the files are read again", 5, lambda: server.says(read, reloads))
            counts = server.log().count(odd), server.log().count(waits)
            check(counts == (oddities, waiting), f"{what}: {counts}")

        await reload("a reload of the same says nothing of it", 0, 0)
        write(more="webhook: {urls: [http://127.0.0.1:1]}\n")
        await reload("a setting without effect is named when it is new", 1, 0)
        await reload("and once", 1, 0)
        write(more="# moved by a line\nwebhook: {urls: [http://127.0.0.1:1]}\nturn: {enabled: false}\n")
        await reload("and so is the next", 2, 0)
        write(port=HTTP_PORT + 1)
        await reload("that another port waits for a restart is said", 2, 1)
        await reload("and once", 2, 1)
        write(port=HTTP_PORT + 2)
        await reload("and again when it is yet another", 2, 2)
        write()
        await reload("and not when it is what is served", 2, 2)
        check(server.says("again what is served with"), "which is said instead")


async def reloads_while_it_starts(folder: Path) -> None:
    (folder / "revoked.yaml").write_text("tokens:\n" + "".join(f"  - {n:064x}\n" for n in range(65_000)))
    config = folder / "revoking.yaml"
    config.write_text(
        f"port: {HTTP_PORT}\nrtc: {{udp_port: {UDP_PORT}, tcp_port: 0}}\nkeys: {{clinic7: {API_SECRET}}}\n"
        "revocations: revoked.yaml\n"
    )
    hang_up = ("sh", "-c", '(sleep 0.05; kill -HUP $$) & exec "$@"', "sh", BINARY)
    with Server("serve", "--config", str(config), program=hang_up) as server:
        await until("the reload that was asked for", 10, lambda: server.says("read again"))
        check(True, "who asks for a reload while the server still starts gets one afterwards")


async def main() -> None:
    mark_sensitive(API_SECRET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await asyncio.to_thread(judge_the_unit, folder)
        await holds_a_call(folder)
        await says_what_a_reload_does_not_do(folder)
        await reloads_while_it_starts(folder)


scenario("deployment", main, timeout_s=80)
