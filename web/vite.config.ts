/**
 * Builds the call page into `dist`, to be served under `/call/`, and previews it exactly as the
 * server serves it: same base path, same Content-Security-Policy, signalling on the same origin.
 *
 * `INCAMERA_SIGNAL` names the server that `vite preview` forwards signalling to.
 */
import { readFileSync } from 'node:fs'
import { defineConfig, type Plugin } from 'vite'
import { strictWorker } from './strict_worker.ts'

const policy = readFileSync(new URL('./csp.txt', import.meta.url), 'utf8').trim()
const signal = process.env['INCAMERA_SIGNAL'] ?? 'http://127.0.0.1:7880'

/** The server answers at `/call` itself; Vite only below its base. */
const answerWithoutSlash: Plugin = {
  name: 'answer-without-slash',
  configurePreviewServer(server) {
    server.middlewares.use((request, _response, next) => {
      if (request.url === '/call') request.url = '/call/'
      next()
    })
  },
}

export default defineConfig({
  base: '/call/',
  plugins: [answerWithoutSlash],
  build: {
    target: 'es2022',
    // A hash of what is in it names each file, so the server may let browsers keep it for ever.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  worker: { format: 'es', plugins: () => [strictWorker()] },
  preview: {
    host: '127.0.0.1',
    headers: { 'content-security-policy': policy, 'referrer-policy': 'no-referrer' },
    proxy: { '/rtc': { target: signal, ws: true } },
  },
})
