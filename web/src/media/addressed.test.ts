import type { Room } from 'livekit-client'
import { expect, it } from 'vitest'
import { addressOutside } from './addressed.ts'

type Engine = Room['engine']
type Packet = Parameters<Engine['sendDataPacket']>[0]

it('has the server know whom data are for, whatever becomes of what is inside', async () => {
  const sent: unknown[] = []
  const engine = {
    channel: 'reliable',
    sendDataPacket(this: { channel: string }, packet: Packet, kind: number) {
      sent.push([this.channel, packet.destinationIdentities, kind])
      return Promise.resolve()
    },
  } as unknown as Engine
  addressOutside(engine)
  const packet = (destinationIdentities: string[]) =>
    ({
      destinationIdentities: [],
      value: { case: 'user', value: { destinationIdentities } },
    }) as unknown as Packet
  const other = { destinationIdentities: [], value: { case: 'metrics' } } as unknown as Packet
  await engine.sendDataPacket(packet(['ben']), 1)
  await engine.sendDataPacket(packet([]), 1)
  await engine.sendDataPacket(other, 0)
  expect(sent).toEqual([
    ['reliable', ['ben'], 1],
    ['reliable', [], 1],
    ['reliable', [], 0],
  ])
})
