/**
 * Whether the server still answers: a browser takes five to fifteen seconds to see that its network has gone, and until
 * then takes what it is given for sent.
 */
import type { Room } from 'livekit-client'

export class Pulse {
  /** By candidate pair. */
  #before = new Map<string, number>()

  /** From now on what comes is a beat. */
  async restart(room: Room): Promise<void> {
    this.#before = (await received(room)) ?? new Map()
  }

  /** Whether anything has come from the server since; true of a browser that does not say. */
  async hasBeaten(room: Room): Promise<boolean> {
    const now = await received(room)
    if (now === undefined) return true
    return [...now].some(([pair, count]) => count > (this.#before.get(pair) ?? 0))
  }
}

/** What has come over each way that data take to the server: bytes, and answers to the browser's checks. */
async function received(room: Room): Promise<Map<string, number> | undefined> {
  const report = await room.engine.pcManager?.publisher.getStats()
  const entries = [...(report?.values() ?? [])] as PairStats[]
  const pairs = entries.filter(({ type }) => type === 'candidate-pair')
  if (!pairs.some(({ bytesReceived }) => bytesReceived !== undefined)) return undefined
  const counted = ({ id, bytesReceived = 0, responsesReceived = 0 }: PairStats) =>
    [id, bytesReceived + responsesReceived] as const
  return new Map(pairs.map(counted))
}

interface PairStats {
  readonly id: string
  readonly type: string
  readonly bytesReceived?: number
  readonly responsesReceived?: number
}
