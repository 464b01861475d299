/**
 * The encryption worker, watched: reports every data message that it has really opened.
 *
 * LiveKit's client hands plaintext data messages from the server to the page as if they had been
 * sealed, and no public field tells the two apart. The page acts on messages (a new key is one), so
 * it takes them from here and never from `RoomEvent.DataReceived`.
 *
 * Guarantees: `onMessage` sees only what the worker opened with a held key, and of each message before the worker is asked
 * to open the next. Who sent it is what the server says, as everywhere in LiveKit's format. Nothing that the client orders
 * of the worker lets media pass unsealed.
 * Source: `EncryptedPacketPayload` and `UserPacket` in livekit_models.proto.
 */
import type {
  DecryptDataRequestMessage,
  DecryptDataResponseMessage,
  ErrorMessage,
} from 'livekit-client'
import workerUrl from 'livekit-client/e2ee-worker?worker&url'
import { StrictOrders } from './order.ts'
import { readBytesField, readTextField } from './protobuf.ts'

export interface SealedMessage {
  readonly from: string
  readonly topic: string
  readonly payload: Uint8Array
}

const PAYLOAD_USER = 1
const USER_PAYLOAD = 2
const USER_TOPIC = 4

/** Messages asked of the worker and not answered yet: a bound against a flood of broken ones. */
const PENDING_MAX = 1024

/** The page's policy admits script addresses only through this one gate. */
const TRUSTED_WORKER_URL: unknown = (
  (globalThis as { trustedTypes?: TrustedTypePolicyFactory }).trustedTypes?.createPolicy(
    'incamera',
    {
      createScriptURL: (url) => (url === workerUrl ? url : 'about:blank'),
    },
  ) ?? { createScriptURL: (url: string) => url }
).createScriptURL(workerUrl)

export class SealedWorker extends Worker {
  onMessage: (message: SealedMessage) => void = () => {}
  /** Somebody's data message could not be opened. */
  onUnreadable: (from: string) => void = () => {}
  /** Until the page is done with the messages so far: the next may be sealed with a key that one of them brings. */
  before: () => Promise<unknown> = () => Promise.resolve()

  readonly #senders = new Map<string, string>()
  #orders = new StrictOrders()

  constructor() {
    super(TRUSTED_WORKER_URL as string, { type: 'module', name: 'incamera-e2ee' })
    this.addEventListener('message', ({ data }: MessageEvent<Answer>) => this.#observe(data))
  }

  override postMessage(
    message: unknown,
    options?: Transferable[] | StructuredSerializeOptions,
  ): void {
    const order = this.#orders.next(message)
    if (order === undefined) return
    const post = () => super.postMessage(order, options as StructuredSerializeOptions)
    const request = order as DecryptDataRequestMessage
    if (request.kind === 'decryptDataRequest') {
      if (this.#senders.size < PENDING_MAX)
        this.#senders.set(request.data.uuid, request.data.participantIdentity)
      // The client asks for one after the other, so that they stay in order.
      void this.before().then(post, post)
    } else post()
  }

  override terminate(): void {
    super.terminate()
    // The client keeps its worker, and with these the whole call.
    this.onMessage = this.onUnreadable = () => {}
    this.before = () => Promise.resolve()
    this.#senders.clear()
    this.#orders = new StrictOrders()
  }

  #observe(answer: Answer): void {
    if (answer.kind !== 'decryptDataResponse' && answer.kind !== 'error') return
    const from = this.#senders.get(answer.data.uuid ?? '')
    if (from === undefined) return
    this.#senders.delete(answer.data.uuid ?? '')
    if (answer.kind === 'error') this.onUnreadable(from)
    else this.#open(from, answer.data.payload)
  }

  #open(from: string, bytes: Uint8Array): void {
    const user = readBytesField(bytes, PAYLOAD_USER)
    const payload = user && readBytesField(user, USER_PAYLOAD)
    if (user && payload)
      this.onMessage({ from, topic: readTextField(user, USER_TOPIC) ?? '', payload })
  }
}

type Answer = DecryptDataResponseMessage | ErrorMessage

/** The part of the Trusted Types API used here; the compiler's DOM library has none. */
interface TrustedTypePolicyFactory {
  createPolicy(
    name: string,
    rules: { createScriptURL: (url: string) => string },
  ): { createScriptURL: (url: string) => unknown }
}
