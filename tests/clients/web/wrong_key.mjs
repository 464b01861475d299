/** Somebody with another key decodes nothing and hears nothing, and both pages say why. */
import { check, freshKey, freshRoom, scenario, sleep, until } from './driver.mjs'

await scenario('wrong_key', async (open) => {
  const room = freshRoom('wrong-key')
  const ada = await open({ room, key: freshKey(), identity: 'ada', publish: '180p' })
  const eve = await open({ room, key: freshKey(), identity: 'eve', publish: '180p' })
  await ada.join()
  await eve.join()

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
  check(video.framesDecoded === 0, `eve has decoded no frame of ${video.packets} packets`)
  check(
    audio.emitted === 0 && audio.audioEnergy === 0,
    `eve has heard nothing of ${audio.packets} packets`,
  )
})
