import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Call } from '../call.ts'
import { ChatPanel } from './chat_panel.ts'

/** As much of an element as the panel uses. */
class Node {
  children: Node[] = []
  parent: Node | undefined
  textContent = ''
  scrollTop = 0
  scrollHeight = 0
  value = ''
  readonly listeners = new Map<string, (event: object) => void>()
  readonly classList = { add: () => {} }
  readonly attributes = new Map<string, string>()
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  append(...nodes: (Node | string)[]): void {
    for (const node of nodes) {
      const child =
        typeof node === 'string' ? Object.assign(new Node(''), { textContent: node }) : node
      child.parent = this
      this.children.push(child)
    }
  }

  remove(): void {
    if (this.parent) this.parent.children = this.parent.children.filter((child) => child !== this)
  }

  get childElementCount(): number {
    return this.children.length
  }

  get firstElementChild(): Node | undefined {
    return this.children[0]
  }

  addEventListener(name: string, listener: (event: object) => void): void {
    this.listeners.set(name, listener)
  }
  setAttribute(): void {}
  hasAttribute(): boolean {
    return false
  }
  getAttribute(): null {
    return null
  }
}

/** The first element of a name in a tree. */
function find(node: Node, name: string): Node | undefined {
  if (node.name === name) return node
  return node.children.map((child) => find(child, name)).find(Boolean)
}

const text = (node: Node): string => node.textContent + node.children.map(text).join('')

beforeEach(() => {
  const create = (name: string) => new Node(name)
  vi.stubGlobal('document', {
    createElement: create,
    createElementNS: (_: string, name: string) => create(name),
  })
})
afterEach(() => vi.unstubAllGlobals())

it('shows so many lines, the newest', () => {
  const panel = new ChatPanel({ nameOf: (identity: string) => identity } as Call, () => {})
  for (let n = 0; n < 600; n++)
    panel.add({ from: 'ben', isMine: false, atMs: 0, text: `line ${n}` })
  const lines = find(panel.view as unknown as Node, 'ol')?.children ?? []
  expect(lines).toHaveLength(500)
  expect([lines[0], lines[499]].map((line) => line && text(line))).toEqual([
    expect.stringMatching(/line 100$/),
    expect.stringMatching(/line 599$/),
  ])
})

describe('what cannot be sent', () => {
  /** A panel, and how the call answers to what it was last asked to say. */
  function panelOf() {
    const asked: { text: string; done: () => void; fail: () => void }[] = []
    const sayToAll = (text: string) =>
      new Promise<void>((done, fail) => asked.push({ text, done, fail: () => fail(new Error()) }))
    const panel = new ChatPanel({ sayToAll } as unknown as Call, () => {})
    const input = find(panel.view as unknown as Node, 'input') as Node
    const form = find(panel.view as unknown as Node, 'form') as Node
    const say = (line: string) => {
      input.value = line
      form.listeners.get('submit')?.({ preventDefault: () => {} })
    }
    const answer = async (how: 'done' | 'fail') => {
      asked.at(-1)?.[how]()
      await new Promise((resolve) => setTimeout(resolve))
    }
    return { input, say, answer, said: () => asked.map((it) => it.text) }
  }

  it('stands before what has been written since', async () => {
    const { input, say, answer } = panelOf()
    say('the dose is 5 mg')
    expect(input.value).toBe('')
    input.value = 'of what'
    await answer('fail')
    expect(input.value).toBe('the dose is 5 mg of what')
  })

  it('is sent in as many lines as it takes when it has become too long for one', async () => {
    const { input, say, answer, said } = panelOf()
    const [one, two] = ['a'.repeat(2_500), 'b'.repeat(2_500)]
    say(one)
    say(two)
    await answer('fail')
    say(input.value)
    await answer('done')
    await answer('done')
    expect(said().slice(1).join('')).toBe(`${one} ${two}`)
    expect(input.value).toBe('')
  })

  it('comes back with what was to be sent after it, in its order', async () => {
    const { input, say, answer, said } = panelOf()
    say('one')
    say('two')
    say('three')
    await answer('done')
    await answer('fail')
    expect(input.value).toBe('two three')
    say('two three')
    await answer('done')
    expect(said()).toEqual(['one', 'two', 'two three'])
    expect(input.value).toBe('')
  })
})
