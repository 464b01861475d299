/**
 * The way to the server has gone without the browser's having seen it, while media still comes: a key that is announced
 * then is not used before others can have it, and a line of chat that is lost with the session is said again in the next,
 * to those who were there. Who has missed a key is told so, and sends nothing under the one before.
 */
import { LossyServer } from './lossy_server.mjs'
import { check, control, freshKey, freshRoom, SERVER, scenario, sleep, until } from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'

const LINE = 'Into the dark'
const NEXT_LINE = 'Out of it'
/** The server keeps what was said for 9.5 s, and the old key is good for 10 s. */
const AWAY_MS = 14_000

await scenario('unnoticed', async (open) => {
  const server = await LossyServer.start()
  const proxy = await SignalProxy.start(SERVER)
  try {
    await usesNoKeyThatNobodyHas(open, server, proxy)
    await missesAKey(open, server, proxy)
  } finally {
    proxy.close()
    await server.stop()
  }
})

async function usesNoKeyThatNobodyHas(open, server, proxy) {
  const call = { room: freshRoom('unnoticed'), key: freshKey(), publish: '180p', audio: '0' }
  const ben = await open({ ...call, identity: 'ben' })
  await joinUnharmed(ben, server)
  const ada = await open({ ...call, identity: 'ada', server: proxy.url })
  await ada.join()
  await sees(ada, 'ben')
  await sees(ben, 'ada')

  server.lose(1, 0)
  await ada.say(LINE)
  await ada.press('Close chat')
  await ada.press('Encryption')
  await ada.press('Change the key')
  await until('the new key is announced', 1_000, () => ada.moment('key held'), 10)
  const { framesDecoded } = await ada.receives('ben', 'camera')
  await sleep(4_000)
  const { state, epoch } = await ada.facts()
  control(state === 'connected', `four seconds later the page takes its call for ${state}`)
  const frames = (await ada.receives('ben', 'camera')).framesDecoded - framesDecoded
  control(frames > 30, `and has decoded ${frames} frames of ben's: the way down is as it was`)
  check(epoch === 0, 'and does not use a key that nobody else can have')
  await ada.page.keyboard.press('Escape')
  server.spareNewcomers()
  const cy = await open({ ...call, identity: 'cy', publish: 'none' })
  await cy.join()

  proxy.dropAndForget()
  await until('ada begins anew', 10_000, async () => (await ada.facts()).state === 'reconnecting')
  server.lose(0)
  await until('both use the new key', 30_000, async () => {
    return (await ada.facts()).epoch === 1 && (await ben.facts()).epoch === 1
  })
  await sees(ada, 'ben')
  await sees(ben, 'ada')
  check(true, 'both use it once the call has begun anew, and see each other')
  await ben.openChat()
  await ben.page.getByText(LINE).waitFor({ timeout: 5_000 })
  await ada.openChat()
  for (const person of [ada, ben]) {
    const times = await person.page.getByText(LINE).count()
    check(times === 1, `${person.identity} reads the line ${times} times`)
  }
  await ada.say(NEXT_LINE)
  await cy.openChat()
  await cy.page.getByText(NEXT_LINE).waitFor({ timeout: 5_000 })
  check((await cy.page.getByText(LINE).count()) === 0, 'cy, who came later, reads only what is said after that')
  for (const person of [ada, ben, cy]) await person.close()
}

/** Ben is away for longer than the old key is good for. What he sends under it then is for whoever has an old link. */
async function missesAKey(open, server, proxy) {
  const call = { room: freshRoom('missed'), key: freshKey(), publish: '180p' }
  const ada = await open({ ...call, identity: 'ada' })
  await joinUnharmed(ada, server)
  const ben = await open({ ...call, identity: 'ben', server: proxy.url })
  await ben.join()
  await sees(ada, 'ben')
  await sees(ben, 'ada')

  server.lose(1)
  const isBack = proxy.drop(AWAY_MS)
  await ada.press('Encryption')
  await ada.press('Change the key')
  await isBack
  server.lose(0)
  await until('ben is back', 20_000, async () => (await ben.facts()).state === 'connected')
  control((await ada.facts()).epoch === 1, 'ada has changed the key while ben was away')
  control((await ben.facts()).epoch === 0, 'which ben has not heard of')
  await ben.page.locator('.banner', { hasText: 'missed a change of the key' }).waitFor({ timeout: 20_000 })
  check(true, "ben's page tells him to ask for a new link")
  await until('ben sends nothing any more', 2_000, async () => {
    const mine = (await ben.tracks()).filter(({ isMine }) => isMine)
    return mine.length === 2 && mine.every(({ isMuted }) => isMuted)
  })
  check(true, 'and sends nothing under the key that was given up')
}

/** Joins, and loses nothing from then on. */
async function joinUnharmed(person, server) {
  await person.join()
  await until('somebody is connected', 15_000, async () => (await person.transports()).length === 1)
  server.spare()
}

async function sees(person, from) {
  const { framesDecoded } = await person.receives(from, 'camera')
  await until(`${person.identity} sees ${from}`, 20_000, async () => {
    return (await person.receives(from, 'camera')).framesDecoded > framesDecoded + 30
  })
}
