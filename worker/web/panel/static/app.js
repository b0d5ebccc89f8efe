// Puts the panel together: who is signed in, what is shown, what the keys and buttons do.

import { html, render, useEffect, useMemo, useRef, useState } from './vendor/preact.js'
import { Api } from './api.js'
import { learn, number, speak, t } from './i18n.js'
import { Jobs } from './jobs.js'
import { listenToKeys } from './keys.js'
import { Live } from './live.js'
import { say, toast } from './notices.js'
import { nextTheme, onPreference, prefer, preferences } from './preferences.js'
import { Session } from './session.js'
import { List } from './list.js'
import { Button, Icon, LanguageChoice, ThemeButton, Toasts } from './parts.js'
import { canRetry, failedItems, isEnded, isPartly, itemInWords, refundOf, titleOf } from './words.js'

const asked = new URLSearchParams(location.search)
const subject = asked.get('subject')
const embedded = asked.get('embed') === '1' && window.parent !== window

const speaking = speak(asked.get('lang') ?? preferences.language)
const config = await fetch('/panel/config.json').then((response) => response.json())
const session = new Session(config)
const host = embedded ? new (await import('./embed.js')).Host(config.embed_origins, session) : null
if (host) await host.arrive()
if (!session.user) await session.resume()
// Who is signed in already has the list on its way before the first paint.
let early = session.user && made()
early?.jobs.load().catch(() => {})
await speaking

function Panel() {
  const [user, setUser] = useState(session.user)
  const [why, setWhy] = useState(null)
  const [, again] = useState(0)
  useEffect(() => {
    const off = session.onChange((now) => {
      setWhy((before) => (now ? null : before))
      setUser((before) => (before?.id === now?.id ? before : now))
      if (!now) {
        setWhy(signedOutByHand ? null : t('signin.ended'))
        signedOutByHand = false
      }
    })
    const offPreference = onPreference(async () => {
      await speak(asked.get('lang') ?? preferences.language)
      again((n) => n + 1)
    })
    return () => {
      off()
      offPreference()
    }
  }, [])
  const door = useLater('signin', !user)
  return html`<a class="skip" href="#main" onClick=${skip}>${t('skip')}</a>
    ${user ? html`<${Signed} key=${`${user.id} ${document.documentElement.lang}`} user=${user} />` : door && html`<${door.SignIn} session=${session} config=${config} why=${why} />`}
    <${Toasts} /><div id="said" class="unseen" role="status"></div>`
}

let signedOutByHand = false
const signOut = () => {
  signedOutByHand = true
  session.signOut()
}

// The address's hash is our own; a jump within the page must not become a page.
function skip(event) {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

const places = {
  create: () => import('./create.js'),
  detail: () => import('./detail.js'),
  dialogs: () => import('./dialogs.js'),
  signin: () => import('./signin.js'),
}

// A page that is loaded when it is first wanted.
function useLater(name, wanted) {
  const [part, set] = useState(null)
  useEffect(() => {
    if (wanted && !part) Promise.all([places[name](), learn('pages')]).then(([loaded]) => set(loaded))
  }, [wanted])
  return part
}

const routeOf = () => {
  const [, place = '', id = ''] = location.hash.split('/')
  return { place, id: decodeURIComponent(id) }
}

function Signed({ user }) {
  const [route, setRoute] = useState(routeOf())
  const [dialog, setDialog] = useState(null)
  const [selected, select] = useState(null)
  const at = useRef(null) // what the keys go by: two may come between two paints
  const [, again] = useState(0)
  const { api, jobs, live } = useMemo(() => {
    const ready = early || made()
    early = null
    return ready
  }, [])
  useEffect(() => {
    const off = jobs.subscribe(() => again((n) => n + 1))
    const moved = () => {
      setRoute(routeOf())
      setDialog(null)
    }
    window.addEventListener('hashchange', moved)
    if (!jobs.loading && !jobs.loadedAt) jobs.load().catch(() => {})
    live.start()
    host?.watchHeight()
    return () => {
      off()
      window.removeEventListener('hashchange', moved)
      live.end()
    }
  }, [])

  const close = () => setDialog(null)
  const failed = (error) => toast(error.message, 'bad')
  const act = useMemo(() => ({
    failed,
    cancel: (job) => setDialog({ kind: 'cancel', job }),
    retry: (job) => setDialog({ kind: 'retry', job }),
    create: () => setDialog({ kind: 'create' }),
    hurry: () => live.hurry(),
    refresh: () => {
      live.hurry()
      jobs.load().then(() => say(t('refreshed')), failed)
    },
  }), [])

  const place = route.place === 'job' ? 'detail' : 'list'
  const current = () => jobs.rows.get(place === 'detail' ? route.id : at.current)
  const move = (step) => () => {
    const rows = [...document.querySelectorAll('.job[data-id]')].map((row) => row.dataset.id)
    const next = rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(at.current) + step))]
    if (!next || place !== 'list') return
    at.current = next
    select(next)
    const row = document.querySelector(`.job[data-id="${CSS.escape(next)}"]`)
    row.scrollIntoView({ block: 'nearest' })
    row.querySelector('.title').focus({ preventScroll: true })
  }
  useEffect(() => listenToKeys({
    '/': () => document.getElementById('search')?.focus(),
    j: move(1), ArrowDown: move(1), k: move(-1), ArrowUp: move(-1),
    Enter: () => current() && (location.hash = `#/job/${current().id}`),
    n: () => embedded || act.create(),
    c: () => current() && !isEnded(current()) && act.cancel(current()),
    r: () => current() && canRetry(current()) && act.retry(current()),
    p: () => jobs.pause(!jobs.paused),
    m: () => prefer('compact', !preferences.compact),
    t: nextTheme,
    Escape: () => place === 'detail' && (location.hash = '#/'),
    '?': () => setDialog({ kind: 'help' }),
  }))

  const detail = useLater('detail', place === 'detail')
  const dialogs = useLater('dialogs', dialog && dialog.kind !== 'create')
  const create = useLater('create', dialog?.kind === 'create')
  return html`
    <${Header} user=${user} jobs=${jobs} act=${act} help=${() => setDialog({ kind: 'help' })} />
    <main id="main" tabindex="-1">
      ${place === 'list' ? html`<h1 class="unseen">${t('title')}</h1><${List} jobs=${jobs} selected=${selected} act=${act} embedded=${embedded} />` : detail && html`<${detail.Detail} key=${route.id} id=${route.id} jobs=${jobs} api=${api} act=${act} />`}
    </main>
    ${dialogs && dialog?.kind === 'cancel' && html`<${dialogs.CancelDialog} job=${jobs.rows.get(dialog.job.id) ?? dialog.job} close=${close} api=${api} jobs=${jobs} />`}
    ${dialogs && dialog?.kind === 'retry' && html`<${dialogs.RetryDialog} job=${dialog.job} close=${close} api=${api} jobs=${jobs} />`}
    ${dialogs && dialog?.kind === 'help' && html`<${dialogs.HelpDialog} close=${close} />`}
    ${dialog?.kind === 'create' && create && html`<${create.Create} api=${api} close=${close} credits=${jobs.credits} created=${(answer) => {
      close()
      toast(t('created'), 'good')
      jobs.one(answer.job_id).then(() => jobs.loadCounts()).catch(() => {})
    }} />`}`
}

function made() {
  const api = new Api(session)
  const jobs = new Jobs(api, { subject, onChange: tell })
  const show = (state) => {
    const before = jobs.connection.kind
    jobs.connection = state
    if (state.kind === 'offline' && before !== 'offline') say(t('live.offline.said'))
    if (before === 'offline' && state.kind !== 'offline') say(t('live.back.said'))
    jobs.changed()
  }
  const live = new Live({ api, session, show, hear: (event, data) => jobs.hear(event, data), reload: () => jobs.reload() })
  return { api, jobs, live }
}

function Header({ user, jobs, act, help }) {
  const { credits } = jobs
  const priced = credits && (credits.balance > 0 || credits.reserved > 0)
  const kind = jobs.paused ? 'paused' : jobs.connection.kind
  return html`<header class=${`site${embedded ? ' embedded' : ''}`}><div class="in">
    <a class="brand" href="#/"><img src=${new URL('./icon.svg', import.meta.url).href} alt="" width="28" height="28" /><span>${t('title')}</span></a>
    ${config.simulated && html`<span class="badge demo" title=${t('demo.text')}><${Icon} name="flask" /><span class="long">${t('demo')}</span><span class="brief">${t('demo.short')}</span></span>`}
    <span class=${`pulse ${kind}`} role="status"><i></i>${t(`live.${kind}`)}</span>
    <span class="push"></span>
    ${priced && html`<span class="purse" title=${t('credits.title')}><strong>${number(credits.balance)}</strong> ${t('credits.free')}${credits.reserved > 0 && html`<span class="minor"> · ${t('credits.held', { n: credits.reserved })}</span>`}</span>`}
    ${!embedded && session.operates && html`<a class="purse" href="/panel/ops">${t('ops')}</a>`}
    ${!embedded && html`<${LanguageChoice} />`}
    <span class="small"><${ThemeButton} />${!embedded && html`<${Button} bare class="button bare help" icon="help" label=${t('keys.title')} onClick=${help} /><${Button} bare icon="exit" label=${t('signout', { who: user.email })} onClick=${signOut} />`}</span>
    ${!embedded && html`<${Button} kind="primary" icon="plus" label=${t('new')} onClick=${act.create} />`}
  </div></header>`
}

const SAID = { completed: 'said.completed', partly: 'said.partly', failed: 'said.failed.job', cancelled: 'said.cancelled' }

// What a change is worth saying.
function tell(job, before) {
  if (!before) return
  const title = titleOf(job)
  const were = new Map(before.items.map((item) => [item.item, item.status]))
  const failed = job.items.filter((item) => item.status === 'failed' && were.get(item.item) !== 'failed')
  for (const item of failed) say(t('said.failed', { language: itemInWords(item.item), title }))
  if (isEnded(before) || !isEnded(job)) return
  host?.ended(job)
  const refund = failedItems(job).reduce((sum, item) => sum + refundOf(item), 0)
  const words = t(SAID[isPartly(job) ? 'partly' : job.status], { title })
  toast(refund > 0 ? `${words} ${t('refunded', { n: refund })}` : words, job.status === 'completed' && !isPartly(job) ? 'good' : job.status === 'failed' ? 'bad' : 'plain')
  say(words)
}

render(html`<${Panel} />`, document.getElementById('panel'))
