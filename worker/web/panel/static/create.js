// A new job: a text or a file, languages by the names their speakers use, and the price before anything is spent.

import { html, useEffect, useMemo, useRef, useState } from './vendor/preact.js'
import { direction, name, ownName, t } from './i18n.js'
import { COMMON } from './languages.js'
import { Dialog } from './dialogs.js'
import { Button, draw, Icon, useSlow } from './parts.js'

draw({ upload: 'M8 11V3.5M5 6.5l3-3 3 3M3.5 13h9' })

const KINDS = { md: 'markdown', markdown: 'markdown', json: 'json', html: 'html', htm: 'html', txt: 'text' }
const BYTES_MAX = 1_000_000
const PRICE_MS = 400
const TAG = /^[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}$/i

export function Create({ api, close, created, credits }) {
  const [form, setForm] = useState({ title: '', content: '', content_kind: 'text', source_language: '', target_languages: [] })
  const [state, set] = useState({ busy: false, error: null, over: false })
  const [pairs, setPairs] = useState([['*', '*']])
  const key = useMemo(() => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join(''), [form])
  const price = usePrice(api, form)
  const change = (values) => setForm((now) => ({ ...now, ...values }))
  useEffect(() => {
    api.get('/api/languages').then(({ pairs }) => pairs.length && setPairs(pairs), () => {})
  }, [])

  const take = async (file) => {
    set({ busy: false, error: null, over: false })
    try {
      change(await read(file))
    } catch (error) {
      set({ busy: false, error: error.message, over: false })
    }
  }
  const drop = (event) => {
    event.preventDefault()
    const [file] = event.dataTransfer.files
    if (file) take(file)
    else set({ ...state, over: false })
  }
  const send = async (event) => {
    event?.preventDefault()
    if (!form.content.trim() || !form.target_languages.length) {
      set({ ...state, error: t(form.content.trim() ? 'create.no.languages' : 'create.no.text') })
      return
    }
    set({ busy: true, error: null, over: false })
    try {
      created(await api.post('/api/jobs', { ...bodyOf(form), idempotency_key: `panel-${key}` }))
    } catch (error) {
      set({ busy: false, error: [error.message, error.hint].filter(Boolean).join(' '), over: false })
    }
  }
  const hasty = (event) => (event.ctrlKey || event.metaKey) && event.key === 'Enter' && send()

  return html`<${Dialog} title=${t('new')} close=${close} wide>
    <form class="create" onSubmit=${send} onKeyDown=${hasty}>
      <div class="columns">
        <div class="left">
          <label>${t('create.title')}<input value=${form.title} maxlength="200" dir="auto" placeholder=${t('create.title.hint')} onInput=${({ target }) => change({ title: target.value })} /></label>
          <div class=${`drop${state.over ? ' over' : ''}`} onDragOver=${(event) => { event.preventDefault(); if (!state.over) set({ ...state, over: true }) }} onDragLeave=${() => set({ ...state, over: false })} onDrop=${drop}>
            <label for="create-text">${t('create.text')}</label>
            <textarea id="create-text" dir="auto" rows="10" spellcheck="false" placeholder=${t('create.text.hint')} value=${form.content} onInput=${({ target }) => change({ content: target.value })}></textarea>
            <${FileButton} take=${take} />
          </div>
          <div class="pair">
            <label>${t('create.kind')}<select value=${form.content_kind} onChange=${({ target }) => change({ content_kind: target.value })}>${['text', 'markdown', 'json', 'html'].map((kind) => html`<option value=${kind} selected=${kind === form.content_kind}>${t(`kind.${kind}`)}</option>`)}</select></label>
            <label>${t('create.from')}<select value=${form.source_language} onChange=${({ target }) => change({ source_language: target.value })}><option value="">${t('create.detect')}</option>${sources(pairs).map((tag) => html`<option value=${tag} lang=${tag} selected=${tag === form.source_language}>${ownName(tag)}</option>`)}</select></label>
          </div>
        </div>
        <${Languages} pairs=${pairs} source=${form.source_language} chosen=${form.target_languages} choose=${(target_languages) => change({ target_languages })} />
      </div>
      ${state.error && html`<p class="fault" role="alert"><${Icon} name="warning" /><span>${state.error}</span></p>`}
      <footer>
        <${Price} price=${price} credits=${credits} form=${form} />
        <${Button} label=${t('close')} onClick=${close} />
        <button class="button primary" disabled=${state.busy}>${t('create.send')}</button>
      </footer>
    </form>
  </${Dialog}>`
}

function FileButton({ take }) {
  const input = useRef(null)
  const taken = ({ target }) => {
    if (target.files[0]) take(target.files[0])
    target.value = '' // the same file may be chosen again after a change
  }
  return html`<p class="file"><${Button} icon="upload" label=${t('create.file')} onClick=${() => input.current.click()} />
    <span class="minor">${t('create.drop')}</span>
    <input ref=${input} type="file" hidden accept=".txt,.md,.markdown,.json,.html,.htm,text/plain,text/markdown,text/html,application/json" onChange=${taken} /></p>`
}

function Languages({ pairs, source, chosen, choose }) {
  const [wanted, setWanted] = useState('')
  const any = pairs.some(([, target]) => target === '*')
  const offered = useMemo(() => targets(pairs, source), [pairs, source])
  const tag = wanted.trim()
  const found = offered.filter((one) => !tag || `${one} ${name(one)} ${ownName(one)}`.toLowerCase().includes(tag.toLowerCase()))
  const own = any && TAG.test(tag) && !offered.some((one) => one.toLowerCase() === tag.toLowerCase()) && name(tag) !== tag ? [tag] : []
  const toggle = (one) => choose(chosen.includes(one) ? chosen.filter((other) => other !== one) : [...chosen, one])
  return html`<fieldset class="right"><legend>${t('create.into')}${chosen.length > 0 && html` <span class="count">${chosen.length}</span>`}</legend>
    <label class="search"><${Icon} name="search" /><span class="unseen">${t('create.find')}</span><input type="search" placeholder=${t('create.find')} value=${wanted} onInput=${({ target }) => setWanted(target.value)} onKeyDown=${(event) => event.key === 'Enter' && !event.ctrlKey && !event.metaKey && event.preventDefault()} /></label>
    <div class="choices">${[...own, ...found].map((one) => html`<label key=${one} class="option"><input type="checkbox" checked=${chosen.includes(one)} onChange=${() => toggle(one)} /><span lang=${one} dir=${direction(one)}>${ownName(one)}</span><small>${name(one)}</small></label>`)}</div>
    ${chosen.length > 0 && html`<div class="chips">${chosen.map((one) => html`<button type="button" key=${one} class="chip running" aria-label=${t('create.without', { language: name(one) })} onClick=${() => toggle(one)}><span lang=${one}>${ownName(one)}</span><${Icon} name="cross" /></button>`)}</div>`}
  </fieldset>`
}

function Price({ price, credits, form }) {
  const slow = useSlow(price.asking)
  const characters = [...form.content].length
  const words = price.error ?? (slow ? t('price.asking') : price.credits === null ? '' : price.credits ? t('create.price', { n: price.credits }) : t('price.free'))
  const balance = price.balance ?? credits?.balance ?? null
  return html`<p class="price" aria-live="polite"><span class="minor">${characters > 0 && t('characters', { n: characters })}</span>
    <strong>${words}</strong>${price.credits > 0 && balance !== null && html`<span class=${balance < price.credits ? 'short' : 'minor'}>${t(balance < price.credits ? 'price.short' : 'price.balance', { n: balance })}</span>`}</p>`
}

function usePrice(api, form) {
  const [price, set] = useState({ asking: false, credits: null })
  useEffect(() => {
    if (!form.content.trim() || !form.target_languages.length) {
      set({ asking: false, credits: null })
      return undefined
    }
    let current = true
    set((now) => ({ ...now, asking: true, error: null }))
    const timer = setTimeout(async () => {
      try {
        const { credits, balance } = await api.post('/api/jobs/preview', bodyOf(form))
        if (current) set({ asking: false, credits, balance })
      } catch (error) {
        if (current) set({ asking: false, credits: null, error: error.message })
      }
    }, PRICE_MS)
    return () => {
      current = false
      clearTimeout(timer)
    }
  }, [form.content, form.content_kind, form.source_language, form.target_languages])
  return price
}

function bodyOf({ title, content, content_kind, source_language, target_languages }) {
  return { content, content_kind, target_languages, source_language: source_language || null, title: title.trim() || null }
}

async function read(file) {
  if (file.size > BYTES_MAX) throw new Error(t('file.large'))
  let content
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer())
  } catch {
    throw new Error(t('file.binary'))
  }
  if (content.includes('\0')) throw new Error(t('file.binary'))
  const ending = file.name.split('.').pop().toLowerCase()
  return { content, content_kind: KINDS[ending] ?? 'text', title: file.name.slice(0, 200) }
}

const sources = (pairs) => offer(pairs.map(([source]) => source))
const targets = (pairs, source) => {
  const base = source.split('-')[0]
  return offer(pairs.filter(([from]) => !source || from === '*' || from === source || from === base).map(([, target]) => target)).filter((tag) => tag !== source)
}
const offer = (tags) => (tags.includes('*') ? COMMON : [...new Set(tags)].sort((a, b) => name(a).localeCompare(name(b))))
