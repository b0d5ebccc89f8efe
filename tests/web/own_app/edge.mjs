// Runs an Edge Function of Supabase as it is printed: Deno's two names stand in, and its types are taken away.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { transform } from 'sucrase'
import WebSocket from 'ws'

globalThis.WebSocket ??= WebSocket
globalThis.Deno = {
  env: { get: (name) => process.env[name] },
  serve: (handler) => {
    const server = createServer(async (asked, answer) => {
      const chunks = []
      for await (const chunk of asked) chunks.push(chunk)
      const request = new Request(`http://localhost${asked.url}`, { method: asked.method, headers: asked.headers, body: Buffer.concat(chunks) })
      const response = await handler(request)
      answer.writeHead(response.status, Object.fromEntries(response.headers))
      answer.end(Buffer.from(await response.arrayBuffer()))
    })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
  },
}
const source = readFileSync(process.argv[2], 'utf8').replace(/'npm:(@[\w/-]+)@\d+'/g, "'$1'")
writeFileSync('edge-function.mjs', transform(source, { transforms: ['typescript'] }).code)
await import('./edge-function.mjs')
