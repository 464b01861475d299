/**
 * Whether what this page sends still reaches the server: a browser takes five to fifteen seconds to see that its network
 * has gone, and until then takes what it is given for sent.
 *
 * What comes down proves nothing of the way up. An answer to one of the browser's own checks of the way does: Chromium
 * makes one each 2.5 s, Firefox one each 4 to 6 s.
 * Source: `RTCIceCandidatePairStats`; RFC 7675 §5.1.
 */
import type { Room } from 'livekit-client'

export class Pulse {
  /** At the first look since the restart. */
  #before: Map<string, Way> | undefined

  /** From the next look on an answer is a beat: one that has come by then may be to a check from before. */
  restart(): void {
    this.#before = undefined
  }

  /** Whether the server has answered between two looks; true of a browser that does not say. */
  async hasBeaten(room: Room): Promise<boolean> {
    const now = await ways(room)
    if (now === undefined) return true
    const before = this.#before ?? now
    this.#before = before
    return [...now].some(
      ([pair, { isTaken, answers }]) => isTaken && answers > (before.get(pair)?.answers ?? 0),
    )
  }
}

/** A way to the server. */
interface Way {
  /** By what is sent. */
  readonly isTaken: boolean
  /** To the browser's checks of it. */
  readonly answers: number
}

/** By candidate pair; `undefined` if the browser does not say. */
async function ways(room: Room): Promise<Map<string, Way> | undefined> {
  const report = await room.engine.pcManager?.publisher.getStats()
  const entries = [...(report?.values() ?? [])] as Entry[]
  // Chromium says of the transport which pair it takes, Firefox of each pair whether it is the one.
  const taken = new Set(entries.map(({ selectedCandidatePairId }) => selectedCandidatePairId))
  const all = entries.flatMap(({ id, selected, responsesReceived }) => {
    if (responsesReceived === undefined) return []
    return [[id, { isTaken: selected ?? taken.has(id), answers: responsesReceived }] as const]
  })
  return all.length > 0 ? new Map(all) : undefined
}

/** Of the browser's statistics: of a candidate pair, but for the second, which is of a transport. */
interface Entry {
  readonly id: string
  readonly selectedCandidatePairId?: string
  readonly selected?: boolean
  readonly responsesReceived?: number
}
