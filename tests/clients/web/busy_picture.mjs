/**
 * What a camera sees that an encoder cannot make small: Chromium's own test picture is so plain that no layer needs
 * the bits that it may have. A file of raw frames (YUV4MPEG2), which Chromium plays round and round as its camera.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const WIDTH = 1280
const HEIGHT = 720
const FRAMES_PER_SECOND = 20
/** 1.4 MB each: a second and a half, and the loop is not noticed. */
const FRAMES = 30
/** Large enough to be seen in the smallest of three layers. */
const TILE = 16
/** One tile of so many looks different in the next frame: with more the smallest layer loses most of its frames. */
const CHANGES_ONE_OF = 16
/** Greys from the middle on, each way. */
const CONTRAST = 48

export class BusyPicture {
  #folder = mkdtempSync(join(tmpdir(), 'incamera-'))
  #file = join(this.#folder, 'camera.y4m')

  static make() {
    const picture = new BusyPicture()
    writeFileSync(picture.#file, moving())
    return picture
  }

  /** What makes this the camera of every person in a browser. */
  get flag() {
    return `--use-file-for-fake-video-capture=${this.#file}`
  }

  remove() {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** Grey tiles, of which some change from frame to frame; the same in every run. */
function moving() {
  const head = Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F${FRAMES_PER_SECOND}:1 Ip A1:1\n`)
  const random = xorshift(0x9e3779b9)
  const grey = () => 128 - CONTRAST + (random() % (2 * CONTRAST))
  const columns = WIDTH / TILE
  const tiles = Array.from({ length: columns * (HEIGHT / TILE) }, grey)
  const parts = [head]
  for (let frame = 0; frame < FRAMES; frame++) {
    for (let tile = 0; tile < tiles.length; tile++) {
      if (random() % CHANGES_ONE_OF === 0) tiles[tile] = grey()
    }
    const luma = Buffer.alloc(WIDTH * HEIGHT)
    for (let y = 0; y < HEIGHT; y++) {
      for (let column = 0; column < columns; column++) {
        const at = y * WIDTH + column * TILE
        luma.fill(tiles[Math.floor(y / TILE) * columns + column], at, at + TILE)
      }
    }
    parts.push(Buffer.from('FRAME\n'), luma, Buffer.alloc((WIDTH * HEIGHT) / 2, 128))
  }
  return Buffer.concat(parts)
}

function xorshift(seed) {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}
