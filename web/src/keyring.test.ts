import { describe, expect, it } from 'vitest'
import {
  ACCEPT_OLD_MS,
  ANNOUNCED_WITHIN_MS,
  encodeAnnouncement,
  indexOf,
  isLater,
  KeyRing,
  parseAnnouncement,
  RING_SIZE,
  randomKey,
  USE_AFTER_MS,
} from './keyring.ts'

const FIRST = 'the first channel key'
const SECOND = 'another channel key, quite fresh'
const LESSER = 'a channel key that sorts before the others'

describe('rotating', () => {
  it('holds the new key at once, uses it a moment later, drops the old one after ten seconds', () => {
    const ring = new KeyRing(0, FIRST)
    expect(ring.admit(ring.next(SECOND), 1_000)).toEqual([{ do: 'hold', index: 1, key: SECOND }])
    expect([ring.key, ring.epoch, ring.rotating]).toEqual([FIRST, 0, true])
    expect(ring.wakeAtMs).toBe(1_000 + USE_AFTER_MS)

    expect(ring.advance(1_000 + USE_AFTER_MS - 1)).toEqual([])
    expect(ring.advance(1_000 + USE_AFTER_MS)).toEqual([
      { do: 'use', index: 1, epoch: 1, key: SECOND },
    ])
    expect([ring.key, ring.epoch, ring.rotating]).toEqual([SECOND, 1, false])

    const dropAt = 1_000 + USE_AFTER_MS + ACCEPT_OLD_MS
    expect(ring.wakeAtMs).toBe(dropAt)
    expect(ring.advance(dropAt - 1)).toEqual([])
    expect(ring.advance(dropAt)).toEqual([{ do: 'drop', index: 0 }])
    expect(ring.wakeAtMs).toBeUndefined()
  })

  it('wraps around the worker’s ring', () => {
    const ring = new KeyRing(RING_SIZE - 1, FIRST)
    expect(ring.admit(ring.next(SECOND), 0)).toEqual([{ do: 'hold', index: 0, key: SECOND }])
  })

  it('catches up with an epoch it has not heard of', () => {
    const ring = new KeyRing(0, FIRST)
    expect(ring.admit({ epoch: 3, key: SECOND }, 0)).toEqual([
      { do: 'hold', index: 3, key: SECOND },
    ])
  })
})

it('has come round once a later key may have the slot of one that was dropped', () => {
  const first = 5
  const ring = new KeyRing(first, FIRST)
  for (let nowMs = 0; ring.epoch < first + RING_SIZE; nowMs += 60_000) {
    const later = Array.from({ length: RING_SIZE }, (_, slot) => slot).filter((slot) =>
      isLater(slot, indexOf(ring.epoch)),
    )
    const filled = Array.from({ length: ring.epoch - first }, (_, n) => indexOf(first + n))
    expect(ring.hasComeRound).toBe(later.some((slot) => filled.includes(slot)))
    ring.admit(ring.next(SECOND), nowMs)
    ring.advance(nowMs + USE_AFTER_MS)
    ring.advance(nowMs + USE_AFTER_MS + ACCEPT_OLD_MS)
  }
  expect(ring.hasComeRound).toBe(true)
})

it('a slot comes after those of the last few epochs, and none does that is not in the ring', () => {
  const cases = [
    [1, 0, true],
    [0, 0, false],
    [0, 1, false],
    [0, 15, true],
    [15, 0, false],
    [7, 0, true],
    [8, 0, false],
    [17, 0, false],
  ] as const
  for (const [index, than, expected] of cases) expect(isLater(index, than)).toBe(expected)
})

describe('an announcement', () => {
  it('that is replayed changes nothing', () => {
    const ring = new KeyRing(0, FIRST)
    const old = ring.next(SECOND)
    ring.admit(old, 0)
    ring.advance(USE_AFTER_MS)
    ring.admit(ring.next(LESSER), 60_000)
    ring.advance(60_000 + USE_AFTER_MS)
    expect(ring.admit(old, 120_000)).toEqual([])
    expect(ring.key).toBe(LESSER)
  })

  it('for an epoch whose slot is still held is refused, so held keys are bounded', () => {
    const ring = new KeyRing(0, FIRST)
    expect(ring.admit({ epoch: RING_SIZE, key: SECOND }, 0)).toEqual([])
    for (let epoch = 1; epoch < 100; epoch++) ring.admit({ epoch, key: SECOND }, 0)
    expect(ring.next(SECOND).epoch).toBe(RING_SIZE)
  })

  it('of the first key cannot replace it', () => {
    const ring = new KeyRing(0, FIRST)
    expect(ring.admit({ epoch: 0, key: LESSER }, 1_000)).toEqual([])
  })
})

it('a key that a newer one came before its use wakes nobody', () => {
  const ring = new KeyRing(0, FIRST)
  ring.admit(ring.next(SECOND), 0)
  ring.admit(ring.next(LESSER), 500)
  expect(ring.wakeAtMs).toBe(500 + USE_AFTER_MS)
  ring.advance(500 + USE_AFTER_MS)
  expect([ring.epoch, ring.wakeAtMs]).toEqual([2, 500 + USE_AFTER_MS + ACCEPT_OLD_MS])
  ring.advance(500 + USE_AFTER_MS + ACCEPT_OLD_MS)
  expect(ring.wakeAtMs).toBeUndefined()
})

describe('two people rotating at once', () => {
  it('end with the same key, whichever they hear first', () => {
    for (const order of [
      [SECOND, LESSER],
      [LESSER, SECOND],
    ]) {
      const ring = new KeyRing(0, FIRST)
      for (const key of order) ring.admit({ epoch: 1, key }, 0)
      ring.advance(USE_AFTER_MS)
      expect(ring.key).toBe(LESSER)
    }
  })

  it('do so even when the other is heard after the first is in use, and never lose the old key', () => {
    const ring = new KeyRing(0, FIRST)
    ring.admit({ epoch: 1, key: SECOND }, 0)
    ring.advance(USE_AFTER_MS)
    const heardAt = USE_AFTER_MS + ACCEPT_OLD_MS - 10
    expect(ring.admit({ epoch: 1, key: LESSER }, heardAt)).toEqual([
      { do: 'hold', index: 1, key: LESSER },
    ])
    expect(ring.advance(heardAt + 20)).toEqual([])
    expect(ring.advance(heardAt + USE_AFTER_MS)).toEqual([
      { do: 'use', index: 1, epoch: 1, key: LESSER },
    ])
  })
})

describe('on the wire', () => {
  const NOW_MS = 1_796_000_000_000
  const told = { epoch: 7, key: randomKey() }

  it('an announcement survives', () => {
    expect(parseAnnouncement('ada', encodeAnnouncement('ada', told, NOW_MS), NOW_MS)).toEqual({
      ...told,
      isOfNow: true,
    })
  })

  it('is nobody’s but the announcer’s', () => {
    expect(
      parseAnnouncement('eve', encodeAnnouncement('ada', told, NOW_MS), NOW_MS),
    ).toBeUndefined()
  })

  it('is of now, as far as clocks agree', () => {
    const bytes = encodeAnnouncement('ada', told, NOW_MS)
    for (const [laterMs, isTaken] of [
      [ANNOUNCED_WITHIN_MS, true],
      [-ANNOUNCED_WITHIN_MS, true],
      [ANNOUNCED_WITHIN_MS + 1, false],
      [-ANNOUNCED_WITHIN_MS - 1, false],
    ] as const)
      expect(parseAnnouncement('ada', bytes, NOW_MS + laterMs)?.isOfNow).toBe(isTaken)
  })

  const good = { epoch: 1, key: '0123456789abcdef', from: 'ada', at: NOW_MS }
  const parse = (text: string) => parseAnnouncement('ada', new TextEncoder().encode(text), NOW_MS)

  it('is no more than it takes', () => {
    expect(parse(JSON.stringify(good))).toEqual({ epoch: 1, key: good.key, isOfNow: true })
  })

  it.each([
    { epoch: undefined },
    { epoch: -1 },
    { epoch: 1.5 },
    { key: undefined },
    { key: 'short' },
    { key: 7 },
    { from: undefined },
    { at: undefined },
    { at: `${NOW_MS}` },
  ])('with %o is none', (odd) => {
    expect(parse(JSON.stringify({ ...good, ...odd }))).toBeUndefined()
  })

  it.each(['', 'null', '[]', '{}'])('%s is none', (text) => {
    expect(parse(text)).toBeUndefined()
  })

  it('random keys are 256 bits of text, and differ', () => {
    expect(randomKey()).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(randomKey()).not.toBe(randomKey())
  })
})
