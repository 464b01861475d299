/**
 * Tokens of livekit-server-sdk are accepted as it mints them; foreign, expired and altered ones are
 * refused. No browser: a back end mints tokens.
 */
import { AccessToken } from 'livekit-server-sdk'
import { API_KEY, API_SECRET, check, freshRoom, never, SERVER } from './driver.mjs'

const room = freshRoom('server-sdk')

async function mint({ key = API_KEY, secret = API_SECRET, ttl = '10m', grant = {}, ...more } = {}) {
  const token = new AccessToken(key, secret, { identity: 'ada', name: 'ada', ttl, ...more })
  token.addGrant({ roomJoin: true, room, ...grant })
  return token.toJwt()
}

async function status(token) {
  const answer = await fetch(`${SERVER}/rtc/v1/validate?access_token=${token}`)
  return answer.status
}

const altered = (token) => {
  const [header, claims, signature] = token.split('.')
  const grown = JSON.parse(Buffer.from(claims, 'base64url'))
  grown.video.roomAdmin = true
  return [header, Buffer.from(JSON.stringify(grown)).toString('base64url'), signature].join('.')
}

try {
  const attributes = { role: 'host', lang: 'de' }
  for (const [what, token] of [
    ['as it mints it', await mint()],
    ['with metadata and attributes', await mint({ metadata: '{"seat":7}', attributes })],
    ['for a listener', await mint({ grant: { canPublish: false, canSubscribe: true } })],
  ])
    check((await status(token)) === 200, `a token ${what} is accepted`)
  for (const [what, token] of [
    ['under another secret', await mint({ secret: 'not the secret, though long enough' })],
    ['under a foreign key', await mint({ key: 'foreign' })],
    ['that has expired', await mint({ ttl: '-10m' })],
    ['with one more grant than was signed', altered(await mint())],
    ['without the right to join', await mint({ grant: { roomJoin: false } })],
  ]) {
    const answered = await status(token)
    never(answered === 200, `a token ${what} is taken`)
    check(answered === 401, `a token ${what} is refused`)
  }
  console.log('PASS server_sdk')
} catch (error) {
  process.exitCode = 1
  console.error(`FAIL server_sdk: ${error.message}`)
}
