/**
 * `incamera dev` as a developer starts it, at the ports of the scenario: what it prints, and its end. Its log goes
 * where it is searched, as do the secrets of its links.
 */
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { markSensitive, until } from './driver.mjs'

const { INCAMERA_BIN, INCAMERA_HTTP_PORT, INCAMERA_UDP_PORT, INCAMERA_TCP_PORT, INCAMERA_SERVER_LOG } = process.env

/** The links that were printed, one for each person. */
export function linksIn(printed) {
  const found = printed.matchAll(/^ *(\w+): +(https?:\S+)$/gm)
  return [...found].map(([, identity, link]) => ({ identity, link }))
}

export class DevServer {
  printed = ''
  ended = undefined

  /** Starts it with these options and variables, and waits for its banner. */
  static async start(options = [], variables = {}) {
    const server = new DevServer()
    const media = ['--udp-port', INCAMERA_UDP_PORT, '--tcp-port', INCAMERA_TCP_PORT]
    const ports = ['--http-port', INCAMERA_HTTP_PORT, ...media]
    const words = ['dev', ...options, '--log', 'info,edge=debug', ...ports]
    server.child = spawn(INCAMERA_BIN, words, {
      env: { ...process.env, ...variables },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    server.child.stdout.on('data', (text) => {
      server.printed += text
    })
    server.child.stderr.on('data', (text) => appendFileSync(INCAMERA_SERVER_LOG, text))
    server.child.on('exit', (code, signal) => {
      server.ended = code ?? signal
    })
    await until('it prints its banner', 15_000, () => {
      if (server.ended !== undefined) throw new Error(`it ended at its start: ${server.ended}`)
      return server.printed.includes('Ctrl-C')
    })
    for (const { link } of server.links())
      for (const secret of new URLSearchParams(link.split('#')[1]).values()) markSensitive(secret)
    return server
  }

  links() {
    return linksIn(this.printed)
  }

  async stop() {
    this.child.kill('SIGTERM')
    await until('it ends', 10_000, () => this.ended !== undefined)
    return this.ended
  }
}
