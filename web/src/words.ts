/** Turns what the client library reports into words for people. Pure. */
import { ConnectionError, ConnectionErrorReason, DisconnectReason } from 'livekit-client'

/** A title, what it means, and whether trying again can help. */
export interface Notice {
  readonly title: string
  readonly text: string
  readonly mayRetry: boolean
}

/** Whether a page is of a server on this very machine, whose operator sits before it. */
export function isThisMachine(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

/**
 * Why a page leaves a server of itself: it says that the person is somebody else, or what it says of a track keeps the
 * track from being sealed.
 */
export type Distrust = 'renamed' | 'unsealed'

export class DistrustError extends Error {
  override readonly name = 'DistrustError'
  readonly why: Distrust

  constructor(why: Distrust) {
    super(distrusted(why).text)
    this.why = why
  }
}

/** The connection is interrupted, so that nothing reaches the others. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError'
}

/** The server passes on nothing that this person says. */
export class NotPermittedError extends Error {
  override readonly name = 'NotPermittedError'
}

/** That something was not done, and why. `what` is a sentence without its full stop. */
export function notDone(what: string, error: unknown): string {
  if (error instanceof InterruptedError)
    return `${what}: the connection is interrupted. Try again when it is back.`
  if (error instanceof NotPermittedError) return `${what}: your link does not allow it.`
  return `${what}. Try again.`
}

function distrusted(why: Distrust): Notice {
  switch (why) {
    case 'renamed':
      return {
        title: 'The server says that you are another person',
        text: 'What you send is sealed under the identity in your link, and the server gave you another one. This page has left, and has sent nothing in the clear. Ask whoever runs the server.',
        mayRetry: false,
      }
    case 'unsealed':
      return {
        title: 'What you send could not be sealed',
        text: 'Your camera, microphone or screen did not go through the encryption. This page has left, and has sent nothing in the clear. Ask whoever runs the server.',
        mayRetry: false,
      }
  }
}

/** Why joining failed. */
export function joinFailure(error: unknown): Notice {
  if (error instanceof DistrustError) return distrusted(error.why)
  if (error instanceof ConnectionError) {
    switch (error.reason) {
      case ConnectionErrorReason.NotAllowed:
        // The server says why in its answer, of which the client library passes on that of a 401 or 403.
        if (error.status === 403)
          return {
            title: 'There is no place for you',
            text: sentence(error.message),
            mayRetry: true,
          }
        return {
          title: 'This link does not let you in',
          text: 'Its token was refused: it has expired, was meant for another server, or does not allow this room. Ask for a new link.',
          mayRetry: false,
        }
      case ConnectionErrorReason.ServerUnreachable:
      case ConnectionErrorReason.ServiceNotFound:
      case ConnectionErrorReason.WebSocket:
      case ConnectionErrorReason.Timeout:
        return {
          title: 'The room cannot be reached',
          text: 'The server did not answer. Check your connection and try again.',
          mayRetry: true,
        }
      case ConnectionErrorReason.InternalError:
        // What the server says of it, the library leaves out.
        if (isUnavailable(error.context))
          return {
            title: 'The server takes nobody just now',
            text: 'It is full, has too much to do, or is about to stop. Try again in a while.',
            mayRetry: true,
          }
        break
      case ConnectionErrorReason.LeaveRequest:
      case ConnectionErrorReason.Cancelled:
        break
    }
  }
  return {
    title: 'Joining did not work',
    text: error instanceof Error ? error.message : 'The connection could not be made.',
    mayRetry: true,
  }
}

function isUnavailable(context: unknown): boolean {
  return (
    typeof context === 'object' && context !== null && 'status' in context && context.status === 503
  )
}

/** What the server says, as people write it, without what the client library puts before it. */
function sentence(words: string): string {
  const text = words.replace(/^could not establish signal connection: /i, '').trim()
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`
}

/** Why a call that was running has ended. */
export function callEnd(reason: DisconnectReason | Distrust | undefined): Notice {
  switch (reason) {
    case 'renamed':
    case 'unsealed':
      return distrusted(reason)
    case DisconnectReason.CLIENT_INITIATED:
      return {
        title: 'You have left',
        text: 'This page has forgotten the key; the link, which holds it, stays in your browser’s history. You can close this window.',
        mayRetry: false,
      }
    case DisconnectReason.DUPLICATE_IDENTITY:
      return {
        title: 'You joined from somewhere else',
        text: 'The same link was opened in another window or on another device, and the call went on there.',
        mayRetry: false,
      }
    case DisconnectReason.PARTICIPANT_REMOVED:
      return {
        title: 'You were removed',
        text: 'Somebody in charge of this room has removed you.',
        mayRetry: false,
      }
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return {
        title: 'The room was closed',
        text: 'The call has ended for everybody.',
        mayRetry: false,
      }
    case DisconnectReason.SERVER_SHUTDOWN:
      return { title: 'The server is going down', text: 'Try again in a moment.', mayRetry: true }
    default:
      return {
        title: 'The connection was lost',
        text: 'It could not be restored. Check your network and join again.',
        mayRetry: true,
      }
  }
}

/** Why a camera, a microphone or a screen could not be opened. */
export function deviceFailure(error: unknown): string {
  const name = error instanceof DOMException || error instanceof Error ? error.name : ''
  switch (name) {
    case 'NotAllowedError':
      return 'The browser did not allow it. Allow camera and microphone for this page, then try again.'
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No such device was found.'
    case 'NotReadableError':
      return 'Another program is using the device.'
    case 'PublishTrackError':
      return 'The server did not take it: your link may not allow it.'
    default:
      return 'The device could not be opened.'
  }
}

/** Why a screen could not be shared. Who closes the browser's question has not done anything wrong. */
export function screenFailure(error: unknown): string {
  return error instanceof Error && error.name === 'NotAllowedError'
    ? 'Nothing is shared: no screen was chosen, or this device does not allow it.'
    : deviceFailure(error)
}

/** What of one's camera and microphone the server did not take. Both have been closed. */
export function notTaken(hasCamera: boolean, hasMicrophone: boolean): string {
  if (hasCamera && hasMicrophone)
    return 'Your camera and microphone could not be sent and are off: others neither see nor hear you.'
  return hasCamera
    ? 'Your camera could not be sent and is off: others do not see you.'
    : 'Your microphone could not be sent and is off: others do not hear you.'
}

/** "Ada", "Ada and Ben", "Ada, Ben and 3 others". */
export function listOf(names: readonly string[]): string {
  const [first = '', second, ...more] = names
  if (second === undefined) return first
  if (more.length === 0) return `${first} and ${second}`
  return `${first}, ${second} and ${more.length} ${more.length === 1 ? 'other' : 'others'}`
}
