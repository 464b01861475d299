/**
 * A person at the call page: opens a link in a real browser, clicks what a person clicks, and reads
 * what the page and the browser say.
 *
 * Environment: `INCAMERA_URL` (where the page and the signalling are, default
 * http://127.0.0.1:7880), `INCAMERA_KEY` and `INCAMERA_SECRET` (default devkey, secret),
 * `INCAMERA_CHROMIUM` (default /usr/bin/chromium), `INCAMERA_FIREFOX` (default /usr/bin/firefox-esr),
 * `INCAMERA_BROWSER` (`firefox` for that one), `INCAMERA_BROWSER_HOME` (the home of the person who runs
 * Chromium, with the authorities that they trust), `INCAMERA_SENSITIVE` (a file to which every name,
 * room, key and line is added that no log may hold).
 */
import { createHmac, randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { chromium, firefox } from 'playwright-core'

export const SERVER = (process.env.INCAMERA_URL ?? 'http://127.0.0.1:7880').replace(/\/$/, '')
export const API_KEY = process.env.INCAMERA_KEY ?? 'devkey'
export const API_SECRET = process.env.INCAMERA_SECRET ?? 'secret'

/** The background-networking flags keep Chromium from looking up hosts that it cannot reach. */
export const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--auto-select-desktop-capture-source=Entire screen',
  '--autoplay-policy=no-user-gesture-required',
  // Pages in the background are not slowed: here every person looks at theirs.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
]

export const CHROMIUM = process.env.INCAMERA_CHROMIUM ?? '/usr/bin/chromium'

const FIREFOX = process.env.INCAMERA_FIREFOX ?? '/usr/bin/firefox-esr'

/** As the flags above; and the address of a scenario's network is as good as this machine's own for camera and keys. */
const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'dom.securecontext.allowlist': new URL(SERVER).hostname,
}

/**
 * Firefox as it is shipped, over WebDriver BiDi, which is what Playwright means by the channel. Playwright is held at
 * 1.64 as long as Debian's Firefox lacks `emulation.setMediaFeaturesOverride`, which 1.65 asks for.
 */
function launchFirefox() {
  const options = { channel: 'moz-firefox', executablePath: FIREFOX, headless: true }
  return firefox.launch({ ...options, firefoxUserPrefs: PREFERENCES })
}

/** Starts one browser for a scenario. People in it share nothing but the process. */
export function launch({ executablePath = CHROMIUM, flags = [] } = {}) {
  if (process.env.INCAMERA_BROWSER === 'firefox') return launchFirefox()
  const home = process.env.INCAMERA_BROWSER_HOME
  const env = home ? { ...process.env, HOME: home } : process.env
  return chromium.launch({ executablePath, headless: true, args: [...FLAGS, ...flags], env })
}

/** A LiveKit join token, minted by hand: this harness uses no code of the project. */
export function mintToken(room, identity, { video = {}, ttlSeconds = 3600, ...claims } = {}) {
  markSensitive(identity)
  const now = Math.floor(Date.now() / 1000)
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const grant = {
    roomJoin: true,
    room,
    canPublish: true,
    canSubscribe: true,
    canPublishData: true,
    ...video,
  }
  const body = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({
    iss: API_KEY,
    sub: identity,
    name: identity,
    nbf: now - 10,
    exp: now + ttlSeconds,
    video: grant,
    ...claims,
  })}`
  return `${body}.${createHmac('sha256', API_SECRET).update(body).digest('base64url')}`
}

/** Notes a value that the server's log must not hold. */
export function markSensitive(value) {
  if (process.env.INCAMERA_SENSITIVE) appendFileSync(process.env.INCAMERA_SENSITIVE, `${value}\n`)
}

export function freshRoom(name) {
  const room = `${name}-${randomBytes(4).toString('hex')}`
  markSensitive(room)
  return room
}

export const freshKey = () => randomBytes(32).toString('base64url')

/** A link to the call page; `options` are further fields of the fragment. */
export function linkTo({ server = SERVER, token, key, ...options }) {
  const fields = { token, key, ...options }
  const fragment = Object.entries(fields).map(
    ([name, value]) => `${name}=${encodeURIComponent(value)}`,
  )
  return `${server}/call#${fragment.join('&')}`
}

const NETWORK_CHANGED = 'net::ERR_NETWORK_CHANGED'

/** Opens a link, of which nothing is printed behind its `#`: there are token and key. */
async function goto(page, link) {
  for (let left = 3; ; left--) {
    // Chromium drops what is under way when an interface comes or goes, as those of scenarios do: the page, or a part of
    // it, as its style, without which no picture is where it is seen.
    let part
    const note = (request) => {
      const said = request.failure()?.errorText
      if (said?.includes(NETWORK_CHANGED)) part = said
    }
    page.on('requestfailed', note)
    const failure = await page.goto(link).then(
      () => undefined,
      (error) => error.message.split('\n')[0].replaceAll(/#[^"\s]*/g, ''),
    )
    page.off('requestfailed', note)
    const wrong = failure ?? part
    if (wrong === undefined) return
    if (!wrong.includes(NETWORK_CHANGED) || left === 0)
      throw new Error(`no page at ${link.split('#')[0]}: ${wrong}`)
    // Its own page that says so is yet to come, and would end whatever is opened by then.
    if (failure !== undefined) await page.waitForEvent('framenavigated')
    // To a page that is there a link with the same path leads within it.
    else await page.goto('about:blank')
  }
}

/** In each page, before it runs: notes its peer connections, and when it asks for devices. */
function watch() {
  window.watched = { peers: [], devicesAsked: 0 }
  const Native = window.RTCPeerConnection
  window.RTCPeerConnection = class extends Native {
    constructor(...words) {
      super(...words)
      window.watched.peers.push(this)
    }
  }
  const { mediaDevices } = navigator
  const ask = mediaDevices?.getUserMedia.bind(mediaDevices)
  if (mediaDevices) {
    mediaDevices.getUserMedia = (...words) => {
      window.watched.devicesAsked++
      return ask(...words)
    }
  }
}

/** More than a picture that stands. */
const FRAMES_SEEN = 100

export class Person {
  /**
   * Opens a link in a context of its own. `publish` and `audio` are as in the link; a person who
   * publishes nothing never consents to anything; `claims` are further ones of the token.
   */
  static async open(
    browser,
    { room, identity, key, server, publish = '720p', audio = '1', context = {}, claims, ...fields },
  ) {
    const token = mintToken(room, identity, claims)
    if (key !== undefined) markSensitive(key)
    const link = linkTo({ server, token, key, publish, audio, ...fields })
    const publishes = { camera: publish !== 'none', microphone: audio !== '0' }
    return Person.follow(browser, link, identity, { ...publishes, context })
  }

  /** Opens a link as it stands; consents to what the person is going to publish. */
  static async follow(
    browser,
    link,
    identity,
    { camera = true, microphone = true, context = {} } = {},
  ) {
    const own = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context })
    await own.addInitScript(watch)
    const page = await own.newPage()
    const person = new Person(page, identity)
    page.on('console', (message) => {
      if (message.type() === 'error')
        person.consoleErrors.push(`${message.text()} (${message.location().url})`)
    })
    page.on('pageerror', (error) => person.consoleErrors.push(String(error)))
    await goto(page, link)
    await page.getByRole('button', { name: 'Join' }).waitFor()
    if ((await person.devicesAsked()) > 0) throw new Error(`${identity} has not consented yet`)
    if (camera || microphone) {
      await person.consent(camera)
      // Or else it would not have been noticed before, either.
      if ((await person.devicesAsked()) === 0) throw new Error('nobody notices who asks for devices')
    }
    return person
  }

  constructor(page, identity) {
    this.page = page
    this.identity = identity
    this.consoleErrors = []
  }

  /** Turns the consent switch on, and waits for one's own picture if there is to be one. */
  async consent(hasCamera) {
    await this.page.getByRole('switch', { name: /camera and microphone/i }).check()
    if (hasCamera) await this.page.locator('.preview video').waitFor()
    await this.page.locator('.pickers').waitFor()
    await this.page.locator('button.join:enabled').waitFor()
  }

  /** Presses Join and waits until the call is on the screen. */
  async join() {
    await this.page.getByRole('button', { name: 'Join' }).click()
    await this.page.locator('.call, .notice').waitFor({ timeout: 15_000 })
    const { screen } = await this.facts()
    if (screen !== 'call')
      throw new Error(`${this.identity} could not join: ${await this.page.innerText('body')}`)
  }

  async openChat() {
    const box = this.page.getByLabel('Message', { exact: true })
    if (!(await box.isVisible())) await this.press('Chat')
    return box
  }

  /** Writes into the chat. */
  async say(line) {
    markSensitive(line)
    const box = await this.openChat()
    await box.fill(line)
    await this.page.keyboard.press('Enter')
  }

  press(button) {
    return this.page.getByRole('button', { name: button, exact: false }).click()
  }

  /** How often the page has asked for camera or microphone. */
  devicesAsked() {
    return this.page.evaluate(() => window.watched.devicesAsked)
  }

  /** What the browser says of its transports: version of DTLS, cipher of SRTP. */
  transports() {
    return this.page.evaluate(async () => {
      const reports = await Promise.all(window.watched.peers.map((peer) => peer.getStats()))
      const entries = reports.flatMap((report) => [...report.values()])
      return entries.filter(({ type, dtlsState }) => type === 'transport' && dtlsState === 'connected')
    })
  }

  facts() {
    return this.page.evaluate(() => window.incamera.facts())
  }

  tracks() {
    return this.page.evaluate(() => window.incamera.tracks())
  }

  /** What this person receives of another: sums over the tracks of one source. */
  async receives(from, source) {
    const tracks = await this.tracks()
    const track = tracks.find(
      (candidate) => candidate.identity === from && candidate.source === source,
    )
    const rtp = track?.rtp.find((entry) => entry.type === 'inbound-rtp') ?? {}
    return {
      exists: track !== undefined,
      trackSid: track?.trackSid,
      isEncrypted: track?.isEncrypted ?? false,
      framesDecoded: rtp.framesDecoded ?? 0,
      width: rtp.frameWidth ?? 0,
      height: rtp.frameHeight ?? 0,
      freezeSeconds: rtp.totalFreezesDuration ?? 0,
      audioEnergy: rtp.totalAudioEnergy ?? 0,
      emitted: rtp.jitterBufferEmittedCount ?? 0,
      packets: rtp.packetsReceived ?? 0,
    }
  }

  /** The layers this person sends of a source: `rid`, size, and what they have sent, of those that encode. */
  async sends(source) {
    const tracks = await this.tracks()
    const track = tracks.find((candidate) => candidate.isMine && candidate.source === source)
    return (track?.rtp ?? [])
      .filter((entry) => entry.type === 'outbound-rtp')
      .map((entry) => ({
        rid: entry.rid ?? '',
        width: entry.frameWidth ?? 0,
        frames: entry.framesEncoded ?? 0,
        bytes: entry.bytesSent ?? 0,
      }))
  }

  /** The moment `what` happened last, on the page's clock, or undefined. */
  async moment(what, who) {
    const { moments } = await this.facts()
    return moments.findLast(
      (moment) => moment.what === what && (who === undefined || moment.who === who),
    )?.atMs
  }

  async close() {
    await this.page.context().close()
  }
}

/** Waits until both see moving pictures of each other. */
export function seeEachOther(one, other) {
  const sees = async (person, whom) =>
    (await person.receives(whom.identity, 'camera')).framesDecoded > 30
  return until(`${one.identity} and ${other.identity} see each other`, 15_000, async () => {
    return (await sees(one, other)) && (await sees(other, one))
  })
}

/** Waits until one sees moving pictures of the other and hears them, all of it sealed. */
export async function seesAndHears(person, other, withinMs = 15_000) {
  const [name, from] = [person.identity, other.identity]
  const startedAt = Date.now()
  const left = () => Math.max(0, withinMs - (Date.now() - startedAt))
  await until(`${name} decodes ${FRAMES_SEEN} frames of ${from}`, left(), async () => {
    return (await person.receives(from, 'camera')).framesDecoded > FRAMES_SEEN
  })
  await until(`${name} hears ${from}`, left(), async () => {
    return (await person.receives(from, 'microphone')).audioEnergy > 0.0001
  })
  const { lock } = await person.facts()
  check(lock.level === 'sealed', `${name} sees and hears ${from} (${lock.label})`)
}

/**
 * Watches, in the page, for how long no sound packet of somebody arrives. A page that has to wait for a processor sees
 * late what came: then the time is less what the packets that have come meanwhile last, 20 ms each.
 */
export function listen(person, from) {
  const longestGapMs = person.page.evaluate(async (identity) => {
    window.listening = true
    let longest = 0
    let packets = -1
    let changedAt = performance.now()
    let lookedAt = changedAt
    let wasLate = false
    while (window.listening) {
      const tracks = await window.incamera.tracks()
      const track = tracks.find(
        (candidate) => candidate.identity === identity && candidate.source === 'microphone',
      )
      const count = track?.rtp[0]?.packetsReceived ?? -1
      const now = performance.now()
      const isLate = now - lookedAt > 100
      const arrived = count - packets
      if (arrived !== 0) {
        // Another connection counts anew.
        if (arrived > 0 && packets >= 0) longest = Math.max(longest, now - changedAt - 20 * arrived)
        packets = count
        changedAt = now
      } else if (!isLate || wasLate) longest = Math.max(longest, now - changedAt)
      lookedAt = now
      wasLate = isLate
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return Math.round(longest)
  }, from)
  // If anything else fails first, the page closes before it answers.
  longestGapMs.catch(() => {})
  return {
    longestGapMs,
    stop: () =>
      person.page.evaluate(() => {
        window.listening = false
      }),
  }
}

/** Asks until the answer is truthy; fails saying what was waited for and what was seen last. */
export async function until(what, timeoutMs, ask, everyMs = 100) {
  const giveUpAt = Date.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > giveUpAt) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await sleep(everyMs)
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Fails for good where `condition` holds: what no processor excuses and no second try makes good
 * (`xtask/src/scenario.rs`).
 */
export function never(condition, what) {
  if (condition) throw new Error(`this must never be: ${what}`)
}

export function check(condition, what) {
  if (!condition) throw new Error(what)
  console.log(`  ok: ${what}`)
}

/** The same measurement, where it must find something: without it a zero would mean nothing. */
export function control(condition, what) {
  if (!condition) throw new Error(`positive control: ${what}`)
  console.log(`  control: ${what}`)
}

/** A figure that a promise is judged by; `cargo xtask prove` shows it. */
export function measured(condition, what) {
  if (!condition) throw new Error(what)
  console.log(`  measured: ${what}`)
}

/**
 * Runs one scenario: prints a verdict, sets the exit code, always closes the browser, which is started with `flags`
 * beside those of every scenario, and Firefox if the scenario opens it beside that.
 */
export async function scenario(name, act, { flags = [] } = {}) {
  console.log(`${name} against ${SERVER}`)
  const browser = await launch({ flags })
  const browsers = [browser]
  const openFirefox = async () => {
    const fox = await launchFirefox()
    browsers.push(fox)
    return fox
  }
  const people = []
  const noted = (person) => {
    people.push(person)
    return person
  }
  const open = async (options) => noted(await Person.open(browser, options))
  const follow = async (link, identity, where = browser) =>
    noted(await Person.follow(where, link, identity))
  try {
    await act(open, browser, follow, openFirefox)
    console.log(`PASS ${name}`)
  } catch (error) {
    process.exitCode = 1
    console.error(`FAIL ${name}: ${error.message}`)
    for (const person of people) await report(person)
  } finally {
    await Promise.all(browsers.map((each) => each.close()))
  }
}

/** What tells most of a flow of media, by the type of its statistics. */
const FLOW = {
  'inbound-rtp': ['ssrc', 'packetsReceived', 'packetsLost', 'framesReceived', 'framesDecoded', 'frameWidth', 'pliCount'],
  'outbound-rtp': ['ssrc', 'rid', 'packetsSent', 'framesEncoded', 'keyFramesEncoded', 'frameWidth', 'pliCount'],
}

/** What a person's page knew when the scenario failed. */
async function report(person) {
  try {
    const { moments, ...facts } = await person.facts()
    console.error(`  ${person.identity}: ${JSON.stringify(facts)}`)
    console.error(
      `    moments: ${moments.map(({ what, who }) => (who ? `${what} of ${who}` : what)).join(', ')}`,
    )
    for (const { identity, source, rtp } of await person.tracks())
      for (const flow of rtp.filter(({ type }) => FLOW[type]))
        console.error(`    ${source} of ${identity}: ${FLOW[flow.type].map((name) => `${name} ${flow[name]}`).join(', ')}`)
    for (const line of person.consoleErrors.slice(-5))
      console.error(`    console: ${line.slice(0, 300)}`)
  } catch (error) {
    console.error(`  ${person.identity}: page gone (${String(error).slice(0, 120)})`)
  }
}
