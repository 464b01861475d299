/** Somebody with another key decodes nothing and hears nothing, and both pages say why. */
import { check, control, freshKey, freshRoom, measured, scenario, sleep, until } from './driver.mjs'

await scenario('wrong_key', async (open) => {
  const room = freshRoom('wrong-key')
  const key = freshKey()
  const ada = await open({ room, key, identity: 'ada', publish: '180p' })
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
  await sleep(2_000)
  const [video, audio] = [
    await eve.receives('ada', 'camera'),
    await eve.receives('ada', 'microphone'),
  ]
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
})
