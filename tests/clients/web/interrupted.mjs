/**
 * A call that is interrupted: what cannot be said is refused in words and not lost, a key that was announced just before
 * is used once the others have it, and only who leaves the page leaves the call.
 */
import { check, control, freshKey, freshRoom, SERVER, scenario, sleep, until } from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'

await scenario('interrupted', async (open) => {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('interrupted'), key: freshKey(), publish: '180p', audio: '0' }
    const ada = await open({ ...call, identity: 'ada', server: proxy.url })
    const ben = await open({ ...call, identity: 'ben' })
    await ada.join()
    await ben.join()
    await sees(ada, 'ben')
    await sees(ben, 'ada')
    await nothingIsLost(ada, ben, proxy)
    await theKeyWaits(ada, ben, proxy)
    await whoStaysHasNotLeft(ada, ben)
    await whoGoesHasLeft(ada, ben)
  } finally {
    proxy.close()
  }
})

async function nothingIsLost(ada, ben, proxy) {
  const isBack = proxy.drop(4_000)
  await ada.page.getByText('Connection interrupted. Reconnecting').waitFor({ timeout: 8_000 })
  await ada.say('Into the void')
  await ada.page.getByText('could not be sent: the connection is interrupted').waitFor()
  check((await (await ada.openChat()).inputValue()) === 'Into the void', 'a line that is not sent stays where it was')
  await ada.press('Close chat')
  await ada.press('Encryption')
  await ada.press('Change the key')
  await ada.page.getByText('could not be changed: the connection is interrupted').waitFor()
  await ada.page.keyboard.press('Escape')
  check((await ada.facts()).epoch === 0, 'nor is the key changed for one alone')
  await isBack
  await connected(ada)
  await ada.page.locator('.call > [aria-live]', { hasText: 'Connected again.' }).waitFor()
  check(true, 'that the connection is back is said aloud')
  await ada.openChat()
  await ada.page.keyboard.press('Enter')
  await ben.openChat()
  await ben.page.getByText('Into the void').waitFor({ timeout: 5_000 })
  check(true, 'and once the connection is back, the line arrives')
}

/** The connection breaks between the announcement and the use of a key: once to be resumed, once to begin anew. */
async function theKeyWaits(ada, ben, proxy) {
  await ada.press('Close chat')
  for (const [epoch, cut] of [[1, () => proxy.drop(2_500)], [2, () => proxy.dropAndForget()]]) {
    const before = await ada.moment('key held')
    await ada.press('Encryption')
    await ada.press('Change the key')
    await until('the new key is announced', 1_000, async () => (await ada.moment('key held')) !== before, 10)
    await cut()
    await ada.page.keyboard.press('Escape')
    await until(`both use key ${epoch}`, 20_000, async () => {
      return (await ada.facts()).epoch === epoch && (await ben.facts()).epoch === epoch
    })
    const [broken, back, used] = await Promise.all(
      [/econnecting$/, /^connected$/, /^key used$/].map((what) => lastMoment(ada, what)),
    )
    control(broken > 0 && back > broken, `the connection was gone for ${Math.round(back - broken)} ms`)
    check(used > back, `the key waited, and was used ${Math.round(used - back)} ms after it came back`)
    await sees(ada, 'ben')
    await sees(ben, 'ada')
    check(true, 'and both see each other under it')
  }
}

/** Downloads, and navigations that come to nothing, begin as if the page were left. */
async function whoStaysHasNotLeft(ada, ben) {
  await ada.page.evaluate(() => window.dispatchEvent(new Event('beforeunload')))
  await sleep(3_000)
  const { screen, state } = await ada.facts()
  check(screen === 'call' && state === 'connected', 'what only looks like leaving the page ends no call')
  await sees(ada, 'ben')

  await ada.page.evaluate(() => {
    window.isSamePage = true
    window.dispatchEvent(new Event('freeze'))
  })
  await ada.page.getByText('The connection was lost').waitFor({ timeout: 5_000 })
  check(true, 'a page that was frozen says that the connection was lost')
  await ada.press('Try again')
  await ada.page.getByRole('button', { name: 'Join' }).waitFor()
  await ada.consent(true)
  await ada.join()
  check(!(await ada.page.evaluate(() => window.isSamePage)), 'and trying again loads it anew')
  await sees(ben, 'ada')
}

/** By saying so: the server would notice as soon as a browser that ends takes the time to close what it had open. */
async function whoGoesHasLeft(ada, ben) {
  const before = await ben.moment('left', 'ada')
  await ada.page.evaluate(() => window.dispatchEvent(new Event('pagehide')))
  await until('ben sees that ada has left', 2_000, async () => (await ben.moment('left', 'ada')) !== before)
  check((await ada.facts()).state === 'disconnected', 'who leaves the page leaves the call')
}

function connected(person) {
  return until('the connection is back', 15_000, async () => (await person.facts()).state === 'connected')
}

async function sees(person, from) {
  const { framesDecoded } = await person.receives(from, 'camera')
  await until(`${person.identity} sees ${from}`, 20_000, async () => {
    return (await person.receives(from, 'camera')).framesDecoded > framesDecoded + 30
  })
}

/** When something of this kind happened last. */
async function lastMoment(person, kind) {
  const { moments } = await person.facts()
  return moments.findLast(({ what }) => kind.test(what))?.atMs ?? 0
}
