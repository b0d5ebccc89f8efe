// Jobs of all users. A source is hidden until somebody asks for it, and that is written down.

import { html, useEffect, useRef, useState } from '../vendor/preact.js'
import { t } from '../i18n.js'
import { toast } from '../notices.js'
import { canRetry, isEnded, stateOf, titleOf } from '../words.js'
import { Ago, Button, Icon } from '../parts.js'
import { known, short } from './terms.js'
import { Table } from './failures.js'

const TYPING_MS = 300
const STATES = ['pending', 'processing', 'retrying', 'scheduled', 'blocked', 'completed', 'failed', 'cancelled']
const FIELDS = ['user', 'subject', 'type', 'error_class']
const KINDS = { running: 'run', waiting: 'none', completed: 'good', partly: 'warn', failed: 'bad', cancelled: 'none' }
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function Jobs({ desk, ask }) {
  const jobs = desk.jobs
  const error = desk.parts.jobs?.error
  return html`<section class="part" aria-labelledby="jobs-title"><header><h2 id="jobs-title">${t('ops.jobs')}</h2></header>
    <${Filter} desk=${desk} />
    ${error && error.status === 422 && html`<p class="fault" role="alert"><${Icon} name="warning" /><span>${error.message}</span></p>`}
    ${jobs.length === 0 ? html`<p class="minor">${t('none.filtered')}</p>` : html`<${Table} name=${t('ops.jobs')} heads=${['ops.job', 'ops.state', 'ops.user', 'ops.fault', 'ops.age', 'ops.actions']} rows=${jobs.map((job) => row(job, desk, ask))} />`}
    ${desk.next && jobs.length > 0 && html`<div class="more"><${Button} label=${t('load.more')} onClick=${() => desk.loadMore().catch((failure) => toast(failure.message, 'bad'))} /></div>`}
  </section>`
}

function row(job, desk, ask) {
  const state = stateOf(job)
  const done = job.items.filter((item) => item.status === 'completed').length
  return [
    job.id,
    html`<span class="job-name" dir="auto"><strong>#${job.seq} ${titleOf(job)}</strong><br /><span class="minor">${known('ops.type', job.job_type)} · ${done}/${job.items.length}${job.subject && ` · ${job.subject}`}</span></span>`,
    html`<span class=${`badge ${KINDS[state]}`}>${known('ops.label', state === 'partly' ? state : job.status)}${job.status === 'processing' && ` ${job.progress} %`}</span>`,
    job.user_id ? html`<button type="button" class="link" title=${job.user_id} onClick=${() => desk.find({ user: job.user_id })}><code>${short(job.user_id)}</code></button>` : '–',
    job.error ? html`<span dir="auto" title=${job.error.message}>${known('ops.label', job.error.class)}</span>` : '–',
    html`<${Ago} at=${job.created_at} />`,
    html`<span class="acts"><${Reveal} job=${job} desk=${desk} />
      ${!isEnded(job) && job.status !== 'blocked' && job.status !== 'pending' && html`<${Button} bare icon="play" label=${t('ops.requeue')} onClick=${() => ask({ kind: 'requeue', job })} />`}
      ${canRetry(job) && html`<${Button} bare icon="retry" label=${t('retry')} onClick=${() => ask({ kind: 'retry', job })} />`}
      ${!isEnded(job) && html`<${Button} bare icon="cross" label=${t('cancel')} onClick=${() => ask({ kind: 'cancel', job })} />`}</span>`,
  ]
}

function Reveal({ job, desk }) {
  const [shown, show] = useState(null)
  const reveal = () => desk.reveal(job.id).then(({ content }) => show(typeof content === 'string' ? content : JSON.stringify(content, null, 1)), (error) => toast(error.message, 'bad'))
  if (shown === null) return html`<${Button} label=${t('ops.reveal')} title=${t('ops.reveal.text')} onClick=${reveal} />`
  return html`<pre class="source" dir="auto" tabindex="0">${shown.slice(0, 4000)}</pre><${Button} label=${t('ops.hide')} onClick=${() => show(null)} />`
}

function Filter({ desk }) {
  const timer = useRef(0)
  const [typed, type] = useState(desk.filter)
  const latest = useRef(typed)
  useEffect(() => type((latest.current = desk.filter)), [desk.filter])
  const wrong = Boolean(typed.user.trim()) && !UUID.test(typed.user.trim())
  const set = (name) => ({ target }) => {
    type((latest.current = { ...latest.current, [name]: target.value }))
    clearTimeout(timer.current)
    timer.current = setTimeout(() => {
      const wanted = Object.fromEntries(Object.entries(latest.current).map(([field, value]) => [field, value.trim()]))
      if (!wanted.user || UUID.test(wanted.user)) desk.find(wanted)
    }, name === 'status' ? 0 : TYPING_MS)
  }
  return html`<form class="filter" onSubmit=${(event) => event.preventDefault()}>
    <label>${t('ops.state')}<select value=${typed.status} onChange=${set('status')}><option value="">${t('tab.all')}</option>${STATES.map((state) => html`<option value=${state} selected=${typed.status === state}>${known('ops.label', state)}</option>`)}</select></label>
    <label>${t('search')}<input id="search" type="search" maxlength="200" value=${typed.search} onInput=${set('search')} /></label>
    ${FIELDS.map((name) => html`<label>${t(`ops.by.${name}`)}<input type="text" maxlength="200" value=${typed[name]} aria-invalid=${name === 'user' && wrong} onInput=${set(name)} /></label>`)}
    ${desk.filtered && html`<${Button} label=${t('show.all')} onClick=${desk.unfilter} />`}
  </form>`
}
