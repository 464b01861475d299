/** The page's icons, drawn on a 24 unit grid with one stroke. Decorative: labels say the words. */

const PATHS = {
  microphone:
    'M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3Z M5.5 11a6.5 6.5 0 0 0 13 0 M12 17.5V21',
  microphoneOff:
    'M15 10.2V6a3 3 0 0 0-5.7-1.3 M9 9v2a3 3 0 0 0 4.6 2.5 M5.5 11a6.5 6.5 0 0 0 10 5.5 M18.1 13.2a6.5 6.5 0 0 0 .4-2.2 M12 17.5V21 M4 3.5l16.5 17',
  camera:
    'M4.5 6.5h8a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2Z M14.5 10.7l5.6-3.2a.9.9 0 0 1 1.4.8v7.4a.9.9 0 0 1-1.4.8l-5.6-3.2',
  cameraOff:
    'M9.5 6.5h3a2 2 0 0 1 2 2v3 M14.5 15.5a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2h1 M16.5 12l3.6-4.5a.9.9 0 0 1 1.4.8v7.4a.9.9 0 0 1-1.2.8 M3.5 3.5l17 17',
  screen:
    'M4 4.5h16a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5H4A1.5 1.5 0 0 1 2.5 15V6A1.5 1.5 0 0 1 4 4.5Z M8 20h8 M12 13.5V8 M9.3 10.2 12 7.5l2.7 2.7',
  chat: 'M5 4.5h14A1.5 1.5 0 0 1 20.5 6v9a1.5 1.5 0 0 1-1.5 1.5h-7.5L7 20v-3.5H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.5Z M8 9h8 M8 12.2h5',
  grid: 'M4.5 4.5h6v6h-6Z M13.5 4.5h6v6h-6Z M4.5 13.5h6v6h-6Z M13.5 13.5h6v6h-6Z',
  speaker: 'M4 4.5h16v9.5H4Z M4 17h4.6v2.5H4Z M9.7 17h4.6v2.5H9.7Z M15.4 17H20v2.5h-4.6Z',
  leave:
    'M3.2 14.8c-.9-1-.9-2.4.1-3.3 5-4.4 12.4-4.4 17.4 0 1 .9 1 2.3.1 3.3l-.9 1a1.2 1.2 0 0 1-1.6.2l-2.5-1.7a1.2 1.2 0 0 1-.5-1.2l.2-1.4c-2.2-.8-4.8-.8-7 0l.2 1.4c.1.5-.1.9-.5 1.2L5.7 16a1.2 1.2 0 0 1-1.6-.2Z',
  lock: 'M6.5 10.500h11a1.5 1.5 0 0 1 1.5 1.500v6.500a1.5 1.5 0 0 1-1.5 1.500h-11A1.5 1.5 0 0 1 5 18.500V12a1.5 1.5 0 0 1 1.5-1.500Z M8 10.500V7.500a4 4 0 0 1 8 0v3 M12 14.200v2.3',
  lockOpen:
    'M6.5 10.500h11a1.5 1.5 0 0 1 1.5 1.500v6.500a1.5 1.5 0 0 1-1.5 1.500h-11A1.5 1.5 0 0 1 5 18.500V12a1.5 1.5 0 0 1 1.5-1.500Z M8 10.500V7.500a4 4 0 0 1 7.7-1.5 M12 14.200v2.3',
  rotate:
    'M19.5 8.500A8 8 0 0 0 5 9.5 M4.5 4.500v5h5 M4.5 15.500A8 8 0 0 0 19 14.5 M19.5 19.500v-5h-5',
  enlarge: 'M14 4.500h5.500V10 M19.5 4.5 13.5 10.5 M10 19.500H4.500V14 M4.5 19.500l6-6',
  help: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z M9.5 9.500a2.5 2.5 0 1 1 3.6 2.300c-.7.4-1.1.9-1.1 1.700v.3 M12 16.600v.1',
  close: 'M6 6l12 12 M18 6 6 18',
  send: 'M4 12h15 M13 6l6 6-6 6',
  signal1: 'M6 15.5V19 M12 19v.01 M18 19v.01',
  signal2: 'M6 15.5V19 M12 10.5V19 M18 19v.01',
  signal3: 'M6 15.500V19 M12 10.500V19 M18 5.500V19',
} as const

export type IconName = keyof typeof PATHS

const SVG = 'http://www.w3.org/2000/svg'

/** An icon, hidden from screen readers. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 24 24')
  svg.setAttribute('aria-hidden', 'true')
  svg.setAttribute('class', 'icon')
  svg.append(pathOf(name))
  return svg
}

/** Changes which icon an `svg` of `icon` shows. */
export function setIcon(svg: SVGSVGElement, name: IconName): void {
  if (svg.firstElementChild?.getAttribute('d') !== PATHS[name]) svg.replaceChildren(pathOf(name))
}

function pathOf(name: IconName): SVGPathElement {
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('d', PATHS[name])
  return path
}
