// The panel's own words, and numbers, times and language names as the reader writes them.
// One catalogue is loaded, the reader's; a test keeps all catalogues to the same keys.

import { now as present } from './clock.js'

export const LANGUAGES = { en: 'English', es: 'Español', de: 'Deutsch', ja: '日本語', ar: 'العربية' }
const RIGHT_TO_LEFT = new Set(['ar', 'fa', 'he', 'ur', 'ps', 'sd', 'ug', 'yi', 'dv', 'ckb'])
const LATER = 1000 * 60 * 60 * 24 * 6

let words = {}
const learnt = new Set()
let tools = null
export let language = 'en'

export async function speak(wanted) {
  language = pick(wanted ? [wanted] : navigator.languages)
  words = { ...(await import(`./locales/${language}.js`)).default }
  for (const part of learnt) await learn(part)
  // Numbers and times as where the reader lives, if that is of this language.
  const place = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language
  tools = {
    plural: new Intl.PluralRules(place),
    number: new Intl.NumberFormat(place),
    percent: new Intl.NumberFormat(place, { style: 'percent' }),
    ago: new Intl.RelativeTimeFormat(place, { numeric: 'auto' }),
    list: new Intl.ListFormat(place, { type: 'conjunction' }),
    names: new Intl.DisplayNames([place], { type: 'language' }),
    moment: new Intl.DateTimeFormat(place, { dateStyle: 'medium', timeStyle: 'short' }),
    exactly: new Intl.DateTimeFormat(place, { dateStyle: 'full', timeStyle: 'long' }),
    day: new Intl.DateTimeFormat(place, { dateStyle: 'medium' }),
    clock: new Intl.DateTimeFormat(place, { hour: '2-digit', minute: '2-digit' }),
  }
  document.documentElement.lang = language
  document.documentElement.dir = direction(language)
  document.title = t('title')
}

// The words of the pages that are loaded later.
export async function learn(part) {
  learnt.add(part)
  Object.assign(words, (await import(`./locales/${language}.${part}.js`)).default)
}

function pick(wanted) {
  for (const tag of wanted) {
    const base = String(tag).split('-')[0].toLowerCase()
    if (base in LANGUAGES) return base
  }
  return 'en'
}

// A number `n` chooses the plural form and is shown as the language writes it; other values are shown as they are.
export function t(key, values = {}) {
  let text = words[key]
  if (text === undefined) return key
  if (typeof text === 'object') text = text[tools.plural.select(values.n)] ?? text.other
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name]
    if (value === undefined) return all
    return typeof value === 'number' ? number(value) : value
  })
}

export const number = (value) => tools.number.format(value)
export const percent = (value) => tools.percent.format(value / 100)
export const list = (values) => tools.list.format(values)
export const clock = (time) => tools.clock.format(time)
// The hour alone, if that says it.
export const moment = (time) => (Math.abs(time - present()) < 43_200_000 ? clock(time) : tools.moment.format(time))
export const exactly = (time) => tools.exactly.format(time)

const STEPS = [[60, 'second', 1], [3600, 'minute', 60], [86400, 'hour', 3600], [Infinity, 'day', 86400]]

export function ago(time) {
  const now = present()
  const seconds = (time - now) / 1000
  if (Math.abs(now - time) > LATER) return tools.day.format(time)
  const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit)
  // Seconds would tick in the corner of the eye.
  if (unit === 'second') return Math.abs(seconds) < 10 ? t('now') : tools.ago.format(Math.sign(seconds) * Math.floor(Math.abs(seconds) / 10) * 10, unit)
  return tools.ago.format(Math.round(seconds / size), unit)
}

// The name of a language in the reader's language.
export function name(tag) {
  return named(tools.names, tag)
}

const ownNames = new Map()

// The name that its speakers use.
export function ownName(tag) {
  if (!ownNames.has(tag)) {
    let names = null
    try {
      names = new Intl.DisplayNames([tag], { type: 'language' })
    } catch {
      // not a tag that this browser knows
    }
    const own = names ? named(names, tag) : tag
    // It stands alone, so it starts large, whatever the rule inside a sentence.
    ownNames.set(tag, own === tag ? tag : own[0].toLocaleUpperCase(tag) + own.slice(1))
  }
  return ownNames.get(tag)
}

function named(names, tag) {
  try {
    return names.of(tag) ?? tag
  } catch {
    return tag
  }
}

export function direction(tag) {
  const [base, second = ''] = String(tag).toLowerCase().split('-')
  if (second === 'arab' || second === 'hebr') return 'rtl'
  if (second.length === 4) return 'ltr'
  return RIGHT_TO_LEFT.has(base) ? 'rtl' : 'ltr'
}

// A tag as the `lang` attribute wants it: none for items that are no languages, such as the one of a job made without.
export const isLanguage = (tag) => tag !== 'run' && /^[a-z]{2,3}(-[a-z0-9]{2,8})*$/i.test(tag)
