/**
 * `window.incamera`: what the page knows, for tests and for the curious in a console. Read-only.
 *
 * Shapes are plain JSON. It holds no key and no token, and a call, which does, only until that has ended.
 */
import type { TrackPublication } from 'livekit-client'
import type { Call, Moment } from './call.ts'
import type { Lock } from './lock.ts'

export interface TrackFacts {
  readonly identity: string
  readonly isMine: boolean
  readonly trackSid: string
  readonly source: string
  readonly isMuted: boolean
  readonly isEncrypted: boolean
  /** `inbound-rtp` and `outbound-rtp` entries of the browser's statistics, one a layer. */
  readonly rtp: readonly Record<string, unknown>[]
}

export interface Facts {
  readonly screen: string
  readonly state: string | undefined
  readonly identity: string | undefined
  readonly participantSid: string | undefined
  readonly others: readonly string[]
  readonly epoch: number | undefined
  readonly lock: Lock | undefined
  readonly moments: readonly Moment[]
}

export class Facade {
  #screen = 'loading'
  #call: Call | undefined
  /** What was known of the last call when it ended. */
  #last: Omit<Facts, 'screen'> | undefined

  /** Puts `window.incamera` up. */
  static install(): Facade {
    const facade = new Facade()
    const face = Object.freeze({ facts: () => facade.#facts(), tracks: () => facade.#tracks() })
    Object.defineProperty(window, 'incamera', { value: face })
    return facade
  }

  follow(screen: string, call?: Call): void {
    this.#screen = screen
    this.#call = call ?? this.#call
  }

  /** The call has ended: keeps what is known of it, and lets go of it. */
  letGo(): void {
    this.#last = structuredClone(factsOf(this.#call))
    this.#call = undefined
  }

  #facts(): Facts {
    const known = this.#call ? undefined : this.#last
    return { screen: this.#screen, ...(known ?? factsOf(this.#call)) }
  }

  async #tracks(): Promise<TrackFacts[]> {
    const { room } = this.#call ?? {}
    if (!room) return []
    const people = [room.localParticipant, ...room.remoteParticipants.values()]
    const all = people.flatMap((person) =>
      [...person.trackPublications.values()].map((publication) => ({ person, publication })),
    )
    return Promise.all(
      all.map(async ({ person, publication }) => ({
        identity: person.identity,
        isMine: person.isLocal,
        trackSid: publication.trackSid,
        source: publication.source,
        isMuted: publication.isMuted,
        isEncrypted: publication.isEncrypted,
        rtp: await rtpOf(publication),
      })),
    )
  }
}

function factsOf(call: Call | undefined): Omit<Facts, 'screen'> {
  return {
    state: call?.room.state,
    identity: call?.me.identity,
    participantSid: call?.me.sid,
    others: call ? [...call.room.remoteParticipants.keys()] : [],
    epoch: call?.epoch,
    lock: call?.lock(),
    moments: call ? [...call.moments] : [],
  }
}

async function rtpOf(publication: TrackPublication): Promise<Record<string, unknown>[]> {
  const report = await publication.track?.getRTCStatsReport()
  const entries = [...(report?.values() ?? [])] as Record<string, unknown>[]
  return entries.filter(({ type }) => type === 'inbound-rtp' || type === 'outbound-rtp')
}
