/**
 * A subscriber whose network narrows to 400 kbit/s falls to the low layer within five seconds, stays
 * there, and goes on hearing; once the network is wide again, so is the picture. The server is one of
 * the scenario's own, at an address that the subscriber's network reaches. The camera sees so much that
 * its middle layer needs clearly more than the narrow network has.
 */
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { BusyPicture } from './busy_picture.mjs'
import {
  CHROMIUM,
  check,
  control,
  freshKey,
  freshRoom,
  launch,
  listen,
  Person,
  scenario,
  sleep,
  until,
} from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'
import { ThrottledNetwork } from './throttled_network.mjs'

const RATE = '400kbit'
const WIDE = '20mbit'
const WITHIN_MS = 5_000
const HOLDS_MS = 15_000
const RISES_WITHIN_MS = 30_000
const SOUND_GAP_MS_MAX = 1_000
const LOW_WIDTH = 320
const MIDDLE_WIDTH = 640
/** In every second: the low layer of this picture has 10 to 20. */
const FRAMES_MIN = 5
/** How often it is looked whether a higher layer has come. */
const LOOK_MS = 100
const FROZEN_S_MAX = 1
/** What the middle layer has at least, without headers and sound, which come to 100 more. */
const MIDDLE_KBPS_MIN = 440
const MIDDLE_WITHIN_MS = 20_000
const MEASURED_MS = 3_000

const picture = BusyPicture.make()
try {
  await scenario('throttled', narrowsAndWidens, { flags: [picture.flag] })
} finally {
  picture.remove()
}

async function narrowsAndWidens(open) {
  const network = ThrottledNetwork.make()
  try {
    const server = await startServer(network.nearAddress)
    try {
      await holdsACall(open, network, server)
    } finally {
      await server.stop()
    }
  } finally {
    network.remove()
  }
}

async function holdsACall(open, network, server) {
  const far = await launch({
    executablePath: network.inside(CHROMIUM),
    flags: [`--unsafely-treat-insecure-origin-as-secure=${server.url}`],
  })
  // Browsers give camera and microphone only to pages of this machine, or of https.
  const proxy = await SignalProxy.start(server.url)
  try {
    const call = { room: freshRoom('throttled'), key: freshKey() }
    const ada = await open({ ...call, identity: 'ada', publish: '720p', server: proxy.url })
    const cy = await Person.open(far, {
      ...call,
      identity: 'cy',
      publish: 'none',
      audio: '0',
      server: server.url,
      context: { viewport: { width: 1440, height: 1000 } },
    })
    await ada.join()
    await cy.join()
    await cy.press('Speaker view')
    await until('cy decodes 720p', 40_000, async () => (await camera(cy)).width === 1280)
    // Browsers begin with less than they may send, and go up over some seconds.
    const kbps = await until(
      `the middle layer has ${MIDDLE_KBPS_MIN} kbit/s`,
      MIDDLE_WITHIN_MS,
      async () => middleRate(ada).then((kbps) => kbps >= MIDDLE_KBPS_MIN && kbps),
      0,
    )
    control(true, `the middle layer has ${kbps} kbit/s beside headers: it does not fit`)
    await fallsAndHolds(cy, network)
    const widenedAt = Date.now()
    network.throttle(WIDE)
    await until('the layer rises', RISES_WITHIN_MS, async () => (await camera(cy)).width === 1280)
    check(true, `with ${WIDE} cy decodes 720p again after ${Date.now() - widenedAt} ms`)
  } finally {
    await far.close()
    proxy.close()
  }
}

async function fallsAndHolds(cy, network) {
  const sound = listen(cy, 'ada')
  const throttledAt = Date.now()
  network.throttle(RATE)
  const low = await until(
    'cy decodes the low layer',
    4 * WITHIN_MS,
    async () => {
      const video = await camera(cy)
      return video.width > 0 && video.width <= LOW_WIDTH && video
    },
    50,
  )
  const tookMs = Date.now() - throttledAt
  check(
    tookMs <= WITHIN_MS,
    `throttled to ${RATE}, cy decodes ${low.width}x${low.height} after ${tookMs} ms`,
  )

  const latest = await holds(cy, low, throttledAt + WITHIN_MS + HOLDS_MS)
  const frozen = latest.freezeSeconds - low.freezeSeconds
  const frames = latest.framesDecoded - low.framesDecoded
  check(
    frozen <= FROZEN_S_MAX,
    `it stays there: ${frames} frames more, ${frozen.toFixed(1)} s frozen`,
  )
  await sound.stop()
  const gapMs = await sound.longestGapMs
  check(gapMs <= SOUND_GAP_MS_MAX, `the longest gap in what cy hears is ${gapMs} ms`)
  // What came faster than it may pass had to wait, or was dropped.
  const held = Number(/overlimits (\d+)/.exec(network.counted())?.[1])
  check(held > 0, `the bottleneck held back ${held} times: it was one`)
}

/** What cy has received in the end, of the low layer alone. */
async function holds(cy, low, endsAt) {
  let second = low
  let nextSecond = Date.now() + 1_000
  for (;;) {
    await sleep(LOOK_MS)
    const video = await camera(cy)
    if (video.width > LOW_WIDTH) throw new Error(`a layer ${video.width} wide comes again`)
    if (Date.now() < nextSecond) continue
    const frames = video.framesDecoded - second.framesDecoded
    if (frames < FRAMES_MIN) throw new Error(`it does not hold: ${frames} frames in a second`)
    if (Date.now() >= endsAt) return video
    second = video
    // From here on: a look that came late leaves less of what was to be the next second.
    nextSecond = Date.now() + 1_000
  }
}

/** kbit/s that a camera sends in its middle layer. */
async function middleRate(person) {
  const bytes = async () => {
    const layers = await person.sends('camera')
    return layers.find(({ width }) => width === MIDDLE_WIDTH)?.bytes ?? 0
  }
  const [before, since] = [await bytes(), Date.now()]
  await sleep(MEASURED_MS)
  return Math.round((((await bytes()) - before) * 8) / (Date.now() - since))
}

function camera(person) {
  return person.receives('ada', 'camera')
}

/** `incamera dev` at an address that the subscriber's network reaches. */
async function startServer(address) {
  const { INCAMERA_BIN, INCAMERA_HTTP_PORT, INCAMERA_UDP_PORT, INCAMERA_SERVER_LOG } = process.env
  const ports = ['--http-port', INCAMERA_HTTP_PORT, '--udp-port', INCAMERA_UDP_PORT, '--tcp-port', '0']
  const server = spawn(INCAMERA_BIN, ['dev', '--bind', address, ...ports], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  server.stderr.on('data', (text) => appendFileSync(INCAMERA_SERVER_LOG, text))
  server.on('error', (error) => console.error(`no server: ${error.message}`))
  const ended = new Promise((resolve) => server.on('exit', resolve))
  const stop = async () => {
    server.kill('SIGTERM')
    const code = await ended
    if (code !== 0) throw new Error(`the server ended with ${code}`)
  }
  for await (const line of createInterface({ input: server.stdout })) {
    const found = /ws:\/\/(\S+)/.exec(line)
    if (found) return { url: `http://${found[1]}`, stop }
  }
  throw new Error('the server does not start')
}
