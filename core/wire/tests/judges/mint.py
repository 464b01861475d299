"""Mints the tokens of cases.json with PyPI's livekit-api: ../vectors/livekit-api.json."""

import json
import pathlib
import re
import time

from livekit import api

HERE = pathlib.Path(__file__).parent
KEY, SECRET = "project", "a secret of more than thirty-two bytes"


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def mint(case):
    grants = {snake(name): value for name, value in case["video"].items()}
    token = api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(**grants))
    if case["identity"]:
        token = token.with_identity(case["identity"])
    if "display_name" in case:
        token = token.with_name(case["display_name"])
    for name in ("metadata", "attributes", "kind", "sha256"):
        if name in case:
            token = getattr(token, f"with_{name}")(case[name])
    if "roomPreset" in case:
        token = token.with_room_preset(case["roomPreset"])
    if "sip" in case:
        token = token.with_sip_grants(api.SIPGrants(**case["sip"]))
    if "inference" in case:
        token = token.with_inference_grants(api.access_token.InferenceGrants(**case["inference"]))
    if "observability" in case:
        token = token.with_observability_grants(
            api.access_token.ObservabilityGrants(**case["observability"])
        )
    return token.to_jwt()


cases = json.loads((HERE / "cases.json").read_text())
vector = {
    "key": KEY,
    "secret": SECRET,
    "now": int(time.time()),
    "tokens": {case["name"]: mint(case) for case in cases},
}
(HERE / "../vectors/livekit-api.json").write_text(json.dumps(vector, indent=2) + "\n")
