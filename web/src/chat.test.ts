import { expect, it } from 'vitest'
import { Chat } from './chat.ts'

const bytes = (line: object) => new TextEncoder().encode(JSON.stringify(line))
const sealed = (from: string, said: string) => {
  const written = new Chat().write(from, said, 7)
  if (!written) throw new Error('nothing said')
  return written.bytes
}

it('a line arrives as it was written', () => {
  const line = new Chat().read('ben', sealed('ben', ' hello '), 9)
  expect(line).toEqual({ from: 'ben', isMine: false, atMs: 7, text: 'hello' })
  expect(new Chat().write('ben', '  ', 7)).toBeUndefined()
})

it('is shown once, whoever sends it again', () => {
  const chat = new Chat()
  const line = sealed('ben', 'hello')
  expect(chat.read('ben', line, 9)).toBeDefined()
  expect(chat.read('ben', line, 10)).toBeUndefined()
  const mine = chat.write('ada', 'mine', 11)?.bytes ?? new Uint8Array()
  expect(chat.read('ada', mine, 12)).toBeUndefined()
})

it('is nobody’s but its writer’s', () => {
  const chat = new Chat()
  const line = sealed('ben', 'hello')
  expect(chat.read('eve', line, 9)).toBeUndefined()
  expect(chat.read('ben', line, 9), 'and eve has not used it up').toBeDefined()
})

it('of another app does not say who wrote it, and comes once from whoever is first', () => {
  const chat = new Chat()
  const line = bytes({ id: '1', timestamp: 3, message: 'hello' })
  expect(chat.read('wheel', line, 9)).toMatchObject({ from: 'wheel', atMs: 3 })
  expect(chat.read('eve', line, 9)).toBeUndefined()
  expect(chat.read('wheel', bytes({ id: '2', message: 'again' }), 9)).toMatchObject({ atMs: 9 })
})

it.each([
  { message: 'x' },
  { id: 1, message: 'x' },
  { id: '', message: 'x' },
  { id: 'x'.repeat(65), message: 'x' },
])('without an id that can be known is none: %o', (line) =>
  expect(new Chat().read('ben', bytes(line), 9)).toBeUndefined(),
)

it.each(['', 'null', '[]', '{"id":"1","message":7}'])('%s is none', (text) => {
  expect(new Chat().read('ben', new TextEncoder().encode(text), 9)).toBeUndefined()
})

it('knows a bounded number of ids, the newest', () => {
  const chat = new Chat()
  const line = (n: number) => bytes({ id: `${n}`, message: 'x' })
  for (let n = 0; n < 8_193; n++) chat.read('ben', line(n), 9)
  expect(chat.read('ben', line(8_192), 9)).toBeUndefined()
  expect(chat.read('ben', line(1), 9)).toBeUndefined()
  expect(chat.read('ben', line(0), 9), 'forgotten').toBeDefined()
})

it('keeps what was sent just before a connection was lost, and no more than 64 lines of it', () => {
  const chat = new Chat()
  const line = (n: number) => bytes({ id: `${n}`, message: 'x' })
  const sent = (n: number) => ({ bytes: line(n), atMs: n, to: ['ben'] })
  for (let n = 0; n < 65; n++) chat.sent(sent(n))
  const kept = chat.unsure(20_000)
  expect(kept.length).toBe(64)
  expect([kept[0], kept[63]], 'the newest').toEqual([sent(1), sent(64)])
  expect(chat.unsure(20_063)).toEqual([sent(64)])
  expect(chat.unsure(20_064)).toEqual([])
})
