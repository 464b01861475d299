/** Lays out the pictures: all alike in a grid, or one large with the others beside it. */
import { Track } from 'livekit-client'
import type { Picture } from '../call.ts'
import { element, setAttribute, setText } from '../dom.ts'
import { Places, placeSize } from './places.ts'
import { Tile } from './tile.ts'

export type Layout = 'grid' | 'speaker'

export class Stage {
  readonly view: HTMLElement

  /** How many are not shown; after all who are. */
  readonly #others = element('li', { class: 'tile others', hidden: true })
  readonly #list = element('ul', { class: 'tiles' }, this.#others)
  readonly #places = new Places()
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

  show(all: readonly Picture[]): void {
    const pictures = this.#placed(all)
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
    setAttribute(this.#others, 'hidden', pictures.length === all.length)
    setText(this.#others, `${all.length - pictures.length} others`)
    this.#measure()
  }

  close(): void {
    this.#removeAllBut(new Set())
  }

  /** Those of the pictures that have a place, in their order. */
  #placed(pictures: readonly Picture[]): Picture[] {
    const claims = pictures.map(({ id, participant: { isSpeaking, isLocal }, source }) => ({
      id,
      isSpeaking,
      isFirm: isLocal || source === Track.Source.ScreenShare || id === this.#pinned,
    }))
    const given = this.#places.give(claims)
    return pictures.filter(({ id }) => given.has(id))
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

  #measure(): void {
    const count = this.#tiles.size + (this.#others.hidden ? 0 : 1)
    const { ratio, width } = placeSize(this.view.getBoundingClientRect(), Math.max(1, count))
    this.#list.style.setProperty('--tile-width', `${width}px`)
    this.#list.style.setProperty('--tile-ratio', String(ratio))
  }
}
