/**
 * What the page could not open it does not show, and what it could not seal it does not send, whatever the server and
 * other clients say of it: somebody without the key announces a track as encrypted and sends it in the clear, and
 * then lets the page believe for a while that nothing of theirs is; a server does not say of which codec such a track
 * is, or gives the page another identity. What somebody wrote is shown as theirs, once, though whoever cannot read it
 * sends it again.
 */
import {
  check,
  control,
  freshKey,
  freshRoom,
  linkTo,
  measured,
  mintToken,
  never,
  Person,
  SERVER,
  scenario,
  sleep,
  until,
} from './driver.mjs'
import { SdkPage } from './sdk_page.mjs'
import { SignalProxy } from './signal_proxy.mjs'

const WATCHED_MS = 5_000
const PACKETS = 50
/** What was sent before a page left has come by then, and its receiver has said what it thinks of it. */
const UNDER_WAY_MS = 2_000

await scenario('unopened', async (open, browser) => {
  await announcesWhatIsNot(open, browser)
  await sendsWhileOneReconnects(open, browser)
  await sendsAgainWhatSheCannotRead(open, browser)
  await bringsAKeyBack(open, browser)
  await leavesOutTheCodec(open, browser)
  await givesAnotherIdentity(open)
  await cannotSeal(open, browser)
})

/** Eve has a token and no key, and a client that says what is not so. */
async function announcesWhatIsNot(open, browser) {
  const call = { room: freshRoom('unopened'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: '180p' })
  await ada.join()
  const eve = await SdkPage.join(browser, { room: call.room, identity: 'eve' })
  const cy = await SdkPage.join(browser, { room: call.room, identity: 'cy' })
  await eve.run(publish, { source: 'camera', isSaidToBeEncrypted: true })
  await eve.run(publish, { source: 'microphone', isSaidToBeEncrypted: true })
  control(
    await until('cy sees eve', 10_000, async () => (await cy.run(opened)).camera > 30),
    'cy, who has no key either, sees eve: what eve sends is in the clear',
  )

  const shared = await eve.run(publish, { source: 'screen_share', isSaidToBeEncrypted: false })
  await ada.page.getByRole('button', { name: /Not encrypted: screen share of eve/ }).waitFor()
  check(true, "ada's page says that the screen that eve shares is not encrypted")
  await eve.run(unpublish, shared)
  await until('ada has heard that eve shares no more', 5_000, async () => {
    return !(await ada.tracks()).some(({ source }) => source === 'screen_share')
  })

  await sleep(WATCHED_MS)
  const [video, audio] = await until('enough of eve has come', WATCHED_MS, async () => {
    const came = [await ada.receives('eve', 'camera'), await ada.receives('eve', 'microphone')]
    return came.every(({ packets }) => packets > PACKETS) && came
  })
  const { lock } = await ada.facts()
  never(video.framesDecoded > 0 || audio.emitted > 0, 'ada has seen or heard what is not encrypted')
  measured(
    video.framesDecoded === 0,
    `ada has decoded 0 frames of ${video.packets} packets that eve says are encrypted`,
  )
  measured(
    audio.emitted === 0,
    `and has heard nothing of ${audio.packets} packets`,
  )
  control(unreadable(ada).length > 0, 'which her page tells the console')
  check(lock.level === 'broken' && lock.label.includes('eve'), `ada's page says: ${lock.label}`)
  await cy.close()
  await eve.close()
  await until('the lock closes when eve has left', 10_000, async () => {
    return (await ada.facts()).lock.level === 'sealed'
  })
}

/**
 * Media comes before the client library has put the worker before it, for two seconds after a reconnection: some
 * browsers would decode it as it is, and show the last picture of that time.
 */
async function sendsWhileOneReconnects(open, browser) {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('early'), key: freshKey() }
    const eve = await SdkPage.join(browser, { room: call.room, identity: 'eve' })
    const cy = await SdkPage.join(browser, { room: call.room, identity: 'cy' })
    await eve.run(publish, { source: 'camera', isSaidToBeEncrypted: true })
    const ada = await open({ ...call, identity: 'ada', publish: '180p', server: proxy.url })
    await ada.page.evaluate(noteWidths)
    await ada.join()
    const { participantSid } = await ada.facts()
    proxy.dropAndForget()
    await until('ada has a new session', 20_000, async () => {
      const facts = await ada.facts()
      return facts.state === 'connected' && facts.participantSid !== participantSid
    })
    await until('packets of eve arrive', 10_000, async () => {
      return (await ada.receives('eve', 'camera')).packets > PACKETS
    })
    control((await cy.run(opened)).camera > 30, 'cy, who has no key either, sees what eve sends')
    const hasCome = () => ada.page.locator('.tile[data-identity="eve"] video').evaluate(hasPicture)
    await until("ada's page plays what comes of eve", 5_000, hasCome)
    await sleep(1_500)
    const widths = await ada.page.evaluate(() => window.widths)
    control(widths.ada > 0, `ada's page has shown a picture of ada, ${widths.ada} pixels wide`)
    never(widths.eve > 0, "ada's page has shown a picture of eve")
    measured(widths.eve === 0, `and none of eve, at any time: ${widths.eve} pixels`)
    for (const person of [ada, eve, cy]) await person.close()
  } finally {
    proxy.close()
  }
}

/** In the page: from now on the widest picture that there is of anybody. */
function noteWidths() {
  window.widths = {}
  setInterval(() => {
    for (const video of document.querySelectorAll('.tile video')) {
      const { identity } = video.closest('.tile').dataset
      window.widths[identity] = Math.max(window.widths[identity] ?? 0, video.videoWidth)
    }
  }, 10)
}

/** Eve passes what she has received on as it is: a line of the chat, sealed. */
async function sendsAgainWhatSheCannotRead(open, browser) {
  const call = { room: freshRoom('again'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: 'none', audio: '0' })
  const ben = await open({ ...call, identity: 'ben', publish: 'none', audio: '0' })
  await ada.join()
  await ben.join()
  const eve = await SdkPage.join(browser, { room: call.room, identity: 'eve' })
  await eve.run(publish, { source: 'microphone', isSaidToBeEncrypted: true })
  await eve.run(sendOnWhatComes)
  await ada.press('Chat')
  await ben.say('I agree')
  await ada.page.getByText('I agree').waitFor()
  await until('eve has sent it on', 5_000, () => eve.run(() => window.sentOn === 1))
  // What ben says next comes to ada after what eve has sent on.
  await sleep(1_000)
  await ben.say('To all of it')
  await ada.page.getByText('To all of it').waitFor()
  const said = await ada.page.locator('.lines li').allInnerTexts()
  const lines = said.map((line) => line.replace(/\s+/g, ' '))
  check(
    lines.length === 2 && lines.every((line) => line.startsWith('ben ')),
    `what ben wrote is his, and is shown once: ${lines.join(' | ')}`,
  )
  for (const person of [ada, ben, eve]) await person.close()
}

/** In the page: sends the first message that comes over the data channel once more, as one's own. */
function sendOnWhatComes() {
  const { engine } = window.room
  window.sentOn = 0
  engine.handleDataMessage = async ({ data }) => {
    if (window.sentOn > 0) return
    engine.dataChannelForKind(window.livekit.DataPacket_Kind.RELIABLE).send(data)
    window.sentOn++
  }
}

/** Eve has kept how the key was changed in one call, and passes it on in the next, which begins by the same links. */
async function bringsAKeyBack(open, browser) {
  const call = { room: freshRoom('back'), key: freshKey(), publish: 'none', audio: '0' }
  const begin = async () => {
    const people = [await open({ ...call, identity: 'ada' }), await open({ ...call, identity: 'ben' })]
    for (const person of people) await person.join()
    return people
  }
  const epochs = async (people) => (await Promise.all(people.map((one) => one.facts()))).map(({ epoch }) => epoch)
  const morning = await begin()
  const eve = await SdkPage.join(browser, { room: call.room, identity: 'eve' })
  await eve.run(publish, { source: 'microphone', isSaidToBeEncrypted: true })
  await eve.run(keepWhatComes)
  await morning[0].press('Encryption')
  await morning[0].press('Change the key')
  await until('ada and ben have changed the key', 10_000, async () => String(await epochs(morning)) === '1,1')
  control(await eve.run(() => window.kept.length === 1), 'eve has kept a message, with which ada changed the key')
  for (const person of morning) await person.close()
  await until('ada and ben have left', 20_000, () => eve.run(() => window.room.remoteParticipants.size === 0))

  const afternoon = await begin()
  const cy = await SdkPage.join(browser, { room: call.room, identity: 'cy', key: call.key })
  await cy.run(noteTopics)
  await eve.run(sendOnWhatWasKept)
  await until('it has come', 5_000, () => cy.run(() => window.topics.length > 0))
  const [topic] = await cy.run(() => window.topics)
  control(topic === 'incamera.key of eve', `cy, who has the key and another client, opens it: ${topic}`)
  await sleep(2_500)
  const now = String(await epochs(afternoon))
  never(now !== '0,0', 'the key is one of before, for who has none has sent it on')
  check(now === '0,0', 'ada and ben, who call again by the links of before, keep the key that these have')
  for (const person of [...afternoon, eve, cy]) await person.close()
}

/** In the page: keeps what comes over the data channel, as it comes. */
function keepWhatComes() {
  window.kept = []
  window.room.engine.handleDataMessage = async ({ data }) => window.kept.push(data)
}

/** In the page. */
function sendOnWhatWasKept() {
  const { engine } = window.room
  engine.dataChannelForKind(window.livekit.DataPacket_Kind.RELIABLE).send(window.kept[0])
}

/** In the page: what data is about that comes and can be opened, and whose it is. */
function noteTopics() {
  window.topics = []
  window.room.on('dataReceived', (_data, person, _kind, topic) =>
    window.topics.push(`${topic} of ${person?.identity}`),
  )
}

/** The client library puts nothing before a track without a codec, so that some browsers would decode it as it comes. */
async function leavesOutTheCodec(open, browser) {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('no-codec'), key: freshKey() }
    const eve = await SdkPage.join(browser, { room: call.room, identity: 'eve' })
    // `TrackInfo.mime_type` becomes a second `TrackInfo.name`, which is as long.
    proxy.rename('\x5a\x09video/VP8', '\x1a\x09video/VP8')
    const ada = await open({ ...call, identity: 'ada', publish: '180p', server: proxy.url })
    await ada.join()
    await eve.run(publish, { source: 'camera', isSaidToBeEncrypted: true })
    await until('packets of eve arrive', 10_000, async () => {
      return (await ada.receives('eve', 'camera')).packets > 50
    })
    await ada.page.getByRole('button', { name: /Not encrypted: camera of eve/ }).waitFor()
    const hasShown = await ada.page.locator('.tile[data-identity="eve"] video').evaluate(hasPicture)
    never(hasShown, "ada's page shows what has no codec")
    check(
      !hasShown,
      "ada's page says that a track without a codec is not encrypted, and does not show it",
    )
    await eve.close()
  } finally {
    proxy.close()
  }
}

/** The worker knows by identity what it is to encrypt. */
async function givesAnotherIdentity(open) {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('renamed'), key: freshKey() }
    const ben = await open({ ...call, identity: 'ben', publish: '180p', server: proxy.url })
    const grace = await open({ ...call, identity: 'grace', publish: '180p' })
    await ben.join()
    await grace.join()
    await until('grace sees ben', 15_000, async () => {
      return (await grace.receives('ben', 'camera')).framesDecoded > 30
    })
    proxy.rename('ben', 'eve')
    proxy.dropAndForget()
    await ben.page.locator('.notice').waitFor({ timeout: 20_000 })
    const said = await ben.page.locator('.notice h1').innerText()
    check(/another/.test(said), `ben's page leaves a server that calls ben eve: ${said}`)
    check(await ben.page.evaluate(areOff), 'and has closed the camera and the microphone')
    await sleep(UNDER_WAY_MS)
    never(wasUnsealed(grace), 'grace has received something of his that was not sealed')
    check(unreadable(grace).length === 0, 'grace has received nothing of his that was not sealed')

    const late = await open({ ...call, identity: 'ben', publish: '180p', server: proxy.url })
    await late.page.getByRole('button', { name: 'Join' }).click()
    await late.page.locator('.notice').waitFor({ timeout: 20_000 })
    check(
      /another/.test(await late.page.locator('.notice h1').innerText()),
      'and does not enter a call under that name',
    )
  } finally {
    proxy.close()
  }
}

/** What the page of somebody said of frames that it could not open. */
function unreadable({ consoleErrors }) {
  return consoleErrors.filter((line) => /^(InvalidKey|MissingKey)/.test(line))
}

/** Whether something came that her key does not open, which is there: one that is not there yet is no sender's fault. */
function wasUnsealed(person) {
  return unreadable(person).some((line) => line.startsWith('InvalidKey'))
}

/** A browser that puts nothing before what is sent, as the client library's way of saying that it could not. */
async function cannotSeal(open, browser) {
  const call = { room: freshRoom('unsealed'), key: freshKey(), publish: '180p' }
  const grace = await open({ ...call, identity: 'grace', publish: 'none', audio: '0' })
  await grace.join()
  const context = await browser.newContext()
  await context.addInitScript(breakSenders)
  const page = await context.newPage()
  const link = linkTo({ ...call, token: mintToken(call.room, 'ada') })
  await page.goto(link).catch(() => {
    throw new Error('no page')
  })
  const ada = new Person(page, 'ada')
  await ada.consent(true)
  await page.getByRole('button', { name: 'Join' }).click()
  await page.getByRole('heading', { name: 'What you send could not be sealed' }).waitFor()
  await sleep(UNDER_WAY_MS)
  never(wasUnsealed(grace), "ada's page has sent something in the clear")
  check(unreadable(grace).length === 0, "ada's page leaves before anything is sent in the clear")
  await context.close()
}

/** In the page, before it runs. */
function breakSenders() {
  const refuse = () => {
    throw new Error('not here')
  }
  // Chromium is asked by the one, Firefox has the other alone.
  const sender = window.RTCRtpSender.prototype
  if ('createEncodedStreams' in sender) sender.createEncodedStreams = refuse
  else window.RTCRtpScriptTransform = refuse
}

/** In the page: a moving picture or a tone, sent as it is. Its sid. */
async function publish({ source, isSaidToBeEncrypted }) {
  const me = window.room.localParticipant
  const GCM = 1
  me.encryptionType = isSaidToBeEncrypted ? GCM : 0
  let track
  if (source === 'microphone') {
    const sound = new AudioContext()
    const tone = sound.createOscillator()
    const out = sound.createMediaStreamDestination()
    tone.connect(out)
    tone.start()
    track = out.stream.getAudioTracks()[0]
  } else {
    const canvas = document.createElement('canvas')
    const pen = canvas.getContext('2d')
    let turn = 0
    setInterval(() => {
      pen.fillStyle = `rgb(${turn++ % 256} 90 90)`
      pen.fillRect(0, 0, canvas.width, canvas.height)
    }, 50)
    track = canvas.captureStream(20).getVideoTracks()[0]
  }
  return (await me.publishTrack(track, { source, simulcast: false, videoCodec: 'vp8' })).trackSid
}

async function unpublish(sid) {
  const me = window.room.localParticipant
  await me.unpublishTrack(me.trackPublications.get(sid).track.mediaStreamTrack, true)
}

/** In the page: frames that were decoded of eve's, by source. */
async function opened() {
  const publications = window.room.getParticipantByIdentity('eve')?.trackPublications.values()
  const counts = {}
  for (const { source, track } of publications ?? []) {
    const report = await track?.getRTCStatsReport()
    const entry = [...(report?.values() ?? [])].find(({ type }) => type === 'inbound-rtp')
    counts[source] = entry?.framesDecoded ?? 0
  }
  return counts
}

/** In the page: whether a video element has anything to show. */
function hasPicture(video) {
  return video.srcObject !== null
}

/** In the page: whether every track that was sent has ended. */
function areOff() {
  const senders = window.watched.peers.flatMap((peer) => peer.getSenders())
  return senders.every(({ track }) => track === null || track.readyState === 'ended')
}
