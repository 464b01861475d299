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
import { Device } from './device.ts'

/** A track that this page has opened. */
export type OwnTrack = LocalAudioTrack | LocalVideoTrack

export class Devices {
  readonly #camera = new Device<LocalVideoTrack>()
  readonly #microphone = new Device<LocalAudioTrack>()
  readonly #size: CameraSize

  constructor(size: CameraSize) {
    this.#size = size
  }

  get camera(): LocalVideoTrack | undefined {
    return this.#camera.track
  }

  get microphone(): LocalAudioTrack | undefined {
    return this.#microphone.track
  }

  /** `undefined` if it was closed or opened again before the browser allowed it. */
  openCamera(deviceId?: string): Promise<LocalVideoTrack | undefined> {
    return this.#camera.open(() =>
      createLocalVideoTrack({
        ...captureOptions(this.#size),
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
      }),
    )
  }

  /** As `openCamera`. */
  openMicrophone(deviceId?: string): Promise<LocalAudioTrack | undefined> {
    return this.#microphone.open(() =>
      createLocalAudioTrack({
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
      }),
    )
  }

  closeCamera(): void {
    this.#camera.close()
  }

  closeMicrophone(): void {
    this.#microphone.close()
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
