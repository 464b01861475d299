/**
 * A server whose media goes through a lossy network: it advertises an address of this machine at which, on the same
 * port, not it but a proxy listens, which drops datagrams of some clients in either direction.
 *
 * To be imported before `driver.mjs`, which reads the key pair that is chosen here. Environment: `INCAMERA_BIN`,
 * `INCAMERA_HTTP_PORT`, `INCAMERA_UDP_PORT`, `INCAMERA_SERVER_LOG`.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import dgram from 'node:dgram'
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SERVER = '127.0.0.1'
const ADVERTISED = '127.0.0.2'
/** What is larger is a packet of video: sound of Opus has some 100 bytes. */
const VIDEO_BYTES_MIN = 300

process.env.INCAMERA_KEY = 'devkey'
process.env.INCAMERA_SECRET = randomBytes(32).toString('base64url')

export class LossyServer {
  /** Of all datagrams of clients that come after `spare()`, on their way to the server and from it. */
  #loss = { up: 0, down: 0 }
  #spared = new Set()
  #sparesNewcomers = false
  #flows = new Map()
  #folder = mkdtempSync(join(tmpdir(), 'incamera-'))
  #random = 20_261_128
  /** Payload types of packets that come again: with such Chromium looks for room, too, and nobody misses those. */
  again = new Set()
  /** Other packets of video that were dropped on their way to the server, and from it. */
  dropped = { up: 0, down: 0 }

  static async start() {
    const lossy = new LossyServer()
    await lossy.#listen()
    await lossy.#serve()
    return lossy
  }

  /** Whoever is connected now never loses anything. */
  spare() {
    for (const client of this.#flows.keys()) this.#spared.add(client)
  }

  /** Nor does whoever comes from now on, until the next `lose`. */
  spareNewcomers() {
    this.#sparesNewcomers = true
  }

  lose(up, down = up) {
    this.#loss = { up, down }
    this.#sparesNewcomers = false
    this.dropped = { up: 0, down: 0 }
  }

  async stop() {
    this.server.kill('SIGTERM')
    const code = await this.ended
    this.#near.close()
    for (const socket of this.#flows.values()) socket.close()
    rmSync(this.#folder, { recursive: true, force: true })
    if (code !== 0) throw new Error(`the server ended with ${code}`)
  }

  #near = dgram.createSocket('udp4')

  #listen() {
    const port = Number(process.env.INCAMERA_UDP_PORT)
    this.#near.on('message', (datagram, from) => {
      const client = `${from.address}:${from.port}`
      let far = this.#flows.get(client)
      if (far === undefined) {
        far = dgram.createSocket('udp4')
        far.on('error', () => {})
        far.on('message', (answer) => {
          if (!this.#drops(client, answer, 'down')) {
            this.#near.send(answer, from.port, from.address)
          }
        })
        this.#flows.set(client, far)
        if (this.#sparesNewcomers) this.#spared.add(client)
      }
      if (!this.#drops(client, datagram, 'up')) far.send(datagram, port, SERVER)
    })
    return new Promise((resolve) => this.#near.bind(port, ADVERTISED, resolve))
  }

  #drops(client, datagram, direction) {
    const loss = this.#loss[direction]
    if (loss === 0 || this.#spared.has(client) || this.#chance() >= loss) return false
    // RFC 7983, RFC 5761: RTP, and no RTCP.
    const isMedia = datagram[0] >> 6 === 2 && (datagram[1] < 192 || datagram[1] > 223)
    const isFirst = !this.again.has(datagram[1] & 0x7f)
    if (isMedia && isFirst && datagram.length > VIDEO_BYTES_MIN) this.dropped[direction]++
    return true
  }

  /** Numbers from 0 to 1 that are the same in each run (xorshift32). */
  #chance() {
    let x = this.#random
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#random = x >>> 0
    return this.#random / 2 ** 32
  }

  async #serve() {
    const { INCAMERA_HTTP_PORT: http, INCAMERA_UDP_PORT: udp, INCAMERA_SECRET: secret } = process.env
    const settings = join(this.#folder, 'server.yaml')
    writeFileSync(
      settings,
      `port: ${http}\nbind_addresses: ['${SERVER}']\n` +
        `rtc: {udp_port: ${udp}, tcp_port: 0, node_ip: ${ADVERTISED}, ips: {includes: ['${SERVER}/32']}}\n` +
        `keys: {devkey: ${secret}}\n`,
      { mode: 0o600 },
    )
    const log = process.env.INCAMERA_SERVER_LOG
    const stderr = log ? openSync(log, 'a') : 'inherit'
    this.server = spawn(process.env.INCAMERA_BIN, ['serve', '--config', settings], {
      stdio: ['ignore', 'ignore', stderr],
    })
    this.ended = new Promise((resolve) => this.server.on('exit', resolve))
    for (let tries = 0; tries < 100; tries++) {
      const answer = await fetch(`http://${SERVER}:${http}/`).catch(() => undefined)
      if (answer?.ok) return
      if (this.server.exitCode !== null) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error('the server does not start')
  }
}
