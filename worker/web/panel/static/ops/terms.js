// Numbers of the operator view as people say them. Pure.

import { language, number, t } from '../i18n.js'

const UNITS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000], ['second', 1_000], ['millisecond', 0]]
const formats = new Map()

// "350 ms", "1.4 s", "12 min": two digits tell enough.
export function span(ms) {
  if (ms === null || ms === undefined) return '–'
  const [unit, size] = UNITS.find(([, least]) => ms >= least) ?? UNITS.at(-1)
  const name = `${language} ${unit}`
  if (!formats.has(name)) formats.set(name, new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'short', maximumSignificantDigits: 2 }))
  return formats.get(name).format(size ? ms / size : ms)
}

// A number that may be a capped count.
export const counted = (value, cap = Infinity) => (value >= cap ? t('count.capped', { n: cap - 1 }) : number(value ?? 0))

export const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0)

export const short = (id) => (id ? id.slice(0, 8) : '–')

// A word from the catalogue, or the word itself: classes and types of one's own have none.
export function known(prefix, word) {
  const told = t(`${prefix}.${word}`)
  return told === `${prefix}.${word}` ? word : told
}
