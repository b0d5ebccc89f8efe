// News of the jobs: one stream for all tabs of this browser, held by the tab that got the lock; the others hear it from
// that tab. Six streams of one browser would take every connection to the server, and a seventh tab would never load.
// The rule: an event may be missed. After every gap the lists are loaded again, and where no stream can be had they are polled.

import { events } from './sse.js'

const POLL_MS = 5_000
const HIDDEN_MS = 60_000
const BACKOFF_MS = [1_000, 30_000]
const FAILURES_BEFORE_POLLING = 3

export class Live {
  #api
  #session
  #hear
  #show
  #reload
  #channel
  #stop = null
  #state = { kind: 'connecting' }
  #leading = false
  #hiddenTimer = null
  #lastId = null
  #failures = 0

  // *hear(event, data)*: an event. *show(state)*: how we hear now. *reload()*: load what is on the page; rejects if it cannot.
  constructor({ api, session, hear, show, reload }) {
    this.#api = api
    this.#session = session
    this.#hear = hear
    this.#show = show
    this.#reload = reload
  }

  start() {
    // Named for the user: two accounts in two tabs must never mix.
    this.name = `panel.live.${this.#session.user.id}`
    this.#channel = new BroadcastChannel(this.name)
    this.#channel.onmessage = ({ data }) => this.#told(data)
    document.addEventListener('visibilitychange', this.#seen)
    this.#begin()
  }

  end() {
    document.removeEventListener('visibilitychange', this.#seen)
    clearTimeout(this.#hiddenTimer)
    this.#halt()
    this.#channel?.close()
  }

  // At once, when somebody presses "Try again".
  hurry() {
    if (this.#leading || !navigator.locks) this.#wake?.()
    else this.#channel.postMessage({ kind: 'hurry' })
  }

  #wake = null

  #seen = () => {
    clearTimeout(this.#hiddenTimer)
    if (document.hidden) this.#hiddenTimer = setTimeout(() => this.#halt(), HIDDEN_MS)
    else if (!this.#stop) {
      this.#begin()
      this.#reload().catch(() => {})
    }
  }

  #begin() {
    this.#stop = new AbortController()
    const { signal } = this.#stop
    if (!navigator.locks) {
      this.#poll(signal) // http and not localhost: no way to share, so no stream
      return
    }
    this.#channel.postMessage({ kind: 'ask' })
    navigator.locks.request(this.name, { signal }, () => this.#lead(signal)).catch(() => {})
  }

  #halt() {
    this.#stop?.abort()
    this.#stop = null
  }

  #told({ kind, event, data, state }) {
    if (kind === 'event') this.#hear(event, data)
    else if (kind === 'state') this.#is(state, false)
    else if (kind === 'ask' && this.#leading) this.#channel.postMessage({ kind: 'state', state: this.#state })
    else if (kind === 'hurry' && this.#leading) this.#wake?.()
  }

  #is(state, tell = true) {
    this.#state = state
    this.#show(state)
    if (tell) this.#channel.postMessage({ kind: 'state', state })
  }

  #tell(event, data) {
    this.#hear(event, data)
    this.#channel.postMessage({ kind: 'event', event, data })
  }

  async #lead(signal) {
    this.#leading = true
    try {
      while (!signal.aborted) {
        await this.#listen(signal)
        if (!signal.aborted) await this.#between(signal)
      }
    } finally {
      this.#leading = false
    }
  }

  // One stream, from its opening to its end.
  async #listen(signal) {
    const mine = new AbortController()
    const stop = () => mine.abort()
    signal.addEventListener('abort', stop)
    try {
      const body = await this.#api.open('/api/stream', mine.signal, this.#lastId ? { 'Last-Event-ID': this.#lastId } : {})
      for await (const { event, data, id } of events(body, mine.signal)) {
        if (id) this.#lastId = id
        if (event === 'auth-expiring') {
          if (await this.#session.refresh(await this.#session.token())) return // a new stream with the new token
        } else if (event === 'close') return
        else {
          this.#failures = 0
          if (this.#state.kind !== 'live') this.#is({ kind: 'live' })
          this.#tell(event, data)
        }
      }
      this.#failures += 1
    } catch {
      this.#failures += 1
    } finally {
      signal.removeEventListener('abort', stop)
      mine.abort()
    }
  }

  async #between(signal) {
    if (!this.#session.user) return this.#halt()
    if (this.#failures === 0) return this.#pause(250, signal) // the server ended it in order
    const [first, last] = BACKOFF_MS
    let left = Math.max(first / 2, Math.random() * Math.min(last, first * 2 ** this.#failures))
    if (this.#failures < FAILURES_BEFORE_POLLING) {
      this.#is({ kind: 'offline', retryAt: Date.now() + left })
      await this.#pause(left, signal)
      return
    }
    while (left > 0 && !signal.aborted) {
      await this.#look(Date.now() + Math.min(left, POLL_MS))
      if (await this.#pause(Math.min(left, POLL_MS), signal)) return
      left -= POLL_MS
    }
  }

  async #poll(signal) {
    while (!signal.aborted) {
      await this.#look(Date.now() + POLL_MS)
      await this.#pause(POLL_MS, signal)
    }
  }

  async #look(next) {
    try {
      await this.#reload()
      this.#is({ kind: 'polling' })
      this.#channel.postMessage({ kind: 'event', event: 'poll', data: null })
    } catch {
      this.#is({ kind: 'offline', retryAt: next })
    }
  }

  // True: somebody is in a hurry.
  #pause(ms, signal) {
    return new Promise((resolve) => {
      const done = (hurried) => {
        clearTimeout(timer)
        signal.removeEventListener('abort', stop)
        this.#wake = null
        resolve(hurried)
      }
      const stop = () => done(false)
      const timer = setTimeout(done, ms, false)
      signal.addEventListener('abort', stop)
      this.#wake = () => done(true)
    })
  }
}
