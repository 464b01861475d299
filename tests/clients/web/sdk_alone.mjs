/**
 * livekit-client by itself, for what the call page does not do: it publishes a hundred tracks one after the other in
 * one session, asks for fewer pictures a second, caps its own bandwidth, as a test of itself, and after a break of the
 * signalling has told the server what it wanted meanwhile.
 */
import { check, control, freshRoom, SERVER, scenario, sleep, until } from './driver.mjs'
import { SdkPage } from './sdk_page.mjs'
import { SignalProxy } from './signal_proxy.mjs'

const ONE_BY_ONE = 100
/** That are open in a session description. */
const SECTIONS_MAX = 72
const RATE_OVER_MS = 4_000
const FEW_FPS = 8
/** Between the low layer of the picture and the middle one. */
const CAP_BPS = 300_000
const FALLS_WITHIN_MS = 5_000
const HOLDS_MS = 4_000
const RISES_WITHIN_MS = 20_000
const LOW_WIDTH = 320

await scenario('sdk_alone', async (_, browser) => {
  const room = freshRoom('sdk-alone')
  const ada = await SdkPage.join(browser, { room, identity: 'ada' })
  const ben = await SdkPage.join(browser, { room, identity: 'ben' })
  await publishesOneByOne(ada, ben)
  const camera = await ada.run(publishPicture)
  await asksForFewer(ben, camera)
  await capsItself(ben, camera)
  await ben.close()
  await saysWhatItWants(browser, room, camera)
})

async function publishesOneByOne(ada, ben) {
  const sid = await ada.run(() => window.room.localParticipant.sid)
  for (let number = 0; number < ONE_BY_ONE; number++) {
    const track = await ada.run(publishOne, number)
    await until(`ben receives track ${number}`, 10_000, () => ben.run(hasCome, track), 10)
    await ada.run(unpublish, track)
  }
  const disturbed = [
    ...(await ada.run(() => window.disturbed)),
    ...(await ben.run(() => window.disturbed)),
  ]
  check(disturbed.length === 0, `neither reconnected ${disturbed}`)
  check(
    (await ada.run(() => window.room.localParticipant.sid)) === sid,
    `ada publishes ${ONE_BY_ONE} tracks one after the other in one session`,
  )
  const sections = Math.max(await ada.sections(), await ben.sections())
  check(
    sections <= SECTIONS_MAX / 2,
    `with ${sections} sections, of ${SECTIONS_MAX} that there may be`,
  )
}

/** The server leaves out pictures that no other refers to: it has to read which these are. */
async function asksForFewer(ben, camera) {
  const width = () => ben.run(widthOf, camera)
  await until('ben sees the largest layer', RISES_WITHIN_MS, async () => (await width()) === 1280)
  const all = await picturesOf(ben)
  await wantRate(ben, camera, FEW_FPS)
  await sleep(1_000)
  const few = await picturesOf(ben)
  check(few > 0 && few <= all / 2, `of ${all} pictures ${few} come once ben wants ${FEW_FPS} a second`)
  await wantRate(ben, camera, 30)
  await sleep(1_000)
  const again = await picturesOf(ben)
  check(again > 1.5 * few, `and ${again} once it wants them all`)
}

async function capsItself(ben, camera) {
  const width = () => ben.run(widthOf, camera)
  await ben.run((bps) => window.room.simulateScenario('subscriber-bandwidth', bps), CAP_BPS)
  const since = Date.now()
  await until(
    'the picture falls to the low layer',
    FALLS_WITHIN_MS,
    async () => (await width()) === LOW_WIDTH,
  )
  check(
    true,
    `under a simulated ${CAP_BPS} bit/s it is ${LOW_WIDTH} wide after ${Date.now() - since} ms`,
  )
  for (const endsAt = Date.now() + HOLDS_MS; Date.now() < endsAt; await sleep(100)) {
    const now = await width()
    if (now !== LOW_WIDTH) throw new Error(`a layer ${now} wide comes again under the cap`)
  }
  check(true, 'and stays so')
  await ben.run(() => window.room.simulateScenario('subscriber-bandwidth', 0))
  await until('it rises once that is lifted', RISES_WITHIN_MS, async () => (await width()) === 1280)
  check(true, 'it is 1280 wide again once that is lifted')
}

/** What the server does not hear, since the signalling breaks, it learns from what the client says when it resumes. */
async function saysWhatItWants(browser, room, camera) {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const cy = await SdkPage.join(browser, { room, identity: 'cy', through: proxy.url })
    await until('cy receives the picture', 10_000, () => flows(cy))
    const sid = await cy.run(() => window.room.localParticipant.sid)
    proxy.swallow()
    await want(cy, camera, false)
    await sleep(1_000)
    control(await flows(cy), 'the server has not heard that cy wants it no more')
    await proxy.drop()
    await until('cy resumes', 10_000, () =>
      cy.run(() => window.disturbed.length > 0 && window.room.state === 'connected'),
    )
    await until('the picture ends', 5_000, async () => !(await flows(cy)))
    await sleep(2_000)
    check(
      !(await flows(cy)),
      'what cy turned off while the signalling was broken is off after it resumed',
    )
    check((await cy.run(() => window.room.localParticipant.sid)) === sid, 'in the same session')
    await want(cy, camera, true)
    await until('it comes again', 10_000, () => flows(cy))
    check(true, 'and on again when it is wanted')
    await want(cy, camera, false)
    await until('the picture ends again', 5_000, async () => !(await flows(cy)))
    const before = await cy.run(() => window.disturbed.length)
    proxy.swallow()
    await want(cy, camera, true)
    await sleep(1_000)
    control(!(await flows(cy)), 'the server has not heard that cy wants it once more')
    await proxy.drop()
    await until('cy resumes again', 10_000, () =>
      cy.run((n) => window.disturbed.length > n && window.room.state === 'connected', before),
    )
    await until('it comes once more', 10_000, () => flows(cy))
    check(
      (await cy.run(() => window.room.localParticipant.sid)) === sid,
      'what cy turned on while the signalling was broken is on after it resumed',
    )
  } finally {
    proxy.close()
  }
}

/** In the page: a track of sound or, every other time, of a picture. Its sid. */
async function publishOne(number) {
  const { Track } = window.livekit
  let track
  if (number % 2 === 0) {
    window.sound ??= new AudioContext()
    const tone = window.sound.createOscillator()
    const out = window.sound.createMediaStreamDestination()
    tone.connect(out)
    tone.start()
    track = out.stream.getAudioTracks()[0]
  } else {
    const canvas = document.createElement('canvas')
    const pen = canvas.getContext('2d')
    let turn = 0
    const painting = setInterval(() => {
      pen.fillStyle = `rgb(${turn++ % 256} 90 90)`
      pen.fillRect(0, 0, canvas.width, canvas.height)
    }, 50)
    track = canvas.captureStream(20).getVideoTracks()[0]
    track.addEventListener('ended', () => clearInterval(painting))
  }
  const source = number % 2 === 0 ? Track.Source.Microphone : Track.Source.Camera
  const options = { name: `${number}`, source, simulcast: false }
  return (await window.room.localParticipant.publishTrack(track, options)).trackSid
}

async function unpublish(sid) {
  const me = window.room.localParticipant
  await me.unpublishTrack(me.trackPublications.get(sid).track.mediaStreamTrack, true)
}

function hasCome(sid) {
  return window.came.includes(sid)
}

/** In the page: a picture in three layers, so busy that each layer needs what it may have. */
async function publishPicture() {
  const canvas = document.createElement('canvas')
  canvas.width = 1280
  canvas.height = 720
  const pen = canvas.getContext('2d')
  setInterval(() => {
    for (let n = 0; n < 150; n++) {
      pen.fillStyle = `hsl(${Math.random() * 360} 80% ${Math.random() * 100}%)`
      pen.fillRect(Math.random() * 1280, Math.random() * 720, 90, 90)
    }
  }, 66)
  const { Track } = window.livekit
  const track = canvas.captureStream(15).getVideoTracks()[0]
  const options = {
    source: Track.Source.Camera,
    simulcast: true,
    videoEncoding: { maxBitrate: 1_700_000, maxFramerate: 15 },
  }
  return (await window.room.localParticipant.publishTrack(track, options)).trackSid
}

/** In the page: how wide the picture is that is decoded. */
async function widthOf(sid) {
  const people = [...window.room.remoteParticipants.values()]
  const publication = people.map((person) => person.trackPublications.get(sid)).find(Boolean)
  const report = await publication?.track?.getRTCStatsReport()
  return [...(report?.values() ?? [])].find(({ type }) => type === 'inbound-rtp')?.frameWidth ?? 0
}

/** In the page: by how much a count of all pictures that come has grown in so many milliseconds. */
async function growth({ of, ms }) {
  const count = async () => {
    const reports = await Promise.all(window.peers.map((peer) => peer.getStats()))
    const entries = reports.flatMap((report) => [...report.values()])
    const pictures = entries.filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')
    return pictures.reduce((sum, entry) => sum + (entry[of] ?? 0), 0)
  }
  const before = await count()
  await new Promise((resolve) => setTimeout(resolve, ms))
  return (await count()) - before
}

function picturesOf(who) {
  return who.run(growth, { of: 'framesDecoded', ms: RATE_OVER_MS })
}

/** Whether packets of any picture arrive. */
async function flows(who) {
  return (await who.run(growth, { of: 'packetsReceived', ms: 500 })) > 0
}

/** In the page: asks for a picture otherwise, by a method of livekit-client's. */
function ask({ camera, method, value }) {
  const people = [...window.room.remoteParticipants.values()]
  const publication = people.map((person) => person.trackPublications.get(camera)).find(Boolean)
  publication[method](value)
}

function wantRate(who, camera, value) {
  return who.run(ask, { camera, method: 'setVideoFPS', value })
}

function want(who, camera, value) {
  return who.run(ask, { camera, method: 'setSubscribed', value })
}
