// LiveKit's RoomServiceClient for Node, which speaks JSON, behind standard input and output.
//
// Reads one JSON object a line, `{method, args}`, and prints one for each: `{result}` or `{error}`.

import { createInterface } from "node:readline";
import { RoomServiceClient } from "livekit-server-sdk";

const { INCAMERA_URL: url, INCAMERA_KEY: key, INCAMERA_SECRET: secret } = process.env;
const client = new RoomServiceClient(url, key, secret);

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  return value?.toJson ? value.toJson() : (value ?? null);
}

async function call({ method, args }) {
  try {
    const given = args.map((arg) => (arg?.bytes ? Buffer.from(arg.bytes, "base64") : arg));
    return { result: plain(await client[method](...given)) };
  } catch (error) {
    return { error: { status: error.status ?? 0, code: error.code ?? "", message: error.message } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await call(JSON.parse(line))));
}
