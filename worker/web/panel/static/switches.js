// Theme and language of the panel itself.

import { html } from './vendor/preact.js'
import { language, LANGUAGES, t } from './i18n.js'
import { nextTheme, prefer, preferences } from './preferences.js'
import { Button, Icon } from './parts.js'

export const ThemeButton = () => html`
  <${Button} bare icon=${preferences.theme === 'system' ? 'system' : preferences.theme} label=${t(`theme.${preferences.theme}`)} onClick=${nextTheme} />`

export const LanguageChoice = () => html`<label class="choice"><${Icon} name="globe" /><span class="unseen">${t('language')}</span>
  <select value=${language} onChange=${({ target }) => prefer('language', target.value)}>
    ${Object.entries(LANGUAGES).map(([tag, own]) => html`<option value=${tag} lang=${tag} selected=${tag === language}>${own}</option>`)}
  </select></label>`

export const Switches = () => html`<div class="switches"><${LanguageChoice} /><${ThemeButton} /></div>`
