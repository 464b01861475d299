// Chromium judges our answers: does it accept them, does it report every track, does it use again
// the places that we give back? Needs playwright-core and a Chromium (`INCAMERA_CHROMIUM`, default
// /usr/bin/chromium). The argument is the program that `cargo build -p wire --example negotiate` builds.
import assert from 'node:assert'
import { spawn } from 'node:child_process'
import http from 'node:http'
import readline from 'node:readline'
import { chromium } from 'playwright-core'

const server = http.createServer((_, response) => {
  response.setHeader('content-type', 'text/html')
  response.end('<!doctype html>')
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const browser = await chromium.launch({
  executablePath: process.env.INCAMERA_CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
  ],
})
const page = await (await browser.newContext({ permissions: ['camera', 'microphone'] })).newPage()
await page.goto(`http://127.0.0.1:${server.address().port}/`)

const negotiate = spawn(process.argv[2])
negotiate.stderr.pipe(process.stderr)
const replies = readline.createInterface({ input: negotiate.stdout })[Symbol.asyncIterator]()
const tell = (line) => negotiate.stdin.write(`${JSON.stringify(line)}\n`)
const ask = async (line) => {
  tell(line)
  return JSON.parse((await replies.next()).value)
}
const require = () => ask({ require: true })
// One round: Chromium offers, we answer, Chromium takes the answer.
const round = async () => {
  const offer = await page.evaluate(async () => {
    await pc.setLocalDescription()
    return pc.localDescription.sdp
  })
  const reply = await ask({ offer })
  await page.evaluate((sdp) => pc.setRemoteDescription({ type: 'answer', sdp }), reply.answer)
  const tracks = await page.evaluate(() => window.tracks.splice(0))
  return { ...reply, tracks, sections: offer.match(/^m=/gm).length }
}

await page.evaluate(async () => {
  window.tracks = []
  window.pc = new RTCPeerConnection()
  pc.ontrack = (event) =>
    tracks.push([event.transceiver.mid, ...event.streams.map((stream) => stream.id)].join(' '))
  pc.createDataChannel('_reliable')
  for (const kind of ['audio', 'audio', 'audio', 'video', 'video', 'video'])
    pc.addTransceiver(kind, { direction: 'recvonly' })
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 1280, height: 720 } })
  window.microphone = stream.getAudioTracks()[0]
  window.camera = stream.getVideoTracks()[0]
})

// Tracks in the first answer.
tell({ want: 'TR_a', kind: 'audio', ssrc: 10 })
tell({ want: 'TR_v', kind: 'video', ssrc: 20 })
let result = await round()
const first = result.tracks
assert.deepEqual(first.map((track) => track.split(' ')[1]), ['PA_someone|camera', 'PA_someone|camera'])
const mids = first.map((track) => track.split(' ')[0])

// Publishing in three layers.
await page.evaluate(() => {
  pc.addTransceiver(microphone, { direction: 'sendonly' })
  window.sending = pc.addTransceiver(camera, {
    direction: 'sendonly',
    sendEncodings: [
      { rid: 'q', scaleResolutionDownBy: 4 },
      { rid: 'h', scaleResolutionDownBy: 2 },
      { rid: 'f' },
    ],
  })
})
result = await round()
assert.equal(result.started.length, 2)
assert.deepEqual(
  await page.evaluate(() => sending.sender.getParameters().encodings.map((encoding) => encoding.rid)),
  ['q', 'h', 'f'],
)
assert.equal(await page.evaluate(() => sending.currentDirection), 'sendonly')

// A section that falls silent and carries another track: Chromium reports both steps.
tell({ unwant: 'TR_v' })
assert.deepEqual(await require(), [0, 0])
result = await round()
assert.equal(
  await page.evaluate((mid) => pc.getTransceivers().find((t) => t.mid === mid).currentDirection, mids[1]),
  'inactive',
)
for (const n of [1, 2, 3]) tell({ want: `TR_v${n}`, kind: 'video', ssrc: 100 + 2 * n })
assert.deepEqual(await require(), [0, 0])
result = await round()
assert.equal(result.tracks.length, 3)
assert.ok(result.tracks.some((track) => track.startsWith(`${mids[1]} `)))

// More sections on request.
tell({ want: 'TR_v4', kind: 'video', ssrc: 200 })
assert.deepEqual(await require(), [0, 1])
await page.evaluate(() => pc.addTransceiver('video', { direction: 'recvonly' }))
assert.equal((await round()).tracks.length, 1)

// Unpublishing and publishing, often: the number of sections stays.
let sections
for (let n = 0; n < 30; n += 1) {
  await page.evaluate(() => {
    pc.removeTrack(sending.sender)
    sending.direction = 'inactive'
  })
  result = await round()
  assert.equal(result.ended.length, 1)
  await page.evaluate(() => {
    window.sending = pc.addTransceiver(camera.clone(), { direction: 'sendonly' })
  })
  result = await round()
  assert.equal(result.started.length, 1)
  assert.equal(await page.evaluate(() => sending.currentDirection), 'sendonly')
  sections ??= result.sections
  assert.equal(result.sections, sections)
}
assert.equal(await page.evaluate(() => pc.getTransceivers().filter((t) => t.currentDirection === 'recvonly').length), 5)

console.log(`Chromium ${browser.version()} accepts every answer; ${sections} sections after 30 publications`)
negotiate.stdin.end()
await browser.close()
server.close()
