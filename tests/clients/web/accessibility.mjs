/**
 * axe-core finds nothing on any screen, light and dark, phone and desktop; and everything can be
 * done from the keyboard.
 */
import axe from 'axe-core'
import {
  check,
  freshKey,
  freshRoom,
  linkTo,
  mintToken,
  SERVER,
  scenario,
  sleep,
  until,
} from './driver.mjs'
import { SignalProxy } from './signal_proxy.mjs'

const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } }
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

await scenario('accessibility', async (open, browser) => {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ['light', 'dark']) {
      const look = { viewport, colorScheme, reducedMotion: 'reduce' }
      await withoutLink(browser, look, `${size}, ${colorScheme}`)
      await inCall(open, look, `${size}, ${colorScheme}`)
    }
  }
  await whatGoesWrong(open, browser, { viewport: SIZES.phone, colorScheme: 'dark' }, 'phone, dark')
  await byKeyboardAlone(open)
  await byEarAlone(open)
})

async function withoutLink(browser, look, name) {
  const context = await browser.newContext(look)
  const page = await context.newPage()
  await page.goto(`${SERVER}/call`)
  await page.getByText('You need a link').waitFor()
  await clean(page, `no link (${name})`)
  await context.close()
}

/** What goes wrong is said in words that tell what to do, on a page as clean as the others. */
async function whatGoesWrong(open, browser, look, name) {
  const context = await browser.newContext(look)
  const page = await context.newPage()
  const room = freshRoom('wrong')
  const key = freshKey()
  for (const [link, words] of [
    [`${SERVER}/call#token=abc`, 'The link has no key.'],
    [linkTo({ token: 'abc', key }), 'Its token is damaged.'],
    [
      linkTo({ token: mintToken(room, 'lars', { ttlSeconds: -60 }), key }),
      'This link does not let you in',
    ],
  ]) {
    await page.goto('about:blank')
    await page.goto(link)
    await page.locator('.notice, .lobby').waitFor()
    const join = page.getByRole('button', { name: 'Join' })
    if (await join.isVisible()) await join.click()
    await page.getByText(words).waitFor()
    check(!page.url().includes('#'), `"${words}" leaves the address bar clean`)
    await clean(page, `${words} (${name})`)
  }
  await context.close()

  const proxy = await SignalProxy.start(SERVER)
  const ada = await open({
    room,
    key,
    identity: 'ada',
    publish: 'none',
    audio: '0',
    server: proxy.url,
    context: look,
  })
  const isBack = proxy.drop(15_000)
  await ada.page.getByRole('button', { name: 'Join' }).click()
  await ada.page.getByText('The room cannot be reached').waitFor()
  await clean(ada.page, `unreachable (${name})`)
  await isBack
  // As in Safari before 16.
  await ada.page.evaluate(() => {
    delete AbortSignal.timeout
  })
  await ada.press('Try again')
  await ada.join()
  check(true, 'trying again works once the server is back, in an old browser, too')
  await ada.close()
  proxy.close()
}

async function inCall(open, context, name) {
  const call = { room: freshRoom('accessibility'), key: freshKey(), publish: '180p', audio: '1' }
  const ada = await open({ ...call, identity: 'ada', publish: 'none', audio: '0', context })
  await clean(ada.page, `lobby (${name})`)
  const isPhone = context.viewport === SIZES.phone
  if (isPhone) await besideTheNotch(ada.page, ['.lobby .brand'], name)
  await ada.consent(false)
  await sleep(300)
  await clean(ada.page, `lobby with consent (${name})`)
  await standsOut(ada.page, 'select', edgesOf, name)
  await keepsStill(ada.page, '.switch', '::before', name)
  await ada.join()
  const ben = await open({ ...call, identity: 'ben' })
  await ben.join()
  await until(
    'ada sees ben',
    15_000,
    async () => (await ada.receives('ben', 'camera')).framesDecoded > 0,
  )
  await clean(ada.page, `call (${name})`)
  await standsOut(ada.page, '.tile:not([data-trouble])', ringOf, name)
  await keepsStill(ada.page, '.tile', '::after', name)
  check((await ada.page.evaluate(focusableOnStage)) > 0, `the keyboard reaches what is on the stage (${name})`)
  await fits(ada.page, name)
  if (isPhone) await besideTheNotch(ada.page, ['.bar', '.controls'], name)
  await ada.press('Chat')
  await ada.page.getByLabel('Message', { exact: true }).fill('Hello')
  await ada.page.keyboard.press('Enter')
  await ada.page.getByText('Hello', { exact: true }).waitFor()
  await clean(ada.page, `chat (${name})`)
  await standsOut(ada.page, '.chat input', edgesOf, name)
  const under = await ada.page.evaluate(focusableOnStage)
  check(under > 0 === !isPhone, `and ${isPhone ? 'not what lies under the chat' : 'beside the chat'} (${name})`)
  check(await ada.page.evaluate(isLockInSight), `the lock is in sight beside the chat (${name})`)
  await ada.press('Close chat')
  await ada.press('Encryption')
  await clean(ada.page, `encryption (${name})`)
  await ada.page.keyboard.press('Escape')
  await ben.close()
  const eve = await open({ ...call, key: freshKey(), identity: 'eve' })
  await eve.join()
  await ada.page.getByRole('button', { name: /Cannot decrypt eve/ }).waitFor({ timeout: 10_000 })
  await clean(ada.page, `broken lock (${name})`)
  await eve.close()
  await ada.press('Leave')
  await ada.page.getByText('You have left').waitFor()
  await clean(ada.page, `left (${name})`)
  await ada.close()
}

/** In the page: whether a finger on the middle of the lock touches the lock. */
function isLockInSight() {
  const { left, top, width, height } = document.querySelector('.lock').getBoundingClientRect()
  return document.elementFromPoint(left + width / 2, top + height / 2)?.closest('.lock') !== null
}

/** In the page: how many buttons of the stage can have the focus. */
function focusableOnStage() {
  const before = document.activeElement
  const buttons = [...document.querySelectorAll('.stage button')]
  const count = buttons.filter((button) => {
    button.focus()
    return document.activeElement === button
  }).length
  before.focus()
  return count
}

/** In the page: a colour, and those that it lies between or on. */
function edgesOf(node) {
  const { borderTopColor, backgroundColor } = getComputedStyle(node)
  let around = node.parentElement
  while (getComputedStyle(around).backgroundColor === 'rgba(0, 0, 0, 0)') around = around.parentElement
  return [borderTopColor, backgroundColor, getComputedStyle(around).backgroundColor]
}

/** In the page: as `edgesOf`, the frame of who speaks. */
function ringOf(node) {
  const [ring] = /rgb\([^)]*\)/.exec(getComputedStyle(node, '::after').boxShadow)
  return [ring, getComputedStyle(node).backgroundColor]
}

/** What axe does not look at: lines that say what something is or does. */
async function standsOut(page, part, colorsOf, name) {
  const [line, ...grounds] = await page.locator(part).first().evaluate(colorsOf)
  const least = Math.min(...grounds.map((ground) => contrast(line, ground)))
  check(least >= 3, `the line of ${part} stands out by ${least.toFixed(2)}:1 (${name})`)
}

/** Of two colours as browsers write them, after WCAG 2.2. */
function contrast(one, other) {
  const [light, dark] = [one, other].map(luminance).sort((a, b) => b - a)
  return (light + 0.05) / (dark + 0.05)
}

function luminance(color) {
  const [red, green, blue] = /^rgb\((\d+), (\d+), (\d+)\)$/
    .exec(color)
    .slice(1)
    .map((level) => level / 255)
    .map((level) => (level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4))
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/** For those who asked for less motion. */
async function keepsStill(page, part, pseudo, name) {
  const takes = await page
    .locator(part)
    .first()
    .evaluate((node, of) => getComputedStyle(node, of).transitionDuration, pseudo)
  check(takes === '0s', `${part}${pseudo} does not move (${name})`)
}

async function byKeyboardAlone(open) {
  const room = freshRoom('keyboard')
  const ada = await open({
    room,
    key: freshKey(),
    identity: 'ada',
    publish: 'none',
    audio: '0',
  })
  const press = (key) => ada.page.keyboard.press(key)
  const focused = () =>
    ada.page.evaluate(
      () =>
        document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent,
    )
  await tabTo(ada, (name) => name === 'Join')
  await press('Enter')
  await ada.page.locator('.call').waitFor()
  check((await focused()) === room, 'entering the call gives the focus to its name')
  await press('m')
  await ada.page
    .getByRole('button', { name: 'Microphone', pressed: true })
    .waitFor({ timeout: 5_000 })
  await press('v')
  await ada.page.getByRole('button', { name: 'Camera', pressed: true }).waitFor({ timeout: 5_000 })
  await press('m')
  await ada.page
    .getByRole('button', { name: 'Microphone', pressed: false })
    .waitFor({ timeout: 5_000 })
  await press('c')
  await ada.page.keyboard.type('m is a letter here')
  await press('Enter')
  await ada.page.getByText('m is a letter here').waitFor()
  await press('Escape')
  check((await focused()) === 'Chat', 'closing the chat gives the focus back')
  await press('e')
  await tabTo(ada, (name) => name === 'Change the key')
  await press('Enter')
  const rotate = ada.page.getByRole('button', { name: 'Change the key' })
  await until('the key changes', 2_000, () => rotate.isDisabled(), 10)
  await press('Enter')
  await until('the key has changed', 5_000, () => rotate.isEnabled())
  check((await focused()) === 'Change the key', 'a button that can be pressed no more keeps the focus')
  check((await ada.facts()).epoch === 1, 'and does nothing')
  await press('Escape')
  await press('?')
  await ada.page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
  await press('Escape')
  await tabTo(ada, (name) => name === 'Leave')
  await press('Enter')
  await ada.page.getByText('You have left').waitFor()
  check(
    (await ada.page.evaluate(() => sessionStorage.length)) === 0,
    'leaving forgets token and key',
  )
}

/** Nobody looks at the page, and it draws nothing: who comes is heard, and what they write is told. */
async function byEarAlone(open) {
  const call = { room: freshRoom('by-ear'), key: freshKey() }
  const ada = await open({ ...call, identity: 'ada', publish: 'none', audio: '0' })
  await ada.join()
  await ada.page.evaluate(() => {
    window.requestAnimationFrame = () => 0
    window.spoken = []
    const region = document.querySelector('.call > [aria-live]')
    const note = (changes) =>
      window.spoken.push(...changes.flatMap(({ addedNodes }) => [...addedNodes].map((it) => it.textContent)))
    new MutationObserver(note).observe(region, { childList: true, subtree: true })
  })
  const spoken = () => ada.page.evaluate(() => window.spoken)
  const ben = await open({ ...call, identity: 'ben', publish: 'none', audio: '1' })
  await ben.join()
  await until('ada hears ben', 10_000, () =>
    ada.page.evaluate(() => [...document.querySelectorAll('audio')].some(({ srcObject, paused }) => srcObject && !paused)),
  )
  check(true, 'who comes while a page draws nothing is heard there')
  for (const line of ['Hello', 'Are you there?']) await ben.say(line)
  const told = async () => (await spoken()).filter((words) => words === 'New message from ben.').length
  await until('ada is told of both lines', 5_000, async () => (await told()) === 2)
  check(true, `while the chat is closed each line is told: ${(await spoken()).join(' ')}`)
  await ada.close()
  await ben.close()
}

async function tabTo(person, isIt) {
  for (let presses = 0; presses < 40; presses++) {
    await person.page.keyboard.press('Tab')
    const name = await person.page.evaluate(
      () =>
        document.activeElement?.getAttribute('aria-label') ??
        document.activeElement?.textContent ??
        '',
    )
    if (isIt(name)) return check(true, `the Tab key reaches ${name}`)
  }
  throw new Error('the Tab key does not reach it')
}

/** Nothing sticks out sideways, and every control is big enough for a finger. */
async function fits(page, name) {
  const problems = await page.evaluate(() => {
    const wide =
      document.documentElement.scrollWidth > innerWidth ? ['the page is wider than the window'] : []
    const small = [...document.querySelectorAll('.controls button, .lock')]
      .filter((button) => {
        const { width, height, left, right, bottom } = button.getBoundingClientRect()
        return width < 44 || height < 44 || left < 0 || right > innerWidth || bottom > innerHeight
      })
      .map((button) => `${button.getAttribute('aria-label')} is too small or cut off`)
    return [...wide, ...small]
  })
  check(problems.length === 0, `everything fits (${name}) ${problems}`)
}

/** Under a phone's notch and under its line for the thumb there is nothing of these. */
async function besideTheNotch(page, parts, name) {
  const session = await page.context().newCDPSession(page)
  await session.send('Emulation.setSafeAreaInsetsOverride', { insets: { top: 59, bottom: 34 } })
  for (const part of parts) {
    const room = await page.locator(part).evaluate((it) => {
      const { top, bottom } = it.getBoundingClientRect()
      return [top, innerHeight - bottom]
    })
    check(room[0] >= 59 && room[1] >= 34, `${part} keeps clear of a phone's edges (${name}): ${room}`)
  }
  await session.send('Emulation.setSafeAreaInsetsOverride', { insets: {} })
  await session.detach()
}

/** axe runs from the driver's side: the page's policy would not let the page load it. */
async function clean(page, name) {
  await page.evaluate(axe.source)
  const { violations, passes } = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: tags }),
    TAGS,
  )
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' ; ')}`,
  )
  check(
    passes.length > 0 && found.length === 0,
    `${name}: axe has ${passes.length} rules that hold, and none that does not ${found.join('\n    ')}`,
  )
}
