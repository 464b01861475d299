// Judges our tokens (../vectors/minted.json) with the verifiers of npm's livekit-server-sdk and jsonwebtoken.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import jsonwebtoken from "jsonwebtoken";
import { TokenVerifier } from "livekit-server-sdk";

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const vector = read("../vectors/minted.json");
const cases = read("cases.json");
const verifier = new TokenVerifier(vector.key, vector.secret);
assert.deepEqual(Object.keys(vector.tokens).sort(), cases.map((c) => c.name).sort());
for (const c of cases) {
  const token = vector.tokens[c.name];
  const claims = await verifier.verify(token);
  const { name: _, identity, display_name, ...rest } = c;
  const expect = {
    ...rest,
    ...(display_name && { name: display_name }),
    ...(identity && { sub: identity }),
    iss: vector.key,
    nbf: vector.nbf,
    exp: vector.exp,
  };
  assert.deepEqual(claims, expect, c.name);
  const options = { algorithms: ["HS256"], issuer: vector.key };
  assert.deepEqual(jsonwebtoken.verify(token, vector.secret, options), expect, c.name);
  assert.throws(() => jsonwebtoken.verify(token, `${vector.secret}x`, options));
}
console.log(`livekit-server-sdk and jsonwebtoken take ${cases.length} tokens`);
