/**
 * A network that a scenario can make narrow: a namespace of its own, joined to this one by a veth
 * pair whose near end holds back what goes in. Needs root, `ip` and `tc`.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** How long a packet may wait at the bottleneck, as in a home router of the better kind. */
const QUEUE = '300ms'
/** What the bottleneck lets pass at once: a few packets. */
const BURST = '6kb'

export class ThrottledNetwork {
  #name = `incamera-${process.pid}`
  // Names of interfaces have 15 characters at most.
  #near = `in${process.pid}n`
  #far = `in${process.pid}f`
  #folder = mkdtempSync(join(tmpdir(), 'incamera-'))

  /** Makes the network, not yet throttled. */
  static make() {
    const network = new ThrottledNetwork()
    // Set aside for measurements (RFC 2544).
    const net = `198.${18 + (process.pid % 2)}.${(process.pid >> 1) % 256}`
    network.nearAddress = `${net}.1`
    try {
      run('ip', 'netns', 'add', network.#name)
      run('ip', 'link', 'add', network.#near, 'type', 'veth', 'peer', 'name', network.#far)
      run('ip', 'link', 'set', network.#far, 'netns', network.#name)
      run('ip', 'address', 'add', `${net}.1/24`, 'dev', network.#near)
      run('ip', 'link', 'set', network.#near, 'up')
      const inside = ['netns', 'exec', network.#name, 'ip']
      run('ip', ...inside, 'address', 'add', `${net}.2/24`, 'dev', network.#far)
      run('ip', ...inside, 'link', 'set', network.#far, 'up')
      run('ip', ...inside, 'link', 'set', 'lo', 'up')
      run('ip', ...inside, 'route', 'add', 'default', 'via', `${net}.1`)
    } catch (error) {
      network.remove()
      throw new Error(
        `this scenario needs a network namespace, and cannot make one: ${error.message}`,
      )
    }
    return network
  }

  /** From now on no more than this goes into the namespace, in `tc`'s words: `400kbit`. */
  throttle(rate) {
    const queue = ['tbf', 'rate', rate, 'burst', BURST, 'latency', QUEUE]
    run('tc', 'qdisc', 'replace', 'dev', this.#near, 'root', ...queue)
  }

  /** What the bottleneck has counted, in `tc`'s words. */
  counted() {
    return run('tc', '-s', 'qdisc', 'show', 'dev', this.#near)
  }

  /** A program that does inside what `program` does here. */
  inside(program) {
    const path = join(this.#folder, 'inside')
    writeFileSync(path, `#!/bin/sh\nexec ip netns exec ${this.#name} '${program}' "$@"\n`)
    chmodSync(path, 0o755)
    return path
  }

  /** The namespace takes the far end with it, and that the near one. */
  remove() {
    try {
      run('ip', 'netns', 'delete', this.#name)
    } catch {
      // It was never made.
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function run(program, ...words) {
  try {
    return execFileSync(program, words, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  } catch (error) {
    const why = error.stderr?.trim() || error.message
    throw new Error(`\`${program} ${words.join(' ')}\`: ${why}`)
  }
}
