/**
 * A scene in a link's #fragment, so that it never leaves the machine unless somebody sends it.
 *
 *     #air1.<base64url>
 *
 * air1 is the version. The bytes, little-endian: a checksum (4), a mark of the model's name and
 * sizes (4), the number of objects (1); then for each object z_where (3 x float32), the largest
 * size of its code (float32), and z_what as shares of it (what_dim x int16): within 2e-5 of it.
 * At the end, if there is something behind the objects, z_background (background_size x float32).
 *
 * @typedef {import('./scene.js').SceneObject} SceneObject
 */
import { checkedBackground, checkedObjects, SceneError } from './record.js';

const VERSION = 'air1';
const HEAD = 9;
const STEPS = 32767; // of an int16, on either side of 0

/** @typedef {{name: string, canvas: {width: number, height: number}, channels: number,
 *   what_dim: number, background_size: number, limits: import('./record.js').Limits}} Model */
/** @typedef {{objects: SceneObject[], background: number[] | null}} Scene */

/**
 * @param {Scene} scene
 * @param {Model} model
 * @returns {string} the fragment, with its '#'
 */
export function toFragment({ objects, background }, model) {
  const each = objectBytes(model);
  const end = HEAD + each * objects.length;
  const view = new DataView(new ArrayBuffer(end + 4 * (background?.length ?? 0)));
  view.setUint32(4, mark(model), true);
  view.setUint8(8, objects.length);
  objects.forEach((object, i) => writeObject(view, HEAD + each * i, object));
  background?.forEach((v, i) => view.setFloat32(end + 4 * i, v, true));
  const bytes = new Uint8Array(view.buffer);
  view.setUint32(0, hash(bytes.subarray(4)), true);
  return `#${VERSION}.${base64url(bytes)}`;
}

/**
 * @param {string} fragment
 * @param {Model} model
 * @returns {Scene | null} null if the fragment is no scene at all
 * @throws {SceneError} if it is one that cannot be read
 */
export function fromFragment(fragment, model) {
  const match = /^#air(\d+)\.(.*)$/s.exec(fragment);
  if (!match) return null;
  if (`air${match[1]}` !== VERSION) {
    throw new SceneError('This link was made by another version of this page.');
  }
  const view = checkedBytes(match[2]);
  if (view.getUint32(4, true) !== mark(model)) {
    throw new SceneError(`This link shows a scene of another model, not of ${model.name}.`);
  }
  const [count, each] = [view.getUint8(8), objectBytes(model)];
  const end = HEAD + each * count;
  const behind = view.byteLength === end ? 0 : model.background_size;
  if (view.byteLength !== end + 4 * behind) throw damaged();
  const objects = Array.from({ length: count }, (_, i) =>
    readObject(view, HEAD + each * i, model.what_dim),
  );
  const background = Array.from({ length: behind }, (_, i) => view.getFloat32(end + 4 * i, true));
  return {
    objects: checkedObjects(objects, model),
    background: checkedBackground(behind ? background : null, model),
  };
}

/** @param {Model} model */
const objectBytes = ({ what_dim }) => 3 * 4 + 4 + 2 * what_dim;

const damaged = () => new SceneError('This link is damaged: a part of it is missing or changed.');

function writeObject(view, start, { z_where, z_what }) {
  z_where.forEach((v, i) => view.setFloat32(start + 4 * i, v, true));
  // At least a little, so that a code of zeros is not divided by zero.
  const largest = Math.fround(Math.max(1e-6, ...z_what.map(Math.abs)));
  view.setFloat32(start + 12, largest, true);
  z_what.forEach((v, i) => view.setInt16(start + 16 + 2 * i, share(v / largest), true));
}

/** Rounding to float32 may leave the largest just above 1. */
const share = (ratio) => Math.round(STEPS * Math.min(Math.max(ratio, -1), 1));

function readObject(view, start, what_dim) {
  const float = (i) => view.getFloat32(start + 4 * i, true);
  const largest = float(3);
  return {
    z_where: [float(0), float(1), float(2)],
    z_what: Array.from(
      { length: what_dim },
      (_, i) => (view.getInt16(start + 16 + 2 * i, true) / STEPS) * largest,
    ),
  };
}

/** @param {string} text base64url */
function checkedBytes(text) {
  let bytes;
  try {
    const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
    bytes = Uint8Array.from(plain, (c) => c.charCodeAt(0));
  } catch {
    throw damaged();
  }
  const view = new DataView(bytes.buffer);
  if (bytes.length < HEAD || view.getUint32(0, true) !== hash(bytes.subarray(4))) throw damaged();
  return view;
}

/** @param {Uint8Array} bytes */
function base64url(bytes) {
  const plain = btoa(String.fromCharCode(...bytes));
  return plain.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/**
 * What codes mean is the model's own: those of another one would show something else.
 * @param {Model} model
 */
function mark({ name, canvas, channels, what_dim }) {
  const words = [name, canvas.width, canvas.height, channels, what_dim].join(' ');
  return hash(new TextEncoder().encode(words));
}

/**
 * FNV-1a, 32 bits: finds slips, not forgeries; all that is read is checked as well.
 * @param {Uint8Array} bytes
 */
function hash(bytes) {
  let value = 0x811c9dc5;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}
