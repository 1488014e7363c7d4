/**
 * The state of the page without the page: a scene, what edits do to it, and undo. Nothing here
 * changes what it is given, so a moment of the history is kept by keeping a reference.
 *
 * @typedef {import('./geometry.js').Pose} Pose
 * @typedef {import('./geometry.js').Size} Size
 *
 * @typedef {object} SceneObject
 * @property {number} step its number and color, from 1; no two of a scene share one
 * @property {number} score q(z_pres_t = 1 | x), or 1 where somebody said that it is there
 * @property {Pose} z_where
 * @property {number[]} z_what
 *
 * @typedef {object} Drawing what is read; never changed, so answers can be looked up by it
 * @property {Uint8ClampedArray} data RGBA, as canvases have it
 *
 * @typedef {object} Moment
 * @property {Drawing} drawing
 * @property {SceneObject[]} objects
 * @property {number[] | null} background z_background, what is behind them; null: black
 * @property {object | null} record what `air infer` says of the objects; null once they are edited
 * @property {boolean} pending whether the objects are still those of an earlier drawing
 *
 * @typedef {object} History
 * @property {Moment[]} past
 * @property {Moment} present
 * @property {Moment[]} future
 * @property {string | null} key of the gesture that made the present
 */
import { moved } from './geometry.js';

/** How many moments can be gone back to. */
const LONGEST = 200;

/**
 * @param {Moment} present
 * @returns {History}
 */
export function begin(present) {
  return { past: [], present, future: [], key: null };
}

/**
 * Go on to a new moment. Moments of one gesture (a drag, a stroke, a slider) share a key, and
 * count as one.
 * @param {History} history
 * @param {Moment} present
 * @param {string | null} [key]
 * @returns {History}
 */
export function commit(history, present, key = null) {
  if (key !== null && key === history.key) return { ...history, present, future: [] };
  const past = [...history.past, history.present].slice(-LONGEST);
  return { past, present, future: [], key };
}

/**
 * Say more of the present, which is no step of its own: an answer has come.
 * @param {History} history
 * @param {Partial<Moment>} more
 * @returns {History}
 */
export function amend(history, more) {
  return { ...history, present: { ...history.present, ...more } };
}

/**
 * End a gesture: what follows is a step of its own, whatever its key.
 * @param {History} history
 * @returns {History}
 */
export function seal(history) {
  return { ...history, key: null };
}

/**
 * @param {History} history
 * @returns {History} one step back, or the same at the beginning
 */
export function undo(history) {
  const present = history.past.at(-1);
  if (!present) return history;
  const future = [history.present, ...history.future];
  return { past: history.past.slice(0, -1), present, future, key: null };
}

/**
 * @param {History} history
 * @returns {History} one step forward, or the same at the end
 */
export function redo(history) {
  const [present, ...future] = history.future;
  if (!present) return history;
  return { past: [...history.past, history.present], present, future, key: null };
}

/** @param {SceneObject[]} objects */
const nextStep = (objects) => Math.max(0, ...objects.map((o) => o.step)) + 1;

/**
 * @param {SceneObject[]} objects
 * @param {number} step
 * @param {Partial<SceneObject>} change
 */
export function changed(objects, step, change) {
  return objects.map((o) => (o.step === step ? { ...o, ...change } : o));
}

/**
 * @param {SceneObject[]} objects
 * @param {number} step
 */
export function without(objects, step) {
  return objects.filter((o) => o.step !== step);
}

/**
 * Add an object.
 * @param {SceneObject[]} objects
 * @param {Pose} z_where
 * @param {number[]} z_what
 */
export function added(objects, z_where, z_what) {
  return [...objects, { step: nextStep(objects), score: 1, z_where, z_what }];
}

/**
 * Add the same object once more, a little to the side: towards the middle, so that it is seen.
 * @param {SceneObject[]} objects
 * @param {number} step
 * @param {Size} canvas
 */
export function duplicated(objects, step, canvas) {
  const source = objects.find((o) => o.step === step);
  if (!source) return objects;
  const [, x, y] = source.z_where;
  // A window's shift is against its place: x < 0 lies in the right half.
  const aside = (shift, size) => (shift < 0 ? -1 : 1) * Math.max(2, size / 8);
  const [dx, dy] = [aside(x, canvas.width), aside(y, canvas.height)];
  return added(objects, moved(source.z_where, dx, dy, canvas), source.z_what);
}

/**
 * Swap what two objects look like; they stay where they are.
 * @param {SceneObject[]} objects
 * @param {number} a
 * @param {number} b
 */
export function swapped(objects, a, b) {
  const what = (step) => objects.find((o) => o.step === step)?.z_what;
  const [ofA, ofB] = [what(a), what(b)];
  if (!ofA || !ofB) return objects;
  return changed(changed(objects, a, { z_what: ofB }), b, { z_what: ofA });
}

/**
 * How far a code lies along a direction, in standard deviations from the mean.
 * @param {number[]} z_what
 * @param {number[]} mean
 * @param {{sd: number, direction: number[]}} component
 */
export function along(z_what, mean, { sd, direction }) {
  const sum = direction.reduce((total, d, i) => total + d * (z_what[i] - mean[i]), 0);
  return sum / sd;
}

/**
 * The code moved along a direction, to `value` standard deviations; all else of it stays.
 * @param {number[]} z_what
 * @param {number[]} mean
 * @param {{sd: number, direction: number[]}} component
 * @param {number} value
 */
export function turned(z_what, mean, component, value) {
  const step = (value - along(z_what, mean, component)) * component.sd;
  return z_what.map((z, i) => z + step * component.direction[i]);
}
