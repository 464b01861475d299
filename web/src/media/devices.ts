/**
 * Opens the camera and the microphone, once the person has said yes.
 *
 * Nothing else in the page calls `getUserMedia` before joining. Closing stops the devices, so that
 * their lights go out.
 */
import {
  createLocalAudioTrack,
  createLocalVideoTrack,
  type LocalAudioTrack,
  type LocalVideoTrack,
  Room,
  type TrackPublishOptions,
  type VideoCaptureOptions,
  VideoPresets,
} from 'livekit-client'
import type { CameraSize } from '../invitation.ts'

/** A track that this page has opened. */
export type OwnTrack = LocalAudioTrack | LocalVideoTrack

export class Devices {
  camera: LocalVideoTrack | undefined
  microphone: LocalAudioTrack | undefined
  readonly #size: CameraSize

  constructor(size: CameraSize) {
    this.#size = size
  }

  async openCamera(deviceId?: string): Promise<LocalVideoTrack> {
    this.closeCamera()
    this.camera = await createLocalVideoTrack({
      ...captureOptions(this.#size),
      ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
    })
    return this.camera
  }

  async openMicrophone(deviceId?: string): Promise<LocalAudioTrack> {
    this.closeMicrophone()
    this.microphone = await createLocalAudioTrack({
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
    })
    return this.microphone
  }

  closeCamera(): void {
    this.camera?.stop()
    this.camera = undefined
  }

  closeMicrophone(): void {
    this.microphone?.stop()
    this.microphone = undefined
  }

  close(): void {
    this.closeCamera()
    this.closeMicrophone()
  }
}

/** The devices of one kind. They have names only once one of them has been opened. */
export function devicesOf(kind: MediaDeviceKind): Promise<MediaDeviceInfo[]> {
  return Room.getLocalDevices(kind, false)
}

/** Three simulcast layers need a capture at least 960 wide in livekit-client. */
export function captureOptions(size: CameraSize): VideoCaptureOptions {
  const preset = size === '180p' ? VideoPresets.h180 : VideoPresets.h720
  return { resolution: preset.resolution }
}

export function publishOptions(size: CameraSize): TrackPublishOptions {
  return size === '180p'
    ? { simulcast: false, videoEncoding: VideoPresets.h180.encoding }
    : {
        simulcast: true,
        videoSimulcastLayers: [VideoPresets.h180, VideoPresets.h360],
        videoEncoding: VideoPresets.h720.encoding,
      }
}
