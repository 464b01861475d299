/**
 * Decides which channel keys are held, which one encrypts, and when an old one is dropped.
 *
 * Owns: rotation. A fresh random key takes the next epoch; it is announced under the old key,
 * held at once by all who hear it, used after a moment so that nobody receives what they cannot
 * open yet, and the old key is dropped some seconds after that.
 * Guarantees: an announcement for an epoch that has passed changes nothing; one is somebody's who says so inside, sealed,
 * and of the last minutes, so that whoever has recorded it, in a call that began with the same key, gains nothing by it in
 * the next; two people rotating at once end with the same key.
 * Not here: sending, timers and cryptography. Time is an argument, answers are steps to take.
 */

/** Between hearing of a key and encrypting with it: lets the announcement reach everybody. */
export const USE_AFTER_MS = 1_000
/** How long the old key still opens what was sealed with it, counted from the new key's use. */
export const ACCEPT_OLD_MS = 10_000
/** How old an announcement may be: clocks differ. Or how young: the announcer's may be ahead. */
export const ANNOUNCED_WITHIN_MS = 300_000
/** Slots of the worker's key ring (LiveKit's default on every platform). */
export const RING_SIZE = 16

/** Characters of a channel key, wherever it comes from: fewer can be guessed by whoever has recorded the call. */
export const KEY_LENGTH_MIN = 16
export const KEY_LENGTH_MAX = 1024

/** What is told to the others, sealed under the old key. */
export interface Announcement {
  readonly epoch: number
  readonly key: string
}

export type Step =
  | { readonly do: 'hold'; readonly index: number; readonly key: string }
  | { readonly do: 'use'; readonly index: number; readonly epoch: number; readonly key: string }
  | { readonly do: 'drop'; readonly index: number }

interface HeldKey extends Announcement {
  readonly useAtMs: number
  used: boolean
  dropAtMs: number | undefined
}

export class KeyRing {
  /** In order of epoch; the last is the newest. Never empty. */
  #held: HeldKey[]
  readonly #first: number

  constructor(epoch: number, key: string) {
    this.#first = epoch
    this.#held = [{ epoch, key, useAtMs: 0, used: true, dropAtMs: undefined }]
  }

  /** The epoch that encrypts. */
  get epoch(): number {
    return this.#used().epoch
  }

  /** The key that encrypts. */
  get key(): string {
    return this.#used().key
  }

  /**
   * Whether a later key may have the slot of one that was dropped: whoever lacks it then finds another key there, not none.
   */
  get hasComeRound(): boolean {
    return this.epoch - this.#first > RING_SIZE / 2
  }

  /** True from the announcement of a key until it is used. */
  get rotating(): boolean {
    return !this.#newest().used
  }

  /** When `advance` has something to do next. */
  get wakeAtMs(): number | undefined {
    const newest = this.#newest()
    // One that a newer one came before is never used.
    const useAtMs = newest.used ? Infinity : newest.useAtMs
    const soonest = Math.min(useAtMs, ...this.#held.map((held) => held.dropAtMs ?? Infinity))
    return soonest === Infinity ? undefined : soonest
  }

  /** The announcement that would make `key` the next one. Changes nothing until `admit`ted. */
  next(key: string): Announcement {
    return { epoch: this.#newest().epoch + 1, key }
  }

  /** Takes an announcement, one's own or another's that was opened with a held key. */
  admit(announcement: Announcement, nowMs: number): Step[] {
    const newest = this.#newest()
    const { epoch, key } = announcement
    // Epochs a whole ring apart would share a slot. This also bounds how many keys are held.
    const oldest = this.#held[0] ?? newest
    if (epoch - oldest.epoch >= RING_SIZE || epoch < newest.epoch) return []
    if (epoch === newest.epoch) {
      if (!this.#wins(key, newest, nowMs)) return []
      this.#held.pop()
      const older = this.#held.at(-1)
      if (older) older.dropAtMs = undefined
    }
    this.#held.push({ epoch, key, useAtMs: nowMs + USE_AFTER_MS, used: false, dropAtMs: undefined })
    return [{ do: 'hold', index: indexOf(epoch), key }]
  }

  /** Uses and drops what is due. */
  advance(nowMs: number): Step[] {
    const steps: Step[] = []
    const newest = this.#newest()
    if (!newest.used && newest.useAtMs <= nowMs) {
      newest.used = true
      steps.push({ do: 'use', index: indexOf(newest.epoch), epoch: newest.epoch, key: newest.key })
      for (const older of this.#held) {
        if (older !== newest) older.dropAtMs ??= nowMs + ACCEPT_OLD_MS
      }
    }
    for (const held of this.#held) {
      if ((held.dropAtMs ?? Infinity) <= nowMs)
        steps.push({ do: 'drop', index: indexOf(held.epoch) })
    }
    this.#held = this.#held.filter((held) => (held.dropAtMs ?? Infinity) > nowMs)
    return steps
  }

  #used(): HeldKey {
    return this.#held.findLast((held) => held.used) ?? this.#newest()
  }

  #newest(): HeldKey {
    const newest = this.#held.at(-1)
    if (newest === undefined) throw new Error('the ring always holds a key')
    return newest
  }

  /** Of two keys announced for one epoch the lesser wins, while the epoch is young. */
  #wins(key: string, newest: HeldKey, nowMs: number): boolean {
    const isYoung = newest.useAtMs > 0 && nowMs < newest.useAtMs + ACCEPT_OLD_MS
    return isYoung && key < newest.key
  }
}

/** The slot of an epoch. */
export function indexOf(epoch: number): number {
  return epoch % RING_SIZE
}

/** Whether the key in one slot comes after that in another, as far as slots tell. */
export function isLater(index: number, than: number): boolean {
  const ahead = (index - than + RING_SIZE) % RING_SIZE
  return index < RING_SIZE && ahead > 0 && ahead < RING_SIZE / 2
}

/** A fresh random channel key: 256 bits as base64url text. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32))
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '')
}

/**
 * Reads what came of `sender`; `undefined` if it is no announcement, or not theirs. One that is not of now is not to be
 * taken: it may be of another call.
 */
export function parseAnnouncement(
  sender: string,
  bytes: Uint8Array,
  nowMs: number,
): (Announcement & { readonly isOfNow: boolean }) | undefined {
  try {
    const said = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
    const { epoch, key, from, at } = said
    const isEpoch = typeof epoch === 'number' && Number.isSafeInteger(epoch) && epoch >= 0
    const isKey =
      typeof key === 'string' && key.length >= KEY_LENGTH_MIN && key.length <= KEY_LENGTH_MAX
    if (!isEpoch || !isKey || from !== sender || typeof at !== 'number') return undefined
    return { epoch, key, isOfNow: Math.abs(nowMs - at) <= ANNOUNCED_WITHIN_MS }
  } catch {
    return undefined
  }
}

/** As `from` announces it at `nowMs`, by the clock on the wall. */
export function encodeAnnouncement(
  from: string,
  { epoch, key }: Announcement,
  nowMs: number,
): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify({ epoch, key, from, at: nowMs }))
}
