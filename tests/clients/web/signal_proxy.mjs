/**
 * Stands between a page and its server and breaks the signalling: media takes its own way over UDP.
 * A page opened through it talks to it as to its own origin.
 */
import { createHash } from 'node:crypto'
import net from 'node:net'

/** `SignalResponse { leave { reason: STATE_MISMATCH, action: RECONNECT } }` as a WebSocket frame. */
const LEAVE_AND_RECONNECT = Buffer.from([0x82, 6, 0x42, 4, 0x10, 6, 0x18, 2])

export class SignalProxy {
  #sockets = new Set()
  #server
  #refusing = false
  #answersLeave = false
  #swallowing = false
  /** What is written instead of what, in all that the server says. */
  #renamed

  static async start(target) {
    const proxy = new SignalProxy()
    const { hostname, port } = new URL(target)
    proxy.#server = net.createServer((client) =>
      proxy.#accept(client, hostname, Number(port || 80)),
    )
    await new Promise((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`
    return proxy
  }

  /** From now on nothing that is said over the connections that there are reaches the server. */
  swallow() {
    this.#swallowing = true
  }

  /** From now on the server seems to say `to`, which is as long, wherever it says `from`. */
  rename(from, to) {
    this.#renamed = { from, to }
  }

  /** Cuts every connection, and refuses new ones for a while. */
  async drop(refuseMs = 0) {
    this.#swallowing = false
    this.#refusing = refuseMs > 0
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, refuseMs))
    this.#refusing = false
  }

  /** Cuts every connection; the next signalling is told that the server has lost the session. */
  dropAndForget() {
    this.#answersLeave = true
    for (const socket of this.#sockets) socket.destroy()
  }

  close() {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }

  #accept(client, host, port) {
    client.on('error', () => {})
    if (this.#refusing) {
      client.destroy()
      return
    }
    this.#sockets.add(client)
    client.on('close', () => this.#sockets.delete(client))
    client.once('data', (head) => {
      if (
        this.#answersLeave &&
        /^GET \/rtc[^ ]* .*\r\n(.*\r\n)*upgrade: websocket/i.test(head.toString('latin1'))
      ) {
        this.#answersLeave = false
        this.#sayLeave(client, head.toString('latin1'))
        return
      }
      const upstream = net.connect(port, host)
      this.#sockets.add(upstream)
      upstream.on('error', () => client.destroy())
      upstream.on('close', () => {
        this.#sockets.delete(upstream)
        client.destroy()
      })
      client.on('close', () => upstream.destroy())
      upstream.write(head)
      client.on('data', (bytes) => this.#swallowing || upstream.write(bytes))
      client.on('end', () => upstream.end())
      upstream.on('data', (bytes) => client.write(this.#asRenamed(bytes)))
      upstream.on('end', () => client.end())
    })
  }

  #asRenamed(bytes) {
    const { from, to } = this.#renamed ?? {}
    if (from === undefined) return bytes
    return Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1')
  }

  #sayLeave(client, head) {
    const key = /sec-websocket-key: *([^\r]+)/i.exec(head)?.[1]
    const accept = createHash('sha1')
      .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    client.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    client.write(LEAVE_AND_RECONNECT)
  }
}
