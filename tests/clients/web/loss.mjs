/**
 * Somebody's network loses packets both ways: retransmission repairs the picture in both directions and it goes on,
 * sound has no gap worth hearing, and everybody is told of the worse connection, and of the better one when it is over.
 */
import { LossyServer } from './lossy_server.mjs'
import { check, control, freshKey, freshRoom, listen, measured, scenario, sleep, until } from './driver.mjs'

const LOSS = 0.1
const LASTS_MS = 15_000
/** Of video in one direction, of which one packet in ten is lost: two a second of the lowest layer alone. */
const DROPPED_MIN = 30
/** What was lost last may be on its way again, and of what comes again one in ten is lost, too. */
const REPAIRED_MIN = 0.85
/** Sound does not come again: so much is a jitter buffer's to make up. */
const SOUND_GAP_MS_MAX = 300
const CONCEALED_MAX = 0.25
const FRAMES_PER_S_MIN = 10
const FROZEN_S_MAX = 4
const TOLD_WITHIN_MS = 30_000

await scenario('loss', async (open) => {
  const server = await LossyServer.start()
  try {
    const call = { room: freshRoom('loss'), key: freshKey() }
    const ada = await open({ ...call, identity: 'ada', publish: '720p' })
    await ada.join()
    await until('ada is connected', 15_000, async () => (await ada.transports()).length === 1)
    server.spare()
    const cy = await open({ ...call, identity: 'cy', publish: '720p' })
    await cy.join()
    await until('both see each other', 30_000, async () => {
      const [down, up] = [await facts(cy, 'ada'), await facts(ada, 'cy')]
      return down.camera.framesDecoded > 60 && up.camera.framesDecoded > 60
    })
    server.again = new Set(await retransmissionTypes(cy))
    control(server.again.size > 0, `what comes again has payload types ${[...server.again]}`)
    await until("cy's connection is told as excellent", TOLD_WITHIN_MS, () => is(ada, 'excellent'))
    await loses(server, ada, cy)

    server.lose(0)
    const healedAt = Date.now()
    await until('the connection is excellent again', TOLD_WITHIN_MS, () => is(ada, 'excellent'))
    check(true, `and excellent again ${Date.now() - healedAt} ms after the network was`)
  } finally {
    await server.stop()
  }
})

async function loses(server, ada, cy) {
  const before = { down: await facts(cy, 'ada'), up: await facts(ada, 'cy'), sent: await resent(cy) }
  const [heardByCy, heardByAda] = [listen(cy, 'ada'), listen(ada, 'cy')]
  server.lose(LOSS)
  const worse = until('the connection is told as worse', LASTS_MS, async () => {
    return (await is(ada, 'poor')) || (await is(ada, 'good'))
  })
  await Promise.all([sleep(LASTS_MS), worse])
  check(true, "cy's connection is told as worse while it loses")
  const { up, down } = server.dropped
  const after = { down: await facts(cy, 'ada'), up: await facts(ada, 'cy'), sent: await resent(cy) }
  const grown = (way, source, name) => (after[way][source][name] ?? 0) - (before[way][source][name] ?? 0)

  const lost = grown('down', 'camera', 'packetsLost')
  const repaired = grown('down', 'camera', 'retransmittedPacketsReceived')
  const asked = grown('down', 'camera', 'nackCount')
  measured(
    down >= DROPPED_MIN && lost >= DROPPED_MIN / 2 && repaired >= lost * REPAIRED_MIN,
    `from the server ${down} packets of video were dropped: cy missed ${lost}, asked in ${asked} requests, ` +
      `and got ${repaired} again`,
  )
  const sent = after.sent - before.sent
  const missing = grown('up', 'camera', 'packetsLost')
  measured(
    up >= DROPPED_MIN && sent >= up * REPAIRED_MIN && missing <= up * (1 - REPAIRED_MIN),
    `to the server ${up} packets of video were dropped: cy sent ${sent} again, and ada missed ${missing} in the end`,
  )
  for (const [way, who, sound] of [
    ['down', 'cy', heardByCy],
    ['up', 'ada', heardByAda],
  ]) {
    const frames = grown(way, 'camera', 'framesDecoded')
    const frozen = grown(way, 'camera', 'totalFreezesDuration')
    measured(
      frames >= (FRAMES_PER_S_MIN * LASTS_MS) / 1_000 && frozen <= FROZEN_S_MAX,
      `${who} has decoded ${frames} frames in ${LASTS_MS / 1_000} s, ${frozen.toFixed(1)} s of it frozen`,
    )
    await sound.stop()
    const gapMs = await sound.longestGapMs
    const concealed =
      grown(way, 'microphone', 'concealedSamples') / grown(way, 'microphone', 'totalSamplesReceived')
    measured(
      gapMs <= SOUND_GAP_MS_MAX && concealed <= CONCEALED_MAX,
      `${who}'s longest gap of sound is ${gapMs} ms, ${(concealed * 100).toFixed(0)} % of it is made up`,
    )
  }
}

/** How ada's page says that cy's connection is. */
async function is(ada, quality) {
  const shown = ada.page.locator('.tile[data-identity="cy"] .quality')
  return (await shown.getAttribute('data-quality')) === quality
}

/** The browser's figures of each source that a person receives of another. */
async function facts(person, from) {
  const tracks = (await person.tracks()).filter(({ identity }) => identity === from)
  const entry = ({ rtp }) => rtp.find(({ type }) => type === 'inbound-rtp') ?? {}
  const of = (source) => tracks.filter((track) => track.source === source).map(entry)[0] ?? {}
  return { camera: of('camera'), microphone: of('microphone') }
}

/** Payload types of retransmission (RFC 4588) that a person has negotiated. */
async function retransmissionTypes(person) {
  const offer = await person.page.evaluate(() => window.watched.peers[0].localDescription.sdp)
  return [...offer.matchAll(/^a=rtpmap:(\d+) rtx\//gm)].map(([, type]) => Number(type))
}

/** Packets of the camera that a person has sent again. */
async function resent(person) {
  const camera = (await person.tracks()).find(({ isMine, source }) => isMine && source === 'camera')
  return camera.rtp
    .filter(({ type }) => type === 'outbound-rtp')
    .reduce((sum, entry) => sum + (entry.retransmittedPacketsSent ?? 0), 0)
}
