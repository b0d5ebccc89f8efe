// A zip archive whose files are stored, not compressed: all that a handful of texts needs.

const TABLE = new Uint32Array(256).map((_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1
  return n >>> 0
})

function checksum(bytes) {
  let value = 0xffffffff
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 255]
  return (value ^ 0xffffffff) >>> 0
}

function record(size, fields) {
  const view = new DataView(new ArrayBuffer(size))
  for (const [at, width, value] of fields) width === 2 ? view.setUint16(at, value, true) : view.setUint32(at, value, true)
  return new Uint8Array(view.buffer)
}

const UTF8_NAMES = 0x0800

// *files*: pairs of a name and a text; names must differ.
export function zip(files, now = new Date()) {
  const encoder = new TextEncoder()
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1)
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate()
  const parts = []
  const directory = []
  let at = 0
  for (const [name, text] of files) {
    const [label, bytes] = [encoder.encode(name), encoder.encode(text)]
    // From "version needed" to the length of the name the two kinds of header agree.
    const common = (from) => [
      [from, 2, 20], [from + 2, 2, UTF8_NAMES], [from + 4, 2, 0], [from + 6, 2, time], [from + 8, 2, date],
      [from + 10, 4, checksum(bytes)], [from + 14, 4, bytes.length], [from + 18, 4, bytes.length], [from + 22, 2, label.length],
    ]
    parts.push(record(30, [[0, 4, 0x04034b50], ...common(4)]), label, bytes)
    directory.push(record(46, [[0, 4, 0x02014b50], [4, 2, 20], ...common(6), [42, 4, at]]), label)
    at += 30 + label.length + bytes.length
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0)
  const end = record(22, [[0, 4, 0x06054b50], [8, 2, files.length], [10, 2, files.length], [12, 4, size], [16, 4, at]])
  return new Blob([...parts, ...directory, end], { type: 'application/zip' })
}
