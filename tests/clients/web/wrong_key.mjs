/** Somebody with another key decodes nothing and hears nothing, nor is what they write read; and both pages say why. */
import { check, control, freshKey, freshRoom, measured, never, scenario, sleep, until } from './driver.mjs'

const WARNING_SHOWN_MS = 8_000

await scenario('wrong_key', async (open) => {
  const room = freshRoom('wrong-key')
  const key = freshKey()
  const context = { viewport: { width: 390, height: 844 } }
  const ada = await open({ room, key, identity: 'ada', publish: '180p', context })
  const eve = await open({ room, key: freshKey(), identity: 'eve', publish: '180p' })
  await ada.join()
  await eve.join()
  const grace = await open({ room, key, identity: 'grace', publish: 'none', audio: '0' })
  await grace.join()

  await until('eve receives packets of ada', 10_000, async () => {
    const [video, audio] = [
      await eve.receives('ada', 'camera'),
      await eve.receives('ada', 'microphone'),
    ]
    return video.packets > 100 && audio.packets > 100
  })
  for (const [person, other] of [
    [eve, 'ada'],
    [ada, 'eve'],
  ]) {
    await person.page
      .getByRole('button', { name: /Cannot decrypt .*: the key differs/ })
      .waitFor({ timeout: 5_000 })
    await person.page
      .locator('.trouble', { hasText: 'Cannot decrypt: the key differs' })
      .waitFor({ timeout: 2_000 })
    const { lock } = await person.facts()
    check(
      lock.level === 'broken' && lock.label.includes(other),
      `${person.identity}'s page says: ${lock.label}`,
    )
  }
  // On a phone, where it covers all but the bars.
  await ada.press('Chat')
  await eve.say('Can you read this?')
  const warning = ada.page.locator('.banner', { hasText: 'A message from eve could not be decrypted.' })
  await warning.waitFor({ timeout: 5_000 })
  const warnedAt = Date.now()
  check(
    await warning.evaluate(isInSight),
    "ada's page shows, above the chat, that there was a message that it could not decrypt",
  )
  await sleep(2_000)
  for (const line of ['And this?', 'Or this?']) await eve.say(line)
  const [video, audio] = [
    await eve.receives('ada', 'camera'),
    await eve.receives('ada', 'microphone'),
  ]
  never(video.framesDecoded > 0, `eve has decoded ${video.framesDecoded} frames without the key`)
  never(audio.audioEnergy > 0, 'eve has heard something without the key')
  control(video.packets > 100 && audio.packets > 100, "ada's packets reach eve all the while")
  measured(video.framesDecoded === 0, `eve has decoded 0 frames of ${video.packets} packets`)
  measured(
    audio.emitted === 0 && audio.audioEnergy === 0,
    `eve has heard nothing of ${audio.packets} packets`,
  )
  const picture = await until('grace sees ada', 10_000, async () => {
    const received = await grace.receives('ada', 'camera')
    return received.framesDecoded > 20 && received
  })
  const sound = await until('grace hears ada', 10_000, async () => {
    const received = await grace.receives('ada', 'microphone')
    return received.audioEnergy > 0 && received
  })
  control(
    true,
    `grace, who has ada's key, has decoded ${picture.framesDecoded} frames of ${picture.packets} packets, ` +
      `and hears ada in ${sound.packets}`,
  )
  for (const line of ['Can you read this?', 'And this?', 'Or this?'])
    never((await ada.page.getByText(line).count()) > 0, 'what another key has sealed is shown')
  await warning.waitFor({ state: 'hidden', timeout: Math.max(1, warnedAt + WARNING_SHOWN_MS + 1_000 - Date.now()) })
  check(true, 'and does not go on doing so for as long as such messages come')
})

/** In the page: whether nothing lies over the middle of it. */
function isInSight(node) {
  const { left, top, width, height } = node.getBoundingClientRect()
  return document.elementFromPoint(left + width / 2, top + height / 2) === node
}
