// What people are told in passing: toasts that are seen, and one quiet line that screen readers hear.
// Nothing is said here alone: it also stands in a row.

const SHOWN_MAX = 3
const STAY_MS = 6_000
const SAY_MS = 5_000

let toasts = []
let number = 0
const listeners = new Set()
const tell = () => {
  for (const listener of listeners) listener(toasts)
}

export function onToasts(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

// *kind*: good, bad or plain. A bad one is an alert.
export function toast(text, kind = 'plain') {
  const added = { id: ++number, text, kind, left: STAY_MS }
  toasts = [...toasts, added].slice(-SHOWN_MAX)
  tell()
}

export function dismiss(id) {
  toasts = toasts.filter((one) => one.id !== id)
  tell()
}

let waiting = []
let timer = null
let said = 0

// At most one message each five seconds; what comes meanwhile is said together.
export function say(text) {
  waiting.push(text)
  timer ??= setTimeout(speak, Math.max(0, said + SAY_MS - Date.now()))
}

function speak() {
  timer = null
  said = Date.now()
  const place = document.getElementById('said')
  if (place) place.textContent = waiting.join(' ')
  waiting = []
}
