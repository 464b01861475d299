/** Reads single fields out of protobuf messages: enough for the one message the page opens. */

const WIRE_VARINT = 0
const WIRE_FIXED64 = 1
const WIRE_BYTES = 2
const WIRE_FIXED32 = 5

/** The last length-delimited field `number` of a message; `undefined` if absent or malformed. */
export function readBytesField(message: Uint8Array, number: number): Uint8Array | undefined {
  let found: Uint8Array | undefined
  let offset = 0
  while (offset < message.length) {
    const tag = readVarint(message, offset)
    if (!tag) return undefined
    const field = Math.floor(tag.value / 8)
    const wire = tag.value % 8
    const body = readBody(message, tag.next, wire)
    if (!body) return undefined
    if (field === number && wire === WIRE_BYTES) found = message.subarray(body.start, body.end)
    offset = body.end
  }
  return found
}

/** As `readBytesField`, decoded as UTF-8. */
export function readTextField(message: Uint8Array, number: number): string | undefined {
  const bytes = readBytesField(message, number)
  return bytes && new TextDecoder().decode(bytes)
}

function readBody(
  message: Uint8Array,
  at: number,
  wire: number,
): { start: number; end: number } | undefined {
  let start = at
  let end: number
  if (wire === WIRE_VARINT) {
    const value = readVarint(message, at)
    if (!value) return undefined
    end = value.next
  } else if (wire === WIRE_BYTES) {
    const length = readVarint(message, at)
    if (!length) return undefined
    start = length.next
    end = start + length.value
  } else if (wire === WIRE_FIXED64 || wire === WIRE_FIXED32) {
    end = at + (wire === WIRE_FIXED64 ? 8 : 4)
  } else {
    return undefined
  }
  return end <= message.length ? { start, end } : undefined
}

/** Ten bytes carry 64 bits; values beyond 2^53 lose precision, which only skipped fields have. */
function readVarint(message: Uint8Array, at: number): { value: number; next: number } | undefined {
  let value = 0
  for (let i = 0; i < 10; i++) {
    const byte = message[at + i]
    if (byte === undefined) return undefined
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return { value, next: at + i + 1 }
  }
  return undefined
}
