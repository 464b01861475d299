/**
 * `incamera dev --lan` as a developer runs it for a phone: it prints links and the way to its authority; a
 * phone-sized browser in a network of its own that trusts the authority holds an encrypted call over https
 * with a desktop browser; one that does not is not let in.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DevServer } from './dev_server.mjs'
import { CHROMIUM, check, launch, Person, scenario, seesAndHears } from './driver.mjs'
import { ThrottledNetwork } from './throttled_network.mjs'

const { INCAMERA_HTTP_PORT, INCAMERA_SERVER_LOG } = process.env
const PHONE = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
  deviceScaleFactor: 3,
}

const folder = mkdtempSync(join(tmpdir(), 'incamera-lan-'))
const home = join(folder, 'home')

const start = (address) =>
  DevServer.start(['--lan', '--address', address], { XDG_DATA_HOME: join(folder, 'data') })

/** Makes whoever lives in `home` trust a certificate. */
function trust(pem) {
  const store = join(home, '.pki', 'nssdb')
  const file = join(folder, 'got.pem')
  mkdirSync(store, { recursive: true })
  writeFileSync(file, pem)
  const certutil = (...words) => execFileSync('certutil', ['-d', `sql:${store}`, ...words])
  certutil('-N', '--empty-password')
  certutil('-A', '-t', 'C,,', '-n', 'lan', '-i', file)
}

async function takesTheAuthority(lan, base) {
  const got = await fetch(`http://${base}/ca.pem`)
  const pem = await got.text()
  check(
    got.status === 200 && /^-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n$/.test(pem),
    'in the clear there is the certificate of the authority',
  )
  const der = Buffer.from(pem.split('-----')[2], 'base64')
  const digest = createHash('sha256').update(der).digest('hex').toUpperCase()
  const fingerprint = digest.match(/../g).join(':')
  check(
    lan.printed.includes(fingerprint),
    `of which the fingerprint is printed (${fingerprint.slice(0, 23)}…)`,
  )
  for (const path of ['/', '/call/', '/rtc/v1/validate', '/issuer.key'])
    if ((await fetch(`http://${base}${path}`)).status !== 400)
      throw new Error(`${path} is answered`)
  check(true, 'and nothing else')
  for (const name of ['issuer.key', 'issuer.pem', 'ca.pem']) {
    const { mode } = statSync(join(folder, 'data/incamera/authority', name))
    if ((mode & 0o777) !== 0o600) throw new Error(`${name} can be read by others`)
  }
  check(true, 'the key can be read by its owner alone')
  vouchesForLittle()
  trust(pem)
  return pem
}

/** What its key is worth to a thief: it certifies this machine, and no site of the web. */
function vouchesForLittle() {
  const kept = join(folder, 'data/incamera/authority')
  const openssl = (...words) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' })
  const verdict = (name) => {
    writeFileSync(join(folder, 'names'), `subjectAltName=${name}`)
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'k', '-out', 'r', '-subj', '/CN=x')
    const issuer = ['-CA', join(kept, 'issuer.pem'), '-CAkey', join(kept, 'issuer.key')]
    openssl('x509', '-req', '-in', 'r', ...issuer, '-out', 'c', '-extfile', 'names')
    const path = ['-CAfile', join(kept, 'ca.pem'), '-untrusted', join(kept, 'issuer.pem')]
    try {
      return String(openssl('verify', ...path, 'c')).trim()
    } catch (error) {
      return String(error.stderr)
    }
  }
  for (const name of ['IP:192.168.1.20', 'DNS:desk.local'])
    if (verdict(name) !== 'c: OK') throw new Error(`${name}: ${verdict(name)}`)
  for (const name of ['IP:8.8.8.8', 'DNS:bank.example'])
    if (!verdict(name).includes('permitted subtree violation'))
      throw new Error(`it vouches for ${name}`)
  check(true, 'which certifies private addresses and *.local, and no site of the web')
}

async function turnsAwayStrangers(link) {
  const stranger = await launch()
  try {
    const page = await stranger.newPage()
    const why = await page.goto(link.split('#')[0]).then(() => 'nothing', String)
    check(why.includes('ERR_CERT_AUTHORITY_INVALID'), 'who does not trust it sees no page')
  } finally {
    await stranger.close()
  }
}

async function meet(people) {
  await Promise.all(people.map((person) => person.join()))
  const [atDesk, atPhone] = people
  await Promise.all([seesAndHears(atDesk, atPhone), seesAndHears(atPhone, atDesk)])
}

const network = ThrottledNetwork.make()
let lan
try {
  const address = network.nearAddress
  const base = `${address}:${INCAMERA_HTTP_PORT}`
  lan = await start(address)
  const [desk, phone] = lan.links()
  check(desk !== undefined && phone !== undefined, 'it prints a link for each of two')
  await turnsAwayStrangers(desk.link)
  const pem = await takesTheAuthority(lan, base)
  process.env.INCAMERA_BROWSER_HOME = home
  await scenario('lan', async (_open, _browser, follow) => {
    const far = await launch({ executablePath: network.inside(CHROMIUM) })
    try {
      const atDesk = await follow(desk.link, desk.identity)
      const atPhone = await Person.follow(far, phone.link, phone.identity, { context: PHONE })
      check(
        await atPhone.page.evaluate(() => window.isSecureContext),
        'the phone may use its camera',
      )
      await meet([atDesk, atPhone])
      const width = await atPhone.page.evaluate(() => document.documentElement.scrollWidth)
      check(width <= PHONE.viewport.width, `the call fits the phone's ${width} pixels`)
      check(!(await atPhone.page.url()).includes('#'), 'whose address bar holds no key')
    } finally {
      await far.close()
    }
    check((await lan.stop()) === 0, 'SIGTERM ends it')

    const again = await start(address)
    lan = again
    const kept = await (await fetch(`http://${base}/ca.pem`)).text()
    check(kept === pem, 'started again, its authority is the same')
    const token = new URLSearchParams(desk.link.split('#')[1]).get('token')
    const answer = execFileSync('curl', [
      ...['--silent', '--output', '/dev/null', '--write-out', '%{http_code}'],
      ...['--cacert', join(folder, 'got.pem'), '--header', `Authorization: Bearer ${token}`],
      `https://${base}/rtc/v1/validate`,
    ])
    check(String(answer) === '401', 'and the links of before are worth nothing')
    const log = readFileSync(INCAMERA_SERVER_LOG, 'utf8')
    const secrets = [...new URLSearchParams(desk.link.split('#')[1]).values()]
    check(
      secrets.length === 2 && !secrets.some((secret) => log.includes(secret)),
      'which are in no log',
    )
    check((await again.stop()) === 0, 'SIGTERM ends it')
  })
} catch (error) {
  process.exitCode = 1
  console.error(`FAIL lan: ${error.message}`)
} finally {
  lan?.child.kill('SIGKILL')
  network.remove()
  rmSync(folder, { recursive: true, force: true })
}
