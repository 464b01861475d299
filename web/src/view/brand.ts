/** The product's mark: a keyhole. */
import { element } from '../dom.ts'

const SVG = 'http://www.w3.org/2000/svg'

export function brand(): HTMLElement {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 32 32')
  svg.setAttribute('aria-hidden', 'true')
  const plate = document.createElementNS(SVG, 'rect')
  for (const [name, value] of [
    ['width', '32'],
    ['height', '32'],
    ['rx', '9'],
    ['class', 'plate'],
  ] as const) {
    plate.setAttribute(name, value)
  }
  const hole = document.createElementNS(SVG, 'path')
  hole.setAttribute('class', 'hole')
  hole.setAttribute(
    'd',
    'M16 6.5a5.6 5.6 0 0 0-3 10.33L11.4 24.4a.9.9 0 0 0 .88 1.1h7.44a.9.9 0 0 0 .88-1.1L19 16.83A5.6 5.6 0 0 0 16 6.5Z',
  )
  svg.append(plate, hole)
  return element('div', { class: 'brand' }, svg, element('span', {}, 'Incamera'))
}
