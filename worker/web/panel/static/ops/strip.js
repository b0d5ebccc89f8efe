// Is all well: the strip of health, the alerts, the numbers.

import { html } from '../vendor/preact.js'
import { number, t } from '../i18n.js'
import { Ago, Icon } from '../parts.js'
import { counted, known, span, sum } from './terms.js'

const LIVE_CAP = 10_001

export function Strip({ desk }) {
  const alerts = desk.data('alerts')?.alerts
  const workers = desk.data('workers')?.workers?.filter((one) => !one.stale && one.mode !== 'stopping')
  const late = desk.error
  const worst = alerts?.some((one) => one.severity === 'critical') ? 'bad' : alerts?.length ? 'warn' : alerts ? 'good' : 'none'
  const deaf = workers?.filter((one) => one.mode !== 'realtime')
  const troubles = [...new Set((workers ?? []).flatMap((one) => Object.entries(one.stats?.providers ?? {}).map(([name, why]) => `${name}: ${why}`)))]
  return html`<ul class="strip" aria-label=${t('ops.health')}>
    <${Light} kind=${worst} name=${t('ops.overall')} words=${t(`ops.overall.${worst}`)} />
    <${Light} kind=${late ? 'bad' : desk.loadedAt ? 'good' : 'none'} name=${t('ops.database')} words=${t(late ? 'ops.database.bad' : desk.loadedAt ? 'ops.database.good' : 'ops.overall.none')} />
    <${Light} kind=${!workers ? 'none' : workers.length === 0 ? 'bad' : deaf.length ? 'warn' : 'good'} name="Realtime"
      words=${!workers ? t('ops.overall.none') : workers.length === 0 ? t('ops.workers.none') : deaf.length ? t('ops.realtime.poll', { n: deaf.length }) : t('ops.realtime.good', { n: workers.length })}
      since=${deaf?.[0]?.mode_since} />
    <${Light} kind=${!workers ? 'none' : troubles.length ? 'warn' : 'good'} name=${t('ops.providers')} words=${!workers ? t('ops.overall.none') : troubles.length ? troubles.join(', ') : t('ops.providers.good')} />
  </ul>`
}

const ICONS = { good: 'check', warn: 'warning', bad: 'cross', none: 'dots' }

const Light = ({ kind, name, words, since }) => html`<li class=${`light ${kind}`}><${Icon} name=${ICONS[kind]} />
  <span><b>${name}</b> <span dir="auto">${words}</span>${since && html` · <${Ago} at=${since} />`}</span></li>`

export function Alerts({ desk }) {
  const alerts = desk.data('alerts')?.alerts ?? []
  if (!alerts.length) return null
  return html`<section class="alerts" aria-label=${t('ops.alerts')}>${alerts.map((one) => html`
    <details key=${one.alert} class=${`alert ${one.severity}`}><summary><${Icon} name="warning" /><b>${t(`ops.${one.severity}`)}</b><span dir="auto">${one.message}</span></summary><p dir="auto">${one.cure}</p></details>`)}</section>`
}

export function Cards({ desk }) {
  const stats = desk.data('stats')
  const workers = desk.data('workers')?.workers?.filter((one) => !one.stale)
  const chars = desk.data('series')?.measures.chars?.all
  if (!stats) return null
  const { live, ended_in_an_hour: ended, credits_in_an_hour: credits } = stats
  // Of the hour's last five whole minutes.
  const pace = desk.range === 'hour' && chars ? Math.round(sum(chars.slice(-7, -2)) / 5) : null
  const cards = [
    ['waiting', counted(live.pending, LIVE_CAP)],
    ['oldest', span(stats.oldest_waiting_ms)],
    ['running', `${number(live.processing ?? 0)} / ${number(sum(workers?.map((one) => one.slots) ?? []))}`],
    ['retrying', counted(live.retrying, LIVE_CAP)],
    ['failed', counted(ended.failed, LIVE_CAP), ended.failed ? 'bad' : ''],
    ['completed', counted(ended.completed, LIVE_CAP)],
    ['stuck', number(stats.stuck), stats.stuck ? 'bad' : ''],
    ...(pace === null ? [] : [['pace', number(pace)]]),
    ...(credits.reserved ? [['credits', number(credits.consumed)]] : []),
  ]
  return html`<dl class="cards">${cards.map(([name, value, kind = '']) => html`<div key=${name} class=${kind}><dt>${t(`ops.card.${name}`)}</dt><dd>${value}</dd></div>`)}</dl>`
}

const MODES = { realtime: 'good', polling: 'warn', starting: 'none', stopping: 'none' }

export function Workers({ desk }) {
  const workers = desk.data('workers')?.workers
  if (!workers) return null
  return html`<section class="part" aria-labelledby="workers-title"><header><h2 id="workers-title">${t('ops.workers')}</h2></header>
    ${workers.length === 0 ? html`<p class="minor">${t('ops.workers.none')}</p>` : html`<ul class="workers">${workers.map((one) => html`<li key=${one.id} class=${one.stale ? 'stale' : ''}>
      <div class="who"><strong dir="auto">${one.id}</strong><span class=${`badge ${one.stale ? 'bad' : MODES[one.mode]}`}>${t(one.stale ? 'ops.stale' : `ops.mode.${one.mode}`)}</span></div>
      <p class="meta"><span>${t('ops.worker.slots', { used: one.running, n: one.slots })}</span><span>${t('ops.worker.seen')} <${Ago} at=${one.last_seen_at} /></span><span>${t('ops.worker.up')} <${Ago} at=${one.started_at} /></span>
        ${one.version && html`<span>${one.version}</span>`}${one.stats?.reconnects > 0 && html`<span>${t('ops.worker.reconnects', { n: one.stats.reconnects })}</span>`}</p>
      ${one.jobs.length > 0 && html`<ul class="held">${one.jobs.map((job) => html`<li key=${job.id}><span dir="auto">#${job.seq} ${job.title ?? known('ops.type', job.job_type)}</span> <b>${job.progress} %</b> <span class="minor"><${Ago} at=${job.claimed_at} /></span></li>`)}</ul>`}
    </li>`)}</ul>`}</section>`
}
