/**
 * `cargo xtask demo` as a newcomer runs it: the two links that it prints, opened as they are, make an
 * encrypted call. It builds page and server again and starts a server of its own.
 */
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { check, scenario, until } from './driver.mjs'

/** Building the server anew with a page that was just built. */
const READY_WITHIN_MS = 240_000
const JOINED_WITHIN_MS = 10_000
const FRAMES = 100

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
    return [...this.printed.matchAll(/^ *(\w+): +(http\S+)$/gm)].map(([, identity, link]) => ({
      identity,
      link,
    }))
  }

  /** All links, once they are printed. */
  hasLinks() {
    if (this.ended !== undefined) throw new Error(`the demo ended: ${this.ended}\n${this.logged}`)
    return this.links().length === 2 && this.links()
  }
}

const ports = { http: process.env.INCAMERA_HTTP_PORT, udp: process.env.INCAMERA_UDP_PORT }
const demo = new Demo(ports)
await scenario('demo', async (_open, _browser, follow) => {
  const links = await until('it prints links', READY_WITHIN_MS, () => demo.hasLinks(), 20)
  const answer = await fetch(`http://127.0.0.1:${ports.http}/`)
  check(
    answer.ok,
    `it prints two links (${links.map(({ identity }) => identity)}), and answers by then`,
  )

  const people = []
  for (const { link, identity } of links) people.push(await follow(link, identity))
  await Promise.all(people.map((person) => person.join()))
  await Promise.all(
    people.map(async (person) => {
      const other = people.find((candidate) => candidate !== person).identity
      await until(`${person.identity} decodes ${FRAMES} frames`, JOINED_WITHIN_MS, async () => {
        return (await person.receives(other, 'camera')).framesDecoded > FRAMES
      })
      await until(`${person.identity} hears ${other}`, 5_000, async () => {
        return (await person.receives(other, 'microphone')).audioEnergy > 0.0001
      })
      check(true, `${person.identity} sees and hears ${other}`)
      const { lock } = await person.facts()
      check(lock.level === 'sealed', `${person.identity}'s lock is closed (${lock.label})`)
    }),
  )

  demo.child.kill('SIGTERM')
  await until('the demo ends', 10_000, () => demo.ended !== undefined)
  check(demo.ended === 0, `SIGTERM ends it with ${demo.ended}`)
  const secrets = links.flatMap(({ link }) => [...new URLSearchParams(link.split('#')[1]).values()])
  check(secrets.length === 4, 'each link holds a token and a key')
  check(!secrets.some((secret) => demo.logged.includes(secret)), 'which are in no log')
  check(!/guess|secret/i.test(demo.logged), 'and nobody is warned of the key pair of the demo')
})
demo.child.kill('SIGKILL')
