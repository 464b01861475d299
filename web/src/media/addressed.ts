/**
 * Data for some alone, addressed where the server can read it.
 *
 * LiveKit's client writes the list into that part of a packet which it then seals, so that everybody gets it. This copies
 * the list to the outside before.
 * Source: `RTCEngine.sendDataPacket` of livekit-client; `DataPacket` in livekit_models.proto.
 */
import type { Room } from 'livekit-client'

/** To be called once connected: until then the client may take another engine. */
export function addressOutside(engine: Room['engine']): void {
  const send = engine.sendDataPacket.bind(engine)
  engine.sendDataPacket = (packet, kind) => {
    const { value } = packet
    if (value.case === 'user') packet.destinationIdentities = value.value.destinationIdentities
    return send(packet, kind)
  }
}
