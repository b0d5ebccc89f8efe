// What a job came after and what comes after it: steps in their order, each with its state, each a way to go there.

import { html } from './vendor/preact.js'
import { t } from './i18n.js'
import { stateOf, titleOf } from './words.js'
import { State } from './row.js'

export function Chain({ job, jobs }) {
  const before = job.parents ?? []
  const after = job.children ?? []
  if (!before.length && !after.length) return null
  // A step that is on the page by itself is known better than what this job last said of it.
  const fresh = (step) => jobs.rows.get(step.id) ?? step
  return html`<nav class="block chain" aria-labelledby="chain-title"><h2 id="chain-title">${t('chain')}</h2><ol>
    ${before.map((step) => html`<${Step} key=${step.id} step=${fresh(step)} />`)}
    <${Step} step=${job} here />
    ${after.map((step) => html`<${Step} key=${step.id} step=${fresh(step)} />`)}
  </ol></nav>`
}

function Step({ step, here }) {
  const state = stateOf(step)
  const words = html`<bdi>${titleOf(step)}</bdi>`
  return html`<li aria-current=${here ? 'step' : undefined}><${State} state=${state} />
    ${here ? html`<strong>${words}</strong>` : html`<a href=${`#/job/${step.id}`}>${words}</a>`}
    <span class="minor" aria-hidden="true">${t(`state.${state}`)}</span></li>`
}
