/**
 * Makes elements. One function, so that no view ever needs `innerHTML` (which the page's policy
 * forbids anyway).
 */

export type Child = Node | string | null | undefined | false

type Listener = (event: Event) => void
type Attribute = string | number | boolean | undefined | Listener

/**
 * An element with attributes and children.
 *
 * `true` writes an empty attribute, `false` and `undefined` write none, a function listens to the
 * event that the attribute names.
 */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name, value)
    else setAttribute(node, name, value)
  }
  for (const child of children) {
    if (child) node.append(child)
  }
  return node
}

/** Writes, or with `false` and `undefined` removes, an attribute. Touches nothing if unchanged. */
export function setAttribute(
  node: Element,
  name: string,
  value: string | number | boolean | undefined,
): void {
  if (value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name)
    return
  }
  const text = value === true ? '' : String(value)
  if (node.getAttribute(name) !== text) node.setAttribute(name, text)
}

/** Replaces the text of a node if it differs: screen readers announce every real change. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text
}
