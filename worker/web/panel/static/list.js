// The list of jobs: tabs with counts, search, groups, and what is shown when there is nothing to show.

import { html, useEffect, useRef, useState } from './vendor/preact.js'
import { clock, t } from './i18n.js'
import { countsOf, countWord, TABS } from './words.js'
import { prefer, preferences } from './preferences.js'
import { Button, Empty, Icon, useSlow } from './parts.js'
import { Row } from './row.js'

const SEARCH_MS = 250

export function List({ jobs, selected, act, embedded }) {
  const groups = jobs.groups()
  const shown = Object.values(groups).reduce((sum, group) => sum + group.length, 0)
  return html`
    <div class="bar-top">
      <${Tabs} jobs=${jobs} />
      <${Tools} jobs=${jobs} act=${act} />
    </div>
    <${Connection} jobs=${jobs} act=${act} />
    <${Held} jobs=${jobs} />
    <div class=${`jobs${preferences.compact ? ' compact' : ''}`}>
      ${shown > 0 ? Object.entries(groups).map(([name, group]) => group.length > 0 && html`<${Group} key=${name} name=${name} group=${group} jobs=${jobs} selected=${selected} act=${act} />`) : html`<${Nothing} jobs=${jobs} act=${act} embedded=${embedded} />`}
    </div>
    ${jobs.next && shown > 0 && html`<div class="more"><${Button} label=${t('load.more')} disabled=${jobs.loading} onClick=${() => jobs.more().catch(act.failed)} /></div>`}`
}

function Tabs({ jobs }) {
  const counts = countsOf(jobs.counts)
  // Empty states need no tab, except the one that is open.
  const names = Object.keys(TABS).filter((name) => name !== 'cancelled' || counts?.cancelled || jobs.tab === name)
  return html`<nav class="tabs" aria-label=${t('tabs')}>${names.map((name) => html`
    <button type="button" class=${`tab ${name}`} aria-pressed=${jobs.tab === name} onClick=${() => jobs.show(name)}>
      ${t(`tab.${name}`)}${counts && html`<span class=${`count${name === 'attention' && counts[name] ? ' alarm' : ''}`}>${countWord(counts[name], jobs.capped)}</span>`}
    </button>`)}</nav>`
}

function Tools({ jobs, act }) {
  const timer = useRef(0)
  const typed = ({ target }) => {
    clearTimeout(timer.current)
    timer.current = setTimeout(() => jobs.show(jobs.tab, target.value), SEARCH_MS)
  }
  return html`<div class="tools">
    <label class="search"><${Icon} name="search" /><span class="unseen">${t('search')}</span>
      <input id="search" type="search" placeholder=${t('search')} maxlength="200" onInput=${typed} /></label>
    <${Button} bare icon="rows" label=${t('compact')} aria-pressed=${preferences.compact} onClick=${() => prefer('compact', !preferences.compact)} />
    <${Button} bare icon=${jobs.paused ? 'play' : 'pause'} label=${t(jobs.paused ? 'resume' : 'pause')} aria-pressed=${jobs.paused} onClick=${() => jobs.pause(!jobs.paused)} />
    <${Button} bare icon="refresh" label=${t('refresh')} onClick=${act.refresh} />
  </div>`
}

function Connection({ jobs, act }) {
  const { kind, retryAt } = jobs.connection
  const [, again] = useState(0)
  useEffect(() => {
    if (kind !== 'offline') return undefined
    const timer = setInterval(() => again((n) => n + 1), 500)
    return () => clearInterval(timer)
  }, [kind])
  if (kind !== 'offline' || !jobs.loadedAt) return null
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))
  return html`<div class="banner" role="status"><${Icon} name="warning" /><span>${t('offline', { time: clock(jobs.loadedAt), n: seconds })}</span>
    <${Button} label=${t('try.now')} onClick=${act.hurry} /></div>`
}

function Held({ jobs }) {
  if (jobs.paused) {
    return html`<div class="banner calm" role="status"><${Icon} name="pause" /><span>${t('paused', { n: jobs.held.size })}</span>
      ${jobs.held.size > 0 && html`<${Button} label=${t('show.them')} onClick=${() => jobs.catchUp()} />`}
      <${Button} label=${t('resume')} onClick=${() => jobs.pause(false)} /></div>`
  }
  if (!jobs.fresh.size) return null
  const up = () => {
    jobs.showFresh()
    window.scrollTo({ top: 0 })
  }
  return html`<button type="button" class="pill" onClick=${up}>${t('fresh', { n: jobs.fresh.size })}</button>`
}

function Group({ name, group, jobs, selected, act }) {
  // One group alone needs no heading but for the ears.
  const id = `group-${name}`
  return html`<section class=${`group ${name}`} aria-labelledby=${id}>
    <h2 id=${id} class=${jobs.tab === 'all' ? '' : 'unseen'}>${t(`group.${name}`)}</h2>
    <ul>${group.map((job) => html`<${Row} key=${job.id} job=${job} compact=${preferences.compact} selected=${selected === job.id} act=${act} />`)}</ul>
  </section>`
}

function Nothing({ jobs, act, embedded }) {
  const slow = useSlow(!jobs.loadedAt && !jobs.error)
  if (jobs.error && !jobs.loadedAt) {
    return html`<${Empty} icon="warning" title=${t('error.title')}><p>${jobs.error.message}</p><${Button} label=${t('try.now')} onClick=${act.refresh} /></${Empty}>`
  }
  if (!jobs.loadedAt) return slow && html`<${Skeleton} />`
  if (jobs.loading) return html`<div class="empty"></div>`
  if (jobs.search || jobs.tab !== 'all') {
    const all = () => {
      const field = document.getElementById('search')
      if (field) field.value = ''
      jobs.show('all', '')
    }
    return html`<${Empty} icon="search" title=${t('none.filtered')}><p>${t('none.filtered.text')}</p><${Button} label=${t('show.all')} onClick=${all} /></${Empty}>`
  }
  return html`<${Empty} icon="globe" title=${t('none')}><p>${t(embedded ? 'none.embedded' : 'none.text')}</p>
    ${!embedded && html`<${Button} kind="primary" icon="plus" label=${t('new')} onClick=${act.create} />`}</${Empty}>`
}

const Skeleton = () => html`<div class="skeleton" role="status" aria-label=${t('loading')}>${[0, 1, 2].map(() => html`<div><i></i><i></i><i></i></div>`)}</div>`
