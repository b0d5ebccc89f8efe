// The operator view: a page of its own, so that users carry nothing of it. It asks while somebody looks.

import { html, render, useEffect, useMemo, useState } from '../vendor/preact.js'
import { Api } from '../api.js'
import { clock, learn, speak, t } from '../i18n.js'
import { listenToKeys } from '../keys.js'
import { toast } from '../notices.js'
import { nextTheme, onPreference, preferences } from '../preferences.js'
import { Session } from '../session.js'
import { SignIn } from '../signin.js'
import { Dialog, HelpDialog } from '../dialogs.js'
import { Button, Empty, Icon, LanguageChoice, ThemeButton, Toasts, useSlow } from '../parts.js'
import { titleOf } from '../words.js'
import { Desk, RANGES } from './desk.js'
import { Actions, Endings, Failures, Triggers } from './failures.js'
import { Jobs } from './jobs.js'
import { Alerts, Cards, Strip, Workers } from './strip.js'
import { known } from './terms.js'

const asked = new URLSearchParams(location.search)
const said = async () => {
  await speak(asked.get('lang') ?? preferences.language)
  document.title = t('ops.title')
}

const speaking = Promise.all([speak(asked.get('lang') ?? preferences.language), learn('pages'), learn('ops')])
const config = await fetch('/panel/config.json').then((response) => response.json())
const session = new Session(config)
await session.resume()
await speaking
document.title = t('ops.title')

function Page() {
  const [user, set] = useState(session.user)
  const [, again] = useState(0)
  useEffect(() => {
    const off = session.onChange((now) => set((before) => (before?.id === now?.id ? before : now)))
    const offPreference = onPreference(() => said().then(() => again((n) => n + 1)))
    return () => {
      off()
      offPreference()
    }
  }, [])
  const view = !user ? html`<${SignIn} session=${session} config=${config} why=${null} />` : session.operates ? html`<${View} key=${`${user.id} ${document.documentElement.lang}`} user=${user} />` : html`<${Stranger} />`
  return html`<a class="skip" href="#main" onClick=${skip}>${t('skip')}</a>${view}<${Toasts} /><div id="said" class="unseen" role="status"></div>`
}

function skip(event) {
  event.preventDefault()
  document.getElementById('main')?.focus()
}

const Stranger = () => html`<main id="main" tabindex="-1"><${Empty} icon="slash" title=${t('ops.stranger')}><p>${t('ops.stranger.text')}</p>
  <a class="button" href="/panel">${t('title')}</a><${Button} label=${t('ops.signout')} onClick=${() => session.signOut()} /></${Empty}></main>`

const KEYS = [['/', 'search'], ['1 2 3', 'ops.range'], ['r', 'refresh'], ['p', 'pause'], ['t', 'theme'], ['?', 'keys.help']]

function View({ user }) {
  const desk = useMemo(() => new Desk(new Api(session)), [])
  const [, again] = useState(0)
  const [dialog, ask] = useState(null)
  useEffect(() => {
    const off = desk.subscribe(() => again((n) => n + 1))
    const stop = desk.start()
    return () => {
      off()
      stop()
    }
  }, [])
  useEffect(() => listenToKeys({
    '/': () => document.getElementById('search')?.focus(),
    r: desk.refresh, p: () => desk.pause(!desk.paused), t: nextTheme, '?': () => ask({ kind: 'help' }),
    ...Object.fromEntries(RANGES.map((range, n) => [String(n + 1), () => desk.show(range)])),
  }))
  const [plots, load] = useState(null)
  useEffect(() => {
    import('./plots.js').then(load) // the heaviest part comes when the numbers stand there
  }, [])
  const close = () => ask(null)
  const waiting = useSlow(!desk.loadedAt && !desk.error)
  return html`<${Header} desk=${desk} user=${user} help=${() => ask({ kind: 'help' })} />
    <main id="main" tabindex="-1" class="ops"><h1 class="unseen">${t('ops.title')}</h1>
      <${Late} desk=${desk} />
      ${!desk.loadedAt ? waiting && html`<div class="skeleton" role="status" aria-label=${t('loading')}>${[0, 1, 2].map(() => html`<div><i></i><i></i><i></i></div>`)}</div>` : html`
        <${Strip} desk=${desk} /><${Alerts} desk=${desk} /><${Cards} desk=${desk} />${plots && html`<${plots.Plots} desk=${desk} />`}
        <${Failures} desk=${desk} ask=${ask} />
        <div class="pairs"><${Workers} desk=${desk} /><${Endings} desk=${desk} /></div>
        <${Triggers} desk=${desk} ask=${ask} /><${Jobs} desk=${desk} ask=${ask} /><${Actions} desk=${desk} />`}
    </main>
    ${dialog?.kind === 'help' ? html`<${HelpDialog} close=${close} pairs=${KEYS} />` : dialog && html`<${Confirm} key=${dialog.kind} dialog=${dialog} close=${close} desk=${desk} />`}`
}

function Header({ desk, user, help }) {
  const kind = desk.paused ? 'paused' : desk.error ? 'offline' : desk.loadedAt ? 'live' : 'connecting'
  return html`<header class="site"><div class="in">
    <a class="brand" href="/panel"><img src=${new URL('../icon.svg', import.meta.url).href} alt="" width="28" height="28" /><span>${t('ops.title')}</span></a>
    <span class=${`pulse ${kind}`} role="status"><i></i>${t(`live.${kind}`)}</span>
    <span class="push"></span><${LanguageChoice} />
    <span class="small"><${Button} bare icon=${desk.paused ? 'play' : 'pause'} label=${t(desk.paused ? 'resume' : 'pause')} aria-pressed=${desk.paused} onClick=${() => desk.pause(!desk.paused)} />
      <${Button} bare icon="refresh" label=${t('refresh')} onClick=${desk.refresh} /><${ThemeButton} />
      <${Button} bare class="button bare help" icon="help" label=${t('keys.title')} onClick=${help} /><${Button} bare icon="exit" label=${t('signout', { who: user.email })} onClick=${() => session.signOut()} /></span>
  </div></header>`
}

// What is shown may be old, and says how old.
function Late({ desk }) {
  if (!desk.error) return null
  const late = desk.error.code === 'statistics_late' ? t('ops.late') : desk.error.message
  return html`<div class="banner" role="status"><${Icon} name="warning" /><span>${late} ${desk.loadedAt && t('ops.old', { time: clock(desk.loadedAt) })}</span>
    <${Button} label=${t('try.now')} onClick=${desk.refresh} /></div>`
}

// What changes something asks first, and says how much.
const DEEDS = {
  group: { title: 'ops.retry.title', yes: 'retry.yes', facts: ({ group }) => [group.message, t('ops.retry.jobs', { n: Math.min(100, group.retriable) }), t('ops.retry.checked'), t('ops.retry.credits')], run: (desk, { group }) => desk.retryGroup(group.signature) },
  retry: { title: 'ops.retry.title', yes: 'retry.yes', facts: ({ job }) => [titleOf(job), t('ops.retry.credits')], run: (desk, { job }) => desk.act('retry', [job.id]) },
  cancel: { title: 'cancel.title', yes: 'cancel.yes', danger: true, facts: ({ job }) => [titleOf(job), t('ops.cancel.text')], run: (desk, { job }) => desk.act('cancel', [job.id]) },
  requeue: { title: 'ops.requeue.title', yes: 'ops.requeue', facts: ({ job }) => [titleOf(job), t('ops.requeue.text')], run: (desk, { job }) => desk.act('requeue', [job.id]) },
  trigger: { title: 'ops.run.title', yes: 'ops.run', facts: ({ trigger }) => [trigger.name, t('ops.run.text')], run: (desk, { trigger }, key) => desk.run(trigger.name, key) },
}

function Confirm({ dialog, close, desk }) {
  const deed = DEEDS[dialog.kind]
  const [{ busy, error }, set] = useState({ busy: false, error: null })
  // The same dialog is the same wish: asked twice by an impatient network, it is granted once.
  const key = useMemo(() => `panel-${[...crypto.getRandomValues(new Uint32Array(3))].join('-')}`, [])
  const run = async () => {
    set({ busy: true, error: null })
    try {
      told(await deed.run(desk, dialog, key))
      close()
    } catch (failure) {
      set({ busy: false, error: failure })
    }
  }
  const [about, ...facts] = deed.facts(dialog)
  return html`<${Dialog} title=${t(deed.title)} close=${close}><p class="about" dir="auto">${about}</p>
    <ul class="facts">${facts.map((fact) => html`<li>${fact}</li>`)}</ul>
    ${error && html`<p class="fault" role="alert">${error.message}</p>`}
    <footer><${Button} label=${t('close')} onClick=${close} /><${Button} kind=${deed.danger ? 'danger' : 'primary'} label=${t(deed.yes)} disabled=${busy} onClick=${run} /></footer></${Dialog}>`
}

function told({ jobs = 1, refused = {}, left }) {
  const not = Object.entries(refused).map(([word, n]) => `${n} × ${known('ops.label', word)}`).join(', ')
  const words = [t('ops.done', { n: jobs }), not && t('ops.refused', { words: not }), left > 0 && t('ops.left', { n: left })]
  toast(words.filter(Boolean).join(' '), not ? 'bad' : 'good')
}

render(html`<${Page} />`, document.getElementById('panel'))
