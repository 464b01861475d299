/**
 * LiveKit's own worker, unmodified, between taps: each frame of a track is sealed by one side, sent, and opened by the
 * other. One of the two is LiveKit's worker, imported below; the other is asked by HTTP (`/judge`).
 *
 * Per track, `sealedBy` says which: the plain frame and what the opener made of it must be the same bytes. Every hundredth
 * frame is offered with one bit flipped and must be refused; the decoder misses it and has the encoder make a key frame.
 * Half way both ends change to another key.
 */
import '/livekit-client.e2ee.worker.mjs'

/** What LiveKit's worker listens to. */
const livekit = self.onmessage
const tell = (kind, data) => livekit({ data: { kind, data } })

const TRAILER_LEN = 14
const HEAD_LEN = 11
const FLIP_EVERY = 100
const WHAT = { opus: 0, vp8: 1, vp9: 2, h264: 3, data: 5 }

let keyLen
/** By track. */
const cells = new Map()
/** Who waits for which answer of LiveKit's worker. */
const requests = new Map()

self.onmessage = async ({ data: { id, kind, ...data } }) => {
  const answers = { start, rotate, report, exchangeData }
  self.postMessage({ id, answer: await answers[kind](data) })
}
const postToPage = self.postMessage.bind(self)
self.postMessage = (message) => {
  // LiveKit's answers to what is asked below; its log and acknowledgements are nobody's.
  if (message.id !== undefined) return postToPage(message)
  const { uuid } = message.data ?? {}
  if (uuid === undefined) return
  requests.get(uuid)?.(message)
  requests.delete(uuid)
}

/** The keys, by index. The first seals until `rotate`, both open. */
let keys

async function start({ passphrases, keySize }) {
  keyLen = keySize / 8
  const keyProviderOptions = {
    sharedKey: true,
    ratchetSalt: 'LKFrameEncryptionKey',
    ratchetWindowSize: 0,
    failureTolerance: -1,
    keyringSize: 16,
    keySize,
  }
  tell('init', { keyProviderOptions, loglevel: 'silent' })
  keys = await Promise.all(
    passphrases.map((passphrase) =>
      crypto.subtle.importKey('raw', new TextEncoder().encode(passphrase), 'PBKDF2', false, [
        'deriveBits',
        'deriveKey',
      ]),
    ),
  )
  setKey(0, true)
  setKey(1, false)
  tell('enable', { participantIdentity: 'ada', enabled: true })
  // It works through its messages in order: once this is answered, the keys are there.
  await askLivekit('encryptDataRequest', { payload: new Uint8Array(1) })
}

function setKey(keyIndex, updateCurrentKeyIndex) {
  tell('setKey', { isPublisher: true, key: keys[keyIndex], keyIndex, updateCurrentKeyIndex })
}

/** Both ends seal with the second key from now on. */
async function rotate() {
  setKey(1, true)
  await judge('k', 'data', new Uint8Array([1]))
}

function cellOf({ track, codec, sealedBy }) {
  if (!cells.has(track)) {
    const names = [
      'encoded',
      'keys',
      'sent',
      'rotated',
      'arrived',
      'same',
      'different',
      'refused',
      'flipped',
      'flippedOpened',
    ]
    const counts = Object.fromEntries(names.map((name) => [name, 0]))
    cells.set(track, { track, codec, sealedBy, counts, plain: new Map(), problems: [] })
  }
  return cells.get(track)
}

const report = () => [...cells.values()].map(({ plain, ...cell }) => cell)

/** What a sealed frame can be known again by: its IV. */
const mark = (sealed) => new Uint8Array(sealed).subarray(-TRAILER_LEN).join()
const isSame = (one, other) =>
  one.byteLength === other.byteLength &&
  new Uint8Array(one).every((byte, at) => byte === new Uint8Array(other)[at])

function flipped(sealed) {
  const copy = new Uint8Array(sealed.slice(0))
  copy[Math.max(0, copy.length - TRAILER_LEN - 5)] ^= 4
  return copy.buffer
}

const unasked = []
let isAsking = false

/** Has the judge seal or open `bytes`; what it refuses is null. What comes while it is busy goes together. */
function judge(operation, what, bytes, ssrc = 0, timestamp = 0) {
  const request = new Uint8Array(4 + HEAD_LEN + bytes.byteLength)
  const view = new DataView(request.buffer)
  view.setUint32(0, HEAD_LEN + bytes.byteLength)
  request.set([operation.charCodeAt(0), WHAT[what], keyLen], 4)
  view.setUint32(7, ssrc)
  view.setUint32(11, timestamp)
  request.set(new Uint8Array(bytes), 4 + HEAD_LEN)
  return new Promise((resolve) => {
    unasked.push({ request, resolve })
    if (!isAsking) askAll()
  })
}

async function askAll() {
  isAsking = true
  while (unasked.length > 0) {
    const asked = unasked.splice(0)
    const body = new Blob(asked.map(({ request }) => request))
    const reply = await (await fetch('/judge', { method: 'POST', body })).arrayBuffer()
    let at = 0
    for (const { resolve } of asked) {
      const end = at + 4 + new DataView(reply).getUint32(at)
      const isRefused = new Uint8Array(reply)[at + 4] !== 0
      resolve(isRefused ? null : reply.slice(at + 5, end))
      at = end
    }
  }
  isAsking = false
}

/** Runs LiveKit's cryptor over a stream: returns what comes out. */
function throughLivekit(kind, readable, { track, codec }) {
  const out = new TransformStream()
  tell(kind, {
    participantIdentity: 'ada',
    trackId: `${track}-${kind}`,
    readableStream: readable,
    writableStream: out.writable,
    codec: codec === 'opus' ? undefined : codec,
    hasPacketTrailer: false,
  })
  return out.readable
}

const tap = (each) => new TransformStream({ transform: each })

self.onrtctransform = ({ transformer }) => {
  const { readable, writable, options } = transformer
  const cell = cellOf(options)
  const run = options.side === 'sender' ? send : receive
  run(cell, readable).pipeTo(writable)
}

function send(cell, readable) {
  const { codec, counts, plain, sealedBy } = cell
  const encoded = (frame) => {
    if (frame.data.byteLength > 0) counts.encoded += 1
    if (frame.type === 'key') counts.keys += 1
    return frame.data.slice(0)
  }
  const sent = (frame, bytes) => {
    counts.sent += 1
    if (new Uint8Array(frame.data).at(-1) === 1) counts.rotated += 1
    plain.set(mark(frame.data), bytes)
  }
  if (sealedBy === 'livekit') {
    const before = new WeakMap()
    const noted = readable.pipeThrough(
      tap((frame, stream) => {
        before.set(frame, encoded(frame))
        stream.enqueue(frame)
      }),
    )
    return throughLivekit('encode', noted, cell).pipeThrough(
      tap((frame, stream) => {
        if (frame.data.byteLength > 0) sent(frame, before.get(frame))
        stream.enqueue(frame)
      }),
    )
  }
  return readable.pipeThrough(
    tap(async (frame, stream) => {
      const bytes = encoded(frame)
      const { synchronizationSource } = frame.getMetadata()
      if (bytes.byteLength > 0) {
        const sealed = await judge('s', codec, bytes, synchronizationSource, frame.timestamp)
        if (sealed === null) {
          counts.refused += 1
          return
        }
        frame.data = sealed
        sent(frame, bytes)
      }
      stream.enqueue(frame)
    }),
  )
}

function receive(cell, readable) {
  const { codec, counts, plain, sealedBy, problems } = cell
  const expected = new WeakMap()
  const compare = (opened, bytes, sealed) => {
    if (opened !== null && isSame(opened, bytes)) {
      counts.same += 1
      return
    }
    counts[opened === null ? 'refused' : 'different'] += 1
    if (problems.length < 3)
      problems.push({ plain: hex(bytes), sealed: hex(sealed), opened: opened && hex(opened) })
  }
  const arrived = readable.pipeThrough(
    tap((frame, stream) => {
      const sealed = frame.data
      const bytes = plain.get(mark(sealed))
      // What was not sealed here is no frame: a codec's padding.
      if (bytes === undefined) return
      plain.delete(mark(sealed))
      counts.arrived += 1
      const isFlipped = counts.arrived % FLIP_EVERY === 0
      if (sealedBy === 'livekit') {
        if (isFlipped) {
          counts.flipped += 1
          judge('o', codec, flipped(sealed)).then((opened) => {
            if (opened !== null) counts.flippedOpened += 1
          })
        }
        const copy = sealed.slice(0)
        judge('o', codec, copy).then((opened) => compare(opened, bytes, copy))
        if (isFlipped) return
      } else {
        expected.set(frame, { bytes, sealed: sealed.slice(0), isFlipped })
        if (isFlipped) {
          counts.flipped += 1
          frame.data = flipped(sealed)
        }
      }
      stream.enqueue(frame)
    }),
  )
  return throughLivekit('decode', arrived, cell).pipeThrough(
    tap((frame, stream) => {
      const wanted = expected.get(frame)
      if (wanted?.isFlipped) counts.flippedOpened += 1
      else if (wanted) compare(frame.data, wanted.bytes, wanted.sealed)
      stream.enqueue(frame)
    }),
  )
}

const hex = (bytes) =>
  [...new Uint8Array(bytes).subarray(0, 64)]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')

/** Has LiveKit's worker encrypt or decrypt the payload of a data packet. */
function askLivekit(kind, data) {
  const uuid = crypto.randomUUID()
  return new Promise((resolve) => {
    requests.set(uuid, (message) => resolve(message.kind === 'error' ? null : message.data))
    tell(kind, { uuid, participantIdentity: 'ada', ...data })
  })
}

/** Data packets both ways: how many came back the same, and how many twice. */
async function exchangeData({ count }) {
  const random = (length) => crypto.getRandomValues(new Uint8Array(length))
  const payloads = Array.from({ length: count }, (_, number) => random(number % 300))
  const countSame = (opened) =>
    opened.filter((bytes, at) => bytes !== null && isSame(bytes, payloads[at])).length

  const theirs = await Promise.all(
    payloads.map((payload) => askLivekit('encryptDataRequest', { payload })),
  )
  const packets = theirs.map(
    ({ keyIndex, iv, payload }) => new Uint8Array([keyIndex, ...iv, ...payload]),
  )
  const openAll = () => Promise.all(packets.map((packet) => judge('o', 'data', packet)))
  const [opened, again] = [await openAll(), await openAll()]

  const seal = (payload, now) =>
    judge('s', 'data', payload, new DataView(random(4).buffer).getUint32(0), now)
  const ours = await Promise.all(payloads.map(seal))
  const decrypted = ours.map((reply) => {
    const [keyIndex, ...rest] = new Uint8Array(reply)
    const [iv, payload] = [rest.slice(0, 12), rest.slice(12)].map((bytes) => new Uint8Array(bytes))
    return askLivekit('decryptDataRequest', { keyIndex, iv, payload })
  })
  const payloadOf = (answer) => answer?.payload ?? null
  return {
    livekit: countSame(opened),
    rust: countSame((await Promise.all(decrypted)).map(payloadOf)),
    replaysOpened: again.filter((bytes) => bytes !== null).length,
  }
}
