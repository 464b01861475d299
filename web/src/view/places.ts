/**
 * Who has a place on the stage when there are more pictures than it can show, and how large places are. Pure.
 *
 * Guarantees: whoever speaks has one, and so have shared screens, what somebody enlarged, and oneself. Places that are
 * left go to who spoke last and then to who came first, so that a picture goes only for one of these.
 */

/** One of them says how many others there are, if there are. 48 fill a phone with pictures as wide as a finger. */
export const PLACES_MAX = 48

const GAP_PX = 12
/** A camera's own shape; a stage that is higher than wide may crop pictures to fill itself. */
const WIDE = [16 / 9]
const ANY = [16 / 9, 4 / 3, 1]

export interface Claim {
  readonly id: string
  readonly isSpeaking: boolean
  /** Whether it has a place whoever else is there. */
  readonly isFirm: boolean
}

export class Places {
  /** Of those who are there: in the order in which they were heard last. */
  readonly #heard = new Set<string>()

  /** The ids of those who have a place. */
  give(claims: readonly Claim[]): Set<string> {
    const all = new Set(claims.map(({ id }) => id))
    for (const id of this.#heard) if (!all.has(id)) this.#heard.delete(id)
    for (const { id, isSpeaking } of claims) {
      if (isSpeaking) {
        this.#heard.delete(id)
        this.#heard.add(id)
      }
    }
    if (all.size <= PLACES_MAX) return all
    const firm = claims.filter(({ isFirm }) => isFirm).map(({ id }) => id)
    const inTurn = new Set([...firm, ...[...this.#heard].reverse(), ...all])
    return new Set([...inTurn].slice(0, PLACES_MAX - 1))
  }
}

/** The shape, and the width in pixels, that make `count` pictures of a grid largest. */
export function placeSize(
  stage: { readonly width: number; readonly height: number },
  count: number,
): { ratio: number; width: number } {
  const { width, height } = stage
  let best = { ratio: 16 / 9, width: 0 }
  for (const ratio of width < height ? ANY : WIDE) {
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns)
      const byWidth = (width - GAP_PX * (columns - 1)) / columns
      const byHeight = ((height - GAP_PX * (rows - 1)) / rows) * ratio
      const placeWidth = Math.max(0, Math.floor(Math.min(byWidth, byHeight)))
      const isLarger = placeWidth ** 2 / ratio > best.width ** 2 / best.ratio
      if (isLarger) best = { ratio, width: placeWidth }
    }
  }
  return best
}
