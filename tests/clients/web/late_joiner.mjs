/** Whoever comes late sees the first frame within two seconds of being connected. */
import { check, freshKey, freshRoom, scenario, seeEachOther, sleep } from './driver.mjs'

const WITHIN_MS = 2_000

await scenario('late_joiner', async (open) => {
  const call = { room: freshRoom('late-joiner'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: '720p', audio: '0' })
  const ben = await open({ ...call, identity: 'ben', publish: '180p', audio: '1' })
  await ada.join()
  await ben.join()
  await seeEachOther(ada, ben)
  // Past the key frames of the start, and past dynacast's first decision.
  await sleep(6_000)

  const cy = await open({ ...call, identity: 'cy', publish: 'none', audio: '0' })
  const first = cy.page.evaluate(firstFrames, ['ada', 'ben'])
  await cy.join()
  const seenAt = await first
  const connectedAt = await cy.moment('connected')
  for (const [identity, atMs] of Object.entries(seenAt)) {
    const tookMs = Math.round(atMs - connectedAt)
    check(tookMs <= WITHIN_MS, `cy decodes ${identity} ${tookMs} ms after connecting`)
  }
})

/** In the page: when the first frame of each person's camera was decoded. */
async function firstFrames(identities) {
  const seenAt = {}
  const giveUpAt = performance.now() + 20_000
  while (Object.keys(seenAt).length < identities.length && performance.now() < giveUpAt) {
    for (const track of await window.incamera.tracks()) {
      const isDecoded =
        track.source === 'camera' && track.rtp.some((entry) => entry.framesDecoded > 0)
      if (isDecoded && !track.isMine) seenAt[track.identity] ??= performance.now()
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  for (const identity of identities) seenAt[identity] ??= Infinity
  return seenAt
}
