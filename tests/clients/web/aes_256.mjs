/** Two people whose links say AES-256 see and hear each other; one with the same key and AES-128 opens nothing. */
import { check, control, freshKey, freshRoom, never, scenario, sleep, until } from './driver.mjs'

await scenario('aes_256', async (open) => {
  const call = { room: freshRoom('aes-256'), key: freshKey(), publish: '180p' }
  const ada = await open({ ...call, identity: 'ada', cipher: '256' })
  const ben = await open({ ...call, identity: 'ben', cipher: '256' })
  await ada.join()
  await ben.join()
  for (const [person, other] of [
    [ada, 'ben'],
    [ben, 'ada'],
  ]) {
    await until(`${person.identity} sees and hears ${other}`, 15_000, async () => {
      const [video, audio] = [
        await person.receives(other, 'camera'),
        await person.receives(other, 'microphone'),
      ]
      return video.framesDecoded > 30 && audio.audioEnergy > 0.0001
    })
    const { lock } = await person.facts()
    check(
      lock.level === 'sealed' && lock.label.includes('256'),
      `${person.identity} sees and hears ${other}; the lock says ${lock.label}`,
    )
  }
  const eve = await open({ ...call, identity: 'eve', publish: 'none', audio: '0' })
  await eve.join()
  const packets = async () => (await eve.receives('ada', 'camera')).packets
  await until("ada's packets reach eve", 10_000, async () => (await packets()) > 50)
  await sleep(2_000)
  const { framesDecoded } = await eve.receives('ada', 'camera')
  never(framesDecoded > 0, `with AES-128 eve has decoded ${framesDecoded} frames`)
  control(framesDecoded === 0, `with AES-128 the same key opens none of ${await packets()} packets`)
})
