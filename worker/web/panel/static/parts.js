// Small parts that every page uses.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { ago, direction, exactly, isLanguage, language, LANGUAGES, percent, t } from './i18n.js'
import { nextTheme, prefer, preferences } from './preferences.js'
import { etaWords, countdown, creditsOf, itemName, itemPercent, itemState } from './words.js'
import { dismiss, onToasts } from './notices.js'

const PATHS = {
  check: 'M3.5 8.5l3 3 6-7',
  cross: 'M4.5 4.5l7 7M11.5 4.5l-7 7',
  clock: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M8 5.2V8l2 1.4',
  slash: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6',
  ring: 'M8 2.5A5.5 5.5 0 1 1 2.5 8',
  dots: 'M3.5 8h.1M8 8h.1M12.5 8h.1',
  pause: 'M5.5 4v8M10.5 4v8',
  play: 'M5.5 3.8v8.4l6.8-4.2z',
  refresh: 'M13 8a5 5 0 1 1-1.5-3.6M13 2.3v3h-3',
  retry: 'M3 8a5 5 0 1 0 1.5-3.6M3 2.3v3h3',
  plus: 'M8 3.5v9M3.5 8h9',
  search: 'M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4M10.2 10.2l3 3',
  light: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.6V3M8 13v1.4M1.6 8H3M13 8h1.4M3.5 3.5l1 1M11.5 11.5l1 1M3.5 12.5l1-1M11.5 4.5l1-1',
  dark: 'M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z',
  system: 'M2.5 3.5h11v7.5h-11zM6 13.5h4',
  help: 'M6.2 6.2a1.9 1.9 0 1 1 2.6 1.8c-.5.2-.8.6-.8 1.2M8 11.6v.1M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2',
  warning: 'M8 2.8l5.8 10.4H2.2zM8 6.6v3M8 11.4v.1',
  rows: 'M3 4.5h10M3 8h10M3 11.5h10',
  exit: 'M9 3H3.8v10H9M7.2 8h6.3M11 5.3L13.7 8 11 10.7',
  flask: 'M6.3 2.5h3.4M6.9 2.5v4L3.6 12.3a.9.9 0 0 0 .8 1.3h7.2a.9.9 0 0 0 .8-1.3L9.1 6.5v-4',
  globe: 'M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2M2.4 8h11.2M8 2.3c2.3 2.4 2.3 9 0 11.4M8 2.3c-2.3 2.4-2.3 9 0 11.4',
}

// Pages that are loaded later bring their own drawings.
export const draw = (paths) => Object.assign(PATHS, paths)

export const Icon = ({ name, turn }) => html`
  <svg class=${`icon${turn ? ' turn' : ''}`} viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`

export function Button({ icon, label, quiet, kind = '', bare, children, ...rest }) {
  return html`<button type="button" class=${`button ${kind}${bare ? ' bare' : ''}`} aria-label=${bare ? label : undefined}
    title=${bare ? label : undefined} ...${rest}>${icon && html`<${Icon} name=${icon} />`}${!bare && html`<span>${label ?? children}</span>`}</button>`
}

// Times and countdowns: one clock for the page.

const ticks = new Set()
setInterval(() => {
  if (!document.hidden) for (const tick of ticks) tick()
}, 1000)

export function useTick(seconds) {
  const [, again] = useState(0)
  useEffect(() => {
    let count = 0
    const tick = () => {
      count += 1
      if (count % seconds === 0) again(count)
    }
    ticks.add(tick)
    return () => ticks.delete(tick)
  }, [seconds])
}

export function Ago({ at }) {
  useTick(10)
  if (!at) return null
  const time = Date.parse(at)
  return html`<time datetime=${at} title=${exactly(time)}>${ago(time)}</time>`
}

export function Eta({ job }) {
  useTick(job.status === 'retrying' ? 1 : 5)
  const words = etaWords(job)
  return words && html`<span class="eta">${words}</span>`
}

// Progress

export const Bar = ({ value, label, state }) => html`
  <progress class=${`bar ${state}`} max="100" value=${value} aria-label=${label}>${percent(value)}</progress>`

const CHIP_ICONS = { queued: 'dots', running: 'ring', waiting: 'clock', done: 'check', warned: 'warning', failed: 'cross', cancelled: 'slash' }

// One language of a job: icon, code and words; never colour alone.
export function Chip({ item, simple }) {
  useTick(1)
  const state = itemState(item)
  const words = chipWords(item, state)
  const own = itemName(item.item)
  const lang = isLanguage(item.item) ? item.item : undefined
  return html`<span class=${`chip ${state}`} title=${`${own}: ${words}`}>
    <${Icon} name=${CHIP_ICONS[state]} turn=${state === 'running'} />
    <span class="name" lang=${lang} dir=${lang ? direction(lang) : undefined}>${simple ? item.item : own}</span>
    <span class=${['done', 'queued'].includes(state) || simple ? 'unseen' : 'words'}>${words}</span>
  </span>`
}

function chipWords(item, state) {
  if (state === 'running') return percent(itemPercent(item))
  if (state === 'waiting') return t('chip.waiting', { time: countdown(Date.parse(item.retry_at)) })
  if (state === 'warned') return t('chip.warned', { n: item.warnings.length })
  return t(`chip.${state}`)
}

export function CreditsLine({ job }) {
  const credits = creditsOf(job)
  if (!credits) return null
  const parts = ['reserved', 'used', 'refunded', 'open']
  return html`<p class="sum">${parts.map((name) => html`<span class=${credits[name] ? '' : 'none'}>${t(`credits.${name}`, { n: credits[name] })}</span>`)}</p>`
}

// Toasts

export function Toasts() {
  const [shown, show] = useState([])
  useEffect(() => onToasts(show), [])
  return html`<div class="toasts">${shown.map((one) => html`<${Toast} key=${one.id} toast=${one} />`)}</div>`
}

function Toast({ toast }) {
  const over = useRef(false)
  useEffect(() => {
    const timer = setInterval(() => {
      if (over.current) return
      toast.left -= 250
      if (toast.left <= 0) dismiss(toast.id)
    }, 250)
    return () => clearInterval(timer)
  }, [])
  const hold = (value) => () => (over.current = value)
  const icon = { good: 'check', bad: 'warning', plain: 'dots' }[toast.kind]
  return html`<div class=${`toast ${toast.kind}`} role=${toast.kind === 'bad' ? 'alert' : 'status'}
      onMouseEnter=${hold(true)} onMouseLeave=${hold(false)} onFocusIn=${hold(true)} onFocusOut=${hold(false)}>
    <${Icon} name=${icon} /><span dir="auto">${toast.text}</span>
    <${Button} bare icon="cross" label=${t('close')} onClick=${() => dismiss(toast.id)} />
  </div>`
}

// True once *busy* has lasted 200 ms: what comes at once needs no placeholder.
export function useSlow(busy) {
  const [slow, set] = useState(false)
  useEffect(() => {
    set(false)
    if (!busy) return undefined
    const timer = setTimeout(set, 200, true)
    return () => clearTimeout(timer)
  }, [busy])
  return busy && slow
}

export const Empty = ({ icon, title, children }) => html`
  <div class="empty"><span class="disc"><${Icon} name=${icon} /></span><h2>${title}</h2>${children}</div>`

// Theme and language of the panel itself.

export const ThemeButton = () => html`
  <${Button} bare icon=${preferences.theme === 'system' ? 'system' : preferences.theme} label=${t(`theme.${preferences.theme}`)} onClick=${nextTheme} />`

export const LanguageChoice = () => html`<label class="choice"><${Icon} name="globe" /><span class="unseen">${t('language')}</span>
  <select value=${language} onChange=${({ target }) => prefer('language', target.value)}>
    ${Object.entries(LANGUAGES).map(([tag, own]) => html`<option value=${tag} lang=${tag} selected=${tag === language}>${own}</option>`)}
  </select></label>`

export const Switches = () => html`<div class="switches"><${LanguageChoice} /><${ThemeButton} /></div>`
