// The third-party mock as a process: prints its address, and ends when its standard input does.
const { LLMock } = require('@copilotkit/aimock')

const asked = (request) => JSON.parse(request.messages.at(-1).content)

// Its idea of a translation is upper case.
const translated = (request) => ({
  content: JSON.stringify({
    detected_source: 'en',
    items: asked(request).items.map(({ id, text }) => ({ id, text: text.toUpperCase() })),
  }),
})

const refusing = (word, status, error, more = {}) => ({
  match: { userMessage: word },
  response: { error: { message: `no: ${word}`, ...error }, status, ...more },
})

async function main() {
  const mock = new LLMock({ port: 0, logLevel: 'silent' })
  mock.addFixtures([
    refusing('OUT OF MONEY', 429, { type: 'insufficient_quota', code: 'credit_balance_exhausted' }),
    refusing('TOO FAST', 429, { type: 'requests', code: 'rate_limit_exceeded' }, { retryAfter: 7 }),
    refusing('WRONG KEY', 401, { type: 'invalid_request_error', code: 'invalid_api_key' }),
    refusing('TOO LONG', 400, { type: 'invalid_request_error', code: 'context_length_exceeded' }),
    refusing('FORBIDDEN', 400, { code: 'content_filter' }),
    refusing('BUSY', 503, { type: 'server_error', code: 'server_is_overloaded' }),
    { match: { userMessage: 'BROKEN' }, response: translated, chaos: { malformedRate: 1 } },
    { match: { userMessage: 'GONE' }, response: translated, chaos: { disconnectRate: 1 } },
    { match: { userMessage: 'CUT' }, response: { content: '{"items": [{"id": 0, "te', finishReason: 'length' } },
    {
      match: { userMessage: 'NO SCHEMA', responseFormat: 'json_schema' },
      response: { error: { message: "'response_format' of type 'json_schema' is not supported" }, status: 400 },
    },
    { match: {}, response: translated },
  ])
  await mock.start()
  console.log(mock.url)
}

process.stdin.on('end', () => process.exit(0)).resume()
main()
