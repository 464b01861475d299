/**
 * A camera and a microphone are on only while somebody wants them to be: not when the browser allows them after the
 * consent was withdrawn or the call was left, not when the server takes no picture, not when another link is opened in
 * the same tab, not when another one is chosen that is to stay off, not when a phone comes back to the page from another
 * app, and none is turned on or off while the call that takes them begins. What the call has taken has one button, from
 * its first moment.
 */
import {
  check,
  control,
  freshKey,
  freshRoom,
  linkTo,
  mintToken,
  Person,
  SERVER,
  scenario,
  sleep,
  until,
} from './driver.mjs'

const CONSENT = /camera and microphone/i

/** As the first byte of a `SignalRequest` that is an `AddTrackRequest`, its field 4. */
const ADD_TRACK = 0x22

/** How long a warning is shown, and how long after the first one the second comes. */
const WARNING_SHOWN_MS = 8_000
const SECOND_AFTER_MS = 5_000

/** Two cameras and three microphones. */
const flags = ['--use-fake-device-for-media-stream=device-count=2']

await scenario('devices', async (_, browser) => {
  await allowedTooLate(browser)
  await chosenWhileOff(browser)
  await openedAfterAll(browser)
  await backFromAnotherApp(browser)
  await takenAwayMeanwhile(browser)
  await beforeTheAnswer(browser)
  await allowedAfterLeaving(browser)
  await whileJoining(browser)
  await withoutMeter(browser)
  await withoutScreens(browser)
  await oldSafari(browser)
  await notTaken(browser)
  await soundAlone(browser)
  await secondLink(browser)
  await twoWarnings(browser)
}, { flags })

/** The person answers the browser's question when the switch is off again, or off and on. */
async function allowedTooLate(browser) {
  const ada = await lobby(browser, { hasToWait: true })
  const consent = ada.page.getByRole('switch', { name: CONSENT })
  await consent.check()
  await until('the page asks', 5_000, async () => (await asked(ada)) === 2)
  await consent.uncheck()
  await ada.page.evaluate(allow)
  await settles(ada, 2, '')
  check((await lights(ada)).length === 0, 'what is allowed after the consent was withdrawn is off')

  await consent.check()
  await until('the page asks again', 5_000, async () => (await asked(ada)) === 4)
  await consent.uncheck()
  await consent.check()
  await until('and again', 5_000, async () => (await asked(ada)) === 6)
  await ada.page.evaluate(allow)
  await settles(ada, 6, 'audio,video')
  const on = await lights(ada)
  check(on.join() === 'audio,video', `after off and on, one of each is on: ${on}`)
  await consent.uncheck()
  check((await lights(ada)).length === 0, 'and none once the switch is off')
  await ada.close()
}

/** The person has turned both off, and chooses others. */
async function chosenWhileOff(browser) {
  const ada = await lobby(browser)
  await ada.consent(true)
  control((await lights(ada)).join() === 'audio,video', 'both are on')
  const buttons = ['Microphone', 'Camera'].map((name) => ada.page.getByRole('button', { name, exact: true }))
  for (const button of buttons) await button.click()
  check((await lights(ada)).length === 0, 'and off once their buttons were pressed')
  const chosen = []
  for (const name of ['Microphone', 'Camera'])
    chosen.push(...(await ada.page.getByRole('combobox', { name }).selectOption({ index: 1 })))
  await settles(ada, 2, '')
  check(true, 'choosing another opens nothing that is off')
  await buttons[0].click()
  await settles(ada, 3, 'audio')
  check((await deviceOfLast(ada)) === chosen[0], 'its button opens the one that was chosen')
  await ada.join()
  await until('ada sends her microphone', 10_000, async () => (await ada.tracks()).length > 0)
  await sleep(500)
  const sent = (await ada.tracks()).map(({ source }) => source)
  check(sent.join() === 'microphone' && (await lights(ada)).join() === 'audio', `and ${sent} alone is sent`)
  await ada.close()
}

/** Another program lets go of the camera when it is tried for the second time. */
async function openedAfterAll(browser) {
  const ada = await lobby(browser, { script: refuseFirstCamera })
  await ada.consent(false)
  await ada.page.getByText('Another program is using the device.').waitFor()
  await ada.page.getByRole('combobox', { name: 'Camera' }).selectOption({ index: 1 })
  await settles(ada, 1, 'audio')
  await ada.page.getByRole('button', { name: 'Camera', exact: true }).click()
  await settles(ada, 2, 'audio,video')
  check((await ada.page.innerText('.problem')) === '', 'a camera that opens after all leaves no problem behind')
  await ada.close()
}

/** In the page, before it runs. */
function refuseFirstCamera() {
  const { mediaDevices } = navigator
  const ask = mediaDevices.getUserMedia.bind(mediaDevices)
  let isFirst = true
  mediaDevices.getUserMedia = async (constraints) => {
    if (!constraints.video || !isFirst) return ask(constraints)
    isFirst = false
    throw new DOMException('in use', 'NotReadableError')
  }
}

/** In the page, before it runs: it is a phone's. */
function onPhone() {
  Object.defineProperty(navigator, 'userAgentData', { value: { mobile: true, brands: [] } })
}

/** The person looks at another app, and comes back. */
async function comeBack({ page }) {
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
}

/** And nothing is opened by that: the browser is not even asked. */
async function comesBackToNothing(ada) {
  const before = await asked(ada)
  await comeBack(ada)
  await sleep(1_000)
  return (await asked(ada)) === before
}

/** On a phone, where the client opens anew what another app has taken. */
async function backFromAnotherApp(browser) {
  const ada = await lobby(browser, { script: onPhone })
  await ada.consent(true)
  await ada.page.evaluate(() => window.devices.tracks.find(({ kind }) => kind === 'video').stop())
  await until('the camera is off', 5_000, async () => (await lights(ada)).join() === 'audio')
  await comeBack(ada)
  await until('it is on again', 5_000, async () => (await lights(ada)).join() === 'audio,video')
  control(true, 'a camera that is on is opened anew')
  await ada.page.getByRole('combobox', { name: 'Camera' }).selectOption({ index: 1 })
  await settles(ada, 4, 'audio,video')
  check(await comesBackToNothing(ada), 'but not the one in whose place another was chosen')
  await ada.page.getByRole('button', { name: 'Camera', exact: true }).click()
  await until('it is off', 5_000, async () => (await lights(ada)).join() === 'audio')
  check(await comesBackToNothing(ada), 'and stays off when the page comes back')
  await ada.page.getByRole('button', { name: 'Camera', exact: true }).click()
  await until('the camera is on', 5_000, async () => (await lights(ada)).join() === 'audio,video')
  await ada.page.getByRole('switch', { name: CONSENT }).uncheck()
  await until('both are off', 5_000, async () => (await lights(ada)).length === 0)
  check(await comesBackToNothing(ada), 'as do both once the consent was withdrawn')
  await ada.close()
}

/** A moderator takes the right to publish away while the page is behind another app, and draws nothing. */
async function takenAwayMeanwhile(browser) {
  const room = freshRoom('devices')
  const ada = await lobby(browser, { script: onPhone, room })
  await ada.consent(true)
  await ada.join()
  await until('ada sends both', 10_000, async () => (await ada.tracks()).length === 2)
  await ada.page.locator('.tile video:visible').waitFor()
  await ada.page.evaluate(() => {
    window.requestAnimationFrame = () => 0
  })
  const answer = await fetch(`${SERVER}/twirp/livekit.RoomService/UpdateParticipant`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${mintToken(room, 'host', { video: { roomAdmin: true } })}`,
    },
    body: JSON.stringify({ room, identity: 'ada', permission: { canSubscribe: true, canPublish: false } }),
  })
  control(answer.ok, 'a moderator takes the right to publish away')
  await until('both are off', 5_000, async () => (await lights(ada)).length === 0)
  check(await comesBackToNothing(ada), 'what was taken away stays off when the page comes back')
  await ada.close()
}

/** The server takes its time to answer that it has a track. */
async function beforeTheAnswer(browser) {
  const ada = await lobby(browser)
  let announced = 0
  const held = []
  let tell
  await ada.page.routeWebSocket(/\/rtc\//, (socket) => {
    const server = socket.connectToServer()
    tell = (answer) => socket.send(answer)
    socket.onMessage((request) => {
      if (request[0] === ADD_TRACK) announced += 1
      server.send(request)
    })
    server.onMessage((answer) => (announced > 0 && tell ? held.push(answer) : socket.send(answer)))
  })
  await ada.consent(true)
  await ada.join()
  await until('ada announces both', 5_000, () => announced === 2)
  control((await ada.tracks()).length === 0, 'the server has taken nothing yet')
  const microphone = ada.page.getByRole('button', { name: 'Microphone', exact: true })
  const camera = ada.page.getByRole('button', { name: 'Camera', exact: true })
  const pressed = async () => [await microphone.getAttribute('aria-pressed'), await camera.getAttribute('aria-pressed')]
  const show = (what) => until(`the buttons show ${what}`, 2_000, async () => (await pressed()).join() === what)
  await show('true,true')
  await microphone.click()
  await camera.click()
  await show('false,false')
  await camera.click()
  await show('false,true')
  announced = 0
  for (const answer of held.splice(0)) tell(answer)
  const sent = async () =>
    (await ada.tracks()).map(({ source, isMuted }) => `${source} ${isMuted ? 'muted' : 'on'}`).sort().join()
  await until('both are sent, one of them muted', 10_000, async () => (await sent()) === 'camera on,microphone muted')
  check((await asked(ada)) === 2, 'what is pressed before the server has answered opens nothing for the second time')
  await show('false,true')
  await microphone.click()
  await until('the microphone is on', 5_000, async () => (await sent()) === 'camera on,microphone on')
  await microphone.click()
  await until('the microphone is off', 5_000, async () => (await sent()) === 'camera on,microphone muted')
  check((await asked(ada)) === 2, 'and its button goes on turning it on and off')
  await ada.close()
}

/** The person leaves the call before answering what its buttons have the browser ask. */
async function allowedAfterLeaving(browser) {
  const ada = await lobby(browser, { hasToWait: true })
  await ada.join()
  for (const name of ['Camera', 'Microphone']) await ada.page.getByRole('button', { name, exact: true }).click()
  await until('the page asks', 5_000, async () => (await asked(ada)) === 2)
  await ada.press('Leave')
  await ada.page.getByText('You have left').waitFor()
  await ada.page.evaluate(allow)
  await until('the browser gives both', 5_000, async () => (await given(ada)) === 2)
  await until('neither stays on', 1_000, async () => (await lights(ada)).length === 0)
  check(true, 'what is allowed after the call was left is off at once')
  await ada.close()
}

/** The server lets the person wait. */
async function whileJoining(browser) {
  const ada = await lobby(browser, { video: { canUpdateOwnMetadata: true } })
  await ada.page.routeWebSocket(/\/rtc\//, () => {})
  await ada.consent(true)
  const inputs = ada.page.locator('.lobby :is(button, input, select)')
  const live = () => inputs.evaluateAll((all) => all.filter((it) => !it.disabled).length)
  control((await inputs.count()) === 7 && (await live()) === 7, 'the lobby has seven things to press or choose from')
  await ada.page.getByRole('button', { name: 'Join' }).click()
  await ada.page.getByRole('button', { name: 'Joining' }).waitFor()
  check((await live()) === 0, 'while one joins none of them does anything')
  check((await lights(ada)).join() === 'audio,video', 'and what was on stays on')
  await ada.close()
}

/** The browser gives the page no more means to look at sound. */
async function withoutMeter(browser) {
  const ada = await lobby(browser)
  await ada.page.evaluate(() => {
    window.AudioContext = class {
      constructor() {
        throw new DOMException('no more', 'NotSupportedError')
      }
    }
  })
  await ada.consent(true)
  await until('both are on', 5_000, async () => (await lights(ada)).join() === 'audio,video')
  const microphone = ada.page.getByRole('button', { name: 'Microphone', exact: true })
  check((await microphone.getAttribute('aria-pressed')) === 'true', 'a microphone without a level is shown as on')
  check((await ada.page.innerText('.problem')) === '', 'and nothing is wrong with it')
  await ada.close()
}

/** As on a phone. */
async function withoutScreens(browser) {
  const ada = await lobby(browser, {
    script: () => {
      delete MediaDevices.prototype.getDisplayMedia
    },
  })
  await ada.join()
  check(await ada.page.locator('.controls .control:visible').count() === 5, 'who cannot share a screen is not offered to')
  await ada.page.keyboard.press('s')
  await sleep(300)
  check((await ada.page.locator('.banner:visible').count()) === 0, 'nor does the key for it do anything')
  await ada.close()
}

/** Safari before 17.2 mixes layers up that are sealed. */
async function oldSafari(browser) {
  const SAFARI =
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15'
  for (const [userAgent, layers] of [[undefined, 3], [SAFARI, 1]]) {
    const ada = await lobby(browser, { publish: '720p', userAgent })
    await ada.consent(true)
    await ada.join()
    let sent = []
    await until('ada sends', 10_000, async () => {
      sent = await ada.sends('camera')
      return sent.some(({ frames }) => frames > 10)
    })
    check(sent.length === layers, `${userAgent ? 'an old Safari' : 'Chromium'} sends ${sent.length} layers`)
    await ada.close()
  }
}

/** A token that the page takes for the right to show oneself, and the server does not: it writes sources in lower case. */
async function notTaken(browser) {
  const ada = await lobby(browser, { video: { canPublishSources: ['CAMERA', 'microphone'] } })
  await ada.consent(true)
  control((await lights(ada)).join() === 'audio,video', 'the lobby has opened both')
  await ada.join()
  await ada.page.getByText('Your camera could not be sent and is off').waitFor()
  const on = await lights(ada)
  check(on.join() === 'audio', `a camera that the server does not take is off: ${on} is on`)
  const sources = (await ada.tracks()).map(({ source }) => source)
  check(sources.join() === 'microphone', `and ${sources} is sent`)
  await ada.close()
}

/** A token that lets its holder send sound alone: nothing else is offered. */
async function soundAlone(browser) {
  const ada = await lobby(browser, { video: { canPublishSources: ['microphone'] } })
  await ada.consent(false)
  await until('the microphone is on', 5_000, async () => (await lights(ada)).length > 0)
  check((await lights(ada)).join() === 'audio', 'the lobby opens no camera that may not be sent')
  const camera = ada.page.getByRole('button', { name: 'Camera', exact: true })
  check(await camera.isDisabled(), 'nor lets anybody turn it on')
  await ada.join()
  for (const [name, isAllowed] of [['Microphone', true], ['Camera', false], ['Share screen', false]]) {
    const button = ada.page.getByRole('button', { name, exact: true })
    check((await button.isEnabled()) === isAllowed, `in the call, ${name} ${isAllowed ? 'can' : 'cannot'} be turned on`)
  }
  await ada.close()
}

async function secondLink(browser) {
  const ada = await lobby(browser)
  await ada.consent(true)
  control((await lights(ada)).join() === 'audio,video', 'the first lobby has opened both')
  await ada.page.evaluate((hash) => {
    location.hash = hash
  }, new URL(link(freshRoom('second'))).hash)
  await ada.page.getByRole('heading', { name: /^second/ }).waitFor()
  check((await lights(ada)).length === 0, 'a second link in the tab turns both off')
  await ada.consent(true)
  await ada.join()
  control((await lights(ada)).join() === 'audio,video', 'and they can be turned on for it')
  await ada.close()
}

/** Something else goes wrong while the page still says what has gone wrong before. */
async function twoWarnings(browser) {
  const ada = await lobby(browser, {
    script: () => {
      const refuse = (name) => () => Promise.reject(new DOMException('no', name))
      navigator.mediaDevices.getUserMedia = refuse('NotReadableError')
      navigator.mediaDevices.getDisplayMedia = refuse('NotAllowedError')
    },
  })
  await ada.join()
  check(await ada.page.locator('.banner').evaluate(isRendered), 'a screen reader knows where warnings come before one does')
  await ada.press('Camera')
  await ada.page.getByText('Another program is using the device.').waitFor()
  await sleep(SECOND_AFTER_MS)
  await ada.press('Share screen')
  const second = ada.page.getByText('Nothing is shared')
  await second.waitFor()
  await sleep(WARNING_SHOWN_MS - SECOND_AFTER_MS + 500)
  check(await second.isVisible(), 'the end of one warning is not that of the next')
  await second.waitFor({ state: 'hidden', timeout: SECOND_AFTER_MS + 1_000 })
  check((await ada.page.locator('.banner:visible').count()) === 0, 'which ends, too, and leaves nothing to be seen')
  await ada.close()
}

/** In the page: whether it stands in the tree that screen readers have. */
function isRendered(node) {
  return getComputedStyle(node).display !== 'none' && getComputedStyle(node).visibility === 'visible'
}

function link(room, video, publish = '180p') {
  return linkTo({ token: mintToken(room, 'ada', { video }), key: freshKey(), publish })
}

/** Somebody before the call; with `hasToWait`, the browser allows nothing before `allow`. `script` runs before the page. */
async function lobby(
  browser,
  { video, publish, userAgent, script = () => {}, hasToWait = false, room = freshRoom('devices') } = {},
) {
  const context = await browser.newContext({ userAgent })
  await context.addInitScript(noteDevices, hasToWait)
  await context.addInitScript(script)
  const page = await context.newPage()
  await page.goto(link(room, video, publish)).catch(() => {
    throw new Error('no page')
  })
  await page.getByRole('button', { name: 'Join' }).waitFor()
  return new Person(page, 'ada')
}

/** In the page, before it runs. */
function noteDevices(hasToWait) {
  window.devices = { asked: 0, tracks: [], waiting: [] }
  const { mediaDevices } = navigator
  const ask = mediaDevices.getUserMedia.bind(mediaDevices)
  mediaDevices.getUserMedia = async (...words) => {
    window.devices.asked++
    if (hasToWait) await new Promise((resolve) => window.devices.waiting.push(resolve))
    const stream = await ask(...words)
    window.devices.tracks.push(...stream.getTracks())
    return stream
  }
}

function asked({ page }) {
  return page.evaluate(() => window.devices.asked)
}

/** How many tracks the browser has given. */
function given({ page }) {
  return page.evaluate(() => window.devices.tracks.length)
}

/** Which device the last track is of. */
function deviceOfLast({ page }) {
  return page.evaluate(() => window.devices.tracks.at(-1).getSettings().deviceId)
}

/** In the page: the person allows all that was asked for. */
function allow() {
  for (const go of window.devices.waiting.splice(0)) go()
}

/**
 * Until the browser has given so many tracks in all and the page has left these lights on; whoever looks next sees
 * whether it stays at that.
 */
async function settles(person, count, lit) {
  await until(`of ${count} tracks that the browser gives, on are: ${lit || 'none'}`, 5_000, async () => {
    return (await given(person)) === count && (await lights(person)).join() === lit
  })
  await sleep(500)
}

/** Which lights are on: the kinds of tracks that have not ended. */
function lights({ page }) {
  return page.evaluate(() =>
    window.devices.tracks
      .filter(({ readyState }) => readyState === 'live')
      .map(({ kind }) => kind)
      .sort(),
  )
}
