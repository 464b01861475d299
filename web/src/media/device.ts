/**
 * One device of a person's, open or not: what was said last is what holds.
 *
 * Opening takes as long as the browser asks the person. What it gives when it is wanted no more is stopped at once. What is
 * closed is shown nowhere any more either: of a picture that is attached, the client opens the camera anew when a phone
 * comes back to the page.
 */
export class Device<Opened extends { stop(): void; detach(): unknown }> {
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
    this.#track?.detach()
    this.#track?.stop()
    this.#track = undefined
  }
}
