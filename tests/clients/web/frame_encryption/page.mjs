/** Two peer connections of one page: every track is encoded, encrypted, sent, decrypted and decoded by Chromium. */

const VIDEO = ['vp8', 'vp9', 'h264']
const FRAMES_PER_SECOND = 50

let worker
let connections
const waiting = new Map()

function ask(kind, data = {}) {
  const id = crypto.randomUUID()
  worker.postMessage({ id, kind, ...data })
  return new Promise((resolve) => waiting.set(id, resolve))
}

/** Starts all tracks. */
window.begin = async ({ passphrases, keySize }) => {
  worker = new Worker('/worker.mjs', { type: 'module' })
  worker.onmessage = ({ data: { id, answer } }) => waiting.get(id)?.(answer)
  worker.onerror = (event) => console.error('worker', event.message)
  await ask('start', { passphrases, keySize })

  const [sender, receiver] = [new RTCPeerConnection(), new RTCPeerConnection()]
  connections = { sender, receiver }
  sender.onicecandidate = ({ candidate }) => candidate && receiver.addIceCandidate(candidate)
  receiver.onicecandidate = ({ candidate }) => candidate && sender.addIceCandidate(candidate)
  const cells = ['opus', ...VIDEO].flatMap((codec) =>
    ['livekit', 'rust'].map((sealedBy) => ({ codec, sealedBy, track: `${codec} by ${sealedBy}` })),
  )
  const [picture, sound] = [movingPicture(), changingSound()]
  for (const cell of cells) {
    const kind = cell.codec === 'opus' ? 'audio' : 'video'
    const track = kind === 'audio' ? sound : picture
    const transceiver = sender.addTransceiver(track, { direction: 'sendonly' })
    transceiver.setCodecPreferences(codecsOf(kind, cell.codec))
    transceiver.sender.transform = new RTCRtpScriptTransform(worker, { ...cell, side: 'sender' })
  }
  let next = 0
  receiver.ontrack = ({ receiver: end, track }) => {
    end.transform = new RTCRtpScriptTransform(worker, { ...cells[next], side: 'receiver' })
    next += 1
    const element = document.createElement(track.kind)
    element.srcObject = new MediaStream([track])
    element.muted = true
    element.play().catch(() => {})
    document.body.append(element)
  }
  await sender.setLocalDescription()
  await receiver.setRemoteDescription(shortSounds(sender.localDescription))
  await receiver.setLocalDescription()
  await sender.setRemoteDescription(shortSounds(receiver.localDescription))
}

/** Encodes no more. */
window.end = () =>
  Promise.all(connections.sender.getSenders().map((sender) => sender.replaceTrack(null)))

window.report = async () => {
  const stats = [...(await connections.receiver.getStats()).values()]
  const decoded = stats.filter(({ type }) => type === 'inbound-rtp')
  return {
    cells: await ask('report'),
    decoded: decoded.map(
      ({ framesDecoded, totalSamplesReceived }) => framesDecoded ?? totalSamplesReceived,
    ),
  }
}
window.rotate = () => ask('rotate')
window.exchangeData = (count) => ask('exchangeData', { count })

/** The one codec, H.264 as all browsers have it. */
function codecsOf(kind, name) {
  const { codecs } = RTCRtpSender.getCapabilities(kind)
  const isIt = ({ mimeType, sdpFmtpLine = '' }) =>
    mimeType.toLowerCase() === `${kind}/${name}` &&
    (name !== 'h264' || /packetization-mode=1.*profile-level-id=42/.test(sdpFmtpLine)) &&
    (name !== 'vp9' || sdpFmtpLine.includes('profile-id=0'))
  const chosen = codecs.find(isIt)
  if (chosen === undefined) throw new Error(`this browser has no ${name}`)
  return [chosen]
}

/** Opus packets of 10 ms, for more of them in a second. */
function shortSounds({ type, sdp }) {
  return {
    type,
    sdp: sdp.replace(/(m=audio[\s\S]*?)(?=m=|$)/g, '$1a=ptime:10\r\na=maxptime:10\r\n'),
  }
}

function movingPicture() {
  const canvas = document.createElement('canvas')
  Object.assign(canvas, { width: 160, height: 120 })
  document.body.append(canvas)
  const pen = canvas.getContext('2d')
  let number = 0
  setInterval(() => {
    number += 1
    for (let spot = 0; spot < 20; spot += 1) {
      pen.fillStyle = `hsl(${(number * 7 + spot * 40) % 360} 80% 50%)`
      pen.fillRect(Math.random() * 160, Math.random() * 120, 20, 20)
    }
  }, 1000 / FRAMES_PER_SECOND)
  return canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks()[0]
}

function changingSound() {
  const context = new AudioContext()
  const [tone, end] = [new OscillatorNode(context), new MediaStreamAudioDestinationNode(context)]
  tone.connect(end)
  tone.start()
  setInterval(() => {
    tone.frequency.value = 200 + Math.random() * 2000
  }, 50)
  return end.stream.getAudioTracks()[0]
}
