import { describe, expect, it } from 'vitest'
import { readBytesField, readTextField } from './protobuf.ts'

/** `UserPacket { payload: "hi", topic: "t", id: "x", start_time: 300 }`, by hand. */
const PACKET = Uint8Array.from([
  0x12, 2, 0x68, 0x69, 0x22, 1, 0x74, 0x42, 1, 0x78, 0x48, 0xac, 0x02,
])

describe('a field', () => {
  it('is found among others', () => {
    expect(readTextField(PACKET, 2)).toBe('hi')
    expect(readTextField(PACKET, 4)).toBe('t')
    expect(readTextField(PACKET, 8)).toBe('x')
  })

  it('is undefined when absent or of another type', () => {
    expect(readBytesField(PACKET, 3)).toBeUndefined()
    expect(readBytesField(PACKET, 9)).toBeUndefined()
  })

  it('given twice counts as given last', () => {
    expect(readTextField(Uint8Array.from([0x12, 1, 0x61, 0x12, 1, 0x62]), 2)).toBe('b')
  })

  it('may be longer than 127 bytes', () => {
    const long = Uint8Array.from([0x12, 0xac, 0x02, ...new Uint8Array(300).fill(0x61)])
    expect(readTextField(long, 2)).toBe('a'.repeat(300))
  })
})

it('truncated messages are refused at every length that cuts a field', () => {
  for (const length of [1, 2, 3, 5, 8, 11, 12]) {
    expect(readBytesField(PACKET.subarray(0, length), 4), `${length} bytes`).toBeUndefined()
  }
})

it.each([
  [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x13],
  [0x14],
  [0x11, 1, 2, 3],
])('%j is refused', (...bytes) => {
  expect(readBytesField(Uint8Array.from(bytes), 2)).toBeUndefined()
})
