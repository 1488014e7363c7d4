/**
 * Talks to the server: one request of a kind at a time, the newest wins, and whether it is there.
 */

/** What the server refused; its message is for people. */
export class Refused extends Error {}

/** The server could not be reached. */
export class Gone extends Error {}

const RETRY = 1500; // milliseconds between looks for a server that is gone

/** @type {Set<(there: boolean) => void>} */
const listeners = new Set();
let there = true;

/**
 * Be told when the server goes and when it is back.
 * @param {(there: boolean) => void} listener
 */
export function onPresence(listener) {
  listeners.add(listener);
}

/** @param {boolean} now */
function setPresence(now) {
  if (now === there) return;
  there = now;
  if (!there) setTimeout(look, RETRY);
  for (const listener of listeners) listener(there);
}

async function look() {
  try {
    await ask('api/model');
  } catch (error) {
    if (error instanceof Gone) setTimeout(look, RETRY);
  }
}

/**
 * @param {string} path
 * @param {object} [body] sent as JSON by POST, if there is one
 * @returns {Promise<any>}
 */
async function ask(path, body) {
  let response;
  let answer;
  try {
    response = await fetch(path, body && posted(body));
    answer = await response.json().catch(() => null);
  } catch {
    setPresence(false);
    throw new Gone('The server does not answer.');
  }
  setPresence(true);
  if (response.ok && answer !== null) return answer;
  throw new Refused(reason(answer) ?? `The server answered ${response.status}.`);
}

const posted = (body) => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

/** FastAPI's own refusals are lists. */
function reason(answer) {
  const detail = answer?.detail;
  if (typeof detail === 'string') return detail;
  return Array.isArray(detail) ? detail.map((d) => d.msg).join('; ') : null;
}

export const getModel = () => ask('api/model');
export const infer = (body) => ask('api/infer', body);
export const render = ({ objects, background }) =>
  ask('api/render', {
    objects: objects.map(({ z_where, z_what }) => ({ z_where, z_what })),
    z_background: background,
  });
export const sample = (body) => ask('api/sample', body);

/**
 * A queue of length one: while a job runs, only the newest of those that come is kept.
 * @template Input, Output
 */
export class Newest {
  /** @param {(input: Input) => Promise<Output>} job */
  constructor(job) {
    this.job = job;
    this.running = false;
    /** @type {{input: Input, resolve: (v: any) => void, reject: (e: any) => void} | null} */
    this.waiting = null;
  }

  /**
   * @param {Input} input
   * @returns {Promise<Output | null>} null if a newer one took its place
   */
  submit(input) {
    return new Promise((resolve, reject) => {
      this.waiting?.resolve(null);
      this.waiting = { input, resolve, reject };
      if (!this.running) this.run();
    });
  }

  /** Forget what waits. */
  clear() {
    this.waiting?.resolve(null);
    this.waiting = null;
  }

  async run() {
    this.running = true;
    while (this.waiting) {
      const { input, resolve, reject } = this.waiting;
      this.waiting = null;
      await this.job(input).then(resolve, reject);
    }
    this.running = false;
  }
}
