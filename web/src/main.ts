/**
 * The call page, from link to farewell.
 *
 * Takes the invitation out of the address bar before anything else, then shows one screen after the
 * other: lobby, call, notice.
 */
import './style/base.css'
import './style/lobby.css'
import './style/call.css'
import { isE2EESupported, setLogLevel } from 'livekit-client'
import { Call } from './call.ts'
import { Facade } from './facade.ts'
import {
  endsWithPage,
  forget,
  type Invitation,
  InvitationError,
  keep,
  kept,
  parseFragment,
  readClaims,
} from './invitation.ts'
import { CallView } from './view/call_view.ts'
import { type JoinChoice, Lobby } from './view/lobby.ts'
import { howToGetALink, type NoticeAction, noticeView } from './view/notice.ts'
import { callEnd, joinFailure, type Notice } from './words.ts'

const NO_LINK: Notice = {
  title: 'You need a link to join',
  text: 'Rooms here are private: there is no list of them, and no way in without an invitation.',
  mayRetry: false,
}

const CANNOT_ENCRYPT: Notice = {
  title: 'This browser cannot encrypt here',
  text: 'A call needs a current browser and a page that came over HTTPS, or from this very machine.',
  mayRetry: false,
}

const PAGE_WITHIN_MS = 5_000

const facade = Facade.install()
/** From joining on. */
let isInCall = false
/** How often the page has begun with what its address says. */
let starts = 0
/** The one on the screen, whose devices nobody has taken into a call. */
let lobby: Lobby | undefined

setLogLevel('warn')
window.addEventListener('hashchange', () => {
  // A second link opened in the same tab. A running call keeps its own.
  if (location.hash === '') return
  if (isInCall) clearAddressBar()
  else start()
})
window.addEventListener('pageshow', ({ persisted }) => {
  // Brought back by the Back button, with a call that ended when the page was left.
  if (persisted) location.reload()
})
start()

function start(): void {
  starts += 1
  lobby?.abandon()
  lobby = undefined
  try {
    const invitation = takeInvitation()
    if (!isSecureContext || !isE2EESupported()) showNotice(CANNOT_ENCRYPT)
    else if (invitation) showLobby(invitation)
    else showNotice(NO_LINK, undefined, howToGetALink())
  } catch (error) {
    if (!(error instanceof InvitationError)) throw error
    showNotice(
      { title: 'This link is incomplete', text: error.message, mayRetry: false },
      undefined,
      howToGetALink(),
    )
  }
}

/**
 * Starts anew with the page that the server has now: since an upgrade it may be another one, and have its encryption
 * worker elsewhere. With this one, if there is no answer or a reload would lose the invitation.
 */
async function startAgain(): Promise<void> {
  const before = starts
  // Safari before 16 has no `AbortSignal.timeout`.
  const patience = new AbortController()
  const ends = setTimeout(() => patience.abort(), PAGE_WITHIN_MS)
  const { signal } = patience
  const hasPage = await fetch(location.pathname, { cache: 'no-store', signal }).then(
    ({ ok }) => ok,
    () => false,
  )
  clearTimeout(ends)
  // A link that was opened meanwhile is what counts.
  if (starts !== before || isInCall) return
  if (hasPage && !endsWithPage()) location.reload()
  else start()
}

/** The invitation in the address bar, else the one kept for this tab. */
function takeInvitation(): Invitation | undefined {
  const fragment = location.hash
  if (fragment.length <= 1) return kept()
  clearAddressBar()
  const invitation = parseFragment(fragment)
  if (invitation) keep(invitation)
  return invitation
}

function clearAddressBar(): void {
  history.replaceState(null, '', location.pathname + location.search)
}

function showLobby(invitation: Invitation): void {
  const claims = readClaims(invitation.token)
  if (!claims) {
    forget()
    throw new InvitationError('Its token is damaged.')
  }
  const own = new Lobby(invitation, claims, (choice) => {
    lobby = undefined
    const chosen = { ...invitation, name: choice.name }
    void join(chosen, claims.identity, choice).finally(() => own.close())
  })
  lobby = own
  show('lobby', own.view, `${claims.room} · Incamera`)
}

async function join(
  invitation: Invitation,
  identity: string,
  { devices }: JoinChoice,
): Promise<void> {
  isInCall = true
  const tracks = [devices.microphone, devices.camera].flatMap((track) => track ?? [])
  const again: NoticeAction = { label: 'Try again', act: () => void startAgain() }
  const fail = (notice: Notice) => {
    isInCall = false
    devices.close()
    facade.letGo()
    if (!notice.mayRetry) forget()
    showNotice(notice, notice.mayRetry ? again : undefined)
  }
  let call: Call | undefined
  try {
    call = new Call(invitation, identity)
    facade.follow('joining', call)
    await call.connect(location.origin)
  } catch (error) {
    await call?.leave()
    fail(joinFailure(error))
    return
  }
  const view = new CallView(call)
  call.on('end', (reason) => {
    view.close()
    fail(callEnd(reason))
  })
  show('call', view.view, `${call.room.name} · Incamera`)
  await view.publish(tracks)
}

function showNotice(notice: Notice, action?: NoticeAction, more?: Node): void {
  show('notice', noticeView(notice, action, more), `${notice.title} · Incamera`)
}

function show(name: string, view: HTMLElement, title: string): void {
  document.title = title
  document.getElementById('app')?.replaceChildren(view)
  view.querySelector<HTMLElement>('h1[tabindex]')?.focus({ preventScroll: true })
  facade.follow(name)
}
