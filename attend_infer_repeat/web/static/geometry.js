/**
 * Between window and canvas, as in spatial/transformer.py. A pose z_where = (s, x, y): canvas point u reads
 * window point s * u + (x, y), both in [-1, 1]. So the window's middle lies at u = -(x, y) / s,
 * and it is 1 / s of the canvas wide and high.
 *
 * @typedef {[number, number, number]} Pose (s, x, y)
 * @typedef {[number, number, number, number]} Box x0, y0, x1, y1 in canvas pixels
 * @typedef {{width: number, height: number}} Size
 */

/** The smallest scale that is ever used, a window five canvases wide; spatial.MIN_SCALE. */
export const MIN_SCALE = 0.2;

/** The smallest window that can still be taken hold of, in canvas pixels. */
const SMALLEST = 3;

/**
 * Where the window of a pose lies; it may reach beyond the canvas. spatial.window_boxes.
 * @param {Pose} pose
 * @param {Size} canvas
 * @returns {Box}
 */
export function windowBox([scale, x, y], { width, height }) {
  const s = Math.max(scale, MIN_SCALE);
  const edge = (end, shift, size) => ((end - shift) / s + 1) * (size / 2);
  return [edge(-1, x, width), edge(-1, y, height), edge(1, x, width), edge(1, y, height)];
}

/**
 * The middle of a pose's window, in canvas pixels.
 * @param {Pose} pose
 * @param {Size} canvas
 * @returns {[number, number]}
 */
export function center(pose, canvas) {
  const [x0, y0, x1, y1] = windowBox(pose, canvas);
  return [(x0 + x1) / 2, (y0 + y1) / 2];
}

/**
 * The pose with its middle at a point of the canvas, which it is kept on: nothing gets lost.
 * @param {Pose} pose
 * @param {[number, number]} point pixels
 * @param {Size} canvas
 * @returns {Pose}
 */
export function centeredAt([scale, ,], [px, py], { width, height }) {
  const s = Math.max(scale, MIN_SCALE);
  const shift = (p, size) => s * (1 - (2 * Math.min(Math.max(p, 0), size)) / size);
  return [s, shift(px, width), shift(py, height)];
}

/**
 * The pose moved by some pixels.
 * @param {Pose} pose
 * @param {number} dx
 * @param {number} dy
 * @param {Size} canvas
 * @returns {Pose}
 */
export function moved(pose, dx, dy, canvas) {
  const [px, py] = center(pose, canvas);
  return centeredAt(pose, [px + dx, py + dy], canvas);
}

/**
 * The pose with its window `factor` times as large, around its middle.
 * @param {Pose} pose
 * @param {number} factor
 * @param {Size} canvas
 * @returns {Pose}
 */
export function resized(pose, factor, canvas) {
  const largest = Math.min(canvas.width, canvas.height) / SMALLEST;
  const s = Math.min(Math.max(pose[0] / factor, MIN_SCALE), largest);
  return centeredAt([s, 0, 0], center(pose, canvas), canvas);
}

/**
 * How a picture drawn at one pose comes to lie at another: point -> scale * point + (dx, dy).
 * @param {Pose} from
 * @param {Pose} to
 * @param {Size} canvas
 * @returns {{scale: number, dx: number, dy: number}}
 */
export function between(from, to, canvas) {
  const scale = Math.max(from[0], MIN_SCALE) / Math.max(to[0], MIN_SCALE);
  const [fx, fy] = center(from, canvas);
  const [tx, ty] = center(to, canvas);
  return { scale, dx: tx - scale * fx, dy: ty - scale * fy };
}

/**
 * A box taken along from one pose to another.
 * @param {Box} box
 * @param {Pose} from
 * @param {Pose} to
 * @param {Size} canvas
 * @returns {Box}
 */
export function carried([x0, y0, x1, y1], from, to, canvas) {
  const { scale, dx, dy } = between(from, to, canvas);
  return [scale * x0 + dx, scale * y0 + dy, scale * x1 + dx, scale * y1 + dy];
}

/**
 * The part of a box that lies on the canvas.
 * @param {Box} box
 * @param {Size} canvas
 * @returns {Box}
 */
export function clipped([x0, y0, x1, y1], { width, height }) {
  const on = (value, size) => Math.min(Math.max(value, 0), size);
  return [on(x0, width), on(y0, height), on(x1, width), on(y1, height)];
}

/**
 * Intersection over union, 0 to 1.
 * @param {Box} a
 * @param {Box} b
 */
export function overlap(a, b) {
  const area = ([x0, y0, x1, y1]) => Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
  const low = (i) => Math.max(a[i], b[i]);
  const high = (i) => Math.min(a[i], b[i]);
  const common = area([low(0), low(1), high(2), high(3)]);
  const union = area(a) + area(b) - common;
  return union > 0 ? common / union : 0;
}

/**
 * Pair boxes with others, the best overlap first; each is used once.
 * @param {Box[]} boxes
 * @param {Box[]} others
 * @returns {number[]} the overlap of each of `boxes` with its partner; 0 without one
 */
export function matched(boxes, others) {
  const pairs = boxes.flatMap((a, i) => others.map((b, j) => ({ i, j, iou: overlap(a, b) })));
  pairs.sort((p, q) => q.iou - p.iou);
  const result = boxes.map(() => 0);
  const [seen, taken] = [new Set(), new Set()];
  for (const { i, j, iou } of pairs) {
    if (iou === 0 || seen.has(i) || taken.has(j)) continue;
    result[i] = iou;
    seen.add(i);
    taken.add(j);
  }
  return result;
}
