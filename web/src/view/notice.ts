/** A page that says one thing: no link, could not join, left, removed. */
import { element, setAttribute } from '../dom.ts'
import { isThisMachine, type Notice } from '../words.ts'
import { brand } from './brand.ts'

export interface NoticeAction {
  readonly label: string
  readonly act: () => void
}

export function noticeView(
  { title, text }: Notice,
  action?: NoticeAction,
  more?: Node,
): HTMLElement {
  return element(
    'main',
    { class: 'notice' },
    brand(),
    element(
      'section',
      { class: 'card', role: 'alert' },
      element('h1', { tabindex: '-1' }, title),
      element('p', {}, text),
      more,
      action && actionButton(action),
    ),
  )
}

/** Once pressed it is under way, and this page about to go. */
function actionButton({ label, act }: NoticeAction): HTMLElement {
  const button = element('button', { class: 'primary', type: 'button' }, label)
  button.addEventListener('click', () => {
    button.disabled = true
    setAttribute(button, 'aria-busy', true)
    act()
  })
  return button
}

/** For somebody who came without a link. */
export function howToGetALink(): HTMLElement {
  return element(
    'div',
    { class: 'how' },
    element(
      'p',
      {},
      'Whoever invites you sends a link. It carries your ticket and the key of the room behind a #, which browsers never send to a server.',
    ),
    isThisMachine(location.hostname) &&
      element(
        'p',
        {},
        'Running Incamera on this machine? ',
        element('code', {}, 'incamera dev'),
        ' and ',
        element('code', {}, 'cargo xtask demo'),
        ' print two links that are ready to open; ',
        element('code', {}, 'incamera token create --link'),
        ' makes more.',
      ),
  )
}
