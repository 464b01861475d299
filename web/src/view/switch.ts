/** A labelled on/off switch. */
import { element } from '../dom.ts'

/** Calls `change` with what the person wants; returns the input so that callers can set it back. */
export function switchInput(
  label: string,
  hint: string,
  isOn: boolean,
  change: (isOn: boolean) => void,
): { row: HTMLElement; input: HTMLInputElement } {
  const input = element('input', {
    type: 'checkbox',
    role: 'switch',
    class: 'switch',
    checked: isOn,
    change: () => change(input.checked),
  })
  const text = element('span', { class: 'switch-text' }, element('span', {}, label))
  if (hint) text.append(element('small', {}, hint))
  return { row: element('label', { class: 'switch-row' }, text, input), input }
}
