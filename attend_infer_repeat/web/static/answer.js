/** What the model makes of a picture: words, bars, and boxes on the drawing. */
import { byId, objects as someObjects, probability } from './dom.js';
import { showBars } from './charts.js';
import { windowBox } from './geometry.js';
import { showBoxes } from './overlay.js';

/** How far a sum of rounded probabilities may be off. */
const ROUNDING = 1e-3;

/**
 * @param {any} answer of infer
 * @returns {string} such as '2 objects, probability 0.97'
 */
export function inWords({ scene: { count, count_probs: probs } }) {
  return `${someObjects(count)}, probability ${probability(probs[count])}`;
}

/**
 * @param {any} answer of infer
 * @param {any} model
 */
export function showAnswer(answer, model) {
  const { count, count_probs: probs } = answer.scene;
  byId('verdict-count').textContent = someObjects(count);
  byId('verdict-probability').textContent = `probability ${probability(probs[count])}`;
  byId('brief').textContent = inWords(answer);
  const bar = (value, n) => ({
    label: String(n),
    value,
    mark: model.prior[n],
    strong: n === count,
  });
  showBars(byId('counts'), probs.map(bar));
  showBars(byId('presences'), presences(answer));
  const boxes = boxesOf(answer, model.canvas);
  const marks = boxes.map((box, i) => ({ step: i + 1, box, label: String(i + 1) }));
  showBoxes(byId('draw-boxes'), marks, model.canvas);
}

/** q(z_pres_t = 1 | x) = q(n >= t | x), as air.presence_scores. */
function presences({ scene: { count_probs: probs }, steps }) {
  const bars = probs.slice(1).map((_, i) => ({
    label: `step ${i + 1}`,
    value: Math.min(probs.slice(i + 1).reduce((sum, p) => sum + p, 0), 1),
    step: i + 1,
  }));
  // The server's own numbers where there are any: sums of rounded ones are a little off. Those of a
  // scene that was refined are not those of the steps that led to it.
  for (const { step, presence } of steps) {
    const bar = bars[step - 1];
    if (bar && Math.abs(bar.value - presence) < ROUNDING) bar.value = presence;
  }
  return bars;
}

/**
 * Boxes of what was found, in canvas pixels: the record's, which may be of the ink alone. Those of a
 * picture of another size are in its own pixels; then the windows stand for them.
 */
function boxesOf({ scene }, canvas) {
  const isCanvas = scene.width === canvas.width && scene.height === canvas.height;
  return scene.objects.map(({ box, z_where }) => (isCanvas ? box : windowBox(z_where, canvas)));
}

/**
 * Whether the model finds a scene in the picture that it drew of it.
 * @param {{found: any[], overlaps: number[]}} reread what it finds, and how far each box of the
 *   scene overlaps with one of that
 */
export function rereadInWords({ found, overlaps }) {
  const [made, read] = [overlaps.length, found.length];
  if (made === 0 && read === 0) return 'It finds nothing, as it should.';
  const again = `It finds ${made === 1 ? 'the object' : `all ${made} objects`} again`;
  const other = `It finds ${someObjects(read)} where there ${made === 1 ? 'is' : 'are'} ${made}`;
  const counts = made === read ? again : other;
  if (made === 0) return `${counts}.`;
  const shares = overlaps.map((iou) => `${Math.round(100 * iou)}%`).join(', ');
  return `${counts}; boxes overlap by ${shares}.`;
}
