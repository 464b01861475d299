"""Judges our tokens (../vectors/minted.json) with the verifier of PyPI's livekit-api."""

import json
import pathlib
import re

from livekit import api

HERE = pathlib.Path(__file__).parent


def camel(name):
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def said(grants):
    """The fields that are set, by the names of the wire."""
    return {camel(name): value for name, value in vars(grants).items() if value not in (None, "", False)}


vector = json.loads((HERE / "../vectors/minted.json").read_text())
cases = {case["name"]: case for case in json.loads((HERE / "cases.json").read_text())}
verifier = api.TokenVerifier(vector["key"], vector["secret"])
assert vector["tokens"].keys() == cases.keys()
for name, token in vector["tokens"].items():
    case, claims = cases[name], verifier.verify(token)
    assert claims.identity == case["identity"], name
    assert claims.name == case.get("display_name", ""), name
    assert claims.metadata == case.get("metadata", ""), name
    assert claims.attributes == case.get("attributes", {}), name
    assert claims.kind == case.get("kind", ""), name
    # Absent options of this library's grants read as granted.
    defaults = {"canPublish": True, "canSubscribe": True, "canPublishData": True}
    expect = {k: v for k, v in {**defaults, **case["video"]}.items() if v is not False}
    assert said(claims.video) == expect, (name, said(claims.video), expect)
    assert said(claims.sip) == case.get("sip", {}), name
    forged = api.TokenVerifier(vector["key"], vector["secret"] + "x")
    try:
        forged.verify(token)
    except Exception:
        continue
    raise AssertionError("a foreign secret verified")
print(f"livekit-api takes {len(cases)} tokens")
