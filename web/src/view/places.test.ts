import { expect, it } from 'vitest'
import { type Claim, PLACES_MAX, Places, placeSize } from './places.ts'

/** So many people in the order in which they came, oneself last. */
function people(count: number, speaking: readonly number[] = []): Claim[] {
  return Array.from({ length: count }, (_, n) => ({
    id: `p${n}`,
    isSpeaking: speaking.includes(n),
    isFirm: n === count - 1,
  }))
}

it('all have a place while there are enough', () => {
  expect(new Places().give(people(PLACES_MAX)).size).toBe(PLACES_MAX)
})

it('of more, the first have one, and oneself; one place is left to say how many others there are', () => {
  const given = new Places().give(people(265))
  expect(given.size).toBe(PLACES_MAX - 1)
  expect([given.has('p0'), given.has('p45'), given.has('p46'), given.has('p264')]).toEqual([
    true,
    true,
    false,
    true,
  ])
})

it('who speaks has one, keeps it when others speak, and takes nobody’s who spoke since', () => {
  const places = new Places()
  for (const speaker of [200, 100, 201]) {
    const given = places.give(people(265, [speaker]))
    expect(given.has(`p${speaker}`)).toBe(true)
    expect(given.size).toBe(PLACES_MAX - 1)
  }
  const after = places.give(people(265))
  expect(['p200', 'p100', 'p201', 'p42', 'p43'].map((id) => after.has(id))).toEqual([
    true,
    true,
    true,
    true,
    false,
  ])
  // So many others speak that nothing is left of who spoke before them.
  const many = Array.from({ length: PLACES_MAX }, (_, n) => n)
  for (const speaker of many) places.give(people(265, [speaker]))
  expect(places.give(people(265)).has('p200')).toBe(false)
})

it('who has left is forgotten', () => {
  const places = new Places()
  places.give(people(265, [200]))
  places.give(people(60))
  expect(places.give(people(265)).has('p200')).toBe(false)
})

it('a place is never less than nothing, and as large as it can be', () => {
  const phone = { width: 390, height: 640 }
  expect(placeSize(phone, 265).width).toBeGreaterThanOrEqual(0)
  expect(placeSize(phone, 2_000).width).toBe(0)
  expect(placeSize({ width: 0, height: 0 }, 3)).toEqual({ ratio: 16 / 9, width: 0 })
  for (const stage of [phone, { width: 700, height: 250 }, { width: 360, height: 480 }])
    expect(placeSize(stage, PLACES_MAX).width).toBeGreaterThanOrEqual(40)
  expect(placeSize({ width: 1280, height: 720 }, 1)).toEqual({ ratio: 16 / 9, width: 1280 })
  expect(placeSize({ width: 652, height: 320 }, 2)).toEqual({ ratio: 16 / 9, width: 320 })
})
