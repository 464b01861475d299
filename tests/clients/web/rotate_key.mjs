/** A new key reaches everybody, media goes on without a gap, and the old link opens nothing more. */
import { check, freshKey, freshRoom, scenario, sleep, until } from './driver.mjs'

await scenario('rotate_key', async (open) => {
  const call = { room: freshRoom('rotate-key'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: '180p' })
  const ben = await open({ ...call, identity: 'ben', publish: '180p' })
  await ada.join()
  await ben.join()
  await until('ada and ben see each other', 15_000, async () => {
    return (
      (await ada.receives('ben', 'camera')).framesDecoded > 30 &&
      (await ben.receives('ada', 'camera')).framesDecoded > 30
    )
  })

  const before = [await ada.receives('ben', 'camera'), await ben.receives('ada', 'camera')]
  await ada.press('Encryption')
  const oldNumber = await ada.page.locator('output.safety').innerText()
  await ada.press('Change the key')
  await until('both use the new key', 5_000, async () => {
    return (await ada.facts()).epoch === 1 && (await ben.facts()).epoch === 1
  })
  check(true, 'ada and ben use key 1')
  await sleep(4_000)
  const after = [await ada.receives('ben', 'camera'), await ben.receives('ada', 'camera')]
  for (const [number, { framesDecoded, freezeSeconds }] of after.entries()) {
    const frames = framesDecoded - before[number].framesDecoded
    const freeze = freezeSeconds - before[number].freezeSeconds
    check(
      frames > 60 && freeze <= 0.5,
      `${frames} frames decoded across the change, ${freeze.toFixed(2)} s frozen`,
    )
  }
  for (const person of [ada, ben]) {
    check((await person.facts()).lock.level === 'sealed', `${person.identity}'s lock is closed`)
  }
  await ben.press('Encryption')
  const numbers = [
    await ada.page.locator('output.safety').innerText(),
    await ben.page.locator('output.safety').innerText(),
  ]
  check(
    numbers[0] === numbers[1] && numbers[0] !== oldNumber,
    `both show the same new safety number ${numbers[0]}`,
  )
  await ben.page.keyboard.press('Escape')

  const old = await open({ ...call, identity: 'old', publish: 'none', audio: '0' })
  await old.join()
  await old.page
    .getByRole('button', { name: /Cannot decrypt .*: the key was changed/ })
    .waitFor({ timeout: 10_000 })
  check((await old.receives('ada', 'camera')).framesDecoded === 0, 'the old link opens nothing')

  const dropped = async (person) =>
    (await person.moment('key dropped')) - (await person.moment('key used'))
  await until(
    'the old key is dropped',
    12_000,
    async () => (await dropped(ada)) > 0 && (await dropped(ben)) > 0,
  )
  // The moments are noted a little after the clock was read.
  const afterMs = Math.round(await dropped(ada))
  check(afterMs >= 9_990 && afterMs < 11_000, `the old key was accepted for ${afterMs} ms more`)
  const then = await ada.receives('ben', 'camera')
  await sleep(1_000)
  check(
    (await ada.receives('ben', 'camera')).framesDecoded > then.framesDecoded,
    'and frames go on',
  )

  await ben.page.reload()
  await ben.page.getByRole('button', { name: 'Join' }).waitFor()
  await ben.join()
  await until('ben sees ada after reloading', 10_000, async () => {
    return (await ben.receives('ada', 'camera')).framesDecoded > 0
  })
  check((await ben.facts()).epoch === 1, 'a reload keeps the new key')
})
