/** The page during a call: header with the lock, stage, chat, controls. */
import { ConnectionState, Track } from 'livekit-client'
import type { Call, OwnSource } from '../call.ts'
import { element, setAttribute, setText } from '../dom.ts'
import type { OwnTrack } from '../media/devices.ts'
import { deviceFailure, listOf, notTaken, screenFailure } from '../words.ts'
import { brand } from './brand.ts'
import { ChatPanel } from './chat_panel.ts'
import { EncryptionDialog, HelpDialog } from './dialogs.ts'
import { type IconName, icon, setIcon } from './icons.ts'
import { Stage } from './stage.ts'

const SHORTCUTS = [
  ['M', 'Microphone on or off'],
  ['V', 'Camera on or off'],
  ['S', 'Share your screen, or stop'],
  ['C', 'Chat'],
  ['G', 'Grid or speaker view'],
  ['E', 'Encryption'],
  ['?', 'This help'],
] as const

const WARNING_SHOWN_MS = 8_000
/** Screen readers have taken it by then. */
const SPOKEN_KEPT_MS = 5_000

export class CallView {
  readonly view: HTMLElement

  readonly #call: Call
  readonly #stage: Stage
  readonly #chat: ChatPanel
  readonly #encryption: EncryptionDialog
  /** Browsers of phones share no screens. */
  readonly #canShare = 'getDisplayMedia' in navigator.mediaDevices
  readonly #help = new HelpDialog(SHORTCUTS.filter(([key]) => key !== 'S' || this.#canShare))
  readonly #lock: HTMLButtonElement
  readonly #lockImage = icon('lock')
  readonly #lockText = element('span')
  readonly #people = element('p', { class: 'people muted' })
  readonly #banner = element('p', { class: 'banner', role: 'status' })
  readonly #alarm = element('p', { class: 'hidden-text', role: 'alert' })
  readonly #spoken = element('div', { class: 'hidden-text', 'aria-live': 'polite' })
  readonly #sounds = element('div', { hidden: true })
  readonly #soundButton: HTMLButtonElement
  readonly #buttons: Record<'microphone' | 'camera' | 'screen' | 'layout' | 'chat', ControlButton>
  readonly #attached = new Map<Track, HTMLMediaElement>()
  readonly #keydown = (event: KeyboardEvent) => this.#shortcut(event)
  #frame = 0
  #unread = 0
  #warning = ''
  #warningEnds: ReturnType<typeof setTimeout> | undefined
  /** What is heard or told is to be looked at. */
  #isDue = false
  #isClosed = false

  constructor(call: Call) {
    this.#call = call
    this.#stage = new Stage(() => this.#show())
    this.#chat = new ChatPanel(call, () => this.#toggleChat())
    this.#encryption = new EncryptionDialog(call)
    this.#lock = element(
      'button',
      { class: 'lock', type: 'button', click: () => this.#openEncryption() },
      this.#lockImage,
      this.#lockText,
    )
    this.#soundButton = element(
      'button',
      {
        class: 'primary sound',
        type: 'button',
        hidden: true,
        click: () => void call.room.startAudio(),
      },
      'Turn on sound',
    )
    this.#buttons = {
      microphone: new ControlButton(
        'Microphone',
        'M',
        () => void this.#toggle(Track.Source.Microphone),
      ),
      camera: new ControlButton('Camera', 'V', () => void this.#toggle(Track.Source.Camera)),
      screen: new ControlButton(
        'Share screen',
        'S',
        () => void this.#toggle(Track.Source.ScreenShare),
      ),
      layout: new ControlButton('Speaker view', 'G', () => this.#toggleLayout()),
      chat: new ControlButton('Chat', 'C', () => this.#toggleChat()),
    }
    this.view = this.#build()
    call.on('change', () => this.#change())
    call.on('say', (sentence) => this.#say(sentence))
    call.on('warn', (sentence) => this.#warn(sentence))
    call.on('chat', (line) => {
      this.#chat.add(line)
      if (!line.isMine && this.#chat.view.hidden) {
        this.#unread += 1
        this.#say(`New message from ${call.nameOf(line.from)}.`)
      }
      this.#schedule()
    })
    document.addEventListener('keydown', this.#keydown)
    this.#tell()
    this.#show()
  }

  /** Publishes what was opened in the lobby; says so if the room does not allow it. */
  async publish(tracks: readonly OwnTrack[]): Promise<void> {
    const problems: string[] = []
    const refused = (await this.#call.publish(tracks)).map(({ source }) => source)
    const [hasCamera, hasMicrophone] = [Track.Source.Camera, Track.Source.Microphone].map(
      (source) => refused.includes(source),
    )
    if (hasCamera || hasMicrophone)
      problems.push(notTaken(hasCamera === true, hasMicrophone === true))
    try {
      await this.#call.takeName()
    } catch {
      problems.push('Your name could not be changed.')
    }
    if (problems.length > 0) this.#warn(problems.join(' '))
  }

  /** Takes everything down; the call itself goes on or has ended. */
  close(): void {
    this.#isClosed = true
    cancelAnimationFrame(this.#frame)
    clearTimeout(this.#warningEnds)
    document.removeEventListener('keydown', this.#keydown)
    this.#stage.close()
    // The client keeps an element that a track has left, and with it all that it stands in.
    for (const [track, audio] of this.#attached) {
      audio.remove()
      track.detach(audio)
    }
    this.#attached.clear()
    this.view.remove()
  }

  #build(): HTMLElement {
    const { microphone, camera, screen, layout, chat } = this.#buttons
    const leave = element(
      'button',
      {
        class: 'control leave',
        type: 'button',
        'aria-label': 'Leave',
        click: () => void this.#call.leave(),
      },
      icon('leave'),
      element('span', { class: 'control-label' }, 'Leave'),
    )
    const help = element(
      'button',
      {
        class: 'quiet help',
        type: 'button',
        'aria-label': 'Keyboard help',
        click: () => this.#help.view.showModal(),
      },
      icon('help'),
    )
    return element(
      'div',
      { class: 'call' },
      element(
        'header',
        { class: 'bar' },
        brand(),
        element(
          'div',
          { class: 'room' },
          element('h1', { tabindex: '-1' }, this.#call.room.name),
          this.#people,
        ),
        this.#lock,
        help,
      ),
      element('main', { class: 'middle' }, this.#stage.view, this.#chat.view),
      this.#banner,
      this.#soundButton,
      element(
        'nav',
        { class: 'controls', 'aria-label': 'Call controls' },
        microphone.view,
        camera.view,
        screen.view,
        layout.view,
        chat.view,
        leave,
      ),
      this.#sounds,
      this.#alarm,
      this.#spoken,
      this.#encryption.view,
      this.#help.view,
    )
  }

  /** What is heard or told waits for no frame: a page that nobody looks at has none. One look a task is enough. */
  #change(): void {
    this.#schedule()
    if (this.#isDue) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      if (!this.#isClosed) this.#tell()
    })
  }

  #tell(): void {
    this.#showLock()
    this.#showSounds()
    this.#showBanner()
  }

  /** Many things change at once; one look a frame is enough. */
  #schedule(): void {
    if (this.#isClosed) return
    cancelAnimationFrame(this.#frame)
    this.#frame = requestAnimationFrame(() => this.#show())
  }

  #show(): void {
    const { room } = this.#call
    this.#stage.show(this.#call.pictures())
    this.#showControls()
    this.#chat.show()
    if (this.#encryption.view.open) this.#encryption.show()
    const others = [...room.remoteParticipants.values()].map(({ identity }) =>
      this.#call.nameOf(identity),
    )
    setText(this.#people, others.length ? `You and ${listOf(others)}` : 'Nobody else is here yet')
    setAttribute(this.#soundButton, 'hidden', room.canPlaybackAudio)
    setAttribute(this.view, 'data-state', room.state)
  }

  #showBanner(): void {
    const { state } = this.#call.room
    const isReconnecting =
      state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting
    setText(this.#banner, isReconnecting ? 'Connection interrupted. Reconnecting…' : this.#warning)
  }

  #showControls(): void {
    const { microphone, camera, screen, layout, chat } = this.#buttons
    const isHeard = this.#call.isOn(Track.Source.Microphone)
    microphone.show(isHeard, isHeard ? 'microphone' : 'microphoneOff')
    microphone.allow(this.#maySend(Track.Source.Microphone))
    const isSeen = this.#call.isOn(Track.Source.Camera)
    camera.show(isSeen, isSeen ? 'camera' : 'cameraOff')
    camera.allow(this.#maySend(Track.Source.Camera))
    screen.show(this.#call.isOn(Track.Source.ScreenShare), 'screen')
    screen.allow(this.#canShare && this.#maySend(Track.Source.ScreenShare))
    setAttribute(screen.view, 'hidden', !this.#canShare)
    const isSpeaker = this.#stage.layout === 'speaker'
    layout.show(isSpeaker, isSpeaker ? 'grid' : 'speaker')
    chat.show(!this.#chat.view.hidden, 'chat')
    chat.badge(this.#unread)
  }

  /** As the server says now: a moderator may have changed it. */
  #maySend(source: Track.Source): boolean {
    const { canPublish = true, canPublishSources = [] } = this.#call.me.permissions ?? {}
    const isListed = canPublishSources.includes(Track.sourceToProto(source))
    return canPublish && (canPublishSources.length === 0 || isListed)
  }

  #showLock(): void {
    const { level, label } = this.#call.lock()
    setAttribute(this.#lock, 'data-level', level)
    setAttribute(this.#lock, 'aria-label', `Encryption: ${label}`)
    setText(this.#lockText, label)
    setIcon(this.#lockImage, level === 'broken' ? 'lockOpen' : 'lock')
    setText(this.#alarm, level === 'broken' ? label : '')
  }

  #showSounds(): void {
    const wanted = new Set(this.#call.sounds())
    for (const [track, audio] of this.#attached) {
      if (wanted.has(track)) continue
      track.detach(audio)
      audio.remove()
      this.#attached.delete(track)
    }
    for (const track of wanted) {
      if (this.#attached.has(track)) continue
      const audio = track.attach()
      this.#sounds.append(audio)
      this.#attached.set(track, audio)
    }
  }

  async #toggle(source: OwnSource): Promise<void> {
    try {
      await this.#call.turn(source, !this.#call.isOn(source))
    } catch (error) {
      const isScreen = source === Track.Source.ScreenShare
      this.#warn(isScreen ? screenFailure(error) : deviceFailure(error))
    }
    this.#schedule()
  }

  #toggleLayout(): void {
    this.#stage.layout = this.#stage.layout === 'grid' ? 'speaker' : 'grid'
    this.#schedule()
  }

  #toggleChat(): void {
    const willOpen = this.#chat.view.hidden
    setAttribute(this.#chat.view, 'hidden', !willOpen)
    if (willOpen) {
      this.#unread = 0
      this.#chat.focus()
    } else {
      this.#buttons.chat.view.focus()
    }
    this.#schedule()
  }

  #openEncryption(): void {
    this.#encryption.show()
    this.#encryption.view.showModal()
  }

  /** Shows a sentence for a while, in which the page is to be seen at its end. */
  #warn(sentence: string): void {
    if (this.#isClosed) return
    this.#warning = sentence
    this.#showBanner()
    this.#endWarning()
  }

  #endWarning(): void {
    clearTimeout(this.#warningEnds)
    this.#warningEnds = setTimeout(() => {
      if (document.visibilityState === 'hidden') return this.#endWarning()
      this.#warning = ''
      this.#showBanner()
    }, WARNING_SHOWN_MS)
  }

  /** As an element of its own: the same text twice would be no change to speak of, and two at once are both spoken. */
  #say(sentence: string): void {
    const said = element('p', {}, sentence)
    this.#spoken.append(said)
    setTimeout(() => said.remove(), SPOKEN_KEPT_MS)
  }

  #shortcut(event: KeyboardEvent): void {
    const isWriting =
      event.target instanceof HTMLElement && event.target.matches('input, select, textarea')
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat
    // An open dialog has the keyboard to itself, the Escape key included.
    if (document.querySelector('dialog[open]')) return
    if (event.key === 'Escape' && !this.#chat.view.hidden) this.#toggleChat()
    if (isWriting || !isPlain || !this.#help.shortcutsOn) return
    const act = this.#actionOf(event.key.toLowerCase())
    if (!act) return
    event.preventDefault()
    act()
  }

  #actionOf(key: string): (() => void) | undefined {
    switch (key) {
      case 'm':
        return () => this.#buttons.microphone.view.click()
      case 'v':
        return () => this.#buttons.camera.view.click()
      case 's':
        return () => this.#buttons.screen.view.click()
      case 'c':
        return () => this.#toggleChat()
      case 'g':
        return () => this.#toggleLayout()
      case 'e':
        return () => this.#openEncryption()
      case '?':
        return () => this.#help.view.showModal()
      default:
        return undefined
    }
  }
}

/** A button of the bar below, with its shortcut. */
class ControlButton {
  readonly view: HTMLButtonElement
  readonly #image = icon('microphone')
  readonly #badge = element('span', { class: 'badge', hidden: true })
  readonly #label: string

  constructor(label: string, key: string, act: () => void) {
    this.#label = label
    this.view = element(
      'button',
      {
        class: 'control',
        type: 'button',
        'aria-label': label,
        'aria-keyshortcuts': key,
        title: `${label} (${key})`,
        click: act,
      },
      this.#image,
      element('span', { class: 'control-label' }, label),
      this.#badge,
    )
  }

  show(isOn: boolean, image: IconName): void {
    setAttribute(this.view, 'aria-pressed', String(isOn))
    setIcon(this.#image, image)
  }

  allow(isAllowed: boolean): void {
    this.view.disabled = !isAllowed
  }

  badge(count: number): void {
    setAttribute(this.#badge, 'hidden', count === 0)
    setText(this.#badge, String(count))
    setAttribute(this.view, 'aria-label', count ? `${this.#label}, ${count} unread` : this.#label)
  }
}
