/**
 * One person's call: the room, its keys, its chat.
 *
 * Owns: the one `Room`, the encryption worker and the key ring, from joining to leaving.
 * Guarantees: nothing is published and nothing is said before the worker has confirmed that it
 * encrypts; media of somebody who sends any of it in the clear is never offered to a view.
 * Not here: elements. Views listen to `change`, and read.
 */
import {
  ConnectionState,
  DisconnectReason,
  type LocalParticipant,
  type LocalTrack,
  type Participant,
  ParticipantEvent,
  type RemoteParticipant,
  Room,
  RoomEvent,
  Track,
  type TrackPublication,
} from 'livekit-client'
import { type Invitation, keep } from './invitation.ts'
import { encodeAnnouncement, KeyRing, parseAnnouncement, randomKey, type Step } from './keyring.ts'
import { type Issue, type Lock, lockOf, type Trouble } from './lock.ts'
import { ChannelKeys, safetyNumber } from './media/channel_keys.ts'
import { captureOptions, type OwnTrack, publishOptions } from './media/devices.ts'
import { Receipt } from './media/receipt.ts'
import { type SealedMessage, SealedWorker } from './media/sealed.ts'

/** Where LiveKit's components look for chat: JSON of `id`, `timestamp` and `message`. */
const TOPIC_CHAT = 'lk-chat-topic'
const TOPIC_KEY = 'incamera.key'

const CHAT_LENGTH_MAX = 4_000
const CHAT_KEPT_MAX = 500
const MOMENTS_KEPT_MAX = 500
const LOOK_EVERY_MS = 1_000
const ENCRYPTION_TIMEOUT_MS = 10_000

export interface ChatLine {
  readonly from: string
  readonly isMine: boolean
  readonly atMs: number
  readonly text: string
}

/** Something that happened, and when on the page's clock: what tests and `incamera.moments` read. */
export interface Moment {
  readonly atMs: number
  readonly what: string
  readonly who?: string
}

/** One picture on the stage: a person, or a screen that they share. */
export interface Picture {
  readonly id: string
  readonly participant: Participant
  readonly source: Track.Source.Camera | Track.Source.ScreenShare
  /** To attach. `undefined` if there is none, it is muted, or must not be shown. */
  readonly track: Track | undefined
  readonly trouble: Trouble | undefined
}

type CallEvents = {
  /** Anything a view shows may have changed. */
  change: undefined
  chat: ChatLine
  /** A sentence worth saying aloud. */
  say: string
  end: DisconnectReason | undefined
}

export class Call {
  readonly room: Room
  readonly invitation: Invitation
  readonly chat: ChatLine[] = []
  readonly moments: Moment[] = []

  readonly #worker = new SealedWorker()
  readonly #keys: ChannelKeys
  readonly #ring: KeyRing
  readonly #receipt = new Receipt()
  readonly #listeners = new Map<keyof CallEvents, Set<(value: never) => void>>()
  /** Steps of the ring run one after the other. */
  #steps: Promise<void> = Promise.resolve()
  #isLeaving = false
  #wake: ReturnType<typeof setTimeout> | undefined
  #look: ReturnType<typeof setInterval> | undefined

  constructor(invitation: Invitation) {
    this.invitation = invitation
    this.#ring = new KeyRing(invitation.epoch, invitation.key)
    this.#keys = new ChannelKeys(invitation.cipher)
    this.#worker.onMessage = (message) => this.#receive(message)
    this.#worker.onUnreadable = (from) => {
      this.#emit('say', `A message from ${this.nameOf(from)} could not be decrypted.`)
    }
    this.room = new Room({
      encryption: { keyProvider: this.#keys, worker: this.#worker },
      adaptiveStream: true,
      dynacast: true,
      videoCaptureDefaults: captureOptions(invitation.camera),
      publishDefaults: {
        videoCodec: 'vp8',
        backupCodec: false,
        ...publishOptions(invitation.camera),
      },
    })
    this.#listen()
  }

  on<Name extends keyof CallEvents>(name: Name, listener: (value: CallEvents[Name]) => void): void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners.add(listener))
  }

  /** Joins the room. Resolves once connected and encrypting. */
  async connect(serverUrl: string): Promise<void> {
    this.mark('join')
    await this.#keys.start(this.invitation.epoch, this.invitation.key)
    await this.room.setE2EEEnabled(true)
    await this.room.connect(serverUrl, this.invitation.token)
    this.mark('connected')
    await this.#encryptionConfirmed()
    this.#look = setInterval(() => void this.#lookAtReceipt(), LOOK_EVERY_MS)
  }

  /** Publishes what the person has opened, and takes the name they gave. */
  async publish(tracks: readonly OwnTrack[]): Promise<void> {
    const options = publishOptions(this.invitation.camera)
    // livekit-client's own types disagree with each other under exactOptionalPropertyTypes.
    await Promise.all(tracks.map((track) => this.me.publishTrack(track as LocalTrack, options)))
    const { name } = this.invitation
    if (name && name !== this.me.name && this.me.permissions?.canUpdateMetadata)
      await this.me.setName(name)
  }

  async leave(): Promise<void> {
    this.#isLeaving = true
    await this.room.disconnect()
    // Who never got in has not been disconnected either.
    this.#worker.terminate()
  }

  get me(): LocalParticipant {
    return this.room.localParticipant
  }

  nameOf(identity: string): string {
    const participant = this.room.getParticipantByIdentity(identity)
    return participant ? displayName(participant) : identity
  }

  /** Everybody's pictures: shared screens first, then people in the order they came, oneself last. */
  pictures(): Picture[] {
    const others = [...this.room.remoteParticipants.values()]
    const people: Participant[] = [...others, this.me]
    const screens = people.flatMap((person) => {
      const publication = person.getTrackPublication(Track.Source.ScreenShare)
      return publication ? [this.#picture(person, Track.Source.ScreenShare, publication)] : []
    })
    const cameras = people.map((person) =>
      this.#picture(person, Track.Source.Camera, person.getTrackPublication(Track.Source.Camera)),
    )
    return [...screens, ...cameras]
  }

  /** Sounds to play: those of others, unless any of their media is in the clear. */
  sounds(): Track[] {
    return [...this.room.remoteParticipants.values()]
      .filter((person) => this.#troubleOf(person) !== 'not-encrypted')
      .flatMap((person) => [...person.audioTrackPublications.values()])
      .flatMap(({ track }) => (track ? [track] : []))
  }

  lock(): Lock {
    const issues = [...this.room.remoteParticipants.values()].flatMap((person) =>
      this.#issuesOf(person),
    )
    const mine = [...this.me.trackPublications.values()]
      .filter((publication) => !publication.isEncrypted)
      .map((publication) => issueOf('you', publication))
    return lockOf({
      cipher: this.invitation.cipher,
      isOn: this.room.isE2EEEnabled && this.me.isE2EEEnabled,
      issues: [...mine, ...issues],
    })
  }

  get epoch(): number {
    return this.#ring.epoch
  }

  get isRotating(): boolean {
    return this.#ring.rotating
  }

  safetyNumber(): Promise<string> {
    return safetyNumber(this.#ring.key)
  }

  /** The part of a link that a newcomer needs beside a token of their own. */
  invitationTail(): string {
    const { cipher } = this.invitation
    return `key=${encodeURIComponent(this.#ring.key)}&epoch=${this.#ring.epoch}&cipher=${cipher}`
  }

  /** The same for a call that begins anew, with a key that nobody here has and that goes to nobody by way of it. */
  strangeTail(): string {
    return `key=${encodeURIComponent(randomKey())}&cipher=${this.invitation.cipher}`
  }

  async sayToAll(text: string): Promise<void> {
    const message = text.trim().slice(0, CHAT_LENGTH_MAX)
    if (message === '') return
    const line = { id: crypto.randomUUID(), timestamp: Date.now(), message }
    await this.#send(TOPIC_CHAT, new TextEncoder().encode(JSON.stringify(line)))
    this.#addChat({ from: this.me.identity, isMine: true, atMs: line.timestamp, text: message })
  }

  /** Announces a fresh random key under the current one; all switch to it a moment later. */
  async rotate(): Promise<void> {
    const announcement = this.#ring.next(randomKey())
    await this.#send(TOPIC_KEY, encodeAnnouncement(announcement))
    this.mark('rotation announced')
    this.#carryOut(this.#ring.admit(announcement, performance.now()))
  }

  mark(what: string, who?: string): void {
    this.moments.push({ atMs: performance.now(), what, ...(who === undefined ? {} : { who }) })
    if (this.moments.length > MOMENTS_KEPT_MAX) this.moments.shift()
  }

  #picture(
    participant: Participant,
    source: Picture['source'],
    publication: TrackPublication | undefined,
  ): Picture {
    const trouble = participant.isLocal ? undefined : this.#troubleOf(participant)
    // What cannot be decrypted shows nothing, but stays attached: the client pauses what is not.
    const isHidden = publication?.isMuted || trouble === 'not-encrypted'
    const track = isHidden ? undefined : publication?.track
    return { id: `${participant.identity}/${source}`, participant, source, track, trouble }
  }

  /**
   * One track in the clear spoils all of its owner's: the worker decides by person, and would let
   * the server's frames through as they are.
   */
  #troubleOf(person: Participant): Trouble | undefined {
    const isClear = [...person.trackPublications.values()].some(
      (publication) => !publication.isEncrypted,
    )
    return isClear ? 'not-encrypted' : this.#receipt.troubleOf(person.identity)
  }

  #issuesOf(person: RemoteParticipant): Issue[] {
    const trouble = this.#troubleOf(person)
    if (trouble === undefined) return []
    const who = displayName(person)
    if (trouble !== 'not-encrypted') return [{ who, what: 'media', trouble }]
    return [...person.trackPublications.values()]
      .filter((publication) => !publication.isEncrypted)
      .map((publication) => issueOf(who, publication))
  }

  async #encryptionConfirmed(): Promise<void> {
    const giveUpAt = performance.now() + ENCRYPTION_TIMEOUT_MS
    while (!this.room.isE2EEEnabled) {
      if (performance.now() > giveUpAt) throw new Error('The encryption worker did not start.')
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    this.mark('encryption on')
    this.#emit('change', undefined)
  }

  /** Publishes data, sealed. The client would send it in the clear if encryption were off. */
  async #send(topic: string, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.room.isE2EEEnabled) throw new Error('Encryption is not on.')
    await this.me.publishData(payload, { reliable: true, topic })
  }

  #receive({ from, topic, payload }: SealedMessage): void {
    if (topic === TOPIC_CHAT) this.#receiveChat(from, payload)
    if (topic === TOPIC_KEY) this.#receiveKey(from, payload)
  }

  #receiveChat(from: string, payload: Uint8Array): void {
    const { message, timestamp } = parseObject(payload)
    if (typeof message !== 'string') return
    this.#addChat({
      from,
      isMine: false,
      atMs: typeof timestamp === 'number' ? timestamp : Date.now(),
      text: message.slice(0, CHAT_LENGTH_MAX),
    })
  }

  #receiveKey(from: string, payload: Uint8Array): void {
    const announcement = parseAnnouncement(payload)
    if (!announcement) return
    const steps = this.#ring.admit(announcement, performance.now())
    if (steps.length > 0) this.#emit('say', `${this.nameOf(from)} is changing the key.`)
    this.#carryOut(steps)
  }

  #addChat(line: ChatLine): void {
    this.chat.push(line)
    if (this.chat.length > CHAT_KEPT_MAX) this.chat.shift()
    this.#emit('chat', line)
  }

  #carryOut(steps: readonly Step[]): void {
    this.#steps = this.#steps.then(() => this.#keys.carryOut(steps))
    for (const step of steps) this.#note(step)
    clearTimeout(this.#wake)
    const wakeAtMs = this.#ring.wakeAtMs
    if (wakeAtMs !== undefined) {
      const wait = Math.max(0, wakeAtMs - performance.now())
      this.#wake = setTimeout(() => this.#carryOut(this.#ring.advance(performance.now())), wait)
    }
    this.#emit('change', undefined)
  }

  #note(step: Step): void {
    if (step.do === 'hold') this.mark('key held')
    if (step.do === 'drop') this.mark('key dropped')
    if (step.do === 'use') {
      this.mark('key used')
      keep({ ...this.invitation, key: step.key, epoch: step.epoch })
      this.#emit('say', `Key number ${step.epoch + 1} is in use.`)
    }
  }

  async #lookAtReceipt(): Promise<void> {
    if (await this.#receipt.look(this.room.remoteParticipants.values()))
      this.#emit('change', undefined)
  }

  #listen(): void {
    const changed = () => this.#emit('change', undefined)
    for (const event of CHANGES) this.room.on(event, changed)
    this.me.on(ParticipantEvent.TrackMuted, changed).on(ParticipantEvent.TrackUnmuted, changed)
    this.room
      .on(RoomEvent.ParticipantConnected, (person) => {
        this.#emit('say', `${displayName(person)} joined.`)
      })
      .on(RoomEvent.ParticipantDisconnected, (person) => {
        this.#receipt.forget(person.identity)
        this.mark('left', person.identity)
        this.#emit('say', `${displayName(person)} left.`)
      })
      .on(RoomEvent.TrackSubscribed, (track, _, person) => {
        this.mark(`subscribed ${track.source}`, person.identity)
      })
      .on(RoomEvent.TrackUnsubscribed, (track, _, person) => {
        this.mark(`unsubscribed ${track.source}`, person.identity)
      })
      .on(RoomEvent.EncryptionError, (error, participant) => {
        if (participant && error) this.#receipt.failed(participant.identity, error)
      })
      .on(RoomEvent.ConnectionStateChanged, (state) => this.#noteState(state))
      .on(RoomEvent.Disconnected, (reason) => this.#close(reason))
  }

  #noteState(state: ConnectionState): void {
    this.mark(state)
    if (state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting) {
      this.#emit('say', 'Reconnecting.')
    }
  }

  #close(reason: DisconnectReason | undefined): void {
    clearTimeout(this.#wake)
    clearInterval(this.#look)
    this.#worker.terminate()
    // The client also disconnects when the page is reloaded or closed; the person has not left then.
    const isPageGoing = reason === DisconnectReason.CLIENT_INITIATED && !this.#isLeaving
    if (!isPageGoing) this.#emit('end', reason)
  }

  #emit<Name extends keyof CallEvents>(name: Name, value: CallEvents[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      ;(listener as (value: CallEvents[Name]) => void)(value)
    }
  }
}

const CHANGES = [
  RoomEvent.ConnectionStateChanged,
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackStreamStateChanged,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
  RoomEvent.ActiveSpeakersChanged,
  RoomEvent.ConnectionQualityChanged,
  RoomEvent.ParticipantEncryptionStatusChanged,
  RoomEvent.AudioPlaybackStatusChanged,
] as const

export function displayName(participant: Participant): string {
  return participant.name || participant.identity
}

function issueOf(who: string, publication: TrackPublication): Issue {
  return { who, what: publication.source.replace('_', ' '), trouble: 'not-encrypted' }
}

function parseObject(bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
