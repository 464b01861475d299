"""Judges our SRTP with libsrtp: each opens what the other sealed, in all three profiles.

The argument is the program that `cargo build -p rtp --example srtp` builds. Needs pylibsrtp.
"""

import json
import random
import struct
import subprocess
import sys

from pylibsrtp import Error, Policy, Session

#: The profile's number in DTLS, libsrtp's name for it, lengths of key and salt.
PROFILES = {
    "AEAD_AES_128_GCM": (7, Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "AEAD_AES_256_GCM": (8, Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "AES_CM_128_HMAC_SHA1_80": (1, Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}
OURS, THEIRS = 0x5501A0B2, 0x2B0A1055
PACKETS = 400
#: The numbering rolls over on the way.
FIRST = 65_400


class Ours:
    """Our session, the server's, in a process of its own."""

    def __init__(self, program, profile, exported):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True)
        self.tell({"profile": profile, "exported": exported.hex()})

    def tell(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def ask(self, **line):
        """The packet, or None if it was refused."""
        self.tell({k: v.hex() if isinstance(v, bytes) else v for k, v in line.items()})
        packet = json.loads(self.process.stdout.readline()).get("packet")
        return None if packet is None else bytes.fromhex(packet)

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(5) == 0


def rtp(dice, ssrc, sequence):
    """A header of any shape, and a payload of any length."""
    sources = dice.choice([0, 0, 2])
    extension = dice.choice([b"", b"\xbe\xde\x00\x01\x10\xaa\x00\x00"])
    first = 0x80 | (0x10 if extension else 0) | sources
    header = struct.pack("!BBHII", first, 0xE0, sequence & 0xFFFF, 960 * sequence, ssrc)
    header += dice.randbytes(4 * sources) + extension
    return header, dice.randbytes(dice.choice([0, 1, 15, 16, 17, 44, 120, dice.randrange(1200), 1200]))


def rtcp(dice, ssrc):
    """A receiver report, and a NACK of some numbers."""
    nack = dice.randbytes(4 * dice.randrange(1, 8))
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc) + struct.pack("!BBHII", 0x81, 205, 2 + len(nack) // 4, ssrc, 77) + nack


def flipped(dice, packet):
    at = dice.randrange(len(packet))
    return packet[:at] + bytes([packet[at] ^ 1 << dice.randrange(8)]) + packet[at + 1 :]


def refuses(open_it, packet):
    try:
        open_it(packet)
    except Error:
        return True
    return False


def judge(program, name):
    number, profile, key_len, salt_len = PROFILES[name]
    dice = random.Random(name)
    exported = dice.randbytes(2 * (key_len + salt_len))
    clients = exported[:key_len] + exported[2 * key_len :][:salt_len]
    servers = exported[key_len : 2 * key_len] + exported[2 * key_len + salt_len :]
    sender = Session(Policy(key=clients, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
    receiver = Session(Policy(key=servers, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))
    ours = Ours(program, number, exported)
    for index in range(FIRST, FIRST + PACKETS):
        header, payload = rtp(dice, OURS, index)
        sealed = ours.ask(protect=header + payload, header_len=len(header), index=index)
        assert refuses(receiver.unprotect, flipped(dice, sealed)), (name, index)
        assert receiver.unprotect(sealed) == header + payload, (name, index)
        header, payload = rtp(dice, THEIRS, index)
        sealed = sender.protect(header + payload)
        assert ours.ask(unprotect=flipped(dice, sealed)) is None, (name, index)
        assert ours.ask(unprotect=sealed) == header + payload, (name, index)
        assert ours.ask(unprotect=sealed) is None, (name, index)
        report = rtcp(dice, OURS)
        assert receiver.unprotect_rtcp(ours.ask(protect_rtcp=report)) == report, (name, index)
        report = rtcp(dice, THEIRS)
        sealed = sender.protect_rtcp(report)
        assert ours.ask(unprotect_rtcp=flipped(dice, sealed)) is None, (name, index)
        assert ours.ask(unprotect_rtcp=sealed) == report, (name, index)
    ours.end()
    print(f"{name}: {PACKETS} packets and reports each way")


for name in PROFILES:
    judge(sys.argv[1], name)
