import { ConnectionError, DisconnectReason } from 'livekit-client'
import { expect, it } from 'vitest'
import {
  callEnd,
  DistrustError,
  deviceFailure,
  InterruptedError,
  isThisMachine,
  joinFailure,
  listOf,
  NotPermittedError,
  notDone,
  notTaken,
  screenFailure,
} from './words.ts'

it('a refused token is not worth another try, an unreachable server is', () => {
  const refused = joinFailure(ConnectionError.notAllowed('no', 401))
  expect(refused).toMatchObject({ title: 'This link does not let you in', mayRetry: false })
  const unreachable = joinFailure(ConnectionError.serverUnreachable('gone'))
  expect(unreachable).toMatchObject({ title: 'The room cannot be reached', mayRetry: true })
  const words = 'could not establish signal connection: the room is full\n'
  const full = joinFailure(ConnectionError.notAllowed(words, 403))
  expect(full).toMatchObject({ text: 'The room is full.', mayRetry: true })
  const busy = joinFailure(ConnectionError.internal('odd', { status: 503 }))
  expect(busy).toMatchObject({ title: 'The server takes nobody just now', mayRetry: true })
  expect(joinFailure(ConnectionError.internal('odd', { status: 500 })).text).toBe('odd')
  expect(joinFailure(new Error('odd'))).toMatchObject({ text: 'odd', mayRetry: true })
})

it('every end of a call has its words', () => {
  expect(callEnd(DisconnectReason.CLIENT_INITIATED).title).toBe('You have left')
  expect(callEnd(DisconnectReason.DUPLICATE_IDENTITY).mayRetry).toBe(false)
  expect(callEnd(DisconnectReason.PARTICIPANT_REMOVED).title).toBe('You were removed')
  expect(callEnd(DisconnectReason.ROOM_DELETED).title).toBe('The room was closed')
  expect(callEnd(DisconnectReason.SERVER_SHUTDOWN).mayRetry).toBe(true)
  expect(callEnd(undefined)).toMatchObject({ title: 'The connection was lost', mayRetry: true })
})

it('who leaves is told where the key still is', () => {
  const { text } = callEnd(DisconnectReason.CLIENT_INITIATED)
  expect(text).toMatch(/page has forgotten the key.*browser’s history/)
})

it('who runs a server is spoken to on its own machine only', () => {
  for (const here of ['localhost', '127.0.0.1', '127.1.2.3', '[::1]'])
    expect(isThisMachine(here)).toBe(true)
  for (const elsewhere of [
    'calls.example.org',
    '127.example.org',
    '192.168.1.20',
    '[2001:db8::1]',
    '',
  ])
    expect(isThisMachine(elsewhere)).toBe(false)
})

it('device troubles are told apart', () => {
  const named = (name: string) => deviceFailure(new DOMException('', name))
  const words = [
    named('NotAllowedError'),
    named('NotFoundError'),
    named('NotReadableError'),
    named('X'),
  ]
  expect(new Set(words).size).toBe(4)
})

it('names are listed as people say them', () => {
  expect(listOf([])).toBe('')
  expect(listOf(['Ada'])).toBe('Ada')
  expect(listOf(['Ada', 'Ben'])).toBe('Ada and Ben')
  expect(listOf(['Ada', 'Ben', 'Cy'])).toBe('Ada, Ben and 1 other')
  expect(listOf(['Ada', 'Ben', 'Cy', 'Di'])).toBe('Ada, Ben and 2 others')
})

it('what the server did not take is named, and no more than that', () => {
  expect(notTaken(true, true)).toMatch(/camera and microphone .* neither see nor hear/)
  expect(notTaken(true, false)).toMatch(/^Your camera .* off: others do not see you\.$/)
  expect(notTaken(false, true)).toMatch(/^Your microphone .* off: others do not hear you\.$/)
})

it('a server that is left of the page’s own accord is no matter of trying again', () => {
  for (const why of ['renamed', 'unsealed'] as const) {
    expect(joinFailure(new DistrustError(why))).toEqual(callEnd(why))
    expect(callEnd(why)).toMatchObject({ mayRetry: false })
  }
})

it('what is not said while the connection is interrupted is told as such', () => {
  const what = 'The message could not be sent'
  expect(notDone(what, new InterruptedError())).toMatch(/^The message .* sent: .* interrupted\./)
  expect(notDone(what, new Error('odd'))).toBe('The message could not be sent. Try again.')
})

it('what is not said because it would reach nobody is told as such', () => {
  expect(notDone('The key could not be changed', new NotPermittedError())).toMatch(
    /^The key .* changed: your link does not allow it\.$/,
  )
})

it('who chooses no screen is not told about cameras', () => {
  const closed = new DOMException('no', 'NotAllowedError')
  expect(screenFailure(closed)).toMatch(/^Nothing is shared/)
  expect(deviceFailure(closed)).toMatch(/camera and microphone/)
  expect(screenFailure(new DOMException('no', 'NotReadableError'))).toMatch(/Another program/)
})
