// A page with the components of the README in it: takes commands as lines of JSON, and prints a line for what it shows.

import { createClient } from '@supabase/supabase-js'
import { JSDOM } from 'jsdom'
import { createInterface } from 'node:readline'
import ws from 'ws'

const { URL_, PUBLISHABLE, EMAIL, PASSWORD } = process.env
const supabase = createClient(URL_, PUBLISHABLE, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: ws } })

const { window } = new JSDOM('<main></main>')
Object.assign(globalThis, { window, document: window.document })
globalThis.navigator ??= window.navigator
const { createElement } = await import('react')
const { createRoot } = await import('react-dom/client')
const hooks = await import('./use-translation-jobs.js')
const { watchTranslationJobs } = await import('./watch-translation-jobs.js')
const notices = await import('./notice.js')

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

// Renders nothing, but tells what a hook gave.
function Teller({ one, many, options }) {
  const seen = one === undefined ? hooks.useTranslationJobs(supabase, { ...many, ...options }) : hooks.useTranslationJob(supabase, one, options)
  say({ seen })
  return null
}

const main = window.document.querySelector('main')
let root = createRoot(main)
let stop = () => {}

const commands = {
  show: (props) => root.render(createElement(Teller, props)),
  notice: ({ name, ...props }) => root.render(createElement(notices[name], { supabase, ...props })),
  html: () => say({ html: main.innerHTML }),
  unmount: () => { root.unmount(); root = createRoot(main) },
  watch: (options) => { stop = watchTranslationJobs(supabase, { ...options, onChange: (seen) => say({ seen }) }) },
  stop: () => stop(),
  channels: () => say({ channels: supabase.getChannels().length }),
  leave: () => process.exit(0), // the client's own timers would hold it for ten seconds
}

const { error } = await supabase.auth.signInWithPassword({ email: EMAIL, password: PASSWORD })
if (error) throw error
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => { const { command, ...what } = JSON.parse(line); commands[command](what) })
say({ ready: true })
