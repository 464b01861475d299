/**
 * LiveKit's JS SDK, without our page around it, which simulates nothing, asks for TCP: `simulateScenario('force-tcp')`.
 * It comes again over TCP, its tracks with it, and the other stays on UDP.
 */
import { check, freshRoom, scenario, until } from './driver.mjs'
import { SdkPage } from './sdk_page.mjs'

/** Joins a room with camera and microphone; what else is done to it, is done in the page. */
async function join(browser, room, identity) {
  const page = await SdkPage.join(browser, { room, identity })
  await page.run(() => window.room.localParticipant.enableCameraAndMicrophone())
  return page
}

/** What carries the camera of this page to the server. */
const carrier = (page) =>
  page.run(async () => {
    const { track } = window.room.localParticipant.getTrackPublication('camera') ?? {}
    const stats = [...((await track?.sender?.getStats()) ?? new Map()).values()]
    const byId = (id) => stats.find((entry) => entry.id === id)
    const transport = stats.find(({ type }) => type === 'transport')
    const pair = byId(transport?.selectedCandidatePairId)
    return `${window.room.state}/${byId(pair?.remoteCandidateId)?.protocol}`
  })

/** Pictures that this page has of the other's camera, since it has that track. */
const pictures = (page) =>
  page.run(async () => {
    let frames = 0
    for (const { trackPublications } of window.room.remoteParticipants.values()) {
      for (const { track, kind } of trackPublications.values()) {
        if (kind !== 'video' || !track) continue
        for (const entry of (await track.getRTCStatsReport()).values()) {
          if (entry.type === 'inbound-rtp') frames += entry.framesDecoded ?? 0
        }
      }
    }
    return frames
  })

await scenario('force_tcp', async (_, browser) => {
  const name = freshRoom('force-tcp')
  const ada = await join(browser, name, 'ada')
  const ben = await join(browser, name, 'ben')
  const bothSee = async (more) =>
    (await pictures(ada)) > more.ada + 20 && (await pictures(ben)) > more.ben + 20
  await until('both see each other', 20_000, () => bothSee({ ada: 0, ben: 0 }))
  check((await carrier(ada)) === 'connected/udp', 'UDP carries ada at first')

  await ada.run(() => window.room.simulateScenario('force-tcp'))
  await until('ada is on TCP', 20_000, async () => (await carrier(ada)) === 'connected/tcp')
  check(true, 'she asks for TCP, and comes again over it')
  const before = { ada: await pictures(ada), ben: await pictures(ben) }
  await until('both see each other again', 20_000, () => bothSee(before))
  check((await carrier(ben)) === 'connected/udp', 'ben sees her, and stays on UDP')
  console.log('  expects: tcp_accepted 1')
})
