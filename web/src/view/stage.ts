/** Lays out the pictures: all alike in a grid, or one large with the others beside it. */
import { Track } from 'livekit-client'
import type { Picture } from '../call.ts'
import { element, setAttribute } from '../dom.ts'
import { Tile } from './tile.ts'

export type Layout = 'grid' | 'speaker'

/** A camera's own shape; a stage that is higher than wide may crop pictures to fill itself. */
const WIDE = [16 / 9]
const ANY = [16 / 9, 4 / 3, 1]
const GAP_PX = 12

export class Stage {
  readonly view: HTMLElement

  readonly #list = element('ul', { class: 'tiles' })
  readonly #tiles = new Map<string, Tile>()
  readonly #changed: () => void
  #layout: Layout = 'grid'
  #pinned: string | undefined
  #lastSpeaker: string | undefined

  /** `changed` is called when the layout has changed by itself: by pinning. */
  constructor(changed: () => void) {
    this.#changed = changed
    this.view = element('section', { class: 'stage', 'aria-label': 'People' }, this.#list)
    new ResizeObserver(() => this.#measure()).observe(this.view)
  }

  get layout(): Layout {
    return this.#layout
  }

  set layout(layout: Layout) {
    this.#layout = layout
    if (layout === 'grid') this.#pinned = undefined
  }

  show(pictures: readonly Picture[]): void {
    const speaking = pictures.find(
      ({ participant, source }) =>
        participant.isSpeaking && !participant.isLocal && source === Track.Source.Camera,
    )
    this.#lastSpeaker = speaking?.id ?? this.#lastSpeaker
    const large = this.#layout === 'speaker' ? this.#largeOf(pictures) : undefined
    this.#removeAllBut(new Set(pictures.map(({ id }) => id)))
    for (const picture of pictures) {
      const tile = this.#tileOf(picture.id)
      tile.show(picture, picture.id === this.#pinned)
      setAttribute(tile.view, 'data-large', picture.id === large)
    }
    this.#order(pictures)
    setAttribute(this.view, 'data-layout', this.#layout)
    setAttribute(this.view, 'data-count', pictures.length)
    this.#measure()
  }

  close(): void {
    this.#removeAllBut(new Set())
  }

  /** What somebody pinned, else a shared screen, else who spoke last, else the first person. */
  #largeOf(pictures: readonly Picture[]): string | undefined {
    const has = (id: string | undefined) => pictures.some((picture) => picture.id === id)
    if (has(this.#pinned)) return this.#pinned
    const screen = pictures.find(({ source }) => source === Track.Source.ScreenShare)
    if (screen) return screen.id
    return has(this.#lastSpeaker) ? this.#lastSpeaker : pictures[0]?.id
  }

  #tileOf(id: string): Tile {
    const known = this.#tiles.get(id)
    if (known) return known
    const tile = new Tile(id, (pinned) => this.#togglePin(pinned))
    this.#tiles.set(id, tile)
    this.#list.append(tile.view)
    return tile
  }

  /** Moves only what is out of place: a moved video may flicker. */
  #order(pictures: readonly Picture[]): void {
    for (const [place, { id }] of pictures.entries()) {
      const { view } = this.#tileOf(id)
      const there = this.#list.children[place]
      if (there !== view) this.#list.insertBefore(view, there ?? null)
    }
  }

  #togglePin(id: string): void {
    const isPinned = this.#pinned === id
    this.#pinned = isPinned ? undefined : id
    this.#layout = isPinned ? 'grid' : 'speaker'
    this.#changed()
  }

  #removeAllBut(ids: Set<string>): void {
    for (const [id, tile] of this.#tiles) {
      if (ids.has(id)) continue
      tile.close()
      this.#tiles.delete(id)
    }
  }

  /** Chooses the columns, and the shape, that make the tiles of the grid largest. */
  #measure(): void {
    const { width, height } = this.view.getBoundingClientRect()
    const count = Math.max(1, this.#tiles.size)
    let best = { ratio: 16 / 9, width: 0, area: 0 }
    for (const ratio of width < height ? ANY : WIDE) {
      for (let columns = 1; columns <= count; columns++) {
        const rows = Math.ceil(count / columns)
        const byWidth = (width - GAP_PX * (columns - 1)) / columns
        const byHeight = ((height - GAP_PX * (rows - 1)) / rows) * ratio
        const tileWidth = Math.floor(Math.min(byWidth, byHeight))
        const area = (tileWidth * tileWidth) / ratio
        if (area > best.area) best = { ratio, width: tileWidth, area }
      }
    }
    this.#list.style.setProperty('--tile-width', `${best.width}px`)
    this.#list.style.setProperty('--tile-ratio', String(best.ratio))
  }
}
