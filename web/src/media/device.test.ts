import { expect, it } from 'vitest'
import { Device } from './device.ts'

class Track {
  isOn = true
  isShown = true

  stop(): void {
    this.isOn = false
  }

  detach(): void {
    this.isShown = false
  }
}

/** What the browser asks the person, answered later. */
function prompt(): { ask: () => Promise<Track>; allow: (track: Track) => void; deny: () => void } {
  let allow: (track: Track) => void = () => {}
  let deny = () => {}
  const answered = new Promise<Track>((resolve, reject) => {
    allow = resolve
    deny = () => reject(new Error('NotAllowedError'))
  })
  return { ask: () => answered, allow: (track) => allow(track), deny: () => deny() }
}

it('opens, closes, and has one open at most', async () => {
  const device = new Device<Track>()
  const [first, second] = [new Track(), new Track()]
  expect(await device.open(() => Promise.resolve(first))).toBe(first)
  expect(await device.open(() => Promise.resolve(second))).toBe(second)
  expect([first.isOn, second.isOn, device.track]).toEqual([false, true, second])
  device.close()
  expect([second.isOn, device.track]).toEqual([false, undefined])
  expect([first.isShown, second.isShown]).toEqual([false, false])
})

it('what is allowed after it was closed is stopped at once', async () => {
  const device = new Device<Track>()
  const { ask, allow } = prompt()
  const opening = device.open(ask)
  device.close()
  const track = new Track()
  allow(track)
  expect(await opening).toBeUndefined()
  expect([track.isOn, device.track]).toEqual([false, undefined])
})

it('of two that are asked for, the last stays, whichever is allowed first', async () => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const device = new Device<Track>()
    const prompts = [prompt(), prompt()]
    const tracks = [new Track(), new Track()]
    const openings = prompts.map(({ ask }) => device.open(ask))
    for (const n of order) prompts[n]?.allow(tracks[n] as Track)
    expect(await Promise.all(openings)).toEqual([undefined, tracks[1]])
    expect(tracks.map(({ isOn }) => isOn)).toEqual([false, true])
    expect(device.track).toBe(tracks[1])
  }
})

it('a refusal is told, unless nobody waits for it any more', async () => {
  const device = new Device<Track>()
  const refused = prompt()
  const opening = device.open(refused.ask)
  refused.deny()
  await expect(opening).rejects.toThrow('NotAllowedError')
  const late = prompt()
  const closed = device.open(late.ask)
  device.close()
  late.deny()
  expect(await closed).toBeUndefined()
})
