// Keys for people who have their hands there. They rest while somebody types, and can be switched off.

import { preferences } from './preferences.js'

const TYPING = 'input, textarea, select, [contenteditable]'

// *actions*: a function for each key.
export function listenToKeys(actions) {
  const pressed = (event) => {
    if (!preferences.keys || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
    if (document.querySelector('dialog[open]')) return
    if (event.target.closest?.(TYPING)) {
      if (event.key === 'Escape') event.target.blur()
      return
    }
    if (event.key === 'Enter' && event.target.closest?.('a, button')) return // theirs
    const action = actions[event.key]
    if (!action) return
    event.preventDefault()
    action()
  }
  document.addEventListener('keydown', pressed)
  return () => document.removeEventListener('keydown', pressed)
}
