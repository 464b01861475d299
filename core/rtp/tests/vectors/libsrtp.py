#!/usr/bin/env python3
"""Prints libsrtp.json: packets that libsrtp protected under fixed keys.

SRTP is deterministic, so being equal byte for byte proves acceptance in both directions.
Run with `pip install pylibsrtp==1.0.0` and redirect into libsrtp.json beside this file.
"""

import json
import struct

from pylibsrtp import Policy, Session

PROFILES = {
    "AeadAes128Gcm": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    "AeadAes256Gcm": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    "AesCm128HmacSha1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
}
SSRC = 0x5501A0B2
# The third and later sequence numbers follow the first rollover.
SEQUENCES = [65534, 65535, 0, 1, 2]


def rtp(number, sequence):
    """A packet of its own shape: plain, with extension, with sources, empty, long."""
    shape = number % 5
    sources = 2 if shape == 2 else 0
    extension = b"\xbe\xde\x00\x01\x10\xaa\x00\x00" if shape in (1, 2) else b""
    payload = bytes((7 * i + number) & 255 for i in range([38, 120, 15, 0, 1100][shape]))
    first = 0x80 | (0x10 if extension else 0) | sources
    header = struct.pack("!BBHII", first, 0xE0, sequence, 0x8041F8D3 + number, SSRC)
    header += bytes(range(4 * sources)) + extension
    return header, payload


def rtcp(number):
    """A sender report, or a receiver report and a NACK."""
    if number == 0:
        return struct.pack("!BBHIQIII", 0x80, 200, 6, SSRC, 0x4E5450314E545032, 0x52545020, 1066, 59696)
    return struct.pack("!BBHI", 0x80, 201, 1, SSRC) + struct.pack("!BBHIIHH", 0x81, 205, 3, SSRC, 77, number, 5)


def vectors(name, profile, key_len, salt_len):
    exported = bytes((13 * i + len(name)) & 255 for i in range(2 * (key_len + salt_len)))
    # The server's key and salt: the second of each pair.
    key = exported[key_len : 2 * key_len] + exported[2 * key_len + salt_len :]
    policy = Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
    session = Session(policy=policy)
    packets = []
    rollover = 0
    for number, sequence in enumerate(SEQUENCES):
        rollover += sequence == 0
        header, payload = rtp(number, sequence)
        packets.append({
            "index": rollover << 16 | sequence,
            "header_len": len(header),
            "plain": (header + payload).hex(),
            "protected": session.protect(header + payload).hex(),
        })
    reports = [{"plain": rtcp(n).hex(), "protected": session.protect_rtcp(rtcp(n)).hex()} for n in range(3)]
    return {"profile": name, "exported": exported.hex(), "rtp": packets, "rtcp": reports}


print(json.dumps([vectors(name, *of) for name, of in PROFILES.items()], indent=1))
