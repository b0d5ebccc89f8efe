// What a person chose about the panel itself, kept in this browser. Never a token, never a text of theirs.

const DEFAULTS = { theme: 'system', compact: false, keys: true, language: null }
const held = { ...DEFAULTS }
const listeners = new Set()

for (const name of Object.keys(DEFAULTS)) {
  const stored = read(name)
  if (stored !== null) held[name] = stored
}

function read(name) {
  try {
    const text = localStorage.getItem(`panel.${name}`)
    if (text === null) return null
    return typeof DEFAULTS[name] === 'boolean' ? text === 'true' : text
  } catch {
    return null // storage is forbidden here: the defaults it is
  }
}

export const preferences = held

export function prefer(name, value) {
  held[name] = value
  try {
    localStorage.setItem(`panel.${name}`, String(value))
  } catch {
    // kept until the page goes
  }
  if (name === 'theme') showTheme()
  for (const listener of listeners) listener()
}

export function onPreference(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function nextTheme() {
  const order = ['system', 'light', 'dark']
  prefer('theme', order[(order.indexOf(held.theme) + 1) % order.length])
}

function showTheme() {
  const root = document.documentElement
  if (held.theme === 'system') delete root.dataset.theme
  else root.dataset.theme = held.theme
}
