import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  endsWithPage,
  forget,
  InvitationError,
  keep,
  kept,
  parseFragment,
  readClaims,
} from './invitation.ts'

const unsigned = (claims: object) => {
  const bytes = new TextEncoder().encode(JSON.stringify(claims))
  const body = btoa(String.fromCharCode(...bytes))
  return `head.${body.replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '')}.signature`
}

/** As short as a key may be. */
const KEY = 'sixteen letters.'

describe('a fragment', () => {
  it('is no invitation when empty', () => {
    expect(parseFragment('')).toBeUndefined()
    expect(parseFragment('#')).toBeUndefined()
  })

  it('needs only a token and a key', () => {
    expect(parseFragment(`#token=a.b.c&key=${KEY}`)).toEqual({
      token: 'a.b.c',
      key: KEY,
      epoch: 0,
      cipher: 128,
      name: undefined,
      camera: '720p',
      microphone: true,
    })
  })

  it('may say all the rest', () => {
    const text = `#token=t&key=${KEY}&cipher=256&epoch=3&name=Ada%20L.&publish=180p&audio=0`
    expect(parseFragment(text)).toEqual({
      token: 't',
      key: KEY,
      epoch: 3,
      cipher: 256,
      name: 'Ada L.',
      camera: '180p',
      microphone: false,
    })
  })

  it('keeps plus and equals signs of a key', () => {
    expect(parseFragment(`#key=${KEY}+b/c==&token=t`)?.key).toBe(`${KEY}+b/c==`)
    expect(parseFragment(`#key=${KEY}%2Bb%3D&token=t`)?.key).toBe(`${KEY}+b=`)
  })

  const refused: [string, RegExp][] = [
    ['#token=t', /no key/],
    [`#key=${KEY}`, /no token/],
    [`#token=&key=${KEY}`, /no token/],
    [`#token=t&key=${KEY}&cipher=64`, /cipher must be one of 128, 256/],
    [`#token=t&key=${KEY}&publish=4k`, /publish must be one of/],
    [`#token=t&key=${KEY}&epoch=-1`, /whole number/],
    [`#token=t&key=${KEY}&epoch=1e99`, /whole number/],
    ['#token=t&key=%E0%A4', /damaged/],
    ['#token=t&key=k', /too short/],
    [`#token=t&key=${KEY.slice(1)}`, /too short/],
    [`#token=t&key=${'k'.repeat(1025)}`, /too long/],
  ]
  it.each(refused)('%.40s is refused', (text, message) => {
    expect(() => parseFragment(text)).toThrow(InvitationError)
    expect(() => parseFragment(text)).toThrow(message)
  })
})

describe('claims', () => {
  it('name the holder and the room', () => {
    const token = unsigned({
      sub: 'ada',
      name: 'Ada Ł.',
      video: { room: 'r', canUpdateOwnMetadata: true },
    })
    expect(readClaims(token)).toEqual({
      identity: 'ada',
      name: 'Ada Ł.',
      room: 'r',
      mayRename: true,
      mayShow: true,
      maySpeak: true,
    })
  })

  it('fall back to the identity', () => {
    expect(readClaims(unsigned({ sub: 'ada' }))).toEqual({
      identity: 'ada',
      name: 'ada',
      room: '',
      mayRename: false,
      mayShow: true,
      maySpeak: true,
    })
  })

  const sending: [object, boolean, boolean][] = [
    [{}, true, true],
    [{ canPublish: true, canPublishSources: [] }, true, true],
    [{ canPublish: false }, false, false],
    [{ canPublish: false, canPublishSources: ['camera'] }, false, false],
    [{ canPublishSources: ['MICROPHONE', 'screen_share'] }, false, true],
    [{ canPublishSources: ['camera'] }, true, false],
    [{ canPublishSources: 'camera' }, true, true],
  ]
  it.each(sending)('say what their holder may send: %j', (video, mayShow, maySpeak) => {
    expect(readClaims(unsigned({ sub: 'ada', video }))).toMatchObject({ mayShow, maySpeak })
  })

  it('name the identity where LiveKit looks for it', () => {
    expect(readClaims(unsigned({ jti: 'ada' }))?.identity).toBe('ada')
    expect(readClaims(unsigned({ sub: '', jti: 'ada' }))?.identity).toBe('ada')
    expect(readClaims(unsigned({ sub: 'ben', jti: 'ada' }))?.identity).toBe('ben')
  })

  it.each(['', 'nonsense', 'a.b.c', 'a.!.c', unsigned([]).replace('.', '')])(
    '%j holds none',
    (token) => {
      expect(readClaims(token)).toBeUndefined()
    },
  )
})

describe('an invitation', () => {
  const invitation = parseFragment(`#token=t&key=${KEY}`)
  if (!invitation) throw new Error('unreachable')
  afterEach(() => vi.unstubAllGlobals())

  it('is kept for the tab until it is forgotten', () => {
    const storage = new Map<string, string>()
    vi.stubGlobal('sessionStorage', {
      getItem: (name: string) => storage.get(name) ?? null,
      setItem: (name: string, value: string) => storage.set(name, value),
      removeItem: (name: string) => storage.delete(name),
    })
    keep(invitation)
    expect([kept(), endsWithPage()]).toEqual([{ ...invitation, name: undefined }, false])
    forget()
    expect(kept()).toBeUndefined()
    expect(storage.size).toBe(0)
  })

  const blocked: [string, PropertyDescriptor][] = [
    ['be asked for', { get: () => fails('SecurityError') }],
    [
      'hold anything',
      { value: { getItem: () => null, setItem: () => fails('QuotaExceededError') } },
    ],
  ]
  it.each(blocked)('is kept for the page where no storage may %s', (_, storage) => {
    vi.stubGlobal('sessionStorage', undefined)
    Object.defineProperty(globalThis, 'sessionStorage', { ...storage, configurable: true })
    expect(kept()).toBeUndefined()
    keep(invitation)
    expect([kept(), endsWithPage()]).toEqual([invitation, true])
    forget()
    expect([kept(), endsWithPage()]).toEqual([undefined, false])
  })
})

function fails(name: string): never {
  throw new DOMException('no', name)
}
