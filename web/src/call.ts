/**
 * One person's call: the room, its keys, its chat.
 *
 * Owns: the one `Room`, the encryption worker and the key ring, from joining to leaving.
 * Guarantees: nothing is published and nothing is said before the worker has confirmed that it
 * encrypts, nor under another identity than the link's; media of somebody who sends any of it in the clear is never
 * offered to a view.
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
  TrackEvent,
  type TrackPublication,
  type TrackPublishOptions,
} from 'livekit-client'
import { Chat, type ChatLine } from './chat.ts'
import { type Invitation, keep } from './invitation.ts'
import {
  type Announcement,
  encodeAnnouncement,
  indexOf,
  KeyRing,
  parseAnnouncement,
  randomKey,
  type Step,
  USE_AFTER_MS,
} from './keyring.ts'
import { type Issue, type Lock, lockOf, type Trouble } from './lock.ts'
import { addressOutside } from './media/addressed.ts'
import { ChannelKeys, safetyNumber } from './media/channel_keys.ts'
import { captureOptions, type OwnTrack, publishOptions } from './media/devices.ts'
import { Pulse } from './media/pulse.ts'
import { Receipt } from './media/receipt.ts'
import { type SealedMessage, SealedWorker } from './media/sealed.ts'
import { shutReceivers } from './media/shut.ts'
import { hasTransform, isSealed } from './media/transform.ts'
import { type Distrust, DistrustError, InterruptedError, NotPermittedError } from './words.ts'

/** Where LiveKit's components look for chat: JSON of `id`, `timestamp` and `message`. */
const TOPIC_CHAT = 'lk-chat-topic'
const TOPIC_KEY = 'incamera.key'

const MOMENTS_KEPT_MAX = 500
const LOOK_EVERY_MS = 1_000
/** The announcement of a key may come after media that is sealed with it. */
const LOOKS_BEHIND = 5
/** Whoever has no key can send what cannot be opened as fast as they like. */
const UNREADABLE_TOLD_EVERY_MS = 60_000
/** While it is not known whether the server has what this page has announced. */
const PULSE_EVERY_MS = 250
const SETTLED_EVERY_MS = 50
const ENCRYPTION_TIMEOUT_MS = 10_000
/** A page that goes is gone by then. */
const PAGE_GONE_AFTER_MS = 2_000

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

/** What one turns on and off. */
export type OwnSource = Track.Source.Microphone | Picture['source']

const OWN_SOURCES = [
  Track.Source.Microphone,
  Track.Source.Camera,
  Track.Source.ScreenShare,
] as const

type CallEvents = {
  /** Anything a view shows may have changed. */
  change: undefined
  chat: ChatLine
  /** A sentence worth saying aloud. */
  say: string
  /** One worth showing, too. */
  warn: string
  end: DisconnectReason | Distrust | undefined
}

export class Call {
  readonly room: Room
  readonly invitation: Invitation
  readonly moments: Moment[] = []

  readonly #worker = new SealedWorker()
  readonly #keys: ChannelKeys
  readonly #ring: KeyRing
  readonly #receipt = new Receipt()
  readonly #chat = new Chat()
  readonly #listeners = new Map<keyof CallEvents, Set<(value: never) => void>>()
  /** Steps of the ring run one after the other. */
  #steps: Promise<void> = Promise.resolve()
  /** What this page has announced itself and does not use yet. */
  #announced: Announcement | undefined
  /** It is being said again, under the key before it, which is not left meanwhile. */
  #isAnnouncing = false
  /** Since the announcement. */
  readonly #pulse = new Pulse()
  /** The session in which all that was said recently has been said. */
  #sid: string | undefined
  /** When the connection was seen to be gone, until it is back. */
  #lostAtMs: number | undefined
  /** Whose announcements of a key were not of now: that they use another tells nothing of us. */
  readonly #mistimed = new Set<string>()
  /** Looks in a row at which all who send had a later key. */
  #looksBehind = 0
  #unreadableToldAtMs = -UNREADABLE_TOLD_EVERY_MS
  /** What was open before the call, until the server has answered for it, and whether it is to be on. */
  readonly #coming = new Map<Track.Source, { readonly track: OwnTrack; isOn: boolean }>()
  #isLeaving = false
  /** Why this call cannot go on with this server. */
  #distrust: Distrust | undefined
  readonly #pageGoes = () => void this.room.disconnect()
  #wake: ReturnType<typeof setTimeout> | undefined
  #look: ReturnType<typeof setInterval> | undefined

  /** `identity` is the token's. */
  constructor(invitation: Invitation, identity: string) {
    this.invitation = invitation
    this.#ring = new KeyRing(invitation.epoch, invitation.key)
    this.#keys = new ChannelKeys(invitation.cipher)
    this.#worker.onMessage = (message) => this.#receive(message)
    this.#worker.onUnreadable = (from) => this.#tellUnreadable(from)
    this.#worker.before = () => this.#steps
    shutReceivers(this.#worker)
    const encryption = { keyProvider: this.#keys, worker: this.#worker }
    this.room = new Room({
      encryption,
      // By this one alone the client does without layers in Safari before 17.2, which mixes them up when they are sealed.
      e2ee: encryption,
      // At `beforeunload` it would leave, too, which a download fires and a navigation that comes to nothing.
      disconnectOnPageLeave: false,
      adaptiveStream: true,
      dynacast: true,
      videoCaptureDefaults: captureOptions(invitation.camera),
      publishDefaults: {
        videoCodec: 'vp8',
        backupCodec: false,
        ...publishOptions(invitation.camera),
      },
    })
    pinIdentity(this.me, identity, () => this.#refuse('renamed'))
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
    const failure: unknown = await this.room.connect(serverUrl, this.invitation.token).then(
      () => undefined,
      (error) => error,
    )
    // Leaving ends the joining with another failure than its reason.
    if (this.#distrust) throw new DistrustError(this.#distrust)
    if (failure !== undefined) throw failure
    this.mark('connected')
    addressOutside(this.room.engine)
    await this.#encryptionConfirmed()
    this.#look = setInterval(() => void this.#lookAtReceipt(), LOOK_EVERY_MS)
  }

  /** Publishes what the person has opened. Closes and returns what the server does not take. */
  async publish(tracks: readonly OwnTrack[]): Promise<OwnTrack[]> {
    const options = publishOptions(this.invitation.camera)
    const outcomes = await Promise.allSettled(tracks.map((track) => this.#publish(track, options)))
    const refused = tracks.filter((_, number) => outcomes[number]?.status === 'rejected')
    for (const track of refused) track.stop()
    return refused
  }

  /** Whether one's camera, microphone or screen is on: sent, or about to be. */
  isOn(source: OwnSource): boolean {
    const coming = this.#coming.get(source)
    if (coming) return coming.isOn
    return this.me.getTrackPublication(source)?.isMuted === false
  }

  /**
   * Turns one's camera, microphone or screen on or off. Of one that is still to be published the client knows nothing: it
   * would open a second one.
   */
  async turn(source: OwnSource, isOn: boolean): Promise<void> {
    const coming = this.#coming.get(source)
    if (coming) {
      coming.isOn = isOn
      coming.track.mediaStreamTrack.enabled = isOn
    } else if (source === Track.Source.Microphone) await this.me.setMicrophoneEnabled(isOn)
    else if (source === Track.Source.Camera) await this.me.setCameraEnabled(isOn)
    else await this.me.setScreenShareEnabled(isOn)
  }

  /** Takes the name that the person gave, where the token lets them. */
  async takeName(): Promise<void> {
    const { name } = this.invitation
    if (name && name !== this.me.name && this.me.permissions?.canUpdateMetadata)
      await this.me.setName(name)
  }

  async leave(): Promise<void> {
    this.#isLeaving = true
    await this.room.disconnect()
    // Who never got in has not been disconnected either.
    this.#forget()
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
      .filter((publication) => !isSealed(publication))
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

  /**
   * Whether what one says reaches anybody, as the server says now: a moderator may have changed it. What somebody hidden
   * says comes without a sender, and nobody can open it.
   */
  get maySay(): boolean {
    const { canPublishData = true, hidden = false } = this.me.permissions ?? {}
    return canPublishData && !hidden
  }

  /**
   * @throws InterruptedError while there is no connection, NotPermittedError unless one `maySay`: then nothing was said.
   */
  async sayToAll(text: string): Promise<void> {
    const written = this.#chat.write(this.me.identity, text, Date.now())
    if (!written) return
    const to = [...this.room.remoteParticipants.keys()]
    await this.#send(TOPIC_CHAT, written.bytes)
    this.#chat.sent({ bytes: written.bytes, to, atMs: Date.now() })
    this.#emit('chat', written.line)
  }

  /**
   * Announces a fresh random key under the current one; all switch to it a moment later.
   *
   * @throws InterruptedError while there is no connection, NotPermittedError unless one `maySay`: then the key stays.
   */
  async rotate(): Promise<void> {
    const announcement = this.#ring.next(randomKey())
    await this.#announce(announcement)
    this.#announced = announcement
    this.#carryOut(this.#ring.admit(announcement, performance.now()))
  }

  mark(what: string, who?: string): void {
    this.moments.push({ atMs: performance.now(), what, ...(who === undefined ? {} : { who }) })
    if (this.moments.length > MOMENTS_KEPT_MAX) this.moments.shift()
  }

  async #publish(track: OwnTrack, options: TrackPublishOptions): Promise<void> {
    const coming = { track, isOn: track.mediaStreamTrack.enabled }
    // The client turns on what it opens anew, as when the page has come back from behind another.
    const hold = () => {
      track.mediaStreamTrack.enabled = coming.isOn
    }
    track.on(TrackEvent.Restarted, hold)
    this.#coming.set(track.source, coming)
    this.#emit('change', undefined)
    try {
      // livekit-client's own types disagree with each other under exactOptionalPropertyTypes.
      await this.me.publishTrack(track as LocalTrack, options)
      if (!coming.isOn) await track.mute()
    } finally {
      track.off(TrackEvent.Restarted, hold)
      this.#coming.delete(track.source)
      this.#emit('change', undefined)
    }
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
   * One track in the clear spoils all of its owner's: whoever sends it either has no key or is not asked for it, and
   * the server can say of either what it likes. The worker opens what is sealed and drops all else.
   */
  #troubleOf(person: Participant): Trouble | undefined {
    const isClear = [...person.trackPublications.values()].some(
      (publication) => !isSealed(publication),
    )
    return isClear ? 'not-encrypted' : this.#receipt.troubleOf(person.identity)
  }

  #issuesOf(person: RemoteParticipant): Issue[] {
    const trouble = this.#troubleOf(person)
    if (trouble === undefined) return []
    const who = displayName(person)
    if (trouble !== 'not-encrypted') return [{ who, what: 'media', trouble }]
    return [...person.trackPublications.values()]
      .filter((publication) => !isSealed(publication))
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

  /**
   * Publishes data, sealed. The client would send it in the clear if encryption were off; without a connection it would
   * keep it for one, and lose it if that is a new one; it sends what the server drops.
   */
  async #send(
    topic: string,
    payload: Uint8Array<ArrayBuffer>,
    to: readonly string[] = [],
  ): Promise<void> {
    if (!this.room.isE2EEEnabled) throw new Error('Encryption is not on.')
    await this.#settled()
    if (this.room.state !== ConnectionState.Connected) throw new InterruptedError()
    if (!this.maySay) throw new NotPermittedError()
    await this.me.publishData(payload, { reliable: true, topic, destinationIdentities: [...to] })
  }

  /**
   * Waits until the client is done with a reconnection: it may say that it is connected up to two seconds before, and
   * keeps what is sent then for a resumption, which does not come after a new session.
   */
  async #settled(): Promise<void> {
    const isBusy = () => this.room.engine['attemptingReconnect']
    while (this.room.state === ConnectionState.Connected && isBusy())
      await new Promise((resolve) => setTimeout(resolve, SETTLED_EVERY_MS))
  }

  #receive({ from, topic, payload }: SealedMessage): void {
    if (topic === TOPIC_CHAT) this.#receiveChat(from, payload)
    if (topic === TOPIC_KEY) this.#receiveKey(from, payload)
  }

  #receiveChat(from: string, payload: Uint8Array): void {
    const line = this.#chat.read(from, payload, Date.now())
    if (line) this.#emit('chat', line)
  }

  #receiveKey(from: string, payload: Uint8Array): void {
    const announcement = parseAnnouncement(from, payload, Date.now())
    if (!announcement) return
    if (!announcement.isOfNow) {
      this.#tellMistimed(from)
      return
    }
    const steps = this.#ring.admit(announcement, performance.now())
    if (steps.length > 0) this.#emit('say', `${this.nameOf(from)} is changing the key.`)
    this.#carryOut(steps)
  }

  /** Their clock or ours is wrong, or somebody says again what they said in another call. */
  #tellMistimed(from: string): void {
    if (this.#mistimed.has(from)) return
    this.#mistimed.add(from)
    this.#emit(
      'warn',
      `A key that ${this.nameOf(from)} announces is not taken: their clock or yours is wrong by minutes.`,
    )
  }

  #carryOut(steps: readonly Step[]): void {
    this.#steps = this.#steps.then(() => this.#keys.carryOut(steps))
    for (const step of steps) this.#note(step)
    clearTimeout(this.#wake)
    const wakeAtMs = this.#ring.wakeAtMs
    if (wakeAtMs !== undefined) this.#wakeIn(Math.max(0, wakeAtMs - performance.now()))
    this.#emit('change', undefined)
  }

  #wakeIn(waitMs: number): void {
    clearTimeout(this.#wake)
    this.#wake = setTimeout(() => void this.#advance(), waitMs)
  }

  /**
   * Whether its announcement was heard, an interrupted page does not know: it says it again before it uses the key. That
   * it is interrupted shows itself by the server's silence first.
   */
  async #advance(): Promise<void> {
    const isLive = !this.#announced || (await this.#pulse.hasBeaten(this.room))
    const isConnected = this.room.state === ConnectionState.Connected
    if (this.#announced && (this.#isAnnouncing || !isConnected)) return
    if (isLive) this.#carryOut(this.#ring.advance(performance.now()))
    else this.#wakeIn(PULSE_EVERY_MS)
  }

  async #announce(announcement: Announcement): Promise<void> {
    const announced = encodeAnnouncement(this.me.identity, announcement, Date.now())
    await this.#send(TOPIC_KEY, announced)
    this.#pulse.restart()
    this.mark('rotation announced')
  }

  /** Changes nothing for those who have heard it. */
  async #announceAgain(announcement: Announcement): Promise<void> {
    if (this.#isAnnouncing) return
    this.#isAnnouncing = true
    const isSaid = await this.#announce(announcement).then(
      () => true,
      // Who may not say it again has said it once, or nobody hears it.
      (error: unknown) => error instanceof NotPermittedError,
    )
    this.#isAnnouncing = false
    if (this.#announced !== announcement) return
    if (isSaid) this.#wakeIn(USE_AFTER_MS)
    // Without a connection, the next brings it here again.
    else if (this.room.state === ConnectionState.Connected)
      this.#wake = setTimeout(() => void this.#announceAgain(announcement), USE_AFTER_MS)
  }

  #note(step: Step): void {
    if (step.do === 'hold') this.mark('key held')
    if (step.do === 'drop') this.mark('key dropped')
    if (step.do === 'use') {
      this.#announced = undefined
      this.mark('key used')
      keep({ ...this.invitation, key: step.key, epoch: step.epoch })
      this.#emit('say', `Key number ${step.epoch + 1} is in use.`)
    }
  }

  async #lookAtReceipt(): Promise<void> {
    const people = [...this.room.remoteParticipants.values()]
    if (await this.#receipt.look(people)) this.#emit('change', undefined)
    const senders = people.filter(isSending).map(({ identity }) => identity)
    const isBehind =
      !senders.some((identity) => this.#mistimed.has(identity)) &&
      this.#receipt.areAhead(senders, indexOf(this.#ring.epoch), this.#ring.hasComeRound)
    this.#looksBehind = isBehind ? this.#looksBehind + 1 : 0
    if (this.#looksBehind === LOOKS_BEHIND) this.#missedAKey()
  }

  /** Whom all have left behind speaks to nobody but those who have an old link. */
  #missedAKey(): void {
    for (const source of OWN_SOURCES)
      if (this.isOn(source)) this.turn(source, false).catch(() => {})
    this.mark('key missed')
    this.#emit(
      'warn',
      'You have missed a change of the key: the others cannot see or hear you. What you send is off now. Ask for a new link.',
    )
  }

  #listen(): void {
    const changed = () => this.#emit('change', undefined)
    for (const event of CHANGES) this.room.on(event, changed)
    this.me
      .on(ParticipantEvent.TrackMuted, changed)
      .on(ParticipantEvent.TrackUnmuted, changed)
      // Of a picture that is attached, the client opens the camera anew when a phone comes back to the page.
      .on(ParticipantEvent.LocalTrackUnpublished, ({ track }) => {
        if (track?.isStopped) track.detach()
      })
      .on(ParticipantEvent.LocalSenderCreated, (sender) => {
        // The client library has put the worker before it by now, or it never will.
        if (hasTransform(sender)) return
        void sender.replaceTrack(null)
        this.#refuse('unsealed')
      })
    this.room
      .on(RoomEvent.ParticipantConnected, (person) => {
        this.#emit('say', `${displayName(person)} joined.`)
      })
      .on(RoomEvent.ParticipantDisconnected, (person) => {
        this.#receipt.forget(person.identity, this.room.state === ConnectionState.Connected)
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
    window.addEventListener('pagehide', this.#pageGoes)
  }

  #noteState(state: ConnectionState): void {
    this.mark(state)
    if (state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting) {
      this.#lostAtMs ??= Date.now()
    }
    if (state !== ConnectionState.Connected) return
    if (this.#announced) void this.#announceAgain(this.#announced)
    const lostAtMs = this.#lostAtMs
    this.#lostAtMs = undefined
    if (lostAtMs === undefined) this.#sid = this.me.sid
    else {
      this.#emit('say', 'Connected again.')
      if (this.#sid !== this.me.sid) void this.#sayAgain(lostAtMs)
    }
  }

  #tellUnreadable(from: string): void {
    const now = performance.now()
    if (now - this.#unreadableToldAtMs < UNREADABLE_TOLD_EVERY_MS) return
    this.#unreadableToldAtMs = now
    this.#emit('warn', `A message from ${this.nameOf(from)} could not be decrypted.`)
  }

  /**
   * What was said before a new session may have been lost with the old one. It is for those who were there, and who has
   * heard it knows it again.
   */
  async #sayAgain(lostAtMs: number): Promise<void> {
    const { sid } = this.me
    try {
      for (const { bytes, to } of this.#chat.unsure(lostAtMs))
        if (to.length > 0) await this.#send(TOPIC_CHAT, bytes, to)
      this.#sid = sid
    } catch {
      // The connection is gone again: the next has them said.
    }
  }

  /** Leaves a server under which what is sent might not be sealed. */
  #refuse(why: Distrust): void {
    if (this.#distrust) return
    this.#distrust = why
    void this.leave()
  }

  #close(reason: DisconnectReason | undefined): void {
    clearTimeout(this.#wake)
    clearInterval(this.#look)
    this.#forget()
    const isPageGoing = reason === DisconnectReason.CLIENT_INITIATED && !this.#isLeaving
    if (!isPageGoing) this.#emit('end', this.#distrust ?? reason)
    // The person has not left. A page that was frozen may still be there.
    else setTimeout(() => this.#emit('end', undefined), PAGE_GONE_AFTER_MS)
  }

  /**
   * Takes from the room all that leads to keys and the invitation: the browser holds on to it, through a listener of
   * the client's, for as long as the page is there.
   *
   * A device that the browser allows only now is turned off: the client stops what it cannot publish, and would wait
   * fifteen seconds for a connection first.
   */
  #forget(): void {
    window.removeEventListener('pagehide', this.#pageGoes)
    this.me.publishTrack = () => Promise.reject(new InterruptedError())
    this.#worker.terminate()
    this.#keys.forget()
    this.room.removeAllListeners()
    this.me.removeAllListeners()
    pinIdentity(this.me, this.me.identity, () => {})
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
  RoomEvent.ParticipantPermissionsChanged,
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

/**
 * Who one is, from the token and for good: the worker knows by it what to seal, and the client library would take
 * another one from the server at each join.
 */
function pinIdentity(me: LocalParticipant, identity: string, otherwise: () => void): void {
  Object.defineProperty(me, 'identity', {
    configurable: true,
    get: () => identity,
    set: (said: unknown) => {
      if (said !== identity) otherwise()
    },
  })
}

export function displayName(participant: Participant): string {
  return participant.name || participant.identity
}

function isSending(person: RemoteParticipant): boolean {
  return [...person.trackPublications.values()].some(
    ({ isSubscribed, isMuted }) => isSubscribed && !isMuted,
  )
}

function issueOf(who: string, publication: TrackPublication): Issue {
  return { who, what: publication.source.replace('_', ' '), trouble: 'not-encrypted' }
}
