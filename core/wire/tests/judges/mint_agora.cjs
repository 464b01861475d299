// Makes vectors/agora.json with Agora's own library:
//   npm install --no-save agora-token@2.0.6 && node mint_agora.cjs > ../vectors/agora.json
// Times and salts are fixed, so that it makes the same again.
'use strict'

const { AccessToken2, ServiceRtc, ServiceRtm, ServiceFpa } = require('agora-token/src/AccessToken2')

const APP = '970CA35de60c44645bbae8a215061b33'
const CERTIFICATE = '5CFd2fd1755d40ecb72977518be15d3b'
const ISSUED = 1_800_000_000

function mint (lasts, services, certificate = CERTIFICATE) {
  const token = new AccessToken2(APP, certificate, ISSUED, lasts)
  token.salt = 1
  services.forEach(service => token.add_service(service))
  return token.build()
}

function calls (channel, user, privileges) {
  const service = new ServiceRtc(channel, user)
  for (const [privilege, lasts] of Object.entries(privileges)) service.add_privilege(privilege, lasts)
  return service
}

const all = { 1: 600, 2: 300, 3: 200, 4: 100 }
process.stdout.write(JSON.stringify({
  app: APP,
  certificate: CERTIFICATE,
  issued: ISSUED,
  tokens: {
    each_its_end: mint(900, [calls('room', 'ada', all)]),
    privileges_as_long_as_the_token: mint(900, [calls('room', 'ada', { 1: 0, 2: 0, 3: 0, 4: 0 })]),
    privileges_longer_than_the_token: mint(60, [calls('room', 'ada', all)]),
    join_alone: mint(900, [calls('room', 'ada', { 1: 600 })]),
    no_join: mint(900, [calls('room', 'ada', { 2: 600 })]),
    sound_alone: mint(900, [calls('room', 7, { 1: 600, 2: 600 })]),
    user_zero: mint(900, [calls('room', 0, all)]),
    account_zero: mint(900, [calls('room', '0', all)]),
    any_channel: mint(900, [calls('*', 'ada', all)]),
    no_channel: mint(900, [calls('', 'ada', all)]),
    beside_other_services: mint(900, [new ServiceFpa(), new ServiceRtm('ada'), calls('room', 'ada', all)]),
    without_calls: mint(900, [new ServiceRtm('ada')]),
    two_rooms: mint(900, [calls('room', 'ada', all), calls('other', 'ada', all)]),
    another_certificate: mint(900, [calls('room', 'ada', all)], 'f'.repeat(32)),
  },
}, null, 2) + '\n')
