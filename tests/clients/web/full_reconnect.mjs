/**
 * The server has lost somebody's session: the page joins afresh, publishes everything once, and
 * the others see and hear one person again, not two and not none.
 */
import { check, freshKey, freshRoom, SERVER, scenario, sleep, until } from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'

await scenario('full_reconnect', async (open) => {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('full-reconnect'), key: freshKey() }
    const ada = await open({ ...call, identity: 'ada', publish: '180p', server: proxy.url })
    const ben = await open({ ...call, identity: 'ben', publish: '180p' })
    await ada.join()
    await ben.join()
    await until(
      'ben sees ada',
      15_000,
      async () => (await ben.receives('ada', 'camera')).framesDecoded > 30,
    )

    const { participantSid } = await ada.facts()
    const { trackSid } = await ben.receives('ada', 'camera')
    proxy.dropAndForget()
    await until('ada has a new session', 20_000, async () => {
      const facts = await ada.facts()
      return facts.state === 'connected' && facts.participantSid !== participantSid
    })
    check(true, 'ada has joined afresh')
    await until('ben sees and hears ada again', 15_000, async () => {
      const [video, audio] = [
        await ben.receives('ada', 'camera'),
        await ben.receives('ada', 'microphone'),
      ]
      return video.trackSid !== trackSid && video.framesDecoded > 30 && audio.emitted > 10_000
    })
    await until(
      'ada sees ben again',
      15_000,
      async () => (await ada.receives('ben', 'camera')).framesDecoded > 30,
    )
    await sleep(2_000)
    const sources = (await ben.tracks())
      .filter(({ identity }) => identity === 'ada')
      .map(({ source }) => source)
      .sort()
    check(sources.join() === 'camera,microphone', `ben has each of ada's tracks once: ${sources}`)
    const { moments } = await ben.facts()
    const times = (what) => moments.filter((it) => it.who === 'ada' && it.what === what).length
    for (const source of ['camera', 'microphone']) {
      const [came, went] = [times(`subscribed ${source}`), times(`unsubscribed ${source}`)]
      check(
        came === 2 && went === 1,
        `ada's ${source} came ${came} times and went ${went} times: it is published anew once`,
      )
    }
    check((await ben.page.locator('.tile[data-identity="ada"]').count()) === 1, 'ben sees one ada')
    check((await ada.facts()).screen === 'call', 'ada was not thrown out')
    for (const person of [ada, ben]) {
      check((await person.facts()).lock.level === 'sealed', `${person.identity}'s lock is closed`)
    }
  } finally {
    proxy.close()
  }
})
