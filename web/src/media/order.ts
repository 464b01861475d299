/**
 * What the client library orders of the encryption worker, without what would let media pass as it is. Pure.
 *
 * The library takes both from what the server says: that somebody is not encrypted, which is sticky and of an identity
 * and not of a track, and the ending of frames that the server itself puts in, which are not.
 */

/** The order to give instead; `undefined` for none. */
export function strictOrder(order: unknown): unknown {
  const { kind, data } = order as { kind?: unknown; data?: object }
  if (kind === 'setSifTrailer') return undefined
  return kind === 'enable' ? { kind, data: { ...data, enabled: true } } : order
}
