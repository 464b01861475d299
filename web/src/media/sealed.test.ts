import { beforeEach, expect, it, vi } from 'vitest'

vi.mock('livekit-client/e2ee-worker?worker&url', () => ({ default: 'worker.js' }))

/** What has been ordered of the worker, in order. */
let orders: { kind: string; data: { uuid?: string } }[] = []

class FakeWorker extends EventTarget {
  postMessage(order: (typeof orders)[number]): void {
    orders.push(order)
  }
  terminate(): void {}
}

vi.stubGlobal('Worker', FakeWorker)
const { SealedWorker } = await import('./sealed.ts')

beforeEach(() => {
  orders = []
})

const request = (uuid: string) => ({
  kind: 'decryptDataRequest',
  data: { uuid, participantIdentity: 'ada' },
})

/** `EncryptedPacketPayload { user: UserPacket { payload: [7], topic: "t" } }`, opened. */
const answer = (uuid: string) => {
  const payload = new Uint8Array([0x0a, 6, 0x12, 1, 7, 0x22, 1, 0x74])
  return new MessageEvent('message', {
    data: { kind: 'decryptDataResponse', data: { uuid, payload } },
  })
}

const later = () => new Promise((resolve) => setTimeout(resolve))

it('asks to open a message once what came of the one before it is done', async () => {
  const worker = new SealedWorker()
  let steps: Promise<unknown> = Promise.resolve()
  worker.before = () => steps
  worker.onMessage = () => {
    // As the page makes a key of what it was told, which takes more than this task.
    steps = later().then(() => worker.postMessage({ kind: 'setKey', data: { key: {} } }))
  }
  // As the client: the next message is asked for as soon as the one before it has been answered.
  worker.addEventListener('message', () => worker.postMessage(request('2')), { once: true })
  worker.postMessage(request('1'))
  await later()
  worker.dispatchEvent(answer('1'))
  await later()
  await later()
  expect(orders.map(({ kind, data }) => [kind, data.uuid])).toEqual([
    ['decryptDataRequest', '1'],
    ['setKey', undefined],
    ['decryptDataRequest', '2'],
  ])
})

it('goes on asking when what came of a message has failed', async () => {
  const worker = new SealedWorker()
  worker.before = () => Promise.reject(new Error('no key'))
  worker.postMessage(request('1'))
  await later()
  expect(orders).toHaveLength(1)
})

it('hears of what was opened and of what could not be, and of nothing else', async () => {
  const worker = new SealedWorker()
  const heard: unknown[] = []
  worker.onMessage = ({ from, topic, payload }) => heard.push([from, topic, ...payload])
  worker.onUnreadable = (from) => heard.push(from)
  worker.postMessage(request('1'))
  worker.postMessage(request('2'))
  worker.dispatchEvent(answer('1'))
  worker.dispatchEvent(answer('1'))
  worker.dispatchEvent(
    new MessageEvent('message', { data: { kind: 'error', data: { uuid: '2' } } }),
  )
  expect(heard).toEqual([['ada', 't', 7], 'ada'])
})
