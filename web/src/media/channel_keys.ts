/**
 * Carries out the key ring's steps in the encryption worker.
 *
 * Keys go in as text, so PBKDF2 derives the same AES key in browsers and in LiveKit's native clients.
 * `ExternalE2EEKeyProvider` alone holds one key for ever; this adds further slots, and the moment at
 * which one of them starts to encrypt.
 */
import {
  createKeyMaterialFromString,
  ExternalE2EEKeyProvider,
  type KeyInfo,
  KeyProviderEvent,
} from 'livekit-client'
import type { KeyBits } from '../invitation.ts'
import { indexOf, randomKey, type Step } from '../keyring.ts'

export class ChannelKeys extends ExternalE2EEKeyProvider {
  readonly #slots = new Map<number, KeyInfo>()
  #sendingIndex = 0

  constructor(cipher: KeyBits) {
    super({ keySize: cipher })
  }

  /** Sets the key that the call starts with. */
  async start(epoch: number, key: string): Promise<void> {
    const index = indexOf(epoch)
    await this.#fill(index, key, true)
  }

  async carryOut(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      switch (step.do) {
        case 'hold':
          await this.#fill(step.index, step.key, step.index === this.#sendingIndex)
          break
        case 'use':
          await this.#fill(step.index, step.key, true)
          break
        case 'drop':
          // The worker has no way to empty a slot; a key that nobody knows opens nothing.
          await this.#fill(step.index, randomKey(), false)
          this.#slots.delete(step.index)
          break
      }
    }
  }

  /** The client asks again for all keys whenever it connects or a track appears. */
  override getKeys(): KeyInfo[] {
    return [...this.#slots.values()]
  }

  override getLatestManuallySetKeyIndex(): number {
    return this.#sendingIndex
  }

  /** Lets go of all keys: nothing opens and nothing seals from now on. */
  forget(): void {
    this.#slots.clear()
    this.removeAllListeners()
  }

  async #fill(index: number, key: string, toSend: boolean): Promise<void> {
    const slot: KeyInfo = { key: await createKeyMaterialFromString(key), keyIndex: index }
    this.#slots.set(index, slot)
    if (toSend) this.#sendingIndex = index
    this.emit(KeyProviderEvent.SetKey, slot, toSend)
  }
}

/**
 * A short number by which people can compare keys aloud. It reveals nothing useful about a key of
 * 256 random bits.
 */
export async function safetyNumber(key: string): Promise<string> {
  const bytes = new TextEncoder().encode(`incamera safety number\n${key}`)
  const digest = new DataView(await crypto.subtle.digest('SHA-256', bytes))
  const digits = String(digest.getUint32(0) % 100_000_000).padStart(8, '0')
  return `${digits.slice(0, 4)} ${digits.slice(4)}`
}
