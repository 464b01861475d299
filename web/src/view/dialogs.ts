/** The two dialogs of a call: encryption, and help. */
import type { Call } from '../call.ts'
import { element, setAttribute, setText } from '../dom.ts'
import { cipherName, sentenceOf } from '../lock.ts'
import { notDone } from '../words.ts'
import { icon } from './icons.ts'
import { switchInput } from './switch.ts'

export class EncryptionDialog {
  readonly view: HTMLDialogElement

  readonly #call: Call
  readonly #state = element('p', { class: 'state' })
  readonly #issues = element('ul', { class: 'issues' })
  readonly #number = element('output', { class: 'safety' })
  readonly #epoch = element('dd')
  readonly #rotate: HTMLButtonElement
  readonly #notAllowed = element(
    'p',
    { class: 'muted small', hidden: true },
    'Your link does not let you change the key.',
  )
  readonly #copied = element('p', { class: 'muted small', role: 'status' })
  #isStarting = false

  constructor(call: Call) {
    this.#call = call
    this.#rotate = element(
      'button',
      { class: 'primary', type: 'button', click: () => void this.#startRotation() },
      icon('rotate'),
      element('span', {}, 'Change the key'),
    )
    this.view = dialog(
      'Encryption',
      this.#state,
      this.#issues,
      element(
        'dl',
        {},
        element('dt', {}, 'Cipher'),
        element(
          'dd',
          {},
          cipherName(call.invitation.cipher),
          call.invitation.cipher === 256
            ? ', between browsers only'
            : ', frame by frame, in this page',
        ),
        element('dt', {}, 'Key'),
        this.#epoch,
        element('dt', {}, 'Safety number'),
        element('dd', {}, this.#number),
      ),
      element(
        'p',
        { class: 'muted small' },
        'Everybody with the same key sees the same safety number. Read it aloud to compare.',
      ),
      element(
        'div',
        { class: 'actions' },
        this.#rotate,
        element(
          'button',
          {
            class: 'secondary',
            type: 'button',
            click: () => void this.#copy(this.#call.invitationTail()),
          },
          'Copy the key',
        ),
      ),
      this.#copied,
      this.#notAllowed,
      element(
        'p',
        { class: 'muted small' },
        'A new random key is sent to everybody here, sealed with the old one. Who comes later with a link of before cannot open what is said from then on. Who has the old key and has recorded the change can: it shuts nobody out who was here.',
      ),
      element(
        'p',
        { class: 'muted small' },
        'To shut somebody out, have them removed, and go on under a key that never came through this call: all who stay leave, and come in again by new links.',
      ),
      element(
        'div',
        { class: 'actions' },
        element(
          'button',
          {
            class: 'secondary',
            type: 'button',
            click: () => void this.#copy(this.#call.strangeTail()),
          },
          'Copy a key that nobody has',
        ),
      ),
    )
  }

  show(): void {
    const lock = this.#call.lock()
    setAttribute(this.view, 'data-level', lock.level)
    setText(this.#state, STATE_WORDS[lock.level])
    this.#issues.replaceChildren(
      ...lock.issues.map((issue) => element('li', {}, sentenceOf(issue))),
    )
    setText(
      this.#epoch,
      `Number ${this.#call.epoch + 1}${this.#call.isRotating ? ', changing…' : ''}`,
    )
    // A button that is disabled loses the focus.
    setAttribute(this.#rotate, 'aria-disabled', !this.#mayRotate() && 'true')
    setAttribute(this.#notAllowed, 'hidden', this.#call.maySay)
    void this.#call.safetyNumber().then((number) => setText(this.#number, number))
  }

  #mayRotate(): boolean {
    const { maySay, isRotating } = this.#call
    return maySay && !this.#isStarting && !isRotating && this.#call.lock().level !== 'pending'
  }

  async #startRotation(): Promise<void> {
    if (!this.#mayRotate()) return
    this.#isStarting = true
    this.show()
    try {
      await this.#call.rotate()
      setText(this.#copied, '')
    } catch (error) {
      setText(this.#copied, notDone('The key could not be changed', error))
    }
    this.#isStarting = false
    this.show()
  }

  async #copy(tail: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(tail)
      setText(
        this.#copied,
        'Copied. Put it behind the # of a link with a token, and send it over a channel you trust.',
      )
    } catch {
      setText(this.#copied, 'The browser did not allow copying.')
    }
  }
}

const STATE_WORDS = {
  pending: 'Encryption is starting.',
  sealed:
    'Everything is encrypted from device to device. The server carries it and cannot open it.',
  broken: 'Not everything in this call is private:',
} as const

/** Explains the keys, and lets people turn them off who speak to their computer. */
export class HelpDialog {
  readonly view: HTMLDialogElement
  shortcutsOn = true

  constructor(shortcuts: readonly (readonly [string, string])[]) {
    const { row } = switchInput(
      'Keyboard shortcuts',
      'Single keys, when you are not writing.',
      true,
      (isOn) => {
        this.shortcutsOn = isOn
      },
    )
    this.view = dialog(
      'Keyboard',
      row,
      element(
        'dl',
        { class: 'keys' },
        ...shortcuts.flatMap(([key, words]) => [
          element('dt', {}, element('kbd', {}, key)),
          element('dd', {}, words),
        ]),
      ),
    )
  }
}

function dialog(title: string, ...children: Node[]): HTMLDialogElement {
  const id = `dialog-${title.toLowerCase()}`
  const view = element(
    'dialog',
    { 'aria-labelledby': id },
    element(
      'header',
      {},
      element('h2', { id }, title),
      element(
        'button',
        { class: 'quiet', type: 'button', 'aria-label': 'Close', click: () => view.close() },
        icon('close'),
      ),
    ),
    ...children,
  )
  view.addEventListener('click', (event) => {
    if (event.target === view) view.close()
  })
  return view
}
