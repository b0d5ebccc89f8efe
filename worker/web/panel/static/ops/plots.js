// The plots: lines on one time axis with one shared cursor, and the same numbers as a table for whoever does not see them.

import { html, useEffect, useRef, useState } from '../vendor/preact.js'
import uPlot from '../vendor/uplot.js'
import { clock, exactly, language, number, t } from '../i18n.js'
import { onPreference } from '../preferences.js'
import { RANGES } from './desk.js'
import { known, span } from './terms.js'

const HEIGHT = 168
const CURSOR = { sync: { key: 'ops' }, y: false, points: { size: 6 }, drag: { setScale: false, x: false } }
const SPANS = ['p50', 'p95', 'p99']
const delays = { lines: { p50: 'good', p95: 'warn', p99: 'bad' }, say: span, log: true }
// What is drawn: lines by label, each with the name of its colour. Without lines: whatever labels there are.
const PLOTS = {
  ended: { lines: { completed: 'good', partly: 'warn', failed: 'bad', cancelled: 'soft' } },
  depth: { lines: { pending: 'accent', processing: 'good', retrying: 'warn' } },
  wait: delays,
  run: delays,
  error: { lines: null },
  chars: { lines: { all: 'accent' } },
}
const COLOURS = ['bad', 'warn', 'accent', 'good', 'soft']

export function Plots({ desk }) {
  const series = desk.data('series')
  const [theme, again] = useState(0)
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const turn = () => again((n) => n + 1)
    dark.addEventListener('change', turn)
    const off = onPreference(turn)
    return () => {
      dark.removeEventListener('change', turn)
      off()
    }
  }, [])
  return html`<section class="part plots" aria-labelledby="plots-title"><header><h2 id="plots-title">${t('ops.plots')}</h2>
      <div class="tabs" role="group" aria-label=${t('ops.range')}>${RANGES.map((range) => html`
        <button type="button" class="tab" aria-pressed=${desk.range === range} onClick=${() => desk.show(range)}>${t(`ops.range.${range}`)}</button>`)}</div></header>
    <div class="grid">${Object.entries(PLOTS).map(([measure, plot]) => html`<${Plot} key=${`${measure} ${theme}`} measure=${measure} plot=${plot} series=${series} />`)}</div>
  </section>`
}

function linesOf({ lines }, labels) {
  if (lines) return Object.entries(lines)
  return Object.keys(labels).sort().slice(0, COLOURS.length).map((label, n) => [label, COLOURS[n]])
}

function Plot({ measure, plot, series }) {
  const box = useRef(null)
  const drawn = useRef(null)
  const [at, point] = useState(null)
  const labels = series?.measures[measure] ?? {}
  const lines = linesOf(plot, labels)
  const times = series ? Array.from({ length: series.points }, (_, n) => Date.parse(series.from) / 1000 + n * series.step_seconds) : []
  const rows = lines.map(([label]) => labels[label] ?? times.map(() => (plot.log ? null : 0)))
  const say = plot.say ?? number
  const names = lines.map(([label]) => label).join()

  useEffect(() => {
    if (!series) return undefined
    const made = new uPlot(options({ plot, lines, say, box: box.current, point, week: series.step_seconds >= 3600 }), [times, ...rows], box.current)
    drawn.current = made
    const watch = new ResizeObserver(() => box.current && made.setSize({ width: box.current.clientWidth, height: HEIGHT }))
    watch.observe(box.current)
    return () => {
      watch.disconnect()
      made.destroy()
      drawn.current = null
    }
  }, [series?.step_seconds, names])
  useEffect(() => drawn.current?.setData([times, ...rows]), [series])

  const shown = at ?? times.length - 1
  const name = t(`ops.plot.${measure}`)
  const word = (label) => (SPANS.includes(label) ? label : known('ops.label', label))
  return html`<figure class="plot"><figcaption><strong>${name}</strong>
      <span class="legend">${lines.map(([label, colour], n) => html`<span class=${colour}><i></i>${word(label)} <b>${rows[n][shown] === null || rows[n][shown] === undefined ? '–' : say(rows[n][shown])}</b></span>`)}${lines.length === 0 && html`<span class="minor">${t('ops.none')}</span>`}</span></figcaption>
    <div class="canvas" dir="ltr" role="img" aria-label=${t('ops.plot.about', { name })} ref=${box}></div>
    <${Data} name=${name} times=${times} lines=${lines} rows=${rows} say=${say} word=${word} />
  </figure>`
}

// Rows only once they are wanted: six plots of a week are six thousand cells.
function Data({ name, times, lines, rows, say, word }) {
  const [open, set] = useState(false)
  return html`<details onToggle=${({ target }) => set(target.open)}><summary>${t('ops.data')}<span class="unseen"> ${name}</span></summary>
    ${open && html`<div class="scroll" tabindex="0"><table><caption class="unseen">${name}</caption><thead><tr><th scope="col">${t('ops.time')}</th>${lines.map(([label]) => html`<th scope="col">${word(label)}</th>`)}</tr></thead>
      <tbody>${times.map((time, n) => html`<tr><th scope="row"><time datetime=${new Date(time * 1000).toISOString()} title=${exactly(time * 1000)}>${clock(time * 1000)}</time></th>${rows.map((row) => html`<td>${row[n] === null ? '–' : say(row[n])}</td>`)}</tr>`).reverse()}</tbody></table></div>`}
  </details>`
}

function options({ plot, lines, say, box, point, week }) {
  const style = getComputedStyle(document.documentElement)
  // Canvas knows no light-dark(): a colour is read from something that has it.
  const colour = (name) => {
    box.style.color = `var(--${name})`
    return getComputedStyle(box).color
  }
  const [ink, line] = [colour('soft'), colour('line')]
  const font = `12px ${style.fontFamily}`
  const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false } }
  const day = new Intl.DateTimeFormat(language, { weekday: 'short', day: 'numeric' })
  const stamp = (time) => (week ? day.format(time * 1000) : clock(time * 1000))
  return {
    width: box.clientWidth, height: HEIGHT, cursor: CURSOR, legend: { show: false },
    padding: [8, 8, 0, 0],
    scales: { y: plot.log ? { distr: 3 } : { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
    axes: [
      { ...axis, size: 28, space: 76, values: (_, times) => times.map(stamp) },
      { ...axis, size: 72, space: 34, values: (_, found) => found.map((value) => (value === null || (!plot.log && value % 1) ? '' : say(value))) },
    ],
    series: [{}, ...lines.map(([label, name]) => ({ label, stroke: colour(name), width: 1.6, points: { show: plot.log ? undefined : false, size: 4 } }))],
    hooks: { setCursor: [({ cursor }) => point(cursor.idx ?? null)] },
  }
}
