// The panel inside somebody's own page: the host gives a token and hears how its jobs end.
// The rule: only origins from the settings are listened to, and only the one that gave the token hears anything of a job.

const PREFIX = 'translation-panel:'
const TOKEN_MS = 1_500
const NEWER_MS = 5_000

export class Host {
  #origin = null
  #asked = null

  constructor(origins, session) {
    this.origins = origins
    this.session = session
    session.elsewhere = () => this.#newer()
  }

  // Resolves once the host has given a token, or has had its time.
  arrive() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, TOKEN_MS)
      window.addEventListener('message', ({ origin, source, data }) => {
        if (source !== window.parent || !this.origins.includes(origin)) return
        if (data?.type !== `${PREFIX}token` || typeof data.access_token !== 'string') return
        if (!this.session.adopt(data.access_token)) return
        this.#origin = origin
        clearTimeout(timer)
        resolve()
      })
      // Says nothing but that we are here, so anybody may hear it.
      window.parent.postMessage({ type: `${PREFIX}ready` }, '*')
    })
  }

  #newer() {
    this.#asked ??= new Promise((resolve) => {
      const done = (came) => {
        clearTimeout(timer)
        off()
        this.#asked = null
        resolve(came)
      }
      const timer = setTimeout(done, NEWER_MS, false)
      const off = this.session.onChange(() => done(true))
      this.#tell({ type: `${PREFIX}token-needed` })
    })
    return this.#asked
  }

  ended(job) {
    if (this.#origin) this.#tell({ type: `${PREFIX}job`, id: job.id, status: job.status, failed_items: job.failed_items })
  }

  // So that the frame can be made as high as its content.
  watchHeight() {
    new ResizeObserver(() => {
      if (this.#origin) this.#tell({ type: `${PREFIX}height`, pixels: document.body.scrollHeight })
    }).observe(document.body)
  }

  #tell(message) {
    window.parent.postMessage(message, this.#origin)
  }
}
