/**
 * A new key reaches everybody, media goes on without a gap, and the old link opens nothing more. Who can tell nobody of a
 * key does not change it.
 */
import {
  check,
  freshKey,
  freshRoom,
  markSensitive,
  never,
  scenario,
  seeEachOther,
  sleep,
  until,
} from './driver.mjs'

/** After the change of the key: the old one is good for 10 s. */
const OLD_WATCHED_MS = 13_000

/** A browser that has to wait for a processor freezes by itself: the best of so many calls counts. */
const CALLS = 3
const FREEZE_SECONDS_MAX = 0.5

await scenario('rotate_key', async (open) => {
  await heardByNobody(open, { canPublish: false, canPublishData: false })
  await heardByNobody(open, { hidden: true })
  const calls = []
  while (calls.length === 0 || (leastFrozen(calls) > FREEZE_SECONDS_MAX && calls.length < CALLS)) {
    for (const { people } of calls.slice(-1)) for (const person of people) await person.close()
    calls.push(await changesTheKey(open))
  }
  check(
    leastFrozen(calls) <= FREEZE_SECONDS_MAX,
    `the change froze the picture for ${calls.map(({ frozen }) => frozen.toFixed(2)).join(', ')} s`,
  )
  const { people: [ada, ben, old], oldNumber } = calls.at(-1)
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

  await old.join()
  const opened = ada.page.evaluate(lastOpened, ['olaf', 'camera', OLD_WATCHED_MS])
  opened.catch(() => {})
  await old.page
    .getByRole('button', { name: /Cannot decrypt .*: the key was changed/ })
    .waitFor({ timeout: 10_000 })
  const { lastMs, frames } = await opened
  const { framesDecoded, packets } = await old.receives('ada', 'camera')
  never(framesDecoded > 0, `the old link has opened ${framesDecoded} frames`)
  check(framesDecoded === 0 && packets > 30, `the old link opens nothing of ${packets} packets`)
  check(
    frames > 30 && lastMs >= 9_000 && lastMs < 11_000,
    `ada decoded ${frames} frames under the old key, the last ${lastMs} ms after the change`,
  )
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
  await copiesKeys(ada)
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

function leastFrozen(calls) {
  return Math.min(...calls.map(({ frozen }) => frozen))
}

/** Two see each other while the key changes; somebody has the old link and has not joined yet. */
async function changesTheKey(open) {
  const call = { room: freshRoom('rotate-key'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: '180p' })
  const ben = await open({ ...call, identity: 'ben', publish: '180p' })
  await ada.join()
  await ben.join()
  await seeEachOther(ada, ben)

  // He is let in, and hears of no change of the key, since he comes after it.
  const old = await open({ ...call, identity: 'olaf', publish: '180p', audio: '0' })
  const before = [await ada.receives('ben', 'camera'), await ben.receives('ada', 'camera')]
  await ada.press('Encryption')
  const oldNumber = await ada.page.locator('output.safety').innerText()
  await ada.press('Change the key')
  await until('both use the new key', 5_000, async () => {
    return (await ada.facts()).epoch === 1 && (await ben.facts()).epoch === 1
  })
  check(true, 'ada and ben use key 1')
  await sleep(3_000)
  const after = [await ada.receives('ben', 'camera'), await ben.receives('ada', 'camera')]
  const changes = after.map(({ framesDecoded, freezeSeconds }, number) => ({
    frames: framesDecoded - before[number].framesDecoded,
    freeze: freezeSeconds - before[number].freezeSeconds,
  }))
  for (const { frames } of changes) check(frames > 45, `${frames} frames decoded across the change`)
  const frozen = Math.max(...changes.map(({ freeze }) => freeze))
  return { people: [ada, ben, old], oldNumber, frozen }
}

/** One for newcomers; and one that never came through the call, for those who stay when somebody is to be shut out. */
async function copiesKeys(person) {
  await person.page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  const copied = []
  for (const name of ['Copy the key', 'Copy a key that nobody has', 'Copy a key that nobody has']) {
    await person.press(name)
    await person.page.getByText('Copied.').waitFor()
    copied.push(new URLSearchParams(await person.page.evaluate(() => navigator.clipboard.readText())))
  }
  const keys = copied.map((fields) => fields.get('key'))
  for (const key of keys) markSensitive(key)
  const long = keys.every((key) => /^[\w-]{43}$/.test(key))
  check(
    long && new Set(keys).size === 3 && copied[0].get('epoch') === '1' && !copied[1].has('epoch'),
    'the key can be copied, and so can others that are new each time and no part of the call',
  )
}

/** In the page: until `untilMs` after its key changed, when the last frame of somebody's was decoded. */
async function lastOpened([identity, source, untilMs]) {
  const used = window.incamera.facts().moments.findLast(({ what }) => what === 'key used').atMs
  let frames = 0
  let lastMs = 0
  while (performance.now() - used < untilMs) {
    const tracks = await window.incamera.tracks()
    const track = tracks.find((it) => it.identity === identity && it.source === source)
    const decoded = track?.rtp.find(({ type }) => type === 'inbound-rtp')?.framesDecoded ?? 0
    if (decoded > frames) {
      frames = decoded
      lastMs = Math.round(performance.now() - used)
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { lastMs, frames }
}

/** The server passes on nothing that ada says. With another key she would be alone, and so would what she writes. */
async function heardByNobody(open, video) {
  const rights = JSON.stringify(video)
  const call = { room: freshRoom('unheard'), key: freshKey(), audio: '0' }
  const ben = await open({ ...call, identity: 'ben', publish: '180p' })
  await ben.join()
  const ada = await open({ ...call, identity: 'ada', publish: 'none', claims: { video } })
  await ada.join()
  const decoded = async () => (await ada.receives('ben', 'camera')).framesDecoded
  await until('ada sees ben', 15_000, async () => (await decoded()) > 0)
  await ada.press('Encryption')
  const rotate = ada.page.getByRole('button', { name: 'Change the key' })
  await rotate.click({ force: true })
  await sleep(2_000)
  check((await ada.facts()).epoch === 0, `who has ${rights} changes no key`)
  check(await rotate.isDisabled(), 'nor is offered to')
  const before = await decoded()
  await until('ada goes on seeing ben', 5_000, async () => (await decoded()) > before)
  await ada.page.keyboard.press('Escape')
  check(await (await ada.openChat()).isDisabled(), 'nor can they write')
  await ada.page.getByText('Your link does not let you write.').waitFor()
  await ada.close()
  await ben.close()
}
