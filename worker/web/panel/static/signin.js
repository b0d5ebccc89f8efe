// The door: an address and a password of the project's own users.

import { html, useState } from './vendor/preact.js'
import { t } from './i18n.js'
import { Icon, Switches } from './parts.js'

export function SignIn({ session, config, why }) {
  const [mode, setMode] = useState('in')
  const [state, set] = useState({ busy: false, error: null, note: null })
  const enter = async (event) => {
    event.preventDefault()
    const { email, password, stay } = event.target.elements
    set({ busy: true, error: null, note: null })
    try {
      const way = mode === 'in' ? 'signIn' : 'signUp'
      const entered = await session[way](email.value.trim(), password.value, stay.checked)
      if (!entered) set({ busy: false, error: null, note: t('signin.confirm') })
    } catch (error) {
      const key = `signin.error.${error.code}`
      set({ busy: false, error: t(key) === key ? error.message : t(key), note: null })
    }
  }
  const other = mode === 'in' ? 'up' : 'in'
  return html`<main class="door" id="main">
    <form onSubmit=${enter}>
      <img src=${new URL('./icon.svg', import.meta.url).href} alt="" width="44" height="44" />
      <h1>${t(`signin.${mode}.title`)}</h1>
      <p class="lead">${why ?? t('signin.lead')}</p>
      <label>${t('signin.email')}<input name="email" type="email" required autocomplete="username" autofocus /></label>
      <label>${t('signin.password')}<input name="password" type="password" required minlength="6" autocomplete=${mode === 'in' ? 'current-password' : 'new-password'} /></label>
      <label class="check"><input name="stay" type="checkbox" />${t('signin.stay')}</label>
      ${state.error && html`<p class="fault" role="alert"><${Icon} name="warning" /><span>${state.error}</span></p>`}
      ${state.note && html`<p class="note" role="status">${state.note}</p>`}
      <button class="button primary big" disabled=${state.busy}>${t(`signin.${mode}`)}</button>
      ${config.auth.sign_up && html`<p class="switch">${t(`signin.${mode}.other`)} <button type="button" class="link" onClick=${() => setMode(other)}>${t(`signin.${other}`)}</button></p>`}
    </form>
    <footer><${Switches} /></footer>
  </main>`
}
