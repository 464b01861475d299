// Mints the tokens of cases.json with npm's livekit-server-sdk: ../vectors/livekit-server-sdk.json.

import { readFileSync, writeFileSync } from "node:fs";
import { AccessToken, TrackSource } from "livekit-server-sdk";

const at = (path) => new URL(path, import.meta.url);
const key = "project";
const secret = "a secret of more than thirty-two bytes";
const tokens = {};
for (const c of JSON.parse(readFileSync(at("cases.json"), "utf8"))) {
  const token = new AccessToken(key, secret, {
    identity: c.identity,
    name: c.display_name,
    metadata: c.metadata,
    attributes: c.attributes,
  });
  const sources = c.video.canPublishSources?.map((name) => TrackSource[name.toUpperCase()]);
  token.addGrant(sources ? { ...c.video, canPublishSources: sources } : c.video);
  if (c.kind) token.kind = c.kind;
  if (c.sha256) token.sha256 = c.sha256;
  if (c.roomPreset) token.roomPreset = c.roomPreset;
  if (c.sip) token.addSIPGrant(c.sip);
  if (c.inference) token.addInferenceGrant(c.inference);
  if (c.observability) token.addObservabilityGrant(c.observability);
  tokens[c.name] = await token.toJwt();
}
const now = Math.floor(Date.now() / 1000);
const vector = JSON.stringify({ key, secret, now, tokens }, null, 2);
writeFileSync(at("../vectors/livekit-server-sdk.json"), `${vector}\n`);
