/**
 * Chromium's frames decrypt in Rust, and frames made in Rust in Chromium: Opus, VP8, VP9 and H.264, AES-128 and AES-256,
 * a thousand frames of each both ways through a change of the key, and data packets.
 *
 * Chromium encodes, sends and decodes; LiveKit's own worker, unmodified, is one of the two ends of the encryption. The
 * other is `core/e2ee` behind `INCAMERA_FRAME_JUDGE`: the one scenario that judges a crate and not the server.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { check, freshKey, markSensitive, scenario, until } from './driver.mjs'

const FRAMES = 1_000
const HALF_WITHIN_MS = 60_000
const SETTLED_WITHIN_MS = 5_000
const CELLS = 8
const SDK = '../../../web/node_modules/livekit-client/dist/livekit-client.e2ee.worker.mjs'

const file = (path) => readFileSync(new URL(path, import.meta.url))
const FILES = {
  '/': [
    'text/html',
    '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.mjs"></script>',
  ],
  '/page.mjs': ['text/javascript', file('./frame_encryption/page.mjs')],
  '/worker.mjs': ['text/javascript', file('./frame_encryption/worker.mjs')],
  '/livekit-client.e2ee.worker.mjs': ['text/javascript', file(SDK)],
}

/** The Rust side: requests and replies in order, each with its length before it. */
class Judge {
  static start(passphrases) {
    const program = process.env.INCAMERA_FRAME_JUDGE
    if (program === undefined) throw new Error('INCAMERA_FRAME_JUDGE names no program')
    return new Judge(spawn(program, passphrases, { stdio: ['pipe', 'pipe', 'inherit'] }))
  }

  constructor(process) {
    this.process = process
    this.unread = Buffer.alloc(0)
    this.isGone = new Promise((_, reject) => {
      process.on('exit', () => reject(new Error('the judge ended')))
      process.stdin.on('error', reject)
    })
    this.isGone.catch(() => {})
  }

  /** Any number of requests at once: as many replies. */
  async ask(requests) {
    let missing = 0
    for (let at = 0; at < requests.length; at += 4 + requests.readUInt32BE(at)) missing += 1
    this.process.stdin.write(requests)
    const replies = []
    while (missing > 0) {
      while (this.unread.length < 4 || this.unread.length < 4 + this.unread.readUInt32BE(0)) {
        const [bytes] = await Promise.race([once(this.process.stdout, 'data'), this.isGone])
        this.unread = Buffer.concat([this.unread, bytes])
      }
      const end = 4 + this.unread.readUInt32BE(0)
      replies.push(this.unread.subarray(0, end))
      this.unread = this.unread.subarray(end)
      missing -= 1
    }
    return Buffer.concat(replies)
  }

  stop() {
    this.process.stdin.end()
  }
}

/** Serves the page, and its worker's questions to the judge. */
async function serve(judge) {
  const server = createServer(async (request, response) => {
    if (request.url === '/judge') {
      const body = []
      for await (const bytes of request) body.push(bytes)
      response.end(await judge.ask(Buffer.concat(body)).catch(() => ''))
      return
    }
    const [type, text] = FILES[request.url] ?? []
    if (text === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': type }).end(text)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

await scenario('frame_encryption', async (_, browser) => {
  for (const keySize of [128, 256]) {
    const passphrases = [freshKey(), freshKey()]
    passphrases.forEach(markSensitive)
    const judge = Judge.start(passphrases)
    const server = await serve(judge)
    const page = await (await browser.newContext()).newPage()
    page.on('console', (message) => message.type() === 'error' && console.error(message.text()))
    page.on('pageerror', (error) => console.error(String(error)))
    try {
      await page.goto(`http://127.0.0.1:${server.address().port}/`)
      await page.waitForFunction(() => window.begin !== undefined)
      await page.evaluate((options) => window.begin(options), { passphrases, keySize })
      await framesArrive(page, keySize)
      const data = await page.evaluate((count) => window.exchangeData(count), FRAMES)
      check(
        data.livekit === FRAMES && data.rust === FRAMES && data.replaysOpened === 0,
        `AES-${keySize}: ${data.livekit} data packets of LiveKit's open in Rust, ${data.rust} the other way, of ${FRAMES}`,
      )
    } finally {
      await page.context().close()
      server.close()
      judge.stop()
    }
  }
})

async function framesArrive(page, keySize) {
  let last
  const report = async () => {
    last = await page.evaluate(() => window.report())
    return last.cells
  }
  const have = (frames) => async () => {
    const isEnough = ({ counts }) => counts.same + counts.different + counts.refused >= frames
    const cells = await report()
    return cells.length === CELLS && cells.every(isEnough)
  }
  try {
    await until('half of the frames', HALF_WITHIN_MS, have(FRAMES / 2))
    await page.evaluate(() => window.rotate())
    await until(`${FRAMES} frames of each codec both ways`, HALF_WITHIN_MS, have(FRAMES))
    // What was encoded was sent, what arrived was opened: nothing was silently dropped.
    await page.evaluate(() => window.end())
    await until('the frames under way', SETTLED_WITHIN_MS, async () => {
      const cells = await report()
      return cells.every((cell) => missing(cell) === 0)
    })
  } finally {
    for (const { track, counts, problems } of last?.cells ?? []) {
      console.log(`    AES-${keySize} ${track}: ${JSON.stringify(counts)}`)
      for (const problem of problems) console.log(`      ${JSON.stringify(problem)}`)
    }
    console.log(`    decoded: ${last?.decoded}`)
  }
  for (const { track, counts } of last.cells) {
    const { same, different, refused, flipped, flippedOpened, rotated } = counts
    check(
      same >= FRAMES && different === 0 && refused === 0 && flipped > 0 && flippedOpened === 0,
      `AES-${keySize} ${track}: ${same} frames the same, ${different + refused} not; ${flipped} flipped, ${flippedOpened} opened`,
    )
    check(rotated > 0 && rotated < same, `${rotated} of them under the second key`)
  }
  check(last.decoded.length === CELLS && last.decoded.every(Boolean), 'every track was decoded')
}

/** Frames that went into one end of the encryption and did not come out. LiveKit's end says nothing of those. */
function missing({ sealedBy, counts }) {
  const { encoded, sent, arrived, same, different, refused, flipped } = counts
  const opened = same + different + refused + (sealedBy === 'rust' ? flipped : 0)
  return encoded - sent + arrived - opened
}
