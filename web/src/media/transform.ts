/**
 * Whether media goes through the encryption worker at all. The client library sets that up for each track as it comes,
 * and leaves it out, with a line in the console, where what the server says of the track is not what it expects.
 *
 * Source: `E2EE_FLAG` of livekit-client, which puts it on each sender and receiver once it has a transform. If it had
 * another name, nothing would count as sealed.
 */
import type { Track, TrackPublication } from 'livekit-client'

const MARK = 'lk_e2ee'

export function hasTransform(end: RTCRtpSender | RTCRtpReceiver | undefined): boolean {
  return end !== undefined && MARK in end
}

/** Whether a track is said to be encrypted and, from the moment that there is media of it, goes through the worker. */
export function isSealed({ isEncrypted, isLocal, track }: TrackPublication): boolean {
  if (!isEncrypted) return false
  if (!track) return true
  const { sender, receiver } = track as Track & Ends
  // One's own track has no sender before and between connections, and is sent nowhere then.
  return isLocal ? sender === undefined || hasTransform(sender) : hasTransform(receiver)
}

/** Tracks have one or the other. */
interface Ends {
  readonly sender?: RTCRtpSender
  readonly receiver?: RTCRtpReceiver
}
