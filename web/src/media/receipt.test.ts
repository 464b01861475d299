import type { RemoteParticipant } from 'livekit-client'
import { describe, expect, it } from 'vitest'
import { Receipt } from './receipt.ts'

/** A participant with one video track that has decoded `frames` so far. */
function person(identity: string, state: { frames: number }): RemoteParticipant {
  const report = () =>
    new Map([['in', { id: 'in', type: 'inbound-rtp', framesDecoded: state.frames }]])
  const track = { getRTCStatsReport: () => Promise.resolve(report()) }
  const publications = new Map([['TR_1', { track }]])
  return { identity, trackPublications: publications } as unknown as RemoteParticipant
}

const INVALID = new Error('InvalidKey: Decryption failed')
const MISSING = new Error('MissingKey: missing key at index 1')

it('whoever is decoded is in no trouble, whatever was reported', async () => {
  const receipt = new Receipt()
  const state = { frames: 10 }
  receipt.failed('ada', INVALID)
  expect(await receipt.look([person('ada', state)])).toBe(false)
  expect(receipt.troubleOf('ada')).toBeUndefined()
})

it('a failure and nothing decoded is trouble, until something is decoded', async () => {
  const receipt = new Receipt()
  const state = { frames: 0 }
  receipt.failed('ada', INVALID)
  expect(await receipt.look([person('ada', state)])).toBe(true)
  expect(receipt.troubleOf('ada')).toBe('key-differs')
  expect(await receipt.look([person('ada', state)])).toBe(false)
  state.frames = 1
  expect(await receipt.look([person('ada', state)])).toBe(true)
  expect(receipt.troubleOf('ada')).toBeUndefined()
})

it('a key that is missing is told apart from one that differs', async () => {
  const receipt = new Receipt()
  receipt.failed('ada', MISSING)
  await receipt.look([person('ada', { frames: 0 })])
  expect(receipt.troubleOf('ada')).toBe('key-unknown')
})

it('silence alone is no trouble', async () => {
  const receipt = new Receipt()
  await receipt.look([person('ada', { frames: 0 })])
  expect(receipt.troubleOf('ada')).toBeUndefined()
  receipt.failed('ada', new Error('InternalError: something else'))
  await receipt.look([person('ada', { frames: 0 })])
  expect(receipt.troubleOf('ada')).toBeUndefined()
})

it('the troubles of one are not those of another, and are forgotten with them', async () => {
  const receipt = new Receipt()
  receipt.failed('eve', INVALID)
  await receipt.look([person('ada', { frames: 0 }), person('eve', { frames: 0 })])
  expect([receipt.troubleOf('ada'), receipt.troubleOf('eve')]).toEqual([undefined, 'key-differs'])
  receipt.forget('eve', true)
  expect(receipt.troubleOf('eve')).toBeUndefined()
})

describe('who is ahead', () => {
  const missing = (index: number) => new Error(`MissingKey: missing key at index ${index} for ada`)
  /** Whether this page, with key 0, is left behind by who sends: they were opened before, and now lack a key. */
  async function areAhead(
    now: Record<string, Error | undefined>,
    opened: string[],
    { hasComeRound = false, haveLeft = true } = {},
  ) {
    const receipt = new Receipt()
    await receipt.look(opened.map((identity) => person(identity, { frames: 1 })))
    for (const identity of opened) receipt.forget(identity, haveLeft)
    for (const [identity, error] of Object.entries(now)) if (error) receipt.failed(identity, error)
    const senders = Object.keys(now)
    await receipt.look(senders.map((identity) => person(identity, { frames: 0 })))
    return receipt.areAhead(senders, 0, hasComeRound)
  }

  it.each([
    ['everybody', { ada: missing(1) }, ['ada'], true],
    ['somebody who came meanwhile, too', { ada: missing(1), cy: missing(1) }, ['ada'], true],
    ['not all', { ada: missing(1), cy: undefined }, ['ada', 'cy'], false],
    ['nobody who was ever opened', { eve: missing(1) }, ['ada'], false],
    ['who has an older key', { ada: missing(15) }, ['ada'], false],
    ['who has another key', { ada: INVALID }, ['ada'], false],
    ['nobody, where nobody sends', {}, ['ada'], false],
  ])('%s', async (_, now: Record<string, Error | undefined>, opened, expected) => {
    expect(await areAhead(now, opened)).toBe(expected)
  })

  it('once all slots have held a key: not who comes again, maybe by an old link', async () => {
    const now = { ada: INVALID }
    expect(await areAhead(now, ['ada'], { hasComeRound: true, haveLeft: true })).toBe(false)
  })

  it.each([
    ['who has another key', { ada: INVALID }, ['ada'], true],
    ['and somebody with a later one', { ada: INVALID, cy: missing(1) }, ['ada'], true],
    ['not all', { ada: INVALID, cy: undefined }, ['ada', 'cy'], false],
    ['nobody who was ever opened', { eve: INVALID }, ['ada'], false],
  ])(
    'once all slots have held a key: %s',
    async (_, now: Record<string, Error | undefined>, opened, expected) => {
      expect(await areAhead(now, opened, { hasComeRound: true, haveLeft: false })).toBe(expected)
    },
  )
})
