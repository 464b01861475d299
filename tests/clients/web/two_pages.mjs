/**
 * Two people, end-to-end encrypted: within ten seconds of Join both see and hear each other. Then they
 * write, share a screen, and turn things off and on. A third finds the room full, and reads so.
 */
import { check, freshKey, freshRoom, scenario, seesAndHears, until } from './driver.mjs'

const WITHIN_MS = 10_000
/** As in its records (RFC 6347). */
const DTLS_1_2 = 'FEFD'
/** Of those that Chromium offers the strongest. */
const SRTP_PROFILE = 'SRTP_AEAD_AES_256_GCM'

await scenario('two_pages', async (open) => {
  const claims = { roomConfig: { maxParticipants: 2 } }
  const call = { room: freshRoom('two-pages'), key: freshKey(), claims }
  const ada = await open({ ...call, identity: 'ada', publish: '720p', audio: '1' })
  const ben = await open({ ...call, identity: 'ben', publish: '180p', audio: '1' })
  const pressedAt = Date.now()
  await Promise.all([ada.join(), ben.join()])

  const left = WITHIN_MS - (Date.now() - pressedAt)
  await Promise.all([seesAndHears(ada, ben, left), seesAndHears(ben, ada, left)])

  for (const person of [ada, ben]) {
    const transports = await person.transports()
    check(
      transports.length === 1 &&
        transports[0].tlsVersion === DTLS_1_2 &&
        transports[0].srtpCipher === SRTP_PROFILE,
      `one transport of DTLS ${transports[0]?.tlsVersion} with ${transports[0]?.srtpCipher}`,
    )
    check(
      (await person.page.url()).includes('#') === false,
      `${person.identity}'s address bar holds no key`,
    )
    check(
      person.consoleErrors.length === 0,
      `${person.identity}'s console is clean ${person.consoleErrors}`,
    )
  }

  await ada.say('Can you read this?')
  await ben.press('Chat')
  await ben.page.getByText('Can you read this?').waitFor({ timeout: 5_000 })
  check(true, 'ben reads what ada wrote')
  await ben.press('Close chat')

  await ben.press('Share screen')
  await until("ada sees ben's screen", 10_000, async () => {
    return (await ada.receives('ben', 'screen_share')).framesDecoded > 5
  })
  await ada.page.getByText('Screen of ben').waitFor()
  check((await ada.facts()).lock.level === 'sealed', "ada sees ben's screen, encrypted")
  await ben.press('Share screen')
  await ada.page.getByText('Screen of ben').waitFor({ state: 'detached', timeout: 5_000 })
  check(true, 'and no longer when ben stops')

  await ada.press('Microphone')
  await ben.page.locator('.tile[data-identity="ada"] .is-muted:visible').waitFor({ timeout: 5_000 })
  await ada.press('Camera')
  await ben.page
    .locator('.tile[data-identity="ada"] video')
    .waitFor({ state: 'hidden', timeout: 5_000 })
  check(true, 'ben sees that ada turned off microphone and camera')
  await ada.press('Camera')
  const before = await ben.receives('ada', 'camera')
  await until('ben sees ada again', 5_000, async () => {
    return (await ben.receives('ada', 'camera')).framesDecoded > before.framesDecoded + 10
  })
  check(true, 'and sees ada again')

  const cyd = await open({ ...call, identity: 'cyd', publish: 'none', audio: '0' })
  await cyd.press('Join')
  await cyd.page.locator('.notice').waitFor({ timeout: 15_000 })
  const said = await cyd.page.innerText('.notice')
  check(said.includes('The room is full.'), `cyd reads why she cannot come in: ${said}`)
})
