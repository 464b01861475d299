import { expect, it } from 'vitest'
import { strictOrder } from './order.ts'

it('turns encryption on for everybody, and off for nobody', () => {
  for (const enabled of [true, false, undefined]) {
    const order = { kind: 'enable', data: { enabled, participantIdentity: 'eve' } }
    expect(strictOrder(order)).toEqual({
      kind: 'enable',
      data: { enabled: true, participantIdentity: 'eve' },
    })
  }
})

it('lets no frames of the server’s own in', () => {
  const order = { kind: 'setSifTrailer', data: { trailer: new Uint8Array([1]) } }
  expect(strictOrder(order)).toBeUndefined()
})

it('passes all others on as they are', () => {
  const order = { kind: 'setKey', data: { keyIndex: 1 } }
  expect(strictOrder(order)).toBe(order)
})
