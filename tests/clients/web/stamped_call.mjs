/**
 * A call of livekit-client's in which every encoded frame of sound and pictures carries marks, over a network that
 * loses packets, and with a server of its own; driven from outside.
 *
 * `node stamped_call.mjs <room> <mark>` prints one line of JSON a second: the server's process, and what came and came
 * again so far. The marks are `<mark><codec>-`, the milliseconds of Unix time and a space. Lines of stdin are orders to
 * ada, who sends: `pause`, `go on`, `leave`; one that is done is said in `did`. With stdin ben leaves, and the server ends.
 */
import { createInterface } from 'node:readline'
import { LossyServer } from './lossy_server.mjs'
import { launch, sleep, until } from './driver.mjs'
import { SdkPage } from './sdk_page.mjs'

const LOSS = 0.1
const LAYER_FRAMES = 30
const LAYERS_WITHIN_MS = 30_000
/** With so many a frame of a picture fills a packet and more with nothing else. */
const COPIES = { audio: 1, vp8: 40, h264: 40 }

const [room, mark] = process.argv.slice(2)
const tell = (said) => console.log(JSON.stringify(said))
const server = await LossyServer.start()
try {
  const browser = await launch()
  try {
    await hold(browser)
  } finally {
    await browser.close()
  }
} finally {
  await server.stop()
}
process.exit(0)

async function hold(browser) {
  const ben = await SdkPage.join(browser, { room, identity: 'ben' })
  const ada = await SdkPage.join(browser, { room, identity: 'ada' })
  for (const person of [ada, ben]) await person.run(startWorker, String(stampFrames))
  await ben.run(receive, mark)
  await ada.run(publish, { mark, copies: COPIES })
  // A network that loses has Chromium send fewer layers.
  await until('both layers of the camera are sent', LAYERS_WITHIN_MS, async () => {
    const { frames } = (await ada.run(counts))['video/vp8'] ?? { frames: [] }
    return frames.filter((count) => count >= LAYER_FRAMES).length === 2
  })
  server.lose(LOSS)
  let [did, isOver] = [undefined, false]
  const orders = createInterface({ input: process.stdin })
  const telling = (async () => {
    while (!isOver) {
      const [sent, came] = [await ada.run(counts), await ben.run(counts)]
      const stays = await ben.run(() => window.room.state === 'connected')
      tell({ server: server.server.pid, did, stays, sent, came })
      await sleep(1_000)
    }
  })()
  // Judged below: nothing is to be waited for then.
  telling.catch(() => orders.close())
  const acts = {
    pause: () => ada.run(() => window.send(false)),
    'go on': () => ada.run(() => window.send(true)),
    leave: () => ada.run(() => window.room.disconnect()),
  }
  for await (const order of orders) {
    await acts[order]()
    did = order
    tell({ did })
  }
  isOver = true
  await telling
  await ben.run(() => window.room.disconnect())
}

/** In a worker: puts marks behind each frame that is sent, and takes them away from each that comes. */
function stampFrames() {
  self.onrtctransform = ({ transformer }) => {
    const { mark, codec, copies } = transformer.options
    const [writes, reads] = [new TextEncoder(), new TextDecoder('latin1')]
    const marks = new RegExp(`(?:${mark}[a-z0-9]+-[0-9]{13} )+$`)
    const stamped = (data) => {
      const stamps = writes.encode(`${mark}${codec}-${Date.now()} `.repeat(copies))
      const out = new Uint8Array(data.byteLength + stamps.length)
      out.set(new Uint8Array(data))
      out.set(stamps, data.byteLength)
      return out.buffer
    }
    const bare = (data) => data.slice(0, reads.decode(data).replace(marks, '').length)
    const transform = (frame, controller) => {
      frame.data = codec === undefined ? bare(frame.data) : stamped(frame.data)
      controller.enqueue(frame)
    }
    const through = new TransformStream({ transform })
    transformer.readable.pipeThrough(through).pipeTo(transformer.writable)
  }
}

/** In the page. */
function startWorker(text) {
  const source = URL.createObjectURL(new Blob([`(${text})()`], { type: 'text/javascript' }))
  window.worker = new Worker(source)
}

/** In the page: sound, a camera in layers and a second picture, each with its own codec and mark. */
async function publish({ mark, copies }) {
  const { room, livekit, peers, worker } = window
  const picture = () => {
    const canvas = document.createElement('canvas')
    Object.assign(canvas, { width: 640, height: 360 })
    const pen = canvas.getContext('2d')
    setInterval(() => {
      for (let spot = 0; spot < 20; spot++) {
        pen.fillStyle = `hsl(${Math.random() * 360} 80% 50%)`
        pen.fillRect(Math.random() * 640, Math.random() * 360, 60, 60)
      }
    }, 66)
    return canvas.captureStream(15).getVideoTracks()[0]
  }
  const context = new AudioContext()
  const [tone, end] = [new OscillatorNode(context), new MediaStreamAudioDestinationNode(context)]
  tone.connect(end)
  tone.start()
  const { Microphone, Camera, ScreenShare } = livekit.Track.Source
  const videoEncoding = { maxBitrate: 500_000, maxFramerate: 15 }
  const tracks = {
    audio: [end.stream.getAudioTracks()[0], { source: Microphone }],
    vp8: [picture(), { source: Camera, videoCodec: 'vp8', simulcast: true, videoEncoding }],
    h264: [picture(), { source: ScreenShare, videoCodec: 'h264', simulcast: false, videoEncoding }],
  }
  let codec
  for (const peer of peers) {
    const add = peer.addTransceiver.bind(peer)
    // A sender that has begun looks for no transform any more.
    peer.addTransceiver = (...words) => {
      const transceiver = add(...words)
      const options = { mark, codec, copies: copies[codec] }
      transceiver.sender.transform = new RTCRtpScriptTransform(worker, options)
      return transceiver
    }
  }
  const senders = []
  for (const [name, [track, options]] of Object.entries(tracks)) {
    codec = name
    const publication = await room.localParticipant.publishTrack(track, options)
    senders.push([publication.track.sender, track])
  }
  // Without a word to the server: all that it sees is that nothing comes.
  window.send = (isOn) =>
    Promise.all(senders.map(([sender, track]) => sender.replaceTrack(isOn ? track : null)))
}

/** In the page: takes the marks away from all that comes. */
function receive(mark) {
  const { room, livekit, peers, worker } = window
  for (const peer of peers)
    peer.addEventListener('track', ({ receiver }) => {
      receiver.transform = new RTCRtpScriptTransform(worker, { mark })
    })
  room.on(livekit.RoomEvent.TrackSubscribed, (track) => document.body.append(track.attach()))
}

/** In the page: of each codec that is sent or comes, the frames of each stream, and packets that went or came again. */
async function counts() {
  const totals = {}
  for (const peer of window.peers) {
    const report = await peer.getStats()
    for (const entry of report.values()) {
      if (entry.type !== 'outbound-rtp' && entry.type !== 'inbound-rtp') continue
      const codec = report.get(entry.codecId)?.mimeType.toLowerCase() ?? 'none yet'
      totals[codec] ??= { frames: [], again: 0 }
      totals[codec].frames.push(entry.framesDecoded ?? entry.framesEncoded ?? 0)
      totals[codec].again +=
        entry.retransmittedPacketsReceived ?? entry.retransmittedPacketsSent ?? 0
    }
  }
  return totals
}
