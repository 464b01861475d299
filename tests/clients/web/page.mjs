/**
 * One person at the page, driven from outside: for scenarios of other languages.
 *
 * `node page.mjs <room> <identity> <key> [publish] [audio] [seconds]` joins, prints one line of JSON
 * a second (what is received and what has been said), and leaves after the time is over or stdin
 * closes. Every line of stdin is written into the chat, but for `/rotate`, which changes the key.
 */
import { createInterface } from 'node:readline'
import { launch, Person, sleep } from './driver.mjs'

const [room, identity, key, publish = '180p', audio = '1', seconds = '60'] = process.argv.slice(2)
const browser = await launch()
const toSay = []
let isOver = false
createInterface({ input: process.stdin })
  .on('line', (line) => toSay.push(line))
  .on('close', () => {
    isOver = true
  })
try {
  const person = await Person.open(browser, { room, identity, key, publish, audio })
  await person.join()
  await person.press('Chat')
  const endAt = Date.now() + Number(seconds) * 1_000
  while (!isOver && Date.now() < endAt) {
    for (const line of toSay.splice(0))
      await (line === '/rotate' ? rotate(person) : person.say(line))
    const said = await person.page.locator('.said').allTextContents()
    const shown = await person.page.locator('.tile').evaluateAll(identitiesOfPictures)
    const { lock, state, others } = await person.facts()
    const received = (await person.tracks()).filter(({ isMine }) => !isMine).map(factsOf)
    console.log(
      JSON.stringify({ state, lock: lock.level, label: lock.label, others, received, said, shown }),
    )
    await sleep(1_000)
  }
} finally {
  await browser.close()
}
process.exit(0)

async function rotate(person) {
  await person.press('Encryption')
  await person.press('Change the key')
  await person.page.keyboard.press('Escape')
}

/** In the page: of whom a moving picture is on the stage. */
function identitiesOfPictures(tiles) {
  return tiles
    .filter((tile) => tile.querySelector('video:not([hidden])')?.srcObject)
    .map((tile) => tile.dataset.identity)
}

function factsOf({ identity: from, source, isEncrypted, rtp }) {
  const entry = rtp.find(({ type }) => type === 'inbound-rtp') ?? {}
  return {
    from,
    source,
    isEncrypted,
    framesDecoded: entry.framesDecoded ?? 0,
    audioEnergy: entry.totalAudioEnergy ?? 0,
  }
}
