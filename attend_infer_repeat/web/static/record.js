/**
 * A scene as JSON: the record that `air infer` writes for a picture (records.scene_record).
 *
 * @typedef {import('./scene.js').SceneObject} SceneObject
 * @typedef {import('./geometry.js').Size} Size
 * @typedef {{max_objects_render: number, max_number: number}} Limits
 */
import { clipped } from './geometry.js';

/** What keeps a scene from being read; its message is for people. */
export class SceneError extends Error {}

/**
 * What `air infer` would say of a scene that somebody made: it is certain, and its picture has the
 * size of the canvas.
 * @param {{objects: SceneObject[], background: number[] | null}} scene
 * @param {import('./geometry.js').Box[]} boxes canvas pixels
 * @param {{canvas: Size, max_objects: number, unbounded: boolean}} model
 */
export function certainRecord({ objects, background }, boxes, { canvas, max_objects, unbounded }) {
  const count = objects.length;
  const possible = unbounded ? count : Math.max(max_objects, count);
  return {
    file: 'scene.png',
    width: canvas.width,
    height: canvas.height,
    count,
    count_probs: Array.from({ length: possible + 1 }, (_, n) => Number(n === count)),
    objects: objects.map(({ z_where, z_what }, i) => ({
      step: i + 1,
      score: 1,
      box: clipped(boxes[i], canvas).map((v) => rounded(v, 3)),
      z_where: z_where.map((v) => rounded(v)),
      z_what: z_what.map((v) => rounded(v)),
    })),
    ...(background && { z_background: background.map((v) => rounded(v)) }),
  };
}

/**
 * A number without digits that are noise.
 * @param {number} value
 * @param {number} [digits]
 */
export function rounded(value, digits = 6) {
  return Number(value.toFixed(digits)) + 0; // + 0: no -0
}

/**
 * Read a scene from the text of a file: one record, or the first line of several.
 * @param {string} text
 * @param {{what_dim: number, background_size: number, limits: Limits}} model
 * @returns {{record: object, objects: SceneObject[], background: number[] | null}}
 */
export function readRecord(text, model) {
  const record = parsed(text);
  const is = (value, kind) => typeof value === 'object' && value !== null && kind(value);
  if (!is(record, (r) => Array.isArray(r.objects))) {
    throw new SceneError('This JSON is no scene: it has no list of objects.');
  }
  const background = checkedBackground(record.z_background, model);
  return { record, objects: checkedObjects(record.objects, model), background };
}

/** @param {string} text */
function parsed(text) {
  for (const candidate of [text, text.trimStart().split('\n', 1)[0]]) {
    try {
      return JSON.parse(candidate);
    } catch {
      // The whole file first, then the first of its lines.
    }
  }
  throw new SceneError('This file is not JSON.');
}

/**
 * @param {any[]} objects
 * @param {{what_dim: number, limits: Limits}} model
 * @returns {SceneObject[]}
 */
export function checkedObjects(objects, { what_dim, limits }) {
  if (objects.length > limits.max_objects_render) {
    throw new SceneError(
      `A scene may have ${limits.max_objects_render} objects here; this one has ${objects.length}.`,
    );
  }
  return objects.map((object, i) => ({
    step: i + 1,
    score: Number.isFinite(object?.score) ? object.score : 1,
    z_where: /** @type {any} */ (
      numbers(object?.z_where, 3, limits.max_number, `z_where of object ${i + 1}`)
    ),
    z_what: numbers(
      object?.z_what, what_dim, limits.max_number, `z_what of object ${i + 1}`, ANOTHER,
    ),
  }));
}

/**
 * @param {any} values of z_background; there may be none
 * @param {{background_size: number, limits: Limits}} model
 * @returns {number[] | null}
 */
export function checkedBackground(values, { background_size, limits }) {
  if (values === undefined || values === null) return null;
  return numbers(values, background_size, limits.max_number, 'z_background', ANOTHER);
}

const ANOTHER = ' Was it made by another model?';

function numbers(values, length, largest, name, hint = '') {
  if (!Array.isArray(values) || !values.every((v) => Number.isFinite(v))) {
    throw new SceneError(`${name}: expected ${length} numbers.`);
  }
  if (values.length !== length) {
    throw new SceneError(`${name}: expected ${length} numbers, got ${values.length}.${hint}`);
  }
  if (values.some((v) => Math.abs(v) > largest)) {
    throw new SceneError(`${name}: a number is larger than ${largest}.`);
  }
  return values.slice();
}

/**
 * Whether a record says all that `air infer` says, so that it can be written again as it is.
 * @param {any} record
 */
export function isComplete(record) {
  const whole = (v) => Number.isInteger(v) && v >= 0;
  return (
    typeof record.file === 'string' &&
    [record.width, record.height, record.count].every(whole) &&
    record.count === record.objects.length &&
    Array.isArray(record.count_probs) &&
    record.count_probs.every(Number.isFinite)
  );
}
