// Results out of the panel: the clipboard, one file, one archive.

import { zip } from './zip.js'
import { titleOf } from './words.js'

const ENDINGS = { text: 'txt', markdown: 'md', html: 'html', json: 'json' }
const KNOWN_ENDING = /\.(txt|md|markdown|html?|json)$/i

export const textOf = (content) => (typeof content === 'string' ? content : JSON.stringify(content, null, 2))

// A name that every file system takes: the title without what has a meaning in paths.
export function nameOf(job, language) {
  return `${baseOf(job)}.${language}.${ENDINGS[job.content_kind] ?? 'txt'}`
}

function baseOf(job) {
  const clean = titleOf(job).replace(KNOWN_ENDING, '').replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\\/:*?"<>|]+/g, ' ')
  return clean.trim().replace(/^\.+/, '').slice(0, 80).trim() || 'translation'
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text)
  throw new Error('no clipboard')
}

export const saveText = (name, text) => save(name, new Blob([text], { type: 'text/plain;charset=utf-8' }))

export function saveJson(job, results) {
  const whole = { job_id: job.id, title: job.title, source_language: job.source_language, results }
  save(`${baseOf(job)}.json`, new Blob([JSON.stringify(whole, null, 2)], { type: 'application/json' }))
}

export function saveZip(job, results) {
  const files = Object.entries(results).map(([language, content]) => [nameOf(job, language), textOf(content)])
  save(`${baseOf(job)}.zip`, zip(files))
}

function save(name, blob) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
