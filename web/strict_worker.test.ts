import { readFileSync } from 'node:fs'
import { afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { strict } from './strict_worker.ts'

const FILE = './node_modules/livekit-client/dist/livekit-client.e2ee.worker.mjs'
const PINNED = readFileSync(new URL(FILE, import.meta.url), 'utf8')

/** What the worker takes for a sound: ten bytes, which begin with one that is never sealed. */
class Sound {
  data: ArrayBuffer = Uint8Array.from([120, 1, 2, 3, 4, 5, 6, 7, 8, 9]).buffer
  timestamp = 960

  getMetadata(): object {
    return { synchronizationSource: 7 }
  }
}

type Order = (event: { data: { kind: string; data: object } }) => void

/** Whose encryption is turned on to have an answer. */
const NOBODY = 'nobody'

/** A worker's whole world, in this process: `text` run anew, its orders given by `order`. */
class World {
  #order: Order = () => {}
  #answered = () => {}

  static async of(text: string): Promise<World> {
    const world = new World()
    vi.stubGlobal('self', globalThis)
    vi.stubGlobal('onmessage', undefined)
    vi.stubGlobal('RTCEncodedVideoFrame', class {})
    vi.stubGlobal('postMessage', ({ data }: { data?: { participantIdentity?: string } }) => {
      if (data?.participantIdentity === NOBODY) world.#answered()
    })
    const unique = `${text}\n// ${crypto.randomUUID()}`
    await import(`data:text/javascript;base64,${Buffer.from(unique).toString('base64')}`)
    world.#order = (globalThis as unknown as { onmessage: Order }).onmessage
    world.order('init', {
      loglevel: 5,
      keyProviderOptions: {
        sharedKey: true,
        ratchetSalt: 'LKFrameEncryptionKey',
        ratchetWindowSize: 0,
        failureTolerance: -1,
        keyringSize: 16,
        keySize: 128,
      },
    })
    return world
  }

  order(kind: string, data: object): void {
    this.#order({ data: { kind, data } })
  }

  enable(participantIdentity: string, enabled: boolean): void {
    this.order('enable', { participantIdentity, enabled })
  }

  /** Waits until the worker has done all that it was ordered: it takes one order after the other. */
  settle(): Promise<void> {
    const answered = new Promise<void>((resolve) => {
      this.#answered = resolve
    })
    this.enable(NOBODY, true)
    return answered
  }

  async hold(key: string): Promise<void> {
    const text = new TextEncoder().encode(key)
    const material = await crypto.subtle.importKey('raw', text, 'PBKDF2', false, [
      'deriveBits',
      'deriveKey',
    ])
    this.order('setKey', { key: material, keyIndex: 0, updateCurrentKeyIndex: true })
  }

  /** What comes of frames that go through as `kind`, with what happens between them. */
  async through(
    kind: 'encode' | 'decode',
    who: string,
    frames: (Sound | (() => void))[],
    trackId = `${kind} of ${who}`,
  ): Promise<Sound[]> {
    const left = [...frames]
    const passed: Sound[] = []
    let end = () => {}
    const isOver = new Promise<void>((resolve) => {
      end = resolve
    })
    this.order(kind, {
      participantIdentity: who,
      trackId,
      hasPacketTrailer: false,
      readableStream: new ReadableStream(
        {
          // Each once the worker is through with the one before.
          pull: async (controller) => {
            for (;;) {
              const next = left.shift()
              if (next === undefined) return controller.close()
              if (next instanceof Sound) return controller.enqueue(next)
              next()
              await this.settle()
            }
          },
        },
        { highWaterMark: 0 },
      ),
      writableStream: new WritableStream<Sound>({
        write: (frame) => {
          passed.push(frame)
        },
        close: () => end(),
      }),
    })
    await isOver
    return passed
  }
}

let world: World
let log: { mockRestore(): void }
beforeAll(() => {
  expect(strict(PINNED)).not.toBe(PINNED)
})
beforeEach(async () => {
  log = vi.spyOn(console, 'error').mockImplementation(() => {})
  world = await World.of(strict(PINNED))
})
afterEach(() => {
  log.mockRestore()
  vi.unstubAllGlobals()
})

it('sends nothing of somebody for whom it was not turned on, or was turned off', async () => {
  await world.hold('a channel key of length')
  expect(await world.through('encode', 'ada', [new Sound()])).toEqual([])
  world.enable('ada', false)
  expect(await world.through('encode', 'ada', [new Sound()])).toEqual([])
})

it('sends nothing without a key', async () => {
  world.enable('ada', true)
  expect(await world.through('encode', 'ada', [new Sound()])).toEqual([])
})

it('plays nothing that it has not opened, whatever it was told of its sender', async () => {
  await world.hold('a channel key of length')
  expect(await world.through('decode', 'eve', [new Sound()])).toEqual([])
  world.enable('eve', false)
  expect(await world.through('decode', 'eve', [new Sound()])).toEqual([])
  world.enable('eve', true)
  expect(await world.through('decode', 'eve', [new Sound()])).toEqual([])
})

it('seals and opens', async () => {
  await world.hold('a channel key of length')
  world.enable('ada', true)
  const sealed = await world.through('encode', 'ada', [new Sound(), new Sound()])
  expect(sealed.map(({ data }) => data.byteLength)).toEqual([40, 40])
  world.enable('ben', true)
  const opened = await world.through('decode', 'ben', sealed)
  expect(opened.map(({ data }) => [...new Uint8Array(data)])).toEqual(
    [0, 1].map(() => [...new Uint8Array(new Sound().data)]),
  )
})

it('sends nothing in the clear once a track of another with the same id has come and gone', async () => {
  const act = async (of: World) => {
    await of.hold('a channel key of length')
    of.enable('ada', true)
    of.enable('eve', true)
    const come = () => void of.through('decode', 'eve', [], 'the same')
    const go = () =>
      of.order('removeTransform', { participantIdentity: 'eve', trackId: 'the same' })
    return of.through(
      'encode',
      'ada',
      [new Sound(), come, new Sound(), go, new Sound()],
      'the same',
    )
  }
  const lengths = (frames: Sound[]) => frames.map(({ data }) => data.byteLength)
  expect(lengths(await act(world))).toEqual([40, 40])
  expect(lengths(await act(await World.of(PINNED))), 'as LiveKit has it').toEqual([40, 40, 10])
})

it('as LiveKit has it, passes on what is not sealed: this test sees it', async () => {
  const lax = await World.of(PINNED)
  await lax.hold('a channel key of length')
  expect(await lax.through('encode', 'ada', [new Sound()])).toHaveLength(1)
  lax.enable('eve', false)
  expect(await lax.through('decode', 'eve', [new Sound()])).toHaveLength(1)
})

it('ends the build if the worker is another one', () => {
  expect(() => strict(PINNED.replace('if (!this.isEnabled()) {', 'if (!this.isOn()) {'))).toThrow()
  expect(() => strict(strict(PINNED))).toThrow()
  const more = `${PINNED}\nfunction pass(controller, frame) { controller.enqueue(frame) }`
  expect(() => strict(more)).toThrow()
})
