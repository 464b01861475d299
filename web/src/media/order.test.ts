import { expect, it } from 'vitest'
import { StrictOrders } from './order.ts'

it('turns encryption on for everybody, and off for nobody', () => {
  for (const enabled of [true, false, undefined]) {
    const order = { kind: 'enable', data: { enabled, participantIdentity: 'eve' } }
    expect(new StrictOrders().next(order)).toEqual({
      kind: 'enable',
      data: { enabled: true, participantIdentity: 'eve' },
    })
  }
})

it('lets no frames of the server’s own in', () => {
  const order = { kind: 'setSifTrailer', data: { trailer: new Uint8Array([1]) } }
  expect(new StrictOrders().next(order)).toBeUndefined()
})

it('passes all others on as they are', () => {
  const order = { kind: 'removeTransform', data: { trackId: 'a' } }
  expect(new StrictOrders().next(order)).toBe(order)
})

it('gives the worker each key once, whatever changes what it holds or seals with', () => {
  const [first, second, third] = [{}, {}, {}]
  const orders = new StrictOrders()
  const steps: [key: object, keyIndex: number, updateCurrentKeyIndex: boolean, passes: boolean][] =
    [
      [first, 0, true, true],
      // For each connection, and for each track of anybody's.
      [first, 0, true, false],
      [first, 0, false, false],
      // A rotation: held, sealed with, and the old one dropped, which puts one in its place that nobody knows.
      [second, 1, false, true],
      [first, 0, false, false],
      [second, 1, false, false],
      [second, 1, true, true],
      [second, 1, true, false],
      [third, 0, false, true],
      // Back to a key, or to a slot.
      [second, 1, true, false],
      [third, 0, true, true],
      [second, 1, true, true],
      [first, 0, false, true],
    ]
  for (const [number, [key, keyIndex, updateCurrentKeyIndex, passes]] of steps.entries()) {
    const order = { kind: 'setKey', data: { key, keyIndex, updateCurrentKeyIndex } }
    expect(orders.next(order), `step ${number}`).toBe(passes ? order : undefined)
  }
})
