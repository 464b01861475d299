/**
 * What the client library orders of the encryption worker, without what would let media pass as it is, and without the
 * keys that the worker has. Pure.
 *
 * The library takes the former from what the server says: that somebody is not encrypted, which is sticky and of an
 * identity and not of a track, and the ending of frames that the server itself puts in, which are not. The latter it
 * orders anew for each track that anybody publishes: from each the worker would derive, 100,000 rounds long, the AES key
 * that is in the slot already, and everything else that it is ordered would wait.
 * Source: `E2EEManager` and `e2ee.worker.ts` of livekit-client. One key ring for everybody, as with `sharedKey`.
 */
import type { SetKeyMessage } from 'livekit-client'

export class StrictOrders {
  /** What is in each slot of the worker's key ring once it has done all that it was ordered. */
  readonly #keys = new Map<number, CryptoKey>()
  /** The slot that seals, by then. */
  #sealing: number | undefined

  /** The order to give instead of one; `undefined` for none. */
  next(order: unknown): unknown {
    const { kind, data } = order as { kind?: unknown; data?: object }
    if (kind === 'setSifTrailer') return undefined
    if (kind === 'setKey') return this.#isNews(data as SetKeyMessage['data']) ? order : undefined
    return kind === 'enable' ? { kind, data: { ...data, enabled: true } } : order
  }

  #isNews({ key, keyIndex = 0, updateCurrentKeyIndex }: SetKeyMessage['data']): boolean {
    const isHeld = this.#keys.get(keyIndex) === key
    if (isHeld && (!updateCurrentKeyIndex || this.#sealing === keyIndex)) return false
    this.#keys.set(keyIndex, key)
    if (updateCurrentKeyIndex) this.#sealing = keyIndex
    return true
  }
}
