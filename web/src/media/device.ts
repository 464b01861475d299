/**
 * One device of a person's, open or not: what was said last is what holds.
 *
 * Opening takes as long as the browser asks the person. What it gives when it is wanted no more is stopped at once.
 */
export class Device<Opened extends { stop(): void }> {
  #track: Opened | undefined
  /** Counts what was said, so that an answer to anything but the last is known. */
  #said = 0

  get track(): Opened | undefined {
    return this.#track
  }

  /** Closes what is open and opens anew. `undefined` if it was closed or opened again meanwhile. */
  async open(ask: () => Promise<Opened>): Promise<Opened | undefined> {
    this.close()
    const said = this.#said
    let track: Opened
    try {
      track = await ask()
    } catch (error) {
      if (said === this.#said) throw error
      return undefined
    }
    if (said !== this.#said) {
      track.stop()
      return undefined
    }
    this.#track = track
    return track
  }

  close(): void {
    this.#said += 1
    this.#track?.stop()
    this.#track = undefined
  }
}
