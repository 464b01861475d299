/**
 * A client that joins without an offer and sends it afterwards, as livekit-client does in Firefox:
 * Chromium says that it is one. The other offers with its join.
 */
import { check, freshKey, freshRoom, scenario, until } from './driver.mjs'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'

await scenario('late_offer', async (open) => {
  const call = { room: freshRoom('late-offer'), key: freshKey(), publish: '180p' }
  const context = { userAgent: FIREFOX }
  const ada = await open({ ...call, identity: 'ada', context })
  const ben = await open({ ...call, identity: 'ben' })
  const doors = []
  for (const { page } of [ada, ben]) {
    page.on('websocket', (socket) => doors.push(new URL(socket.url())))
  }
  await ada.join()
  await ben.join()
  for (const [person, other] of [
    [ada, 'ben'],
    [ben, 'ada'],
  ]) {
    await until(`${person.identity} decodes 30 frames of ${other}`, 10_000, async () => {
      return (await person.receives(other, 'camera')).framesDecoded > 30
    })
    check(true, `${person.identity} sees ${other}`)
  }
  const [late, early] = doors.map((url) => url.searchParams.get('join_request').length)
  check(late < early / 2, `ada's join holds no offer (${late} bytes, ben's ${early})`)
})
