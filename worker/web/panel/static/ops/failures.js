// Failures grouped by their fault, what ended last, triggers, and what operators did.

import { html } from '../vendor/preact.js'
import { list, number, t } from '../i18n.js'
import { itemInWords } from '../words.js'
import { Ago, Button } from '../parts.js'
import { known, short, span } from './terms.js'

export function Failures({ desk, ask }) {
  const failures = desk.data('failures')
  if (!failures) return null
  const { groups, window_items: n, window_hours: hours } = failures
  return html`<section class="part" aria-labelledby="failures-title"><header><h2 id="failures-title">${t('ops.failures')}</h2>
      <span class="minor">${t('ops.failures.window', { n, hours: String(hours) })}</span></header>
    ${groups.length === 0 ? html`<p class="minor">${t('ops.failures.none')}</p>` : html`<ul class="faults">${groups.map((group) => html`<li key=${group.signature}>
      <div class="top"><span class="badge bad">${known('ops.label', group.class)}</span><strong dir="auto">${group.message || t('fault.unknown')}</strong><${Course} counts=${group.course} /></div>
      <p class="meta"><span><b>${t('ops.items', { n: group.items })}</b></span><span>${t('ops.jobs.n', { n: group.jobs })}</span><span>${t('ops.users.n', { n: group.users })}</span><span>${list(group.names.slice(0, 6).map(itemInWords))}</span>
        ${group.provider && html`<span>${group.provider}</span>`}<span>${t('ops.seen')} <${Ago} at=${group.first_seen} /> – <${Ago} at=${group.last_seen} /></span></p>
      ${group.sample !== group.message && html`<details><summary>${t('ops.sample')}</summary><p class="sample" dir="auto">${group.sample}</p></details>`}
      <div class="acts"><${Button} label=${t('ops.show.jobs')} onClick=${() => show(desk, group)} />
        ${group.retriable > 0 && html`<${Button} kind="primary" icon="retry" label=${t('ops.retry.n', { n: Math.min(100, group.retriable) })} onClick=${() => ask({ kind: 'group', group })} />`}</div>
    </li>`)}</ul>`}</section>`
}

function show(desk, group) {
  desk.find({ status: '', type: '', user: '', subject: '', search: '', error_class: group.class })
  document.getElementById('jobs-title')?.scrollIntoView({ block: 'start' })
}

// Six bars of four hours.
function Course({ counts }) {
  const most = Math.max(...counts, 1)
  const path = counts.map((count, n) => `M${n * 7 + 3} 16v${-Math.max(count ? 2 : 0.6, (count / most) * 15)}`).join('')
  return html`<svg class="course" viewBox="0 0 42 16" role="img" aria-label=${t('ops.course', { counts: counts.map(number).join(', ') })}><path d=${path} /></svg>`
}

const KINDS = { completed: 'good', failed: 'bad', cancelled: 'none', partly: 'warn', succeeded: 'good', running: 'run' }
const Mark = ({ state }) => html`<span class=${`badge ${KINDS[state] ?? 'none'}`}>${known('ops.label', state)}</span>`

export function Endings({ desk }) {
  const jobs = desk.data('endings')?.jobs
  if (!jobs?.length) return null
  return html`<section class="part" aria-labelledby="endings-title"><header><h2 id="endings-title">${t('ops.endings')}</h2></header>
    <${Table} name=${t('ops.endings')} heads=${['ops.job', 'ops.state', 'ops.waited', 'ops.ran', 'ops.ended']} rows=${jobs.map((job) => [
      job.id,
      html`<span dir="auto">#${job.seq} ${job.title ?? known('ops.type', job.job_type)}</span>`,
      html`<${Mark} state=${job.status === 'completed' && job.failed_items ? 'partly' : job.status} />`,
      span(job.waited_ms), span(job.ran_ms), html`<${Ago} at=${job.completed_at} />`,
    ])} /></section>`
}

export function Triggers({ desk, ask }) {
  const triggers = desk.data('triggers')?.triggers
  if (!triggers?.length) return null
  return html`<section class="part" aria-labelledby="triggers-title"><header><h2 id="triggers-title">${t('ops.triggers')}</h2></header>
    <${Table} name=${t('ops.triggers')} heads=${['ops.trigger', 'ops.kind', 'ops.state', 'ops.last', 'ops.actions']} rows=${triggers.map((one) => [
      one.name,
      html`<span dir="auto"><strong>${one.name}</strong>${one.description && html`<br /><span class="minor">${one.description}</span>`}</span>`,
      known('ops.kind', one.kind), html`<${Mark} state=${one.state} />`, one.last_run_at ? html`<${Ago} at=${one.last_run_at} />` : '–',
      html`<${Button} icon="play" label=${t('ops.run')} disabled=${!one.enabled} onClick=${() => ask({ kind: 'trigger', trigger: one })} />`,
    ])} /></section>`
}

export function Actions({ desk }) {
  const actions = desk.data('actions')?.actions
  if (!actions?.length) return null
  return html`<section class="part" aria-labelledby="actions-title"><header><h2 id="actions-title">${t('ops.log')}</h2></header>
    <${Table} name=${t('ops.log')} heads=${['ops.time', 'ops.who', 'ops.action', 'ops.target', 'ops.jobs']} rows=${actions.slice(0, 10).map((one) => [
      one.id, html`<${Ago} at=${one.created_at} />`, html`<code>${short(one.operator_id)}</code>`, known('ops.did', one.action),
      html`<code dir="auto">${one.target?.slice(0, 24) ?? '–'}</code>`, number(one.jobs),
    ])} /></section>`
}

// A table that becomes a list of definitions on a phone: each cell knows the name of its column.
export const Table = ({ name, heads, rows }) => html`<table class="rows"><caption class="unseen">${name}</caption>
  <thead><tr>${heads.map((head) => html`<th scope="col">${t(head)}</th>`)}</tr></thead>
  <tbody>${rows.map(([key, ...cells]) => html`<tr key=${key}>${cells.map((cell, n) => html`<td data-name=${t(heads[n])}>${cell}</td>`)}</tr>`)}</tbody></table>`
