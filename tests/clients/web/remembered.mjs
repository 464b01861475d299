/**
 * What is left on a device once somebody has left: the page says what of the link it has forgotten, and what the browser
 * keeps. Both are looked for in the browser's own files.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import {
  CHROMIUM,
  check,
  control,
  FLAGS,
  freshKey,
  freshRoom,
  linkTo,
  markSensitive,
  mintToken,
  scenario,
  until,
} from './driver.mjs'

const profile = mkdtempSync(join(tmpdir(), 'incamera-remembered-'))

/** The files of the profile that hold a text, by their names within it. */
function holding(text) {
  const files = readdirSync(profile, { recursive: true, withFileTypes: true })
  const paths = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name))
  return paths
    .filter((path) => readFileSync(path).includes(text))
    .map((path) => path.slice(profile.length + 1))
}

/** Whether anything that the page can still reach holds a text. */
async function inHeap(page, text) {
  const session = await page.context().newCDPSession(page)
  const pieces = []
  session.on('HeapProfiler.addHeapSnapshotChunk', ({ chunk }) => pieces.push(chunk))
  await session.send('HeapProfiler.takeHeapSnapshot', { reportProgress: false })
  await session.detach()
  return JSON.parse(pieces.join('')).strings.some((string) => string.includes(text))
}

/** Where people have the data of sites blocked, asking for it is an error. */
async function withoutStorage(browser) {
  const page = await browser.newPage()
  await page.addInitScript(() => {
    for (const name of ['sessionStorage', 'localStorage'])
      Object.defineProperty(window, name, {
        get: () => {
          throw new DOMException('blocked', 'SecurityError')
        },
      })
  })
  const key = freshKey()
  markSensitive(key)
  const fields = { token: mintToken(freshRoom('remembered'), 'ada'), publish: 'none', audio: '0' }
  await page.goto(linkTo({ ...fields, key })).catch(() => {
    throw new Error('no page')
  })
  await page.getByRole('button', { name: 'Join' }).click()
  await page.locator('.call').waitFor({ timeout: 15_000 })
  check(!page.url().includes('#'), 'a page that may store nothing lets people join, too')
  await page.getByRole('button', { name: 'Leave' }).click()
  await page.getByRole('heading', { name: 'You have left' }).waitFor()
  check(!(await inHeap(page, key)), 'and forgets the key when they leave')
}

/** Others were heard, and the person has turned a camera off before: neither keeps the call in the page's memory. */
async function besideOthers(open, browser) {
  const [room, key] = [freshRoom('remembered'), freshKey()]
  const ben = await open({ room, key, identity: 'ben', publish: 'none' })
  await ben.join()
  for (const [hasConsent, what] of [
    [false, 'who was heard'],
    [true, 'a camera that was turned off before'],
  ]) {
    const token = mintToken(room, 'ada')
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.goto(linkTo({ token, key, publish: '180p' })).catch(() => {
      throw new Error('no page')
    })
    if (hasConsent) {
      await page.getByRole('switch', { name: /camera and microphone/i }).check()
      await page.locator('.preview video').waitFor()
      await page.getByRole('button', { name: 'Camera', exact: true }).click()
    }
    await page.getByRole('button', { name: 'Join' }).click()
    await page.locator('.call').waitFor({ timeout: 15_000 })
    const hears = () => [...document.querySelectorAll('audio')].some(({ srcObject }) => srcObject)
    await until('ada hears ben', 10_000, () => page.evaluate(hears))
    await page.getByRole('button', { name: 'Leave' }).click()
    await page.getByRole('heading', { name: 'You have left' }).waitFor()
    for (const [name, text] of Object.entries({ key, token }))
      check(!(await inHeap(page, text)), `${what} does not keep the ${name} in the page's memory`)
    await context.close()
  }
}

await scenario('remembered', async (open, other) => {
  const [room, key] = [freshRoom('remembered'), freshKey()]
  markSensitive(key)
  const token = mintToken(room, 'ada')
  const link = linkTo({ token, key, publish: 'none', audio: '0' })
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: FLAGS,
  })
  try {
    const page = browser.pages()[0] ?? (await browser.newPage())
    await page.goto(link).catch(() => {
      throw new Error('no page')
    })
    await page.getByRole('button', { name: 'Join' }).click()
    await page.locator('.call').waitFor({ timeout: 15_000 })
    const kept = () =>
      page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]))
    control((await kept()).includes(key), 'the page keeps the key for its tab during the call')
    control(await inHeap(page, key), 'and in its memory')
    await page.getByRole('button', { name: 'Leave' }).click()
    await page.getByRole('heading', { name: 'You have left' }).waitFor()
    check(!(await kept()).includes(key), 'and has forgotten it once ada has left')
    for (const [name, text] of Object.entries({ key, token }))
      check(!(await inHeap(page, text)), `in its memory, too: the ${name} is not there`)
    const words = await page.innerText('main')
    check(/stays in your browser.s history/.test(words), 'it says that the browser has not')
    await withoutStorage(browser)
    await besideOthers(open, other)
  } finally {
    await browser.close()
  }
  const found = holding(key)
  check(
    found.some((path) => /(^|\/)History$/.test(path)),
    `which is so: the key is in ${found.join(', ')}`,
  )
})
rmSync(profile, { recursive: true, force: true })
