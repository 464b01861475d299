/**
 * Tells who can be decrypted and who cannot.
 *
 * The worker reports failures, a handful a minute and never a success; the browser's statistics
 * show successes. Somebody is in trouble when a failure was reported and, a second later, still
 * nothing of theirs is being decoded.
 */
import type { RemoteParticipant } from 'livekit-client'
import { isLater } from '../keyring.ts'
import type { Trouble } from '../lock.ts'

interface Record {
  failure: Trouble | undefined
  /** The slot of the key that was lacking last. */
  missing: number
  trouble: Trouble | undefined
  /** Decoded so far, by track: frames of video, samples of audio. */
  readonly decoded: Map<string, number>
}

export class Receipt {
  readonly #records = new Map<string, Record>()
  /** Of whom anything was ever decoded: whoever has no key can send what looks like a later one. */
  readonly #opened = new Set<string>()
  /** Those of them who have been here since. */
  readonly #stayed = new Set<string>()

  /** The worker could not open something of this person. */
  failed(identity: string, error: Error): void {
    // The worker sends `CryptorErrorReason: text`; the reason is its only machine-readable part.
    if (error.message.startsWith('InvalidKey')) this.#of(identity).failure = 'key-differs'
    else if (error.message.startsWith('MissingKey')) {
      const record = this.#of(identity)
      record.failure = 'key-unknown'
      record.missing = Number(/ at index (\d+)/.exec(error.message)?.[1])
    }
  }

  troubleOf(identity: string): Trouble | undefined {
    return this.#records.get(identity)?.trouble
  }

  /**
   * Whether all of these use a key that comes after the one in this slot, and any of them was with us before. Once the
   * ring `hasComeRound`, one that differs may be that, and counts: which slot it has, the worker does not say. Not that of
   * somebody who has left and come again: that may be by an old link.
   */
  areAhead(senders: readonly string[], index: number, hasComeRound: boolean): boolean {
    const isAhead = (identity: string) => {
      const { trouble, missing } = this.#of(identity)
      const isUnknown = trouble === 'key-unknown' && isLater(missing, index)
      const mayBeLater = hasComeRound && this.#stayed.has(identity)
      return isUnknown || (mayBeLater && trouble === 'key-differs')
    }
    return senders.every(isAhead) && senders.some((identity) => this.#opened.has(identity))
  }

  /** They are not here any more, whether they have left or we were away. */
  forget(identity: string, hasLeft: boolean): void {
    this.#records.delete(identity)
    if (hasLeft) this.#stayed.delete(identity)
  }

  /** Looks at what has been decoded since the last look. Returns whether any verdict changed. */
  async look(people: Iterable<RemoteParticipant>): Promise<boolean> {
    const verdicts = await Promise.all([...people].map((person) => this.#judge(person)))
    return verdicts.includes(true)
  }

  async #judge(person: RemoteParticipant): Promise<boolean> {
    const record = this.#of(person.identity)
    const before = record.trouble
    if (await hasDecodedMore(person, record.decoded)) {
      record.failure = undefined
      record.trouble = undefined
      this.#opened.add(person.identity)
      this.#stayed.add(person.identity)
    } else {
      record.trouble = record.failure
    }
    return record.trouble !== before
  }

  #of(identity: string): Record {
    const record = this.#records.get(identity) ?? {
      failure: undefined,
      missing: Number.NaN,
      trouble: undefined,
      decoded: new Map<string, number>(),
    }
    this.#records.set(identity, record)
    return record
  }
}

async function hasDecodedMore(
  person: RemoteParticipant,
  decoded: Map<string, number>,
): Promise<boolean> {
  let hasMore = false
  for (const publication of person.trackPublications.values()) {
    const report = await publication.track?.getRTCStatsReport()
    for (const entry of (report?.values() ?? []) as Iterable<InboundStats>) {
      if (entry.type !== 'inbound-rtp') continue
      // Concealment fills gaps with samples of its own; what left the jitter buffer was real.
      const count = entry.framesDecoded ?? entry.jitterBufferEmittedCount ?? 0
      if (count > (decoded.get(entry.id) ?? 0)) hasMore = true
      decoded.set(entry.id, count)
    }
  }
  return hasMore
}

interface InboundStats {
  readonly id: string
  readonly type: string
  readonly framesDecoded?: number
  readonly jitterBufferEmittedCount?: number
}
