// What the page knows of the jobs: rows by id, counts, credits. It is told by the API and by the stream, and tells its
// listeners once a frame. The rule: the newer word on a job wins, whichever arrives last, and a row never moves under
// somebody's pointer.

import { query } from './api.js'
import { heardAt } from './clock.js'
import { groupOf, isEnded, TABS } from './words.js'

const PAGE = 50
const COUNTS_MS = 1_500
const SETTLE_MS = 2_500
const MISSED_MAX = 20
const AGAIN_MS = 5_000

export class Jobs {
  rows = new Map()
  counts = null
  capped = 0
  credits = null
  tab = 'all'
  search = ''
  next = null
  // null: never loaded; else when.
  loadedAt = null
  loading = false
  error = null
  connection = { kind: 'connecting' }
  paused = false
  // What came while paused, by id; null: deleted.
  held = new Map()
  // New rows that wait until the reader is at the top again.
  fresh = new Set()

  #api
  #subject
  #listeners = new Set()
  #scheduled = false
  #countsTimer = null
  #groups = new Map()
  #settleTimer = null
  #asked = 0
  #missed = false
  #onChange

  // *onChange(job, before)*: called for each change that the stream told.
  constructor(api, { subject = null, onChange = () => {} } = {}) {
    this.#api = api
    this.#subject = subject
    this.#onChange = onChange
  }

  subscribe(listener) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed() {
    if (this.#scheduled) return
    this.#scheduled = true
    const tell = () => {
      this.#scheduled = false
      for (const listener of this.#listeners) listener()
    }
    // A hidden page has no frames, and must not collect work for when it returns.
    if (document.hidden) setTimeout(tell, 250)
    else requestAnimationFrame(tell)
  }

  // Loading

  async load() {
    const asked = ++this.#asked
    const known = new Set(this.rows.keys()) // what comes meanwhile is newer than the answer
    this.loading = true
    this.changed()
    try {
      const beside = Promise.all([this.loadCounts(), this.loadCredits()])
      beside.catch(() => {}) // said below, when the rows stand there
      const page = await this.#page(null)
      if (asked !== this.#asked) return
      this.#forget(page.jobs, known)
      for (const job of page.jobs) this.#put(job)
      this.next = page.next
      this.loadedAt = Date.now()
      this.error = null
      this.changed()
      await beside
    } catch (error) {
      if (asked === this.#asked) this.error = error
      throw error
    } finally {
      if (asked === this.#asked) this.loading = false
      this.changed()
    }
  }

  // As the list asks for it itself; while paused it waits.
  reload() {
    this.#missed ||= this.paused
    return this.paused ? this.loadCounts() : this.load()
  }

  async more() {
    if (!this.next || this.loading) return
    this.loading = true
    this.changed()
    try {
      const page = await this.#page(this.next)
      for (const job of page.jobs) this.#put(job)
      this.next = page.next
    } finally {
      this.loading = false
      this.changed()
    }
  }

  #page(before) {
    const status = TABS[this.tab].status
    const asked = { status: status?.join(','), subject: this.#subject, search: this.search, limit: PAGE, before }
    return this.#api.get(`/api/jobs${query(asked)}`)
  }

  // Rows of this view that the first page should have held, and did not, are gone.
  #forget(page, known) {
    const least = page.length < PAGE ? -1 : page.at(-1).seq
    const there = new Set(page.map((job) => job.id))
    for (const job of this.#matching()) if (job.seq >= least && known.has(job.id) && !there.has(job.id)) this.rows.delete(job.id)
  }

  async loadCounts() {
    const answer = await this.#api.get(`/api/jobs/counts${query({ subject: this.#subject })}`)
    this.counts = answer
    this.capped = answer.capped
    this.changed()
  }

  async loadCredits() {
    this.credits = await this.#api.get('/api/credits')
    this.changed()
  }

  async one(id) {
    const job = await this.#api.get(`/api/jobs/${id}`)
    this.#put(job)
    this.changed()
    return job
  }

  show(tab, search = this.search) {
    this.tab = tab
    this.search = search
    this.next = null
    this.#groups.clear()
    this.fresh.clear()
    this.load().catch(() => {})
  }

  // What the stream tells

  hear(event, data) {
    if (event === 'snapshot') this.#snapshot(data)
    else if (event === 'job') this.#heardJob(data)
    else if (event === 'gone') this.#heardJob({ id: data.id, gone: true })
    else if (event === 'credits') this.credits = data
    else if (event === 'resync' || event === 'poll') this.reload().catch(() => {})
    this.changed()
  }

  #snapshot({ jobs, credits }) {
    if (credits) this.credits = credits
    const active = new Set(jobs.map((job) => job.id))
    for (const job of jobs) this.#heardJob(job)
    // What we hold as active and the server does not, ended while we did not listen.
    const missed = [...this.rows.values()].filter((job) => !isEnded(job) && !active.has(job.id))
    for (const job of missed.slice(0, MISSED_MAX)) this.#catchUp(job)
    if (missed.length > MISSED_MAX) this.load().catch(() => {})
    this.#countSoon()
  }

  async #catchUp(job) {
    try {
      this.#heardJob(await this.#api.get(`/api/jobs/${job.id}`))
    } catch (error) {
      if (error.status === 404) this.#heardJob({ id: job.id, gone: true })
      // Nobody else would tell: it has ended. Unless it is told after all, or signing out ends everything.
      else if (error.status !== 401) setTimeout(() => this.rows.get(job.id) === job && this.#catchUp(job), AGAIN_MS)
    }
    this.changed()
  }

  #heardJob(job) {
    if (!job.gone && this.#subject && job.subject !== this.#subject) return
    if (this.paused) this.held.set(job.id, job)
    else this.#apply(job)
  }

  #apply(job) {
    const before = this.rows.get(job.id)
    if (job.gone) {
      this.rows.delete(job.id)
      this.#countSoon()
      return
    }
    if (!this.#put(job)) return
    if (!before && window.scrollY > 160) this.fresh.add(job.id)
    if (before?.status !== job.status || before?.failed_items !== job.failed_items) this.#countSoon()
    this.#onChange(job, before)
  }

  // False: it was overtaken on the way by what is known.
  #put(job) {
    if (job.as_of) heardAt(job.as_of)
    if (isOlder(job, this.rows.get(job.id))) return false
    if (!this.#groups.has(job.id)) this.#groups.set(job.id, groupOf(job))
    else if (this.#groups.get(job.id) !== groupOf(job)) this.#settleSoon()
    this.rows.set(job.id, job)
    return true
  }

  #countSoon() {
    this.#countsTimer ??= setTimeout(() => {
      this.#countsTimer = null
      this.loadCounts().catch(() => {})
    }, COUNTS_MS)
  }

  // A row that ended stays where it is until nobody points at the list.
  #settleSoon() {
    this.#settleTimer ??= setTimeout(() => {
      this.#settleTimer = null
      if (document.querySelector('.jobs:hover, .jobs :focus-visible')) this.#settleSoon()
      else this.settle()
    }, SETTLE_MS)
  }

  settle() {
    this.#groups.clear()
    for (const job of this.rows.values()) this.#groups.set(job.id, groupOf(job))
    this.changed()
  }

  // Pausing

  pause(paused) {
    this.paused = paused
    if (!paused) this.catchUp()
    if (!paused && this.#missed) this.load().catch(() => {})
    this.#missed = false
    this.changed()
  }

  catchUp() {
    const held = [...this.held.values()]
    this.held.clear()
    for (const job of held) this.#apply(job)
    this.changed()
  }

  showFresh() {
    this.fresh.clear()
    this.changed()
  }

  // What is on the page

  #matching() {
    const wanted = this.search.trim().toLowerCase()
    const found = (job) => !wanted || `${job.title ?? ''}\n${job.subject ?? ''}`.toLowerCase().includes(wanted)
    return [...this.rows.values()].filter((job) => TABS[this.tab].holds(job) && found(job))
  }

  visible() {
    return this.#matching().filter((job) => !this.fresh.has(job.id)).sort((a, b) => b.seq - a.seq)
  }

  groups() {
    const groups = { active: [], failed: [], completed: [] }
    for (const job of this.visible()) groups[this.#groups.get(job.id) ?? groupOf(job)].push(job)
    return groups
  }
}

// A change is dated by the begin of what made it, and two of them may end the other way round: then when it was read counts.
function isOlder(job, known) {
  if (!known || Date.parse(job.updated_at) >= Date.parse(known.updated_at)) return false
  return !(Date.parse(job.as_of) > Date.parse(known.as_of))
}
