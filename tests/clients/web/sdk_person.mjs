/**
 * livekit-client by itself, driven from outside: for scenarios of other languages.
 *
 * `node sdk_person.mjs <room> <identity> <key>` joins, prints `{"is": "ready"}`, and leaves when stdin closes. A line
 * of stdin is an order, `{"do": "call" | "text" | "bytes", …}`; a line of stdout says what was answered or has come.
 * Byte streams are told by length and digest.
 */
import { createInterface } from 'node:readline'
import { launch } from './driver.mjs'
import { SdkPage } from './sdk_page.mjs'

const [room, identity, key] = process.argv.slice(2)
const browser = await launch()
const tell = (said) => console.log(JSON.stringify(said))
try {
  const me = await SdkPage.join(browser, { room, identity, key })
  await me.page.exposeFunction('tell', tell)
  await me.run(listen)
  tell({ is: 'ready' })
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line)
    await me.run({ call, text, bytes }[order.do], order)
  }
} finally {
  await browser.close()
}
process.exit(0)

/** In the page: answers calls, and tells of streams that come. */
function listen() {
  const { room, livekit } = window
  window.digest = async (data) => {
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
    return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  }
  room.registerRpcMethod('greet', async ({ callerIdentity, payload }) => {
    return `${callerIdentity} said ${payload}`
  })
  room.registerRpcMethod('refuse', async () => {
    throw new livekit.RpcError(101, 'no', 'really')
  })
  room.registerTextStreamHandler('letter', async (reader, { identity: from }) => {
    window.tell({ is: 'text', from, text: await reader.readAll() })
  })
  room.registerByteStreamHandler('parcel', async (reader, { identity: from }) => {
    const data = await new Blob(await reader.readAll()).arrayBuffer()
    const { name } = reader.info
    window.tell({
      is: 'bytes',
      from,
      name,
      length: data.byteLength,
      digest: await window.digest(data),
    })
  })
}

async function call({ to, method, payload }) {
  const asked = { destinationIdentity: to, method, payload }
  await window.room.localParticipant
    .performRpc(asked)
    .then((answer) => window.tell({ is: 'answer', answer }))
    .catch(({ code }) => window.tell({ is: 'answer', code }))
}

async function text({ text }) {
  await window.room.localParticipant.sendText(text, { topic: 'letter' })
}

/** Sends random bytes and tells their digest. */
async function bytes({ name, length }) {
  const data = new Uint8Array(length)
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(data.subarray(at, at + 65_536))
  const out = await window.room.localParticipant.streamBytes({
    name,
    topic: 'parcel',
    totalSize: length,
  })
  await out.write(data)
  await out.close()
  window.tell({ is: 'sent', digest: await window.digest(data) })
}
