/**
 * Making a picture larger or smaller changes the layer that is decoded, within two seconds and
 * without a freeze. Nothing but the size of the window is touched: the page asks for what it shows.
 */
import { check, freshKey, freshRoom, scenario, sleep, until } from './driver.mjs'

const WITHIN_MS = 2_000
const FREEZE_SECONDS_MAX = 0.5
/** A browser that has to wait for a processor is late and freezes by itself: the best of so many changes counts. */
const CHANGES = 3
/** A lower wish must have held for 5 s. */
const STOPS_WITHIN_MS = 15_000
const LARGE = { width: 1440, height: 1000 }
const SMALL = { width: 390, height: 480 }

await scenario('layer_change', async (open) => {
  const call = { room: freshRoom('layer-change'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: '720p', audio: '0' })
  const cy = await open({
    ...call,
    identity: 'cy',
    publish: 'none',
    audio: '0',
    context: { viewport: LARGE },
  })
  await ada.join()
  await cy.join()
  await cy.press('Speaker view')
  // The fake camera's upper layers start when the encoder trusts its bandwidth.
  await until('ada sends three layers', 30_000, async () => {
    return (await ada.sends('camera')).filter(({ frames }) => frames > 30).length === 3
  })
  await until(
    'cy decodes 720p',
    20_000,
    async () => (await cy.receives('ada', 'camera')).width === 1280,
  )
  await sleep(1_000)

  const down = []
  const up = []
  while (down.length === 0 || (!(isGood(down) && isGood(up)) && down.length < CHANGES)) {
    down.push(await changes(cy, 'down', SMALL, ({ width }) => width > 0 && width < 1280))
    await sleep(2_000)
    up.push(await changes(cy, 'up again', LARGE, ({ width }) => width === 1280))
  }
  for (const [direction, all] of Object.entries({ down, up })) {
    const each = all.map(({ tookMs, freezeSeconds }) => `${tookMs} ms, ${freezeSeconds.toFixed(2)} s frozen`)
    check(isGood(all), `the layer goes ${direction} soon and without a freeze: ${each.join('; ')}`)
  }
  await stops(ada, cy)
})

function isGood(all) {
  return all.some((change) => change.tookMs <= WITHIN_MS && change.freezeSeconds <= FREEZE_SECONDS_MAX)
}

/** What nobody looks at any more is not sent any more, until somebody does again. */
async function stops(ada, cy) {
  await cy.page.setViewportSize(SMALL)
  const shrunkAt = Date.now()
  const frames = async () => {
    const layers = (await ada.sends('camera')).toSorted((a, b) => a.width - b.width)
    return Object.fromEntries(layers.map((layer) => [layer.rid, layer.frames]))
  }
  await until("ada's largest layer stops", STOPS_WITHIN_MS, async () => {
    const before = await frames()
    await sleep(1_000)
    const after = await frames()
    return after.f === before.f && after.q > before.q
  })
  check(true, `ada's largest layer is not encoded ${Date.now() - shrunkAt} ms later, and the smallest is`)
  await cy.page.setViewportSize(LARGE)
  await until('cy decodes 720p again', STOPS_WITHIN_MS, async () => {
    return (await cy.receives('ada', 'camera')).width === 1280
  })
  check(true, 'and it is again once somebody looks')
}

/** How long it took, and froze the picture. */
async function changes(person, direction, viewport, isThere) {
  const before = await person.receives('ada', 'camera')
  const askedAt = Date.now()
  await person.page.setViewportSize(viewport)
  const after = await until(
    `the layer goes ${direction}`,
    20_000,
    async () => {
      const video = await person.receives('ada', 'camera')
      return isThere(video) && video.framesDecoded > before.framesDecoded && video
    },
    50,
  )
  const tookMs = Date.now() - askedAt
  check(true, `${before.width}x${before.height} went ${direction} to ${after.width}x${after.height} in ${tookMs} ms`)
  // A freeze is only counted once the next frame ends it.
  await sleep(1_500)
  const later = await person.receives('ada', 'camera')
  check(later.framesDecoded > after.framesDecoded, 'and frames go on')
  return { tookMs, freezeSeconds: later.freezeSeconds - before.freezeSeconds }
}
