// One job whole: what went in and what came out side by side, and how it came about.

import { html, useEffect, useState } from './vendor/preact.js'
import { direction, exactly, isLanguage, number, percent, t } from './i18n.js'
import { doneItems, endedAt, isEnded, itemName, itemState, stateOf, titleOf } from './words.js'
import { toast } from './notices.js'
import { Ago, Bar, Button, Chip, CreditsLine, draw, Empty, Icon, useSlow } from './parts.js'
import { Actions, Faults, faultWords, Meta, State, STATE_ICONS } from './row.js'
import { Chain } from './chain.js'
import { copy, nameOf, saveJson, saveText, saveZip, textOf } from './save.js'

draw({
  back: 'M9.8 3.5L5.3 8l4.5 4.5',
  copy: 'M5.8 5.8H13V13H5.8zM10.2 5.8V3H3v7.2h2.8',
  download: 'M8 3v7M5 7.5l3 3 3-3M3.5 13h9',
})

const SHOWN_LENGTH = 60_000

export function Detail({ id, jobs, api, act }) {
  const job = jobs.rows.get(id)
  const [failure, setFailure] = useState(null)
  const slow = useSlow(!job && !failure)
  useEffect(() => {
    setFailure(null)
    jobs.one(id).catch(setFailure)
  }, [id])
  if (!job && failure) {
    const gone = failure.status === 404 || failure.status === 400 || failure.status === 422
    return html`<article class="detail"><${BackLink} /><${Empty} icon="search" title=${t(gone ? 'detail.gone' : 'error.title')}><p>${gone ? t('detail.gone.text') : failure.message}</p></${Empty}></article>`
  }
  if (!job) return html`<article class="detail"><${BackLink} />${slow && html`<div class="skeleton"><div><i></i><i></i><i></i></div></div>`}</article>`
  return html`<${Job} key=${id} job=${job} jobs=${jobs} api=${api} act=${act} />`
}

const BackLink = () => html`<a class="back" href="#/"><${Icon} name="back" />${t('detail.back')}</a>`

function Job({ job, jobs, api, act }) {
  const first = doneItems(job)[0] ?? job.items[0]
  const [chosen, choose] = useState(null)
  const item = job.items.find((one) => one.item === (chosen ?? first?.item)) ?? first
  const [source, setSource] = useState(null)
  useEffect(() => {
    api.get(`/api/jobs/${job.id}/source`).then(setSource, (error) => setSource({ error }))
  }, [])
  return html`<article class="detail">
    <${BackLink} />
    <header class="head">
      <div><h1 dir="auto"><${State} state=${stateOf(job)} />${titleOf(job)}</h1><${Meta} job=${job} /></div>
      <${Actions} job=${job} act=${act} />
    </header>
    ${!isEnded(job) && html`<div class="progress"><${Bar} value=${Math.min(99, job.progress)} state=${stateOf(job)} label=${t('progress.of', { title: titleOf(job) })} /><span class="percent">${percent(Math.min(99, job.progress))}</span></div>`}
    <${Faults} job=${job} />
    <${CreditsLine} job=${job} />
    <${Chain} job=${job} jobs=${jobs} />
    <div class="choose"><div class="picks" role="tablist" aria-label=${t('detail.languages')} onKeyDown=${(event) => arrow(event, job, item, choose)}>
      ${job.items.map((one) => html`<button type="button" role="tab" key=${one.item} id=${`tab-${one.item}`} aria-controls="result" aria-selected=${one === item} tabindex=${one === item ? 0 : -1} onClick=${() => choose(one.item)}><${Chip} item=${one} /></button>`)}
    </div><${Ways} job=${job} api=${api} failed=${act.failed} /></div>
    <div class="sides">
      <${Side} title=${t('detail.source')} language=${job.source_language} text=${source && !source.error ? textOf(source.content) : null} error=${source?.error} file=${nameOf(job, job.source_language ?? 'source')} />
      ${item && html`<${Result} key=${item.item} job=${job} item=${item} api=${api} />`}
    </div>
    ${item && html`<${Warnings} item=${item} />`}
    <${History} job=${job} api=${api} />
  </article>`
}

function arrow(event, job, item, choose) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (!step) return
  const forward = document.documentElement.dir === 'rtl' ? -step : step
  const next = job.items[(job.items.indexOf(item) + forward + job.items.length) % job.items.length]
  choose(next.item)
  document.getElementById(`tab-${next.item}`)?.focus()
}

function Ways({ job, api, failed }) {
  const done = doneItems(job)
  const [busy, set] = useState(false)
  if (!done.length) return null
  const save = (way) => async () => {
    set(true)
    try {
      await way(job, await results(api, job, done))
    } catch (error) {
      failed(error)
    } finally {
      set(false)
    }
  }
  return html`<div class="ways"><${Button} icon="download" label=${t('download.zip')} disabled=${busy} onClick=${save(saveZip)} /><${Button} icon="download" label=${t('download.json')} disabled=${busy} onClick=${save(saveJson)} /></div>`
}

async function results(api, job, items) {
  const all = {}
  for (const { item } of items) all[item] = (await api.get(pathOf(job, item))).content
  return all
}

const pathOf = (job, item) => `/api/jobs/${job.id}/items/${encodeURIComponent(item)}`

function Result({ job, item, api }) {
  const [result, set] = useState(null)
  const done = item.status === 'completed'
  useEffect(() => {
    if (done) api.get(pathOf(job, item.item)).then(set, (error) => set({ error }))
  }, [done])
  const language = isLanguage(item.item) ? item.item : null
  const state = itemState(item)
  const text = result && !result.error ? textOf(result.content) : null
  const note = !done && html`<p class=${`wait ${state}`}><${Chip} item=${item} />${item.error && html`<span dir="auto">${faultWords(item.error)}</span>`}</p>`
  return html`<${Side} id="result" title=${itemName(item.item)} language=${language} text=${text} error=${result?.error} note=${note} file=${nameOf(job, item.item)}
    about=${done && result && !result.error && html`<${Origin} result=${result} />`} />`
}

function Origin({ result }) {
  return html`<span class="origin">${result.simulated ? html`<span class="badge demo"><${Icon} name="flask" />${t('demo.short')}</span>` : result.provider}
    ${result.cached_chars > 0 && html`<span>${t('detail.cached', { n: result.cached_chars })}</span>`}</span>`
}

function Side({ id, title, language, text, error, note, about, file }) {
  const [whole, setWhole] = useState(false)
  const slow = useSlow(text === null && !error && !note)
  const cut = text !== null && !whole && text.length > SHOWN_LENGTH
  const copied = () => copy(text).then(() => toast(t('copied'), 'good'), () => toast(t('copied.not'), 'bad'))
  return html`<section class="side" id=${id} role=${id && 'tabpanel'} aria-labelledby=${id ? undefined : 'source-title'}>
    <header><h2 id=${id ? undefined : 'source-title'} lang=${language ?? undefined}>${title}</h2>${about}
      ${text !== null && html`<span class="tools"><${Button} bare icon="copy" label=${t('copy')} onClick=${copied} /><${Button} bare icon="download" label=${t('download')} onClick=${() => saveText(file, text)} /></span>`}</header>
    ${note}${error && html`<p class="fault"><${Icon} name="warning" /><span>${error.message}</span></p>`}
    ${text !== null && html`<pre class="text" tabindex="0" lang=${language ?? undefined} dir=${language ? direction(language) : 'auto'}>${cut ? text.slice(0, SHOWN_LENGTH) : text}</pre>`}
    ${cut && html`<p class="cut"><${Button} label=${t('show.whole', { n: text.length })} onClick=${() => setWhole(true)} /></p>`}
    ${slow && html`<div class="skeleton lines"><div><i></i><i></i><i></i></div></div>`}
  </section>`
}

function Warnings({ item }) {
  if (!item.warnings?.length) return null
  return html`<section class="block"><h2>${t('warnings', { n: item.warnings.length })}</h2>
    <ul class="warnings">${item.warnings.map((one) => html`<li><${Icon} name="warning" /><span dir="auto">${one.message}</span>${one.count > 1 && html`<span class="count">${one.count}</span>`}</li>`)}</ul></section>`
}

function History({ job, api }) {
  const [attempts, setAttempts] = useState([])
  const [movements, setMovements] = useState([])
  useEffect(() => {
    api.get(`/api/jobs/${job.id}/attempts`).then((answer) => setAttempts(answer.attempts), () => {})
    if (job.credits_reserved) api.get(`/api/jobs/${job.id}/credits`).then((answer) => setMovements(answer.movements), () => {})
  }, [job.status, job.attempts, job.credits_consumed, job.credits_refunded])
  return html`<div class="sides history">
    <section class="block"><h2>${t('history')}</h2><ol class="timeline">
      <${Event} at=${job.created_at} icon="plus" words=${t('history.created')} />
      ${attempts.map((one, n) => html`<${Attempt} key=${one.started_at} attempt=${one} n=${n + 1} />`)}
      ${isEnded(job) && html`<${Event} at=${endedAt(job)} icon=${STATE_ICONS[stateOf(job)]} kind=${stateOf(job)} words=${t(`state.${stateOf(job)}`)} />`}
    </ol></section>
    <section class="block"><h2>${t('facts')}</h2><${Facts} job=${job} />
      ${movements.length > 0 && html`<h2>${t('credits.title')}</h2><table><caption class="unseen">${t('credits.title')}</caption><thead class="unseen"><tr><th>${t('facts.when')}</th><th>${t('facts.what')}</th><th>${t('facts.amount')}</th></tr></thead>
        <tbody>${movements.map((one) => html`<tr><td><${Ago} at=${one.created_at} /></td><td>${t(`movement.${one.kind}`)}${one.item && html` <span class="minor">${itemName(one.item)}</span>`}</td><td>${number(one.amount)}</td></tr>`)}</tbody></table>`}
    </section>
  </div>`
}

const Event = ({ at, icon, kind = '', words, children }) => html`<li class=${kind}><span class="disc"><${Icon} name=${icon} /></span><div><strong>${words}</strong> <span class="minor"><${Ago} at=${at} /></span>${children}</div></li>`

function Attempt({ attempt, n }) {
  const { started_at: start, ended_at: end, outcome, found_by: road } = attempt
  const seconds = end && (Date.parse(end) - Date.parse(start)) / 1000
  const known = t(`outcome.${outcome}`)
  const words = end ? (known.startsWith('outcome.') ? outcome : known) : t('outcome.running')
  return html`<${Event} at=${start} icon=${end ? 'retry' : 'play'} kind=${end ? '' : 'running'} words=${t('history.attempt', { n })}>
    <p class="minor">${[words, seconds !== null && seconds !== undefined && t('history.took', { seconds: number(Math.round(seconds * 10) / 10) }), road && t('history.found', { road })].filter(Boolean).join(' · ')}</p></${Event}>`
}

function Facts({ job }) {
  const facts = [
    ['facts.kind', job.content_kind && t(`kind.${job.content_kind}`)],
    ['facts.subject', job.subject],
    ['facts.created', exactly(Date.parse(job.created_at))],
    ['facts.pace', job.chunks_per_minute && t('facts.chunks', { n: Math.round(job.chunks_per_minute) })],
    ['facts.parts', job.chunks_total ? `${number(job.chunks_done)} / ${number(job.chunks_total)}` : null],
    ['facts.retry', job.retry_of && html`<a href=${`#/job/${job.retry_of}`}>${t('facts.first')}</a>`],
    ['facts.retried', job.retried_by && html`<a href=${`#/job/${job.retried_by}`}>${t('facts.next')}</a>`],
    ['facts.id', html`<code>${job.id}</code>`],
    ['facts.request', job.correlation_id && html`<code dir="auto">${job.correlation_id.slice(0, 100)}</code>`],
  ]
  return html`<dl class="facts">${facts.filter(([, value]) => value).map(([key, value]) => html`<div><dt>${t(key)}</dt><dd dir="auto">${value}</dd></div>`)}</dl>`
}

