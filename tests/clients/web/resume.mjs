/**
 * The signalling breaks and comes back: the same participant goes on, nobody unsubscribes, and the
 * sound has no gap worth hearing.
 */
import { check, freshKey, freshRoom, listen, SERVER, scenario, sleep, until } from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'

const GAP_MS_MAX = 300

await scenario('resume', async (open) => {
  const proxy = await SignalProxy.start(SERVER)
  try {
    const call = { room: freshRoom('resume'), key: freshKey() }
    const ada = await open({ ...call, identity: 'ada', publish: '180p', server: proxy.url })
    const ben = await open({ ...call, identity: 'ben', publish: '180p' })
    await ada.join()
    await ben.join()
    await until('ada and ben hear each other', 15_000, async () => {
      return (
        (await ada.receives('ben', 'microphone')).emitted > 0 &&
        (await ben.receives('ada', 'microphone')).emitted > 0
      )
    })
    await sleep(2_000)

    const { participantSid } = await ada.facts()
    const sounds = [listen(ada, 'ben'), listen(ben, 'ada')]
    await sleep(500)
    await proxy.drop(1_000)
    await ada.page.getByText('Connection interrupted. Reconnecting').waitFor({ timeout: 8_000 })
    check(true, 'ada is told that the connection is interrupted')
    await until(
      'ada is connected again',
      10_000,
      async () => (await ada.facts()).state === 'connected',
    )
    await sleep(3_000)

    const facts = await ada.facts()
    check(facts.participantSid === participantSid, `ada is still ${participantSid}`)
    check(
      facts.others.includes('ben') && (await ben.facts()).others.includes('ada'),
      'both still see each other in the room',
    )
    for (const person of [ada, ben]) {
      const { moments } = await person.facts()
      const gone = moments.filter(({ what }) => what.startsWith('unsubscribed') || what === 'left')
      check(gone.length === 0, `${person.identity} lost no track ${gone.map(({ what }) => what)}`)
    }
    for (const [number, name] of ['ada', 'ben'].entries()) {
      await sounds[number].stop()
      const gapMs = await sounds[number].longestGapMs
      check(gapMs <= GAP_MS_MAX, `the longest gap in what ${name} hears is ${gapMs} ms`)
    }
    const before = await ben.receives('ada', 'camera')
    await sleep(1_000)
    check(
      (await ben.receives('ada', 'camera')).framesDecoded > before.framesDecoded,
      'ben still sees ada',
    )
    await ada.say('Back again')
    await ben.press('Chat')
    await ben.page.getByText('Back again').waitFor({ timeout: 5_000 })
    check(true, 'data still passes')
  } finally {
    proxy.close()
  }
})
