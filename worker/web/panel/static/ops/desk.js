// What the page knows of the queue: the last good answer of each look, and when it came. It asks again while somebody
// looks, and keeps what it has when an answer fails: an old number with its time is better than none.

import { query } from '../api.js'

const OFTEN_MS = 5_000
const SELDOM = 3 // rounds
const FAST = ['stats', 'alerts', 'workers', 'failures', 'endings', 'jobs']
const SLOW = ['series', 'triggers', 'actions']
export const RANGES = ['hour', 'day', 'week']
const NO_FILTER = { status: '', type: '', user: '', error_class: '', subject: '', search: '' }

export class Desk {
  parts = {} // name: {data, error}
  range = 'hour'
  filter = NO_FILTER
  paused = false
  loadedAt = null
  error = null // of the last round, if nothing came
  more = []
  next = null

  #api
  #listeners = new Set()
  #timer = null
  #round = 0
  #asked = {}

  constructor(api) {
    this.#api = api
  }

  subscribe(listener) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tell() {
    for (const listener of this.#listeners) listener()
  }

  start() {
    const seen = () => (document.hidden ? clearTimeout(this.#timer) : this.#go())
    document.addEventListener('visibilitychange', seen)
    this.#go()
    return () => {
      clearTimeout(this.#timer)
      document.removeEventListener('visibilitychange', seen)
    }
  }

  async #go() {
    clearTimeout(this.#timer)
    if (document.hidden || this.paused) return
    await this.#load(this.#round++ % SELDOM ? FAST : [...FAST, ...SLOW])
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#go(), OFTEN_MS)
  }

  // Everything, now.
  refresh = () => this.#load([...FAST, ...SLOW])

  async #load(names) {
    const results = await Promise.all(names.map((name) => this.#ask(name)))
    const failed = results.filter((error) => error && error !== 'old')
    this.error = failed.find((error) => error.status === 0 || error.status >= 500 || error.status === 403) ?? null
    if (failed.length < results.length) this.loadedAt = Date.now()
    this.#tell()
  }

  // What went wrong, or null; an answer that a later question has overtaken is none.
  async #ask(name) {
    const turn = (this.#asked[name] = (this.#asked[name] ?? 0) + 1)
    let part
    try {
      part = { data: await this.#api.get(`/api/ops/${name}${this.#query(name)}`), error: null }
    } catch (error) {
      part = { data: this.parts[name]?.data ?? null, error }
    }
    if (turn !== this.#asked[name]) return 'old'
    this.parts[name] = part
    if (name === 'jobs' && !part.error && !this.more.length) this.next = part.data.next
    return part.error
  }

  #query(name) {
    if (name === 'series') return query({ range: this.range })
    return name === 'jobs' ? query({ ...this.filter, limit: 20 }) : ''
  }

  data(name) {
    return this.parts[name]?.data ?? null
  }

  async #again(name) {
    await this.#ask(name)
    this.#tell()
  }

  show(range) {
    this.range = range
    this.#again('series')
    this.#tell()
  }

  find(filter) {
    this.filter = { ...this.filter, ...filter }
    this.more = []
    this.#again('jobs')
    this.#tell()
  }

  unfilter = () => this.find(NO_FILTER)

  get filtered() {
    return Object.values(this.filter).some(Boolean)
  }

  async loadMore() {
    const page = await this.#api.get(`/api/ops/jobs${query({ ...this.filter, limit: 20, before: this.next })}`)
    this.more = [...this.more, ...page.jobs]
    this.next = page.next
    this.#tell()
  }

  // What is on the page and what was loaded after it: rows that moved on to the first page stand there only.
  get jobs() {
    const first = this.data('jobs')?.jobs ?? []
    const there = new Set(first.map((job) => job.id))
    return [...first, ...this.more.filter((job) => !there.has(job.id))]
  }

  pause(paused) {
    this.paused = paused
    if (!paused) this.#go()
    this.#tell()
  }

  // Acts; all that is shown is asked for again afterwards.

  async act(action, ids) {
    return this.#done(await this.#api.post('/api/ops/actions', { action, job_ids: ids }))
  }

  async retryGroup(signature) {
    return this.#done(await this.#api.post(`/api/ops/failures/${signature}/retry`))
  }

  async run(name, key) {
    return this.#done(await this.#api.post(`/api/ops/triggers/${encodeURIComponent(name)}/run`, { idempotency_key: key }))
  }

  async reveal(id) {
    return this.#done(await this.#api.post(`/api/ops/jobs/${id}/reveal`))
  }

  #done(answer) {
    this.refresh()
    return answer
  }
}
