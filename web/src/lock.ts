/**
 * Says whether the call is end-to-end encrypted, and if not, who and what is to blame.
 *
 * Pure. The server tells which tracks claim to be encrypted; the worker tells what it could open.
 */
import type { KeyBits } from './invitation.ts'

/** Why somebody's media is not heard or shown. */
export type Trouble = 'not-encrypted' | 'key-differs' | 'key-unknown'

export interface Issue {
  readonly who: string
  readonly what: string
  readonly trouble: Trouble
}

export interface Lock {
  /** `pending` until the worker has confirmed that it encrypts what this page sends. */
  readonly level: 'pending' | 'sealed' | 'broken'
  /** For the button: the cipher, or what is wrong. */
  readonly label: string
  readonly issues: readonly Issue[]
}

export interface LockInput {
  readonly cipher: KeyBits
  /** Whether the worker has confirmed that it encrypts. */
  readonly isOn: boolean
  readonly issues: readonly Issue[]
}

export function lockOf({ cipher, isOn, issues }: LockInput): Lock {
  const first = issues[0]
  if (first) return { level: 'broken', label: sentenceOf(first), issues }
  if (!isOn) return { level: 'pending', label: 'Starting encryption', issues }
  return { level: 'sealed', label: cipherName(cipher), issues }
}

export function cipherName(cipher: KeyBits): string {
  return `AES-${cipher}-GCM`
}

/** One issue as a short sentence without a full stop. */
export function sentenceOf({ who, what, trouble }: Issue): string {
  switch (trouble) {
    case 'not-encrypted':
      return `Not encrypted: ${what} of ${who}`
    case 'key-differs':
      return `Cannot decrypt ${who}: the key differs`
    case 'key-unknown':
      return `Cannot decrypt ${who}: the key was changed`
  }
}
