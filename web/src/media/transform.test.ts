import type { TrackPublication } from 'livekit-client'
import { expect, it } from 'vitest'
import { isSealed } from './transform.ts'

const MARKED = { lk_e2ee: true }

/** What is said of a track, and what it has. */
function publication(of: object): TrackPublication {
  return { isEncrypted: true, isLocal: false, ...of } as unknown as TrackPublication
}

it('what goes through the worker is sealed, and what is not there yet sends nothing', () => {
  expect(isSealed(publication({ track: { receiver: MARKED } }))).toBe(true)
  expect(isSealed(publication({}))).toBe(true)
  expect(isSealed(publication({ isLocal: true, track: { sender: MARKED } }))).toBe(true)
  expect(isSealed(publication({ isLocal: true, track: {} }))).toBe(true)
})

it('what does not is in the clear, whatever is said of it', () => {
  expect(isSealed(publication({ track: { receiver: {} } }))).toBe(false)
  expect(isSealed(publication({ track: {} }))).toBe(false)
  expect(isSealed(publication({ isLocal: true, track: { sender: {} } }))).toBe(false)
})

it('what is said to be in the clear is, whatever it goes through', () => {
  expect(isSealed(publication({ isEncrypted: false, track: { receiver: MARKED } }))).toBe(false)
  expect(isSealed(publication({ isEncrypted: false }))).toBe(false)
})
