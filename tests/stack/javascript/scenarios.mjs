// What a browser application does, with the official client. Each scenario prints one line of JSON: its name and what it saw.

import { createClient } from '@supabase/supabase-js'
import ws from 'ws'

const { URL_, PUBLISHABLE, SECRET, ADMIN_KEY } = process.env
const LIMIT_MS = 10_000

const connect = (key) => createClient(URL_, key, { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: ws } })
const service = connect(SECRET)
const unique = () => crypto.randomUUID()

// A promise with its own resolve, and a limit.
function expecting(what) {
  let settle
  const promise = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not come`)), LIMIT_MS)
    settle = (value) => { clearTimeout(timer); resolve(value) }
  })
  return Object.assign(promise, { settle })
}

async function signedUp() {
  const client = connect(PUBLISHABLE)
  const email = `${unique()}@example.org`
  const { data, error } = await client.auth.signUp({ email, password: 'correct horse', options: { data: { name: 'Ada' } } })
  if (error) throw error
  await client.realtime.setAuth(data.session.access_token)
  return { client, email, user: data.user, session: data.session }
}

// Joined and told by the `system` message that changes are live.
async function live(channel) {
  const ready = expecting('system ok')
  channel.on('system', {}, (payload) => payload.extension === 'postgres_changes' && ready.settle(payload.status))
  channel.subscribe()
  return ready
}

async function joined(channel) {
  const outcome = expecting('a join reply')
  channel.subscribe((status, error) => outcome.settle([status, error?.message ?? null]))
  return outcome
}

const scenarios = {
  async signs_up_in_and_refreshes() {
    const { client, email, user } = await signedUp()
    await client.auth.signOut({ scope: 'local' })
    const wrong = await client.auth.signInWithPassword({ email, password: 'wrong' })
    const right = await client.auth.signInWithPassword({ email, password: 'correct horse' })
    const refreshed = await client.auth.refreshSession()
    const read = await client.auth.getUser()
    const claims = await client.auth.getClaims()
    return {
      wrong: wrong.error.code,
      same: [right.data.user.id, refreshed.data.user.id, read.data.user.id, claims.data.claims.sub].every((id) => id === user.id),
      rotated: right.data.session.refresh_token !== refreshed.data.session.refresh_token,
      name: read.data.user.user_metadata.name,
    }
  },

  async calls_functions_of_every_shape() {
    const call = async (name, args, options) => {
      const { data, error, status } = await service.rpc(name, args, options)
      return error ? [status, error.code] : [status, data]
    }
    return {
      scalar: await call('scalar', { a: 1 }),
      by_get: await call('scalar', { a: 1 }, { get: true }),
      nothing: await call('nothing'),
      json: await call('echo_json', { value: { a: [1] } }),
      array: await call('echo_array', { items: ['a,b', null] }),
      nowhere: await call('does_nothing'),
      row: await call('one_pair'),
      set: await call('many_ints', { n: 2 }),
      table: await call('some_table', { n: 1 }),
      refused: await call('refuse', { code: 'PT409' }),
      missing: await call('not_there'),
    }
  },

  async selects_with_filters() {
    const { client } = await signedUp()
    const rows = ['a', 'b', 'c, "d"'].map((body, stars) => ({ body, stars, tags: [body], meta: { n: stars } }))
    const inserted = await client.from('notes').insert(rows).select('body')
    const bodies = async (query) => (await query).data.map((row) => row.body)
    const table = () => client.from('notes').select('body')
    const { count } = await client.from('notes').select('*', { count: 'exact', head: true })
    return {
      inserted: inserted.data.length,
      eq: await bodies(table().eq('body', 'c, "d"')),
      in: await bodies(table().in('body', ['a', 'c, "d"']).order('id')),
      or: await bodies(table().or('stars.eq.0,stars.gt.1').order('id', { ascending: false })),
      contains: await bodies(table().contains('tags', ['b'])),
      arrow: await bodies(table().eq('meta->n', 1)),
      range: await bodies(table().order('id').range(1, 1)),
      single: (await table().eq('body', 'a').single()).data,
      none: (await table().eq('body', 'z').maybeSingle()).data,
      many: (await table().single()).error.code,
      updated: (await client.from('notes').update({ stars: 9 }).eq('body', 'a').select('stars')).data,
      deleted: (await client.from('notes').delete({ count: 'exact' }).gt('stars', 0)).count,
      count,
    }
  },

  async hears_inserts_and_updates_of_own_rows_only() {
    const [ada, bob] = [await signedUp(), await signedUp()]
    const events = []
    const done = expecting('two changes')
    const channel = ada.client.channel(unique()).on('postgres_changes', { event: '*', schema: 'public', table: 'notes' }, (change) => {
      events.push([change.eventType, change.new.body, change.new.stars])
      if (events.length === 2) done.settle()
    })
    const status = await live(channel)
    await service.from('notes').insert({ user_id: bob.user.id, body: 'for bob' })
    await service.from('notes').insert({ user_id: ada.user.id, body: 'for ada' })
    await service.from('notes').update({ stars: 5 }).in('user_id', [ada.user.id, bob.user.id])
    await done
    return { status, events }
  },

  async hears_a_foreign_table_by_its_own_policy() {
    const { client, user } = await signedUp()
    const shelf = unique()
    const told = expecting('the book')
    const channel = client.channel(unique()).on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'books', filter: `shelf=in.(${shelf},other)` }, (change) => told.settle(change.new))
    await live(channel)
    await service.from('readers').insert({ shelf, reader: user.id })
    await service.from('books').insert({ shelf, title: 'lent', secret: 's' })
    const record = await told
    return { ...record, shelf: record.shelf === shelf }
  },

  async hears_private_broadcasts_from_database_and_clients() {
    const [ada, bob] = [await signedUp(), await signedUp()]
    const config = { config: { private: true, broadcast: { ack: true } } }
    const heard = []
    const done = expecting('two broadcasts')
    const channel = ada.client.channel('lobby', config).on('broadcast', { event: 'js' }, (message) => {
      heard.push(message.payload)
      if (heard.length === 2) done.settle()
    })
    const states = [await joined(channel)]
    const talker = bob.client.channel('lobby', config)
    states.push(await joined(talker))
    const acknowledged = await talker.send({ type: 'broadcast', event: 'js', payload: { from: 'bob — ü' } })
    await service.rpc('tell', { topic: 'lobby', event: 'js', payload: { id: 'given', from: 'database' }, private: true })
    await done
    return { states, acknowledged, heard }
  },

  async is_refused_a_topic_it_may_not_read() {
    const { client } = await signedUp()
    const [status, message] = await joined(client.channel('room:somebody', { config: { private: true } }))
    return { status, says_why: message.includes('You do not have permissions to read from this Channel topic: room:somebody') }
  },

  async comes_back_after_the_server_closed() {
    const { client, user } = await signedUp()
    const told = expecting('the note after the close')
    const readies = []
    let ready = expecting('system ok')
    const channel = client.channel(unique())
      .on('system', {}, (payload) => { readies.push(payload.status); ready.settle() })
      .on('postgres_changes', { event: 'INSERT', schema: 'public', table: 'notes' }, (change) => told.settle(change.new.body))
    channel.subscribe()
    await ready
    ready = expecting('system ok again')
    await fetch(`${URL_}/admin/close`, { method: 'POST', headers: { 'x-admin-key': ADMIN_KEY }, body: JSON.stringify({ code: 1012 }) })
    await ready
    await service.from('notes').insert({ user_id: user.id, body: 'after' })
    return { readies, told: await told }
  },
}

const name = process.argv[2]
try {
  console.log(JSON.stringify({ saw: await scenarios[name]() }))
} catch (error) {
  console.log(JSON.stringify({ failed: String(error.stack ?? error.message ?? error) }))
}
process.exit(0)
