/**
 * Reads an invitation out of a link's fragment, and keeps it for the tab until the person leaves.
 *
 * Owns: the format of the link. Browsers never send a fragment, so neither the token nor the
 * channel key reaches the server or its logs by way of the link.
 * Not here: judging the token (the server does), deriving keys (the encryption worker does).
 *
 * Fragment: `token` (required), `key` (required: the channel key, any text of 16 to 1,024 characters), `cipher` (128 or 256),
 * `epoch` (how often the key has been rotated), `name`, `publish` (720p, 180p or none), `audio`
 * (0 or 1). Values are percent-encoded; a plus sign is a plus sign.
 */

import { KEY_LENGTH_MAX, KEY_LENGTH_MIN } from './keyring.ts'

export type KeyBits = 128 | 256
export type CameraSize = '720p' | '180p' | 'none'

export interface Invitation {
  readonly token: string
  readonly key: string
  /** How many rotations the key has seen. Its slot in the key ring is `epoch % 16`. */
  readonly epoch: number
  readonly cipher: KeyBits
  /** The name to show, where the token lets its holder choose one. */
  readonly name: string | undefined
  /** What the person is offered to publish. Nothing opens before they consent. */
  readonly camera: CameraSize
  readonly microphone: boolean
}

/**
 * What the token says about its holder. The server verifies it; a call under another identity than this is none that the
 * link invites to.
 */
export interface Claims {
  readonly identity: string
  readonly name: string
  readonly room: string
  readonly mayRename: boolean
  /** Whether the holder may send pictures of a camera, and sound of a microphone. */
  readonly mayShow: boolean
  readonly maySpeak: boolean
}

export class InvitationError extends Error {
  override readonly name = 'InvitationError'
}

const STORED_AS = 'incamera.invitation'

/**
 * Parses a fragment, with or without its `#`. `undefined` if it is empty.
 *
 * @throws InvitationError naming what is missing or malformed.
 */
export function parseFragment(fragment: string): Invitation | undefined {
  const text = fragment.replace(/^#/, '')
  if (text === '') return undefined
  const fields = new Map<string, string>()
  for (const pair of text.split('&')) {
    const [name = '', ...rest] = pair.split('=')
    fields.set(name, decode(rest.join('=')))
  }
  return {
    token: required(fields, 'token'),
    key: boundedKey(required(fields, 'key')),
    epoch: epochOf(fields.get('epoch')),
    cipher: oneOf(fields, 'cipher', ['128', '256'], '128') === '256' ? 256 : 128,
    name: fields.get('name')?.trim() || undefined,
    camera: oneOf(fields, 'publish', ['720p', '180p', 'none'], '720p'),
    microphone: oneOf(fields, 'audio', ['0', '1'], '1') === '1',
  }
}

/** Reads the token's claims, or `undefined` if it is no JWT. Verifies nothing. */
export function readClaims(token: string): Claims | undefined {
  const body = token.split('.')[1]
  if (body === undefined) return undefined
  try {
    const bytes = Uint8Array.from(atob(body.replace(/-/g, '+').replace(/_/g, '/')), (char) =>
      char.charCodeAt(0),
    )
    const claims = record(JSON.parse(new TextDecoder().decode(bytes)))
    const video = record(claims['video'])
    // As LiveKit's servers do.
    const identity = text(claims['sub']) || text(claims['jti'])
    return {
      identity,
      name: text(claims['name']) || identity,
      room: text(video['room']),
      mayRename: video['canUpdateOwnMetadata'] === true,
      mayShow: maySend(video, 'camera'),
      maySpeak: maySend(video, 'microphone'),
    }
  } catch {
    return undefined
  }
}

/** What the browser does not let the page store, as where people have it block the data of sites. */
let unstored: Invitation | undefined

/** Keeps the invitation for this tab, so that a reload does not lose the call: without storage, until then. */
export function keep(invitation: Invitation): void {
  try {
    sessionStorage.setItem(STORED_AS, JSON.stringify(invitation))
    unstored = undefined
  } catch {
    unstored = invitation
  }
}

/** The invitation kept for this tab. */
export function kept(): Invitation | undefined {
  if (unstored) return unstored
  let stored: string | null
  try {
    stored = sessionStorage.getItem(STORED_AS)
  } catch {
    return undefined
  }
  return stored === null ? undefined : (JSON.parse(stored) as Invitation)
}

/** Whether a reload would lose what is kept. */
export function endsWithPage(): boolean {
  return unstored !== undefined
}

/** Forgets the invitation: its token and its key. */
export function forget(): void {
  unstored = undefined
  try {
    sessionStorage.removeItem(STORED_AS)
  } catch {
    // Nothing was stored.
  }
}

function required(fields: Map<string, string>, name: string): string {
  const value = fields.get(name)
  if (!value) throw new InvitationError(`The link has no ${name}.`)
  return value
}

function boundedKey(key: string): string {
  if (key.length < KEY_LENGTH_MIN) {
    throw new InvitationError(
      `The key in the link is too short: with fewer than ${KEY_LENGTH_MIN} characters others can guess it. Ask for a new link.`,
    )
  }
  if (key.length > KEY_LENGTH_MAX) throw new InvitationError('The key in the link is too long.')
  return key
}

function epochOf(value: string | undefined): number {
  const epoch = Number(value ?? 0)
  if (!Number.isSafeInteger(epoch) || epoch < 0) {
    throw new InvitationError('The epoch in the link is not a whole number.')
  }
  return epoch
}

function oneOf<Value extends string>(
  fields: Map<string, string>,
  name: string,
  allowed: readonly Value[],
  otherwise: Value,
): Value {
  const value = fields.get(name)
  if (value === undefined) return otherwise
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) {
    throw new InvitationError(`The link's ${name} must be one of ${allowed.join(', ')}.`)
  }
  return found
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    throw new InvitationError('The link is damaged: it is not percent-encoded as it should be.')
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

/** All sources where the token names none, as for the server. */
function maySend(video: Record<string, unknown>, source: string): boolean {
  const listed = video['canPublishSources']
  const sources = Array.isArray(listed) ? listed.map((name) => text(name).toLowerCase()) : []
  return video['canPublish'] !== false && (sources.length === 0 || sources.includes(source))
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
