import type { Room } from 'livekit-client'
import { expect, it } from 'vitest'
import { Pulse } from './pulse.ts'

type Entry = Record<string, unknown>

function roomOf(entries: Entry[]): Room {
  const report = () => new Map(entries.map((entry) => [entry['id'], entry]))
  const publisher = { getStats: () => Promise.resolve(report()) }
  return { engine: { pcManager: { publisher } } } as unknown as Room
}

function pair(id: string, bytesReceived: number, responsesReceived = 0): Entry {
  return { id, type: 'candidate-pair', bytesReceived, responsesReceived }
}

it('beats with what comes from the server, be it data or answers to checks', async () => {
  const pulse = new Pulse()
  await pulse.restart(roomOf([pair('a', 100, 3)]))
  expect(await pulse.hasBeaten(roomOf([pair('a', 100, 3)]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('a', 101, 3)]))).toBe(true)
  expect(await pulse.hasBeaten(roomOf([pair('a', 100, 4)]))).toBe(true)
})

it('goes on over another pair, and is not stopped by one that has gone', async () => {
  const pulse = new Pulse()
  await pulse.restart(roomOf([pair('a', 1_000), pair('b', 5)]))
  expect(await pulse.hasBeaten(roomOf([pair('b', 5)]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('b', 6)]))).toBe(true)
  expect(await pulse.hasBeaten(roomOf([pair('b', 5), pair('c', 0, 1)]))).toBe(true)
})

it('is not waited for where the browser does not count', async () => {
  const pulse = new Pulse()
  const mute = roomOf([{ id: 'a', type: 'candidate-pair' }])
  await pulse.restart(mute)
  expect(await pulse.hasBeaten(mute)).toBe(true)
})
