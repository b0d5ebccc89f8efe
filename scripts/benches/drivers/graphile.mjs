// The same as python.py for graphile-worker, which wants Node 22: node graphile.mjs MODULES default|tuned DATABASE_URL.
// One line of JSON a command, answered by one line. Times are CLOCK_MONOTONIC in nanoseconds.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, mode, connectionString] = process.argv.slice(2);
const { Logger, makeWorkerUtils, run } = await import(pathToFileURL(`${modules}/graphile-worker/dist/index.js`));
const BATCH = 5000;
// What its documentation names as fastest: jobs fetched ahead, their ends written together.
const TUNED = { concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

const now = () => Number(process.hrtime.bigint());
const tell = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ connectionString, logger });
const hits = { count: 0, first: null, told: false };

function nothing({ number }) {
  const at = now();
  hits.first ??= at;
  hits.count += 1;
  if (hits.told) tell({ hit: number, at });
}

const orders = {
  install: () => utils.migrate(),
  async load({ jobs }) {
    for (let start = 0; start < jobs; start += BATCH) {
      const numbers = Array.from({ length: Math.min(BATCH, jobs - start) }, (_, n) => start + n);
      await utils.addJobs(numbers.map((number) => ({ identifier: "nothing", payload: { number } })));
    }
  },
  async start({ tell: told }) {
    hits.told = told;
    const how = mode === "tuned" ? TUNED : { concurrentJobs: 10 };
    await run({
      preset: { worker: { connectionString, logger, ...how } },
      noHandleSignals: true,
      taskList: { nothing },
    });
  },
  async create({ number }) {
    const called = now();
    await utils.addJob("nothing", { number });
    return { called };
  },
  hits: () => ({ count: hits.count, first: hits.first }),
};

tell({ done: "open" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  tell({ done: order.do, ...(await orders[order.do](order)) });
}
process.exit(0);
