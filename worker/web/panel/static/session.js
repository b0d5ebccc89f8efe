// Who is signed in. Tokens live in memory; in sessionStorage only if the person says so; never in an address.
// Tabs of this browser share a session, and take turns to refresh it: a refresh token works once.

import { t } from './i18n.js'

const STORED = 'panel.session'
const EARLY_SECONDS = 60
const LIMIT_MS = 15_000
const ASK_MS = 150

export class SignInError extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

export class Session {
  #held = null // {access_token, refresh_token, expires_at, user: {id, email}, stay}
  #listeners = new Set()
  #refreshing = null
  #channel = null

  constructor(config) {
    this.config = config
    // What a frame was given by its host is for that frame alone.
    this.hosted = false
    // Gets a newer token from there; resolves to whether one came.
    this.elsewhere = null
  }

  get user() {
    return this.#held?.user ?? null
  }

  // What the token says; the server asks it again.
  get operates() {
    return claimsOf(this.#held?.access_token)?.app_metadata?.[this.config.operator_claim] === true
  }

  onChange(listener) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  // Finds a session that this tab kept, or that another tab holds.
  async resume() {
    this.#channel = new BroadcastChannel('panel.session')
    const kept = stored()
    if (kept) this.#take(kept)
    const found = kept ? null : await this.#ask()
    if (found) this.#take(found)
    this.#channel.onmessage = ({ data }) => this.#heard(data)
  }

  #ask() {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), ASK_MS)
      this.#channel.onmessage = ({ data }) => {
        if (data.kind !== 'session' || !data.session) return
        clearTimeout(timer)
        resolve(data.session)
      }
      this.#channel.postMessage({ kind: 'ask' })
    })
  }

  #heard({ kind, session }) {
    if (this.hosted) return
    if (kind === 'ask' && this.#held) this.#tell()
    else if (kind === 'session' && session && (!this.#held || this.#held.user.id === session.user.id)) this.#take(session)
    else if (kind === 'ended' && this.#held) this.#drop()
  }

  #tell() {
    if (!this.hosted) this.#channel?.postMessage({ kind: 'session', session: { ...this.#held, stay: false } })
  }

  signIn(email, password, stay) {
    return this.#enter('token?grant_type=password', email, password, stay)
  }

  // False: the address must be confirmed first.
  signUp(email, password, stay) {
    return this.#enter('signup', email, password, stay)
  }

  async #enter(path, email, password, stay) {
    const answer = await this.#auth(path, { email, password })
    if (!answer.access_token) return false
    this.#take({ ...picked(answer), stay })
    this.#tell()
    return true
  }

  // A token from the page around us. It refreshes the token itself.
  adopt(token) {
    const claims = claimsOf(token)
    if (!claims?.sub) return false
    this.hosted = true
    this.#take({ access_token: token, refresh_token: null, expires_at: claims.exp, user: { id: claims.sub, email: claims.email ?? '' } })
    return true
  }

  async signOut() {
    const held = this.#held
    this.#channel?.postMessage({ kind: 'ended' })
    this.#drop()
    if (held?.refresh_token) await this.#auth('logout?scope=local', {}, held.access_token).catch(() => {})
  }

  // A token that is good for a while yet.
  async token() {
    if (!this.#held) throw new SignInError('signed_out', t('signin.again'))
    if (this.#held.expires_at - EARLY_SECONDS / 2 < Date.now() / 1000) await this.refresh(this.#held.access_token)
    if (!this.#held) throw new SignInError('signed_out', t('signin.again'))
    return this.#held.access_token
  }

  // Replaces the token *used*, unless that has happened meanwhile. False: there is no more to be had.
  async refresh(used) {
    if (!this.#held) return false
    if (this.#held.access_token !== used) return true
    if (!this.#held.refresh_token) return this.elsewhere?.() ?? false
    this.#refreshing ??= this.#alone(used).finally(() => (this.#refreshing = null))
    return this.#refreshing
  }

  #alone(used) {
    const turn = async () => (this.#held?.access_token === used ? this.#renew() : Boolean(this.#held))
    return navigator.locks ? navigator.locks.request('panel.refresh', turn) : turn()
  }

  async #renew() {
    const { refresh_token, stay } = this.#held
    try {
      this.#take({ ...picked(await this.#auth('token?grant_type=refresh_token', { refresh_token })), stay })
      this.#tell()
      return true
    } catch (error) {
      if (error.code === 'unreachable') return false // the token may yet do, and the network come back
      this.#drop()
      return false
    }
  }

  #take(session) {
    this.#held = session
    if (session.stay) keep(session)
    this.#changed()
  }

  #drop() {
    this.#held = null
    keep(null)
    this.#changed()
  }

  #changed() {
    for (const listener of this.#listeners) listener(this.user)
  }

  async #auth(path, body, token = null) {
    const { supabase_url, publishable_key } = this.config
    const headers = { apikey: publishable_key, 'Content-Type': 'application/json' }
    if (token) headers.Authorization = `Bearer ${token}`
    const options = { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(LIMIT_MS) }
    let response
    try {
      response = await fetch(`${supabase_url}/auth/v1/${path}`, options)
    } catch {
      throw new SignInError('unreachable', t('error.unreachable'))
    }
    const answer = response.status === 204 ? {} : await response.json().catch(() => ({}))
    if (!response.ok) throw new SignInError(answer.error_code ?? 'refused', answer.msg ?? answer.error_description ?? t('signin.refused'))
    return answer
  }
}

function picked({ access_token, refresh_token, expires_in, user }) {
  return { access_token, refresh_token, expires_at: Date.now() / 1000 + expires_in, user: { id: user.id, email: user.email ?? '' } }
}

function claimsOf(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))))
  } catch {
    return null
  }
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED))
  } catch {
    return null
  }
}

function keep(session) {
  try {
    if (session) sessionStorage.setItem(STORED, JSON.stringify(session))
    else sessionStorage.removeItem(STORED)
  } catch {
    // storage is forbidden here: it stays in memory
  }
}
