/**
 * Lines of the chat, as they travel and as they are taken: once, and from whoever wrote them.
 *
 * Pure. Whoever lacks the key can still record a sealed line and send it again under their own name, or have the
 * server send it again. So a line says inside, sealed, who wrote it, and is known by its id.
 * Guarantees: a line of this page's is shown under its writer's name only, and once while this page is open, unless
 * thousands have come since. One that does not say who wrote it is another app's, and taken from anybody, once.
 */

export interface ChatLine {
  readonly from: string
  readonly isMine: boolean
  readonly atMs: number
  readonly text: string
}

/** A line of one's own on its way. */
export interface SentLine {
  readonly atMs: number
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Identities of those who were there. */
  readonly to: readonly string[]
}

export const TEXT_LENGTH_MAX = 4_000
/** A UUID has 36 characters. */
const ID_LENGTH_MAX = 64
const IDS_KNOWN_MAX = 8_192
/** From a network's end until the browser has seen it. */
const RECENT_MS = 20_000
const RECENT_MAX = 64

export class Chat {
  /** In the order in which they came. */
  readonly #known = new Set<string>()
  /** Lines of one's own, in the order in which they were sent. */
  #recent: SentLine[] = []

  /** A line of one's own and the bytes of it to seal; `undefined` if there is nothing to say. */
  write(
    me: string,
    said: string,
    nowMs: number,
  ): { line: ChatLine; bytes: Uint8Array<ArrayBuffer> } | undefined {
    const text = said.trim().slice(0, TEXT_LENGTH_MAX)
    if (text === '') return undefined
    const id = crypto.randomUUID()
    this.#know(id)
    // LiveKit's components read the first three.
    const written = { id, timestamp: nowMs, message: text, from: me }
    const bytes = new TextEncoder().encode(JSON.stringify(written))
    return { line: { from: me, isMine: true, atMs: nowMs, text }, bytes }
  }

  /** A line has been given to the browser to send. */
  sent(line: SentLine): void {
    this.#recent = [...this.#recent, line].slice(-RECENT_MAX)
  }

  /** Lines of which nobody knows whether they arrived, of a connection that was seen to be gone at `lostAtMs`. */
  unsure(lostAtMs: number): readonly SentLine[] {
    this.#recent = this.#recent.filter(({ atMs }) => lostAtMs - atMs < RECENT_MS)
    return this.#recent
  }

  /** Reads what was opened of somebody's; `undefined` if it is no line, or not theirs, or has come before. */
  read(sender: string, bytes: Uint8Array, nowMs: number): ChatLine | undefined {
    const { id, message, timestamp, from = sender } = parseObject(bytes)
    if (typeof message !== 'string' || from !== sender) return undefined
    if (typeof id !== 'string' || id === '' || id.length > ID_LENGTH_MAX) return undefined
    if (this.#known.has(id)) return undefined
    this.#know(id)
    const atMs = typeof timestamp === 'number' ? timestamp : nowMs
    return { from: sender, isMine: false, atMs, text: message.slice(0, TEXT_LENGTH_MAX) }
  }

  #know(id: string): void {
    this.#known.add(id)
    const [oldest] = this.#known
    if (this.#known.size > IDS_KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest)
  }
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
