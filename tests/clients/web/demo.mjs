/**
 * `cargo xtask demo` as a newcomer runs it: the two links that it prints, opened as they are in
 * Chromium and in Firefox, make an encrypted call. It builds page and server again and starts a server of its own.
 */
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { linksIn } from './dev_server.mjs'
import { check, markSensitive, scenario, seesAndHears, until } from './driver.mjs'

/** Building the server anew with a page that was just built. */
const READY_WITHIN_MS = 240_000

/** The running command; `printed` and `logged` grow with what it says. */
class Demo {
  printed = ''
  logged = ''
  ended = undefined

  constructor(ports) {
    const options = ['demo', '--port', ports.http, '--udp-port', ports.udp]
    this.child = spawn(process.env.INCAMERA_XTASK, options, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.child.stdout.on('data', (text) => {
      this.printed += text
    })
    this.child.stderr.on('data', (text) => {
      this.logged += text
      appendFileSync(process.env.INCAMERA_SERVER_LOG, text)
    })
    this.child.on('exit', (code, signal) => {
      this.ended = code ?? signal
    })
  }

  links() {
    return linksIn(this.printed)
  }

  /** All links, once they are printed. */
  hasLinks() {
    if (this.ended !== undefined) throw new Error(`the demo ended: ${this.ended}\n${this.logged}`)
    return this.links().length === 2 && this.links()
  }
}

const ports = { http: process.env.INCAMERA_HTTP_PORT, udp: process.env.INCAMERA_UDP_PORT }
const demo = new Demo(ports)
await scenario('demo', async (_open, _browser, follow, openFirefox) => {
  const links = await until('it prints links', READY_WITHIN_MS, () => demo.hasLinks(), 20)
  const secrets = links.flatMap(({ link }) => [...new URLSearchParams(link.split('#')[1]).values()])
  for (const secret of secrets) markSensitive(secret)
  const answer = await fetch(`http://127.0.0.1:${ports.http}/`)
  check(
    answer.ok,
    `it prints two links (${links.map(({ identity }) => identity)}), and answers by then`,
  )

  const [first, second] = links
  const inChromium = await follow(first.link, first.identity)
  const inFirefox = await follow(second.link, second.identity, await openFirefox())
  await Promise.all([inChromium.join(), inFirefox.join()])
  await Promise.all([seesAndHears(inChromium, inFirefox), seesAndHears(inFirefox, inChromium)])

  demo.child.kill('SIGTERM')
  await until('the demo ends', 10_000, () => demo.ended !== undefined)
  check(demo.ended === 0, `SIGTERM ends it with ${demo.ended}`)
  check(secrets.length === 4, 'each link holds a token and a key')
  check(!secrets.some((secret) => demo.logged.includes(secret)), 'which are in no log')
  check(!/guess|secret/i.test(demo.logged), 'and nobody is warned of the key pair of the demo')
})
demo.child.kill('SIGKILL')
