import type { Room } from 'livekit-client'
import { expect, it } from 'vitest'
import { Pulse } from './pulse.ts'

type Entry = Record<string, unknown>

function roomOf(entries: Entry[]): Room {
  const report = () => new Map(entries.map((entry) => [entry['id'], entry]))
  const publisher = { getStats: () => Promise.resolve(report()) }
  return { engine: { pcManager: { publisher } } } as unknown as Room
}

/** As Chromium says it. */
function pair(id: string, responsesReceived: number, bytesReceived = 0): Entry {
  return { id, type: 'candidate-pair', responsesReceived, bytesReceived }
}

function by(id: string): Entry {
  return { id: 'T', type: 'transport', selectedCandidatePairId: id }
}

it('beats with the answer to a check, and with nothing else that comes', async () => {
  const pulse = new Pulse()
  expect(await pulse.hasBeaten(roomOf([pair('a', 3, 100), by('a')]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('a', 3, 900), by('a')]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('a', 4, 900), by('a')]))).toBe(true)
})

it('does not beat with what may be an answer to a check from before', async () => {
  const pulse = new Pulse()
  await pulse.hasBeaten(roomOf([pair('a', 3), by('a')]))
  pulse.restart()
  expect(await pulse.hasBeaten(roomOf([pair('a', 4), by('a')]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('a', 5), by('a')]))).toBe(true)
})

it('is that of the way that is taken, whichever it is by then', async () => {
  const pulse = new Pulse()
  await pulse.hasBeaten(roomOf([pair('a', 3), pair('b', 7), by('a')]))
  expect(await pulse.hasBeaten(roomOf([pair('a', 3), pair('b', 8), by('a')]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('a', 3), pair('b', 7), by('b')]))).toBe(false)
  expect(await pulse.hasBeaten(roomOf([pair('b', 8), by('b')]))).toBe(true)
  expect(await pulse.hasBeaten(roomOf([pair('c', 1), by('c')]))).toBe(true)
})

it('is heard in Firefox, too', async () => {
  const fox = (answers: number) => roomOf([{ ...pair('a', answers), selected: true }])
  const pulse = new Pulse()
  expect(await pulse.hasBeaten(fox(3))).toBe(false)
  expect(await pulse.hasBeaten(fox(4))).toBe(true)
})

it('has stopped when no way is taken any more', async () => {
  const pulse = new Pulse()
  await pulse.hasBeaten(roomOf([pair('a', 3), by('a')]))
  expect(await pulse.hasBeaten(roomOf([pair('a', 4)]))).toBe(false)
})

it('is not waited for where the browser does not count', async () => {
  const pulse = new Pulse()
  expect(await pulse.hasBeaten(roomOf([{ id: 'a', type: 'candidate-pair' }]))).toBe(true)
})
