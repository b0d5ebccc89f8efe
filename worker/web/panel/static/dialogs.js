// What asks before it does: cancelling, retrying; and the help on keys.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { list, t } from './i18n.js'
import { doneItems, failedItems, itemInWords, openItems, titleOf } from './words.js'
import { toast } from './notices.js'
import { prefer, preferences } from './preferences.js'
import { Button } from './parts.js'

export function Dialog({ title, close, wide, children }) {
  const ref = useRef(null)
  useEffect(() => {
    ref.current.showModal()
  }, [])
  const outside = (event) => event.target === ref.current && close()
  return html`<dialog ref=${ref} class=${wide ? 'wide' : ''} aria-labelledby="dialog-title" onClose=${close} onMouseDown=${outside}>
    <div class="sheet"><header><h2 id="dialog-title">${title}</h2><${Button} bare icon="cross" label=${t('close')} onClick=${close} /></header>${children}</div>
  </dialog>`
}

// Runs *work* once at a time; what it throws is shown.
function useWork(work) {
  const [state, set] = useState({ busy: false, error: null })
  const run = async () => {
    set({ busy: true, error: null })
    try {
      await work()
    } catch (error) {
      set({ busy: false, error })
    }
  }
  return [state, run]
}

const names = (items) => list(items.map((item) => itemInWords(item.item)))
const priceOf = (items) => items.reduce((sum, item) => sum + (item.price ?? 0), 0)

export function CancelDialog({ job, close, api, jobs }) {
  const [{ busy, error }, run] = useWork(() => cancel({ api, jobs }, job, close))
  const [kept, ended] = [doneItems(job), openItems(job)]
  const refund = priceOf(ended)
  return html`<${Dialog} title=${t('cancel.title')} close=${close}>
    <p class="about" dir="auto">${titleOf(job)}</p>
    <ul class="facts">
      ${ended.length > 0 && html`<li>${t('cancel.ends', { languages: names(ended) })}</li>`}
      ${kept.length > 0 ? html`<li>${t('cancel.keeps', { languages: names(kept) })}</li>` : html`<li>${t('cancel.keeps.none')}</li>`}
      ${refund > 0 && html`<li>${t('cancel.refunds', { n: refund })}</li>`}
    </ul>
    ${error && html`<p class="fault" role="alert">${error.message}</p>`}
    <footer><${Button} label=${t('cancel.no')} onClick=${close} /><${Button} kind="danger" label=${t('cancel.yes')} disabled=${busy} onClick=${run} /></footer>
  </${Dialog}>`
}

export function RetryDialog({ job, close, api, jobs }) {
  const [{ busy, error }, run] = useWork(() => retry({ api, jobs }, job, close))
  const [asked, set] = useState({ known: false })
  useEffect(() => {
    retryPrice(api, job).then((answer) => set({ known: true, answer }), (failure) => set({ known: true, failure }))
  }, [])
  const items = failedItems(job)
  const { known, answer, failure } = asked
  const short = answer && answer.balance !== null && answer.balance < answer.credits
  return html`<${Dialog} title=${t('retry.title')} close=${close}>
    <p class="about" dir="auto">${titleOf(job)}</p>
    <ul class="facts">
      <li>${t('retry.again', { languages: names(items) })}</li>
      <li aria-live="polite">${!known ? t('price.asking') : failure ? failure.message : answer?.credits ? t('retry.price', { n: answer.credits }) : t('price.free')}</li>
      ${answer?.credits > 0 && answer.balance !== null && html`<li>${t('price.balance', { n: answer.balance })}</li>`}
    </ul>
    ${(error || short) && html`<p class="fault" role="alert">${error ? error.message : t('price.short')}</p>`}
    <footer><${Button} label=${t('close')} onClick=${close} /><${Button} kind="primary" icon="retry" label=${t('retry.yes')} disabled=${busy || !known || short} onClick=${run} /></footer>
  </${Dialog}>`
}

// Ends the job, or shows how it ended before we came.
async function cancel({ api, jobs }, job, close) {
  try {
    jobs.hear('job', await api.remove(`/api/jobs/${job.id}`))
  } catch (error) {
    if (error.code !== 'job_finished') throw error
    jobs.one(job.id).catch(() => {})
    toast(error.message)
  }
  jobs.loadCredits().catch(() => {})
  close()
}

// What a retry would cost today: the price may have changed, and what is remembered may be free.
async function retryPrice(api, job) {
  const items = failedItems(job)
  if (!items.some((item) => item.price > 0)) return { credits: 0, balance: null }
  const source = await api.get(`/api/jobs/${job.id}/source`)
  return api.post('/api/jobs/preview', {
    content: source.content, content_kind: source.content_kind ?? job.content_kind, source_language: job.source_language,
    target_languages: items.map((item) => item.item), options: job.options ?? {},
  })
}

async function retry({ api, jobs }, job, close) {
  const answer = await api.post(`/api/jobs/${job.id}/retry`)
  close()
  toast(t('retried'), 'good')
  await Promise.allSettled([jobs.one(answer.job_id), jobs.one(job.id), jobs.loadCounts()])
}

const KEYS = [['/', 'search'], ['n', 'new'], ['j k', 'keys.move'], ['Enter', 'keys.open'], ['c', 'cancel'], ['r', 'retry'], ['p', 'pause'], ['m', 'compact'], ['t', 'theme'], ['Esc', 'keys.back'], ['?', 'keys.help']]

export function HelpDialog({ close, pairs = KEYS }) {
  const [on, set] = useState(preferences.keys)
  const toggle = ({ target }) => {
    prefer('keys', target.checked)
    set(target.checked)
  }
  return html`<${Dialog} title=${t('keys.title')} close=${close}>
    <dl class="keys">${pairs.map(([keys, word]) => html`<div><dt>${keys.split(' ').map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${t(word)}</dd></div>`)}</dl>
    <label class="check"><input type="checkbox" checked=${on} onChange=${toggle} />${t('keys.on')}</label>
  </${Dialog}>`
}
