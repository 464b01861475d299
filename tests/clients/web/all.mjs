/** Runs every scenario, one after the other (two cores carry no more), and says which failed. */
import { spawnSync } from 'node:child_process'

const SCENARIOS = [
  'two_pages',
  'wrong_key',
  'late_joiner',
  'layer_change',
  'rotate_key',
  'resume',
  'full_reconnect',
  'throttled',
  'accessibility',
]

const failed = SCENARIOS.filter((name) => {
  const file = new URL(`./${name}.mjs`, import.meta.url).pathname
  return spawnSync(process.execPath, [file], { stdio: 'inherit' }).status !== 0
})
console.log(failed.length === 0 ? 'All scenarios passed.' : `Failed: ${failed.join(', ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
