/**
 * Firefox beside Chromium, on a machine that has an address on a private network, as most have: the two links that
 * `incamera dev` prints are opened one in each, and make an encrypted call. They write to each other, change the key,
 * and somebody with another key sees and hears nothing.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { DevServer } from './dev_server.mjs'
import {
  check,
  control,
  freshKey,
  measured,
  never,
  Person,
  scenario,
  seesAndHears,
  sleep,
  until,
} from './driver.mjs'

/** As in its records (RFC 6347). */
const DTLS_1_2 = 'FEFD'
const WATCHED_MS = 3_000
/** That of the links. */
const ROOM = 'demo'

await scenario('firefox', async (_open, _chromium, follow, openFirefox) => {
  const server = await DevServer.start()
  try {
    await listensToOthers({ forMedia: true })
    const fox = await openFirefox()
    const [first, second] = server.links()
    const ada = await follow(first.link, first.identity, fox)
    const ben = await follow(second.link, second.identity)
    await Promise.all([ada.join(), ben.join()])
    await Promise.all([seesAndHears(ada, ben), seesAndHears(ben, ada)])
    const [transport] = await ada.transports()
    check(
      transport?.tlsVersion === DTLS_1_2 && transport.srtpCipher.startsWith('SRTP_AEAD_AES'),
      `Firefox has DTLS ${transport?.tlsVersion} with ${transport?.srtpCipher}`,
    )
    await writes(ada, ben, 'Can you read this?')
    await writes(ben, ada, 'I can')
    await changeTheKey(ada, ben)
    check(ada.consoleErrors.length === 0, `Firefox's console is clean ${ada.consoleErrors}`)
    await otherKey(fox, first.link, ben)
    check((await server.stop()) === 0, 'SIGTERM ends the server')
  } finally {
    server.child.kill('SIGKILL')
  }

  const bound = await DevServer.start(['--bind', '127.0.0.1'])
  try {
    await listensToOthers({ forMedia: false })
    check((await bound.stop()) === 0, 'SIGTERM ends it as well')
  } finally {
    bound.child.kill('SIGKILL')
  }
})

/** Everybody has the secret of `dev`, so what listens to others must not let anybody in. */
async function listensToOthers({ forMedia }) {
  const { address } = Object.values(networkInterfaces())
    .flat()
    .find(({ family, internal }) => family === 'IPv4' && !internal)
  const answers = async (port) => {
    const socket = connect(Number(port), address)
    const outcome = await Promise.race([once(socket, 'connect'), once(socket, 'error')]).then(
      ([error]) => error === undefined,
      () => false,
    )
    socket.destroy()
    return outcome
  }
  const { INCAMERA_HTTP_PORT, INCAMERA_TCP_PORT } = process.env
  check(!(await answers(INCAMERA_HTTP_PORT)), 'signalling is at no address but 127.0.0.1')
  const where = forMedia ? 'media is at the private address too' : 'nor is media, where --bind says so'
  check((await answers(INCAMERA_TCP_PORT)) === forMedia, where)
}

async function writes(from, to, line) {
  await from.say(line)
  await to.openChat()
  await to.page.getByText(line).waitFor({ timeout: 5_000 })
  check(true, `${to.identity} reads what ${from.identity} wrote`)
}

async function changeTheKey(person, other) {
  await person.press('Encryption')
  await person.press('Change the key')
  // Firefox looks each 4 to 6 s whether the server still answers, and the page does not use the key before.
  await until('both use the new key', 8_000, async () => {
    return (await person.facts()).epoch === 1 && (await other.facts()).epoch === 1
  })
  await person.page.keyboard.press('Escape')
  const frames = async () => [
    (await person.receives(other.identity, 'camera')).framesDecoded,
    (await other.receives(person.identity, 'camera')).framesDecoded,
  ]
  const before = await frames()
  await until('frames go on under the new key', 5_000, async () => {
    return (await frames()).every((count, number) => count > before[number] + 30)
  })
  check(true, `${person.identity} has changed the key, and both still see each other`)
}

async function otherKey(fox, link, other) {
  const server = new URL(link).origin
  const eve = await Person.open(fox, { server, room: ROOM, identity: 'eve', key: freshKey() })
  await eve.join()
  const of = async (source) => eve.receives(other.identity, source)
  await until('media comes to who has another key', 10_000, async () => {
    return (await of('camera')).packets > 50 && (await of('microphone')).packets > 50
  })
  await sleep(WATCHED_MS)
  const [video, audio] = [await of('camera'), await of('microphone')]
  never(video.framesDecoded > 0 || audio.audioEnergy > 0, 'with another key Firefox has seen or heard something')
  measured(
    video.framesDecoded === 0 && audio.audioEnergy === 0,
    `with another key Firefox decodes nothing of ${video.packets} packets and hears nothing of ${audio.packets}`,
  )
  const { lock } = await eve.facts()
  control(lock.level === 'broken', `which the page says: ${lock.label}`)
  await eve.close()
}
