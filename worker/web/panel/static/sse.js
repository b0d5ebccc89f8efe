// Server-sent events through fetch, which can carry a token in a header, as EventSource cannot.

const SILENCE_MS = 40_000

// Yields {event, data, id}; ends when the server ends the stream. Throws when nothing is heard for 40 seconds
// (the server says something every 15), or when *signal* fires.
export async function* events(body, signal) {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const stop = () => reader.cancel().catch(() => {})
  signal.addEventListener('abort', stop)
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await heard(reader)
      if (done) return
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/)
      rest = blocks.pop()
      for (const block of blocks) {
        const event = parsed(block)
        if (event) yield event
      }
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
}

async function heard(reader) {
  let timer
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('silence')), SILENCE_MS)
  })
  try {
    return await Promise.race([reader.read(), silence])
  } finally {
    clearTimeout(timer)
  }
}

function parsed(block) {
  const event = { event: 'message', data: '', id: null }
  for (const line of block.split(/\r?\n/)) {
    const at = line.indexOf(':')
    if (at <= 0) continue // a comment keeps the line warm
    const value = line.slice(at + 1).replace(/^ /, '')
    const field = line.slice(0, at)
    if (field === 'data') event.data += (event.data ? '\n' : '') + value
    else if (field === 'event' || field === 'id') event[field] = value
  }
  if (!event.data) return null
  return { ...event, data: JSON.parse(event.data) }
}
