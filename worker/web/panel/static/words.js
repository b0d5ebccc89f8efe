// What a job's fields mean to a person. Pure: no network, no page.

import { now as present } from './clock.js'
import { clock, list, moment, name, number, ownName, isLanguage, t } from './i18n.js'

export const WAITING = ['pending', 'scheduled', 'blocked', 'retrying']
export const ENDED = ['completed', 'failed', 'cancelled']
export const TITLE_LENGTH = 240

export const isEnded = (job) => ENDED.includes(job.status)
export const isPartly = (job) => job.status === 'completed' && job.failed_items > 0

export const endedAt = (job) => job.completed_at ?? job.cancelled_at ?? job.updated_at

// One of running, waiting, completed, partly, failed, cancelled: what the panel shows and filters by.
export function stateOf(job) {
  if (job.status === 'processing') return 'running'
  if (WAITING.includes(job.status)) return 'waiting'
  return isPartly(job) ? 'partly' : job.status
}

export function groupOf(job) {
  if (!isEnded(job)) return 'active'
  return job.status === 'completed' && !job.failed_items ? 'completed' : 'failed'
}

// The tabs over the list: what they hold, what they ask the server for, what they count.
export const TABS = {
  all: { holds: () => true, status: null },
  running: { holds: (job) => stateOf(job) === 'running', status: ['processing'] },
  waiting: { holds: (job) => stateOf(job) === 'waiting', status: WAITING },
  attention: { holds: (job) => ['partly', 'failed'].includes(stateOf(job)), status: ['failed', 'partly'] },
  completed: { holds: (job) => stateOf(job) === 'completed', status: ['completed'] },
  cancelled: { holds: (job) => stateOf(job) === 'cancelled', status: ['cancelled'] },
}

export function countsOf(counts) {
  if (!counts) return null
  const { active, finished } = counts
  const running = active.processing ?? 0
  const waiting = WAITING.reduce((sum, name) => sum + (active[name] ?? 0), 0)
  const { completed = 0, partly = 0, failed = 0, cancelled = 0 } = finished
  return {
    all: running + waiting + completed + partly + failed + cancelled,
    running, waiting, completed, cancelled,
    attention: partly + failed,
  }
}

export function countWord(count, capped) {
  return capped && count >= capped ? t('count.capped', { n: capped }) : number(count)
}

export function titleOf(job) {
  const given = (job.title || '').trim() || (job.subject || '').trim()
  if (given) return given.slice(0, TITLE_LENGTH)
  const languages = job.target_languages
  if (!languages?.length) return t('job.untitled', { type: job.job_type })
  const names = languages.slice(0, 3).map(ownName)
  return t('job.into', { languages: list(languages.length > 3 ? [...names, t('more', { n: languages.length - 3 })] : names) })
}

// In a sentence of the reader's language, and alone.
export const itemInWords = (item) => (isLanguage(item) ? name(item) : item)
export const itemName = (item) => (isLanguage(item) ? ownName(item) : item)
export const doneItems = (job) => job.items.filter((item) => item.status === 'completed')
export const openItems = (job) => job.items.filter((item) => item.status === 'pending' || item.status === 'processing')
export const failedItems = (job) => job.items.filter((item) => item.status === 'failed' || item.status === 'cancelled')
export const canRetry = (job) => isEnded(job) && !job.retried_by && failedItems(job).length > 0

export function itemPercent(item) {
  if (item.status === 'completed') return 100
  if (typeof item.progress === 'number') return Math.min(99, item.progress)
  return item.chunks_total ? Math.min(99, Math.floor((100 * item.chunks_done) / item.chunks_total)) : 0
}

// One of queued, running, waiting, done, warned, failed, cancelled.
export function itemState(item, now = present()) {
  if (item.status === 'completed') return item.warnings?.length ? 'warned' : 'done'
  if (item.status === 'processing') return 'running'
  if (item.status === 'pending') return item.retry_at && Date.parse(item.retry_at) > now ? 'waiting' : 'queued'
  return item.status
}

export function countdown(until, now = present()) {
  const seconds = Math.max(0, Math.ceil((until - now) / 1000))
  if (seconds >= 3600) return clock(until)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

// How long it will take, in words; null when nobody can say.
export function etaWords(job, now = present()) {
  if (job.status === 'scheduled' && job.run_at) return t('eta.scheduled', { time: moment(Date.parse(job.run_at)) })
  if (job.status === 'retrying' && job.run_at) {
    const until = Date.parse(job.run_at)
    return until > now ? t('eta.retrying', { time: countdown(until, now) }) : t('state.waiting')
  }
  if (job.status === 'blocked') return t('eta.blocked')
  if (job.status !== 'processing' || !job.eta_at) return null
  const seconds = (Date.parse(job.eta_at) - now) / 1000
  if (seconds < -5) return t('eta.longer')
  if (seconds < 55) return t('eta.under')
  // Steps of five seconds: a number that flickers is worse than one that is a little off.
  const minutes = Math.round(Math.ceil(seconds / 5) / 12)
  return minutes < 60 ? t('eta.minutes', { n: Math.max(1, minutes) }) : t('eta.hours', { n: Math.round(minutes / 60) })
}

// The parts of the credits line, which always sum; null where nothing has a price.
export function creditsOf(job) {
  if (!job.credits_reserved) return null
  const { credits_reserved: reserved, credits_consumed: used, credits_refunded: refunded } = job
  return { reserved, used, refunded, open: reserved - used - refunded }
}

export const refundOf = (item) => Math.max(0, (item.price ?? 0) - (item.credits ?? 0))
