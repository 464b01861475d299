/** One picture on the stage: the video, or initials; the name; what is wrong. */
import { ConnectionQuality, Track } from 'livekit-client'
import { displayName, type Picture } from '../call.ts'
import { element, setAttribute, setText } from '../dom.ts'
import type { Trouble } from '../lock.ts'
import { type IconName, icon, setIcon } from './icons.ts'
import { initials } from './lobby.ts'

export class Tile {
  readonly view: HTMLElement
  readonly id: string

  readonly #video = element('video', { autoplay: true, playsinline: true })
  readonly #avatar = element('span', { class: 'avatar', 'aria-hidden': 'true' })
  readonly #name = element('span', { class: 'name' })
  readonly #muted = icon('microphoneOff')
  readonly #quality = icon('signal3')
  readonly #qualityWords = element('span', { class: 'hidden-text' })
  readonly #trouble = element('p', { class: 'trouble' })
  readonly #pin: HTMLButtonElement
  #attached: Track | undefined

  constructor(id: string, pin: (id: string) => void) {
    this.id = id
    this.#video.muted = true
    this.#muted.classList.add('is-muted')
    this.#quality.classList.add('quality')
    this.#pin = element(
      'button',
      { class: 'pin', type: 'button', 'aria-pressed': 'false', click: () => pin(id) },
      icon('enlarge'),
    )
    this.view = element(
      'li',
      { class: 'tile' },
      this.#avatar,
      this.#video,
      this.#trouble,
      element(
        'div',
        { class: 'caption' },
        this.#muted,
        this.#name,
        this.#quality,
        this.#qualityWords,
      ),
      this.#pin,
    )
  }

  show(picture: Picture, isPinned: boolean): void {
    const { participant, source, trouble } = picture
    const isScreen = source === Track.Source.ScreenShare
    const person = participant.isLocal
      ? `${displayName(participant)} (you)`
      : displayName(participant)
    const title = isScreen ? `Screen of ${person}` : person
    const isSilent = !isScreen && !participant.isMicrophoneEnabled
    this.#attach(picture.track)
    setText(this.#name, title)
    setText(this.#avatar, initials(displayName(participant)))
    setAttribute(this.#avatar, 'hidden', picture.track !== undefined || trouble !== undefined)
    setAttribute(this.#muted, 'hidden', !isSilent)
    setAttribute(this.#trouble, 'hidden', trouble === undefined)
    setText(this.#trouble, trouble ? TROUBLE_WORDS[trouble] : '')
    setAttribute(this.view, 'data-identity', participant.identity)
    setAttribute(this.view, 'data-source', source)
    setAttribute(this.view, 'data-speaking', participant.isSpeaking && !isScreen)
    setAttribute(this.view, 'data-trouble', trouble)
    this.#video.classList.toggle('mirrored', participant.isLocal && !isScreen)
    this.#video.classList.toggle('whole', isScreen)
    setAttribute(this.#pin, 'aria-label', `${isPinned ? 'Do not enlarge' : 'Enlarge'} ${title}`)
    setAttribute(this.#pin, 'aria-pressed', String(isPinned))
    this.#showQuality(participant.connectionQuality, isSilent)
  }

  close(): void {
    this.#attach(undefined)
    this.view.remove()
  }

  #attach(track: Track | undefined): void {
    if (track === this.#attached) return
    this.#attached?.detach(this.#video)
    this.#attached = track
    track?.attach(this.#video)
    // Sound is played apart from pictures.
    this.#video.muted = true
    setAttribute(this.#video, 'hidden', track === undefined)
  }

  #showQuality(quality: ConnectionQuality, isSilent: boolean): void {
    const [name, words] = QUALITY[quality]
    setIcon(this.#quality, name)
    setAttribute(this.#quality, 'data-quality', quality)
    setAttribute(this.#quality, 'hidden', quality === ConnectionQuality.Unknown)
    setText(this.#qualityWords, `${isSilent ? ', microphone off' : ''}${words && `, ${words}`}`)
  }
}

const TROUBLE_WORDS: Record<Trouble, string> = {
  'not-encrypted': 'Not encrypted, so not shown',
  'key-differs': 'Cannot decrypt: the key differs',
  'key-unknown': 'Cannot decrypt: the key was changed',
}

const QUALITY: Record<ConnectionQuality, readonly [IconName, string]> = {
  [ConnectionQuality.Excellent]: ['signal3', 'connection excellent'],
  [ConnectionQuality.Good]: ['signal2', 'connection good'],
  [ConnectionQuality.Poor]: ['signal1', 'connection poor'],
  [ConnectionQuality.Lost]: ['signal1', 'connection lost'],
  [ConnectionQuality.Unknown]: ['signal3', ''],
}
