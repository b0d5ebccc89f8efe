// One job of the list.

import { html, useMemo } from './vendor/preact.js'
import { now } from './clock.js'
import { number, percent, t } from './i18n.js'
import { canRetry, doneItems, endedAt, isEnded, itemName, refundOf, stateOf, titleOf } from './words.js'
import { Ago, Bar, Button, Chip, CreditsLine, Eta, Icon, useTick } from './parts.js'

export const STATE_ICONS = { running: 'ring', waiting: 'clock', completed: 'check', partly: 'warning', failed: 'cross', cancelled: 'slash' }

export function Row(props) {
  // The same job makes the same row: only rows that changed are made anew.
  const { job, compact, selected } = props
  return useMemo(() => (compact ? html`<${Line} ...${props} />` : html`<${Card} ...${props} />`), [job, compact, selected])
}

export const State = ({ state }) => html`
  <span class=${`state ${state}`} title=${t(`state.${state}`)}><${Icon} name=${STATE_ICONS[state]} turn=${state === 'running'} /><span class="unseen">${t(`state.${state}`)}</span></span>`

function Line({ job, selected, act }) {
  const state = stateOf(job)
  return html`<li class=${`job line ${state}`} data-id=${job.id} aria-current=${selected ? 'true' : undefined}>
    <${State} state=${state} />
    <${Title} job=${job} />
    <span class="chips">${job.items.map((item) => html`<${Chip} key=${item.item} item=${item} simple />`)}</span>
    <span class="figure">${isEnded(job) ? html`<${Ago} at=${endedAt(job)} />` : percent(shown(job))}</span>
    <${Actions} job=${job} act=${act} bare />
  </li>`
}

function Card({ job, selected, act }) {
  const state = stateOf(job)
  const open = !isEnded(job)
  return html`<li class=${`job card ${state}`} data-id=${job.id} aria-current=${selected ? 'true' : undefined}>
    <${State} state=${state} />
    <div class="body">
      <div class="top">
        <div class="what"><${Title} job=${job} /><${Meta} job=${job} /></div>
        <${Actions} job=${job} act=${act} />
      </div>
      ${open && (state === 'running' || job.progress > 0) && html`<div class="progress"><${Bar} value=${shown(job)} state=${state} label=${t('progress.of', { title: titleOf(job) })} /><span class="percent">${percent(shown(job))}</span></div>`}
      <div class="chips">${job.items.map((item) => html`<${Chip} key=${item.item} item=${item} />`)}</div>
      <${Faults} job=${job} />
      <${Silence} job=${job} />
      <${CreditsLine} job=${job} />
    </div>
  </li>`
}

// Never whole before the end.
const shown = (job) => Math.min(99, job.progress ?? 0)

const Title = ({ job }) => html`<a class="title" href=${`#/job/${job.id}`}><bdi>${titleOf(job)}</bdi></a>`

export function Meta({ job }) {
  const done = doneItems(job).length
  const parts = [
    html`<span>${t('state.' + stateOf(job))}</span>`,
    job.items.length > 1 && html`<span>${t('items.done', { n: job.items.length, done: number(done) })}</span>`,
    !isEnded(job) && html`<${Eta} job=${job} />`,
    job.content_chars ? html`<span class="minor">${t('characters', { n: job.content_chars })}</span>` : null,
    html`<span class="minor"><${Ago} at=${isEnded(job) ? endedAt(job) : job.started_at ?? job.created_at} /></span>`,
  ]
  return html`<p class="meta">${parts}</p>`
}

// A running job that has been silent: said, so that nobody stares at a bar.
function Silence({ job }) {
  useTick(10)
  const minutes = Math.floor((now() - Date.parse(job.updated_at)) / 60_000)
  return job.status === 'processing' && minutes > 0 && html`<p class="silence minor">${t('stale', { n: minutes })}</p>`
}

export function Actions({ job, act, bare }) {
  return html`<span class="actions">
    ${!isEnded(job) && html`<${Button} bare=${bare} kind="ghost" icon="cross" label=${t('cancel')} onClick=${() => act.cancel(job)} />`}
    ${canRetry(job) && html`<${Button} bare=${bare} kind="ghost" icon="retry" label=${t('retry')} onClick=${() => act.retry(job)} />`}
  </span>`
}

export function faultWords(error) {
  return error.message || t('fault.unknown')
}

// Why languages failed: those that failed alike together.
export function Faults({ job }) {
  const alike = new Map()
  for (const item of job.items) {
    if (item.status !== 'failed') continue
    const words = faultWords(item.error ?? {})
    alike.set(words, [...(alike.get(words) ?? []), item])
  }
  if (!alike.size && job.status === 'failed' && job.error) alike.set(faultWords(job.error), [])
  return [...alike].map(([words, items]) => {
    const refunded = items.reduce((sum, item) => sum + refundOf(item), 0)
    return html`<p class="fault"><${Icon} name="warning" /><span>
      ${items.length > 0 && html`<strong>${items.map((item) => itemName(item.item)).join(', ')}</strong> `}<span dir="auto">${words}</span>
      ${refunded > 0 && html` <span class="refund">${t('refunded', { n: refunded })}</span>`}</span></p>`
  })
}
