/**
 * LiveKit's encryption worker, made to drop what it would pass on unsealed or unopened.
 *
 * The worker has a switch for each identity. Where it is off, media goes through as it is, and what turns it off is
 * what the server says of somebody's tracks (of a sender's own identity: not having been turned on is enough). A page
 * that claims encryption has no use for that: here such a frame goes nowhere.
 * Guarantees: a build ends if the worker is not, word for word, the one that this was written for.
 */
import type { Plugin } from 'vite'

/** Where the worker passes frames on as they are, and what is there instead. Frames without any data still pass. */
const PASSAGES = [
  [
    `      if (!this.isEnabled()) {
        this.appendFrameMetadata(encodedFrame);
        return controller.enqueue(encodedFrame);
      }`,
    `      if (this.isEnabled() !== true) {
        return;
      }`,
  ],
  [
    `      if (!encryptionEnabled) {
        // participant is known to publish unencrypted media
        return controller.enqueue(encodedFrame);
      }`,
    `      if (encryptionEnabled !== true) {
        return;
      }`,
  ],
] as const

/** All that is left: what was empty (twice), the sealed, the server's own fixed frames (no trailer is ever set), the opened. */
const PASSAGES_LEFT = 5

/** @throws Error if a passage is not there exactly once, or if there is another. */
export function strict(worker: string): string {
  let text = worker
  for (const [open, shut] of PASSAGES) {
    if (text.split(open).length !== 2) throw new Error('LiveKit’s encryption worker has changed')
    text = text.replace(open, shut)
  }
  if (text.split('controller.enqueue(').length !== PASSAGES_LEFT + 1)
    throw new Error('LiveKit’s encryption worker passes frames on where it did not')
  return text
}

/** For the worker's own bundle, which the pages of `vite dev` do without. */
export function strictWorker(): Plugin {
  let isDone = false
  return {
    name: 'strict-worker',
    transform(code, id) {
      if (!/livekit-client\.e2ee\.worker\.m?js/.test(id)) return undefined
      isDone = true
      return { code: strict(code), map: null }
    },
    buildEnd(error) {
      if (!error && !isDone)
        this.error('LiveKit’s encryption worker was built without being made strict')
    },
  }
}
