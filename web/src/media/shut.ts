/**
 * Receivers through which nothing comes until the client library has put the encryption worker before them.
 *
 * Chromium holds media back until then. Where there is nothing but `RTCRtpScriptTransform` (Firefox, Safari), what comes
 * is decoded as it is, and the library is late: it waits for the connection, after a reconnection for two seconds. The
 * last picture of that time, of somebody without the key, would then be shown as if it had been opened.
 * Guarantees: from its first moment on a receiver has a transform, the worker's own, which belongs to nobody: it drops
 * all, and is replaced by that of whom the track is. It has no mark of the library's: `transform` counts the track as
 * not sealed until then.
 * Source: `E2EEManager.handleReceiver` and `Room.onTrackAdded` of livekit-client; WebRTC Encoded Transform §4.
 */

/** Of no track. */
const NOBODYS = { kind: 'decode', trackId: 'nobody’s' }

let worker: Worker | undefined

/** From now on receivers that are made are shut, by this worker, where the browser does not hold media back itself. */
export function shutReceivers(by: Worker): void {
  const isFirst = worker === undefined
  worker = by
  const holdsBack = 'createEncodedStreams' in RTCRtpSender.prototype
  if (isFirst && !holdsBack) window.RTCPeerConnection = shutting(window.RTCPeerConnection)
}

/** Connections of this kind, whose receivers are shut as far as the client library makes any. */
function shutting(Native: typeof RTCPeerConnection): typeof RTCPeerConnection {
  return class extends Native {
    constructor(configuration?: RTCConfiguration) {
      super(configuration)
      // Those that the server's description makes.
      this.addEventListener('track', ({ receiver }) => shut(receiver))
    }

    override addTransceiver(
      ...words: Parameters<RTCPeerConnection['addTransceiver']>
    ): RTCRtpTransceiver {
      const transceiver = super.addTransceiver(...words)
      shut(transceiver.receiver)
      return transceiver
    }
  }
}

function shut(receiver: RTCRtpReceiver): void {
  try {
    if (worker) receiver.transform ??= new RTCRtpScriptTransform(worker, NOBODYS)
  } catch {
    // Then the library cannot set one either: without its mark what comes counts as not sealed, and nothing is sent.
  }
}
