// The worker's HTTP API as the signed-in user. Knows no page.

import { t } from './i18n.js'

const LIMIT_MS = 15_000

// What the server refused: `code` is the stable word, `message` a sentence for people, `status` 0 when it was not reached.
export class ApiError extends Error {
  constructor(status, code, message, hint = null) {
    super(message)
    Object.assign(this, { status, code, hint })
  }
}

export class Api {
  constructor(session) {
    this.session = session
  }

  // Opens a stream; the caller ends it.
  async open(path, signal, headers = {}) {
    const response = await this.#send(path, { headers: { ...headers, Accept: 'text/event-stream' }, signal })
    if (!response.ok) throw await refusal(response)
    return response.body
  }

  get = (path) => this.#call(path, {})
  post = (path, body) =>
    this.#call(path, { method: 'POST', body: JSON.stringify(body ?? {}), headers: { 'Content-Type': 'application/json' } })
  remove = (path) => this.#call(path, { method: 'DELETE' })

  async #call(path, options) {
    const response = await this.#send(path, { ...options, signal: AbortSignal.timeout(LIMIT_MS) })
    if (!response.ok) throw await refusal(response)
    return response.status === 204 ? null : response.json()
  }

  async #send(path, options, again = true) {
    const token = await this.session.token()
    let response
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${token}` } })
    } catch (error) {
      if (error.name === 'AbortError') throw error
      throw new ApiError(0, 'unreachable', t('error.unreachable'))
    }
    if (response.status === 401 && again && (await this.session.refresh(token))) return this.#send(path, options, false)
    return response
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}))
  const { code = 'unknown', message = t('error.status', { status: String(response.status) }), hint = null } = body.error ?? {}
  return new ApiError(response.status, code, message, hint)
}

export const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '')
  return given.length ? `?${new URLSearchParams(given)}` : ''
}
