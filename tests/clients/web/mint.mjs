// Tokens by the builders that back ends use: LiveKit's and Agora's own, and the JWT library beneath LiveKit's.
//
// Reads one JSON array of requests from standard input, prints one JSON array of tokens.

import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import agora from "agora-token";
import { SignJWT } from "jose";
import { AccessToken } from "livekit-server-sdk";

const builders = {
  async "livekit-server-sdk"({ key, secret, room, identity, ttl_s }) {
    const token = new AccessToken(key, secret, { identity, ttl: ttl_s });
    token.addGrant({ roomJoin: true, room });
    return token.toJwt();
  },
  async jose({ algorithm, kid, pem, claims }) {
    const header = { alg: algorithm, typ: "JWT", ...(kid && { kid }) };
    return new SignJWT(claims).setProtectedHeader(header).sign(createPrivateKey(pem));
  },
  async "agora-token"({ app, certificate, room, uid, ends }) {
    const [token, join, audio, video, data] = ends;
    const builder = agora.RtcTokenBuilder;
    return builder.buildTokenWithUidAndPrivilege(app, certificate, room, uid, token, join, audio, video, data);
  },
};

const requests = JSON.parse(readFileSync(0, "utf8"));
const tokens = await Promise.all(requests.map((request) => builders[request.builder](request)));
process.stdout.write(JSON.stringify(tokens));
