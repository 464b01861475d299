/**
 * Before joining: consent, a look at oneself, the choice of devices, and Join.
 *
 * Guarantees: no device is opened before the consent switch is on, and all are closed when it is
 * turned off; none that the token does not let one send. One can join without consent, to see and
 * hear only.
 */
import { element, setAttribute, setText } from '../dom.ts'
import type { Claims, Invitation } from '../invitation.ts'
import { cipherName } from '../lock.ts'
import { Devices, devicesOf } from '../media/devices.ts'
import { deviceFailure } from '../words.ts'
import { brand } from './brand.ts'
import { icon, setIcon } from './icons.ts'
import { switchInput } from './switch.ts'

export interface JoinChoice {
  readonly devices: Devices
  readonly name: string | undefined
}

export class Lobby {
  readonly view: HTMLElement

  readonly #devices: Devices
  readonly #claims: Claims
  readonly #video = element('video', {
    autoplay: true,
    playsinline: true,
    class: 'mirrored',
    hidden: true,
  })
  readonly #placeholder: HTMLElement
  readonly #problem = element('p', { class: 'problem', role: 'alert' })
  readonly #level = element('span', { class: 'level', 'aria-hidden': 'true' })
  readonly #camera: Toggle
  readonly #microphone: Toggle
  /** Choosing opens nothing that is off: its button will, and then what was chosen. */
  readonly #cameras = element('select', {
    'aria-label': 'Camera',
    change: () => void (this.#isWanted(this.#camera) && this.#reopenCamera()),
  })
  readonly #microphones = element('select', {
    'aria-label': 'Microphone',
    change: () => void (this.#isWanted(this.#microphone) && this.#reopenMicrophone()),
  })
  readonly #pickers: HTMLElement
  readonly #name: HTMLInputElement | undefined
  readonly #consent: HTMLInputElement
  readonly #joinButton: HTMLButtonElement
  /** Devices being opened. Joining waits for them, so that nobody joins without their voice. */
  #opening = 0
  /** From pressing Join on: what is open belongs to the call, and nothing else is opened. */
  #isJoining = false
  #meter: { context: AudioContext; stop: () => void } | undefined

  constructor(invitation: Invitation, claims: Claims, join: (choice: JoinChoice) => void) {
    this.#devices = new Devices(invitation.camera)
    this.#claims = claims
    this.#video.muted = true
    this.#camera = new Toggle(
      'Camera',
      'camera',
      'cameraOff',
      invitation.camera !== 'none' && claims.mayShow,
      () => this.#applyCamera(),
    )
    this.#microphone = new Toggle(
      'Microphone',
      'microphone',
      'microphoneOff',
      invitation.microphone && claims.maySpeak,
      () => this.#applyMicrophone(),
    )
    this.#placeholder = element(
      'div',
      { class: 'placeholder' },
      element('span', { class: 'avatar', 'aria-hidden': 'true' }, initials(claims.name)),
      element('span', { class: 'muted' }, 'Camera and microphone are off'),
    )
    const consent = switchInput(
      'Use my camera and microphone',
      'Nothing is opened before you say so. Nothing leaves this device before you join.',
      false,
      () => void this.#applyConsent(),
    )
    this.#consent = consent.input
    this.#pickers = element(
      'div',
      { class: 'pickers', hidden: true },
      claims.mayShow && element('label', {}, element('span', {}, 'Camera'), this.#cameras),
      claims.maySpeak && element('label', {}, element('span', {}, 'Microphone'), this.#microphones),
    )
    this.#name = claims.mayRename
      ? element('input', {
          id: 'name',
          maxlength: 64,
          autocomplete: 'name',
          value: invitation.name ?? claims.name,
        })
      : undefined
    this.#joinButton = element('button', { class: 'primary join', type: 'submit' }, 'Join')
    this.view = element(
      'main',
      { class: 'lobby' },
      brand(),
      element(
        'div',
        { class: 'lobby-grid' },
        element(
          'section',
          { class: 'preview', 'aria-label': 'Preview' },
          this.#video,
          this.#placeholder,
          element(
            'div',
            { class: 'preview-controls' },
            this.#microphone.button,
            this.#camera.button,
            this.#level,
          ),
        ),
        element(
          'form',
          {
            class: 'lobby-form',
            submit: (event) => {
              event.preventDefault()
              this.#busy()
              join({ devices: this.#devices, name: this.#name?.value.trim() || invitation.name })
            },
          },
          element('h1', { tabindex: '-1' }, claims.room || 'Private room'),
          this.#name
            ? element(
                'label',
                { class: 'field', for: 'name' },
                element('span', {}, 'Your name'),
                this.#name,
              )
            : element('p', { class: 'muted' }, 'Joining as ', element('strong', {}, claims.name)),
          claims.mayShow || claims.maySpeak
            ? consent.row
            : element('p', { class: 'muted' }, 'Your link is for seeing and hearing only.'),
          this.#pickers,
          this.#problem,
          this.#joinButton,
          element(
            'p',
            { class: 'sealed-note' },
            icon('lock'),
            element(
              'span',
              {},
              `End-to-end encrypted with ${cipherName(invitation.cipher)}. The key stays in this page: the server cannot see or hear you.`,
              invitation.cipher === 256 && ' AES-256 works between browsers only.',
            ),
          ),
        ),
      ),
    )
    this.#show()
  }

  /** Ends the preview. The devices belong to the call by then. */
  close(): void {
    this.#stopMeter()
    this.#devices.camera?.detach(this.#video)
  }

  /** Ends the preview and closes the devices: nobody joins from here. */
  abandon(): void {
    this.close()
    this.#devices.close()
  }

  async #applyConsent(): Promise<void> {
    setText(this.#problem, '')
    if (!this.#consent.checked) {
      this.#devices.close()
      this.#stopMeter()
    }
    await Promise.all([this.#applyCamera(), this.#applyMicrophone()])
    await this.#listDevices()
  }

  async #applyCamera(): Promise<void> {
    if (!this.#isWanted(this.#camera)) this.#devices.closeCamera()
    else if (!this.#devices.camera) await this.#reopenCamera()
    this.#show()
  }

  async #applyMicrophone(): Promise<void> {
    if (!this.#isWanted(this.#microphone)) {
      this.#devices.closeMicrophone()
      this.#stopMeter()
    } else if (!this.#devices.microphone) await this.#reopenMicrophone()
    this.#show()
  }

  #isWanted(toggle: Toggle): boolean {
    return this.#consent.checked && toggle.isOn
  }

  async #reopenCamera(): Promise<void> {
    await this.#attempt(this.#camera, async () => {
      const track = await this.#devices.openCamera(this.#cameras.value)
      track?.attach(this.#video)
    })
  }

  async #reopenMicrophone(): Promise<void> {
    this.#stopMeter()
    await this.#attempt(this.#microphone, async () => {
      const track = await this.#devices.openMicrophone(this.#microphones.value)
      if (track) this.#startMeter(track.mediaStreamTrack)
    })
  }

  /** Opens a device, and turns its button off if that fails. */
  async #attempt(toggle: Toggle, open: () => Promise<void>): Promise<void> {
    setText(this.#problem, '')
    this.#opening += 1
    this.#show()
    try {
      await open()
    } catch (error) {
      setText(this.#problem, deviceFailure(error))
      toggle.isOn = false
    } finally {
      this.#opening -= 1
      this.#show()
    }
  }

  async #listDevices(): Promise<void> {
    setAttribute(this.#pickers, 'hidden', !this.#consent.checked)
    if (!this.#consent.checked) return
    fill(this.#cameras, await devicesOf('videoinput'), this.#devices.camera?.mediaStreamTrack)
    fill(
      this.#microphones,
      await devicesOf('audioinput'),
      this.#devices.microphone?.mediaStreamTrack,
    )
  }

  #show(): void {
    const hasConsent = this.#consent.checked
    const hasPicture = this.#devices.camera !== undefined
    setAttribute(this.#video, 'hidden', !hasPicture)
    setAttribute(this.#placeholder, 'hidden', hasPicture)
    const isHeard = hasConsent && this.#microphone.isOn
    const words = isHeard ? 'Your camera is off' : 'Camera and microphone are off'
    if (this.#placeholder.lastElementChild) setText(this.#placeholder.lastElementChild, words)
    this.#camera.show(hasConsent && this.#claims.mayShow, !this.#isJoining)
    this.#microphone.show(hasConsent && this.#claims.maySpeak, !this.#isJoining)
    setAttribute(this.#level, 'hidden', this.#meter === undefined)
    this.#joinButton.disabled = this.#isJoining || this.#opening > 0
    for (const input of [this.#consent, this.#cameras, this.#microphones, this.#name])
      if (input) input.disabled = this.#isJoining
  }

  #busy(): void {
    this.#isJoining = true
    this.#show()
    setAttribute(this.#joinButton, 'aria-busy', true)
    setText(this.#joinButton, `Joining ${this.#claims.room || 'the room'}…`)
  }

  /** Without a meter, as where the browser gives no more contexts, the microphone is as open as with one. */
  #startMeter(track: MediaStreamTrack): void {
    let frame = 0
    try {
      const context = new AudioContext()
      this.#meter = { context, stop: () => cancelAnimationFrame(frame) }
      const analyser = context.createAnalyser()
      analyser.fftSize = 512
      context.createMediaStreamSource(new MediaStream([track])).connect(analyser)
      const samples = new Float32Array(analyser.fftSize)
      const draw = () => {
        analyser.getFloatTimeDomainData(samples)
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length
        this.#level.style.setProperty('--level', String(Math.min(1, Math.sqrt(power) * 4)))
        frame = requestAnimationFrame(draw)
      }
      draw()
    } catch {
      this.#stopMeter()
    }
  }

  #stopMeter(): void {
    this.#meter?.stop()
    void this.#meter?.context.close()
    this.#meter = undefined
  }
}

/** A round on/off button over the preview. */
class Toggle {
  readonly button: HTMLButtonElement
  readonly #image: SVGSVGElement
  readonly #names: { on: Parameters<typeof icon>[0]; off: Parameters<typeof icon>[0] }
  isOn: boolean

  constructor(
    label: string,
    on: Parameters<typeof icon>[0],
    off: Parameters<typeof icon>[0],
    isOn: boolean,
    change: () => Promise<void>,
  ) {
    this.isOn = isOn
    this.#names = { on, off }
    this.#image = icon(isOn ? on : off)
    this.button = element(
      'button',
      {
        type: 'button',
        class: 'round',
        'aria-label': label,
        'aria-pressed': String(isOn),
        disabled: true,
        click: () => {
          this.isOn = !this.isOn
          void change()
        },
      },
      this.#image,
    )
  }

  show(mayOpen: boolean, mayChange: boolean): void {
    this.button.disabled = !mayOpen || !mayChange
    setAttribute(this.button, 'aria-pressed', String(mayOpen && this.isOn))
    setIcon(this.#image, mayOpen && this.isOn ? this.#names.on : this.#names.off)
  }
}

function fill(
  select: HTMLSelectElement,
  devices: MediaDeviceInfo[],
  open: MediaStreamTrack | undefined,
): void {
  const current = open?.getSettings().deviceId
  select.replaceChildren(
    ...devices.map((device, number) =>
      element(
        'option',
        { value: device.deviceId, selected: device.deviceId === current },
        device.label || `Device ${number + 1}`,
      ),
    ),
  )
}

/** At most two letters for somebody without a picture. */
export function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter(Boolean)
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]]
  return letters
    .map((word) => [...(word ?? '')][0] ?? '')
    .join('')
    .toUpperCase()
}
