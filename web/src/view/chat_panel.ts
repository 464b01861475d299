/** The chat beside the stage: sealed messages, newest last. */
import type { Call } from '../call.ts'
import { type ChatLine, TEXT_LENGTH_MAX } from '../chat.ts'
import { element, setAttribute, setText } from '../dom.ts'
import { notDone } from '../words.ts'
import { icon } from './icons.ts'

const LINES_SHOWN_MAX = 500

export class ChatPanel {
  readonly view: HTMLElement

  readonly #call: Call
  readonly #lines = element('ol', {
    class: 'lines',
    'aria-live': 'polite',
    tabindex: '0',
    'aria-label': 'Messages',
  })
  readonly #input: HTMLInputElement
  readonly #button: HTMLButtonElement
  readonly #notAllowed = element(
    'p',
    { class: 'muted small', hidden: true },
    'Your link does not let you write.',
  )
  readonly #problem = element('p', { class: 'problem', role: 'alert' })
  /** Lines to send, one after the other; the first is on its way. */
  readonly #outgoing: string[] = []

  constructor(call: Call, close: () => void) {
    this.#call = call
    this.#input = element('input', {
      'aria-label': 'Message',
      placeholder: 'Write to everyone',
      maxlength: TEXT_LENGTH_MAX,
      autocomplete: 'off',
    })
    this.#button = element(
      'button',
      { class: 'primary', type: 'submit', 'aria-label': 'Send' },
      icon('send'),
    )
    this.view = element(
      'aside',
      { class: 'chat', 'aria-label': 'Chat', hidden: true },
      element(
        'header',
        {},
        element('h2', {}, 'Chat'),
        element(
          'button',
          { class: 'quiet', type: 'button', 'aria-label': 'Close chat', click: close },
          icon('close'),
        ),
      ),
      element('p', { class: 'muted small' }, 'Encrypted like the call. Not kept anywhere.'),
      this.#lines,
      this.#problem,
      this.#notAllowed,
      element(
        'form',
        {
          submit: (event) => {
            event.preventDefault()
            void this.#send()
          },
        },
        this.#input,
        this.#button,
      ),
    )
  }

  /** Lets the person write, or says that they may not. */
  show(): void {
    const { maySay } = this.#call
    this.#input.disabled = !maySay
    this.#button.disabled = !maySay
    setAttribute(this.#notAllowed, 'hidden', maySay)
  }

  focus(): void {
    this.#input.focus()
  }

  add(line: ChatLine): void {
    const time = new Date(line.atMs).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
    this.#lines.append(
      element(
        'li',
        { class: line.isMine ? 'mine' : '' },
        element(
          'span',
          { class: 'who' },
          line.isMine ? 'You' : this.#call.nameOf(line.from),
          ' ',
          element('time', {}, time),
        ),
        element('span', { class: 'said' }, line.text),
      ),
    )
    if (this.#lines.childElementCount > LINES_SHOWN_MAX) this.#lines.firstElementChild?.remove()
    this.#lines.scrollTop = this.#lines.scrollHeight
  }

  /** What cannot be sent goes back to where it was written, before what stands there by then. */
  async #send(): Promise<void> {
    const isSending = this.#outgoing.length > 0
    // Lines that came back together may be longer than one can be.
    for (let rest = this.#input.value; rest !== ''; rest = rest.slice(TEXT_LENGTH_MAX))
      this.#outgoing.push(rest.slice(0, TEXT_LENGTH_MAX))
    this.#input.value = ''
    setText(this.#problem, '')
    if (isSending) return
    try {
      for (let text = this.#outgoing[0]; text !== undefined; text = this.#outgoing[0]) {
        await this.#call.sayToAll(text)
        this.#outgoing.shift()
      }
    } catch (error) {
      const unsent = [...this.#outgoing.splice(0), this.#input.value]
      this.#input.value = unsent.filter((text) => text !== '').join(' ')
      setText(this.#problem, notDone('The message could not be sent', error))
    }
  }
}
