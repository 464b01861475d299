/**
 * livekit-client by itself in a page of the browser's, without the call page around it: `window.livekit`. It is served by
 * this process, so that no server of a scenario's needs to have it.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { markSensitive, mintToken, SERVER } from './driver.mjs'

const SDK = '../../../web/node_modules/livekit-client/dist/'
const PAGE =
  '<!doctype html><link rel="icon" href="data:,"><script type="module">' +
  "import * as livekit from '/livekit-client.esm.mjs'\nwindow.livekit = livekit</script>"
const script = (name) => [
  'text/javascript',
  readFileSync(new URL(`${SDK}${name}`, import.meta.url)),
]
const FILES = {
  '/': ['text/html', PAGE],
  '/livekit-client.esm.mjs': script('livekit-client.esm.mjs'),
  '/livekit-client.e2ee.worker.mjs': script('livekit-client.e2ee.worker.mjs'),
}

export class SdkPage {
  /** Joins a room; with `key`, encrypted under that text. `through` is where the signalling goes. */
  static async join(browser, { room, identity, key, through = SERVER }) {
    const server = createServer((request, response) => {
      const [type, text] = FILES[request.url] ?? []
      if (text === undefined) response.writeHead(404).end()
      else response.writeHead(200, { 'content-type': type }).end(text)
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    server.unref()
    const page = await (await browser.newContext()).newPage()
    page.on('pageerror', (error) => console.error(`${identity}: ${error}`))
    await page.addInitScript(notePeers)
    await page.goto(`http://127.0.0.1:${server.address().port}/`)
    await page.waitForFunction(() => window.livekit)
    if (key !== undefined) markSensitive(key)
    const token = mintToken(room, identity)
    await page.evaluate(enter, { url: through.replace('http', 'ws'), token, key })
    return new SdkPage(page, server)
  }

  constructor(page, server) {
    this.page = page
    this.server = server
  }

  /** Runs `act` in the page, where `window.room` is the room. */
  run(act, argument) {
    return this.page.evaluate(act, argument)
  }

  /** Sections of the description that the client offered last. */
  sections() {
    return this.run(() => {
      const offers = window.peers.map((peer) => peer.localDescription?.sdp ?? '')
      return Math.max(...offers.map((sdp) => sdp.split('\r\nm=').length - 1))
    })
  }

  async close() {
    await this.page.context().close()
    this.server.close()
  }
}

/** In the page, before it runs. */
function notePeers() {
  window.peers = []
  const Native = window.RTCPeerConnection
  window.RTCPeerConnection = class extends Native {
    constructor(...words) {
      super(...words)
      window.peers.push(this)
    }
  }
}

/** In the page: joins, and notes what comes and whether the connection is ever broken. */
async function enter({ url, token, key }) {
  const { Room, RoomEvent, ExternalE2EEKeyProvider } = window.livekit
  const options = { adaptiveStream: false, dynacast: false }
  if (key !== undefined) {
    const keyProvider = new ExternalE2EEKeyProvider({ ratchetWindowSize: 0 })
    await keyProvider.setKey(key)
    const worker = new Worker('/livekit-client.e2ee.worker.mjs', { type: 'module' })
    options.encryption = { keyProvider, worker }
  }
  const room = new Room(options)
  window.room = room
  window.came = []
  window.disturbed = []
  room.on(RoomEvent.TrackSubscribed, (_track, publication) =>
    window.came.push(publication.trackSid),
  )
  for (const event of [
    RoomEvent.Reconnecting,
    RoomEvent.SignalReconnecting,
    RoomEvent.Disconnected,
  ])
    room.on(event, () => window.disturbed.push(event))
  if (key !== undefined) await room.setE2EEEnabled(true)
  await room.connect(url, token)
}
