import { expect, it } from 'vitest'
import { lockOf } from './lock.ts'

it('names the cipher when all is well', () => {
  expect(lockOf({ cipher: 128, isOn: true, issues: [] })).toMatchObject({
    level: 'sealed',
    label: 'AES-128-GCM',
  })
  expect(lockOf({ cipher: 256, isOn: true, issues: [] })).toMatchObject({
    level: 'sealed',
    label: 'AES-256-GCM',
  })
})

it('claims nothing before the worker has confirmed', () => {
  expect(lockOf({ cipher: 128, isOn: false, issues: [] }).level).toBe('pending')
})

it('is broken by a track in the clear, and says which', () => {
  const issue = { who: 'Ben', what: 'camera', trouble: 'not-encrypted' } as const
  const lock = lockOf({ cipher: 128, isOn: true, issues: [issue] })
  expect(lock).toMatchObject({ level: 'broken', label: 'Not encrypted: camera of Ben' })
})

it('is broken by a key that differs', () => {
  const issue = { who: 'Eve', what: 'media', trouble: 'key-differs' } as const
  const lock = lockOf({ cipher: 128, isOn: true, issues: [issue] })
  expect(lock).toMatchObject({ level: 'broken', label: 'Cannot decrypt Eve: the key differs' })
})

it('prefers bad news to no news', () => {
  const issue = { who: 'you', what: 'microphone', trouble: 'not-encrypted' } as const
  expect(lockOf({ cipher: 128, isOn: false, issues: [issue] }).level).toBe('broken')
})
