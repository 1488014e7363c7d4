/** Bars: probabilities as rows, codes as columns. */
import { el, shortProbability, svg, tint } from './dom.js';

/**
 * @typedef {object} Bar
 * @property {string} label
 * @property {number} value 0 to 1
 * @property {number} [mark] where a tick stands, 0 to 1
 * @property {number} [step] its color
 * @property {boolean} [strong] whether it is the one that counts
 */

/**
 * Show probabilities as rows. Rows are kept, so that bars move instead of being made afresh.
 * @param {HTMLElement} list
 * @param {Bar[]} bars
 */
export function showBars(list, bars) {
  while (list.children.length > bars.length) list.lastChild.remove();
  while (list.children.length < bars.length) list.append(emptyRow());
  bars.forEach((bar, i) => fillRow(list.children[i], bar));
}

function emptyRow() {
  const track = el('span', { class: 'track', 'aria-hidden': 'true' });
  track.append(el('span', { class: 'fill' }), el('i', { class: 'tick' }));
  return el('li', {}, el('span', { class: 'name' }), track, el('span', { class: 'value' }));
}

/** @param {Element} row @param {Bar} bar */
function fillRow(row, { label, value, mark, step, strong }) {
  const [name, track, number] = /** @type {any} */ (row.children);
  const [fill, tick] = track.children;
  name.textContent = label;
  number.textContent = shortProbability(value);
  fill.style.width = `${100 * value}%`;
  tick.hidden = mark === undefined;
  if (mark !== undefined) tick.style.left = `${100 * mark}%`;
  row.classList.toggle('strong', Boolean(strong));
  if (step) tint(/** @type {HTMLElement} */ (row), step);
}

/**
 * A code as columns around a middle line.
 * @param {SVGElement} chart
 * @param {number[]} code
 * @param {number} limit the largest size that is shown
 */
export function showCode(chart, code, limit) {
  const n = code.length;
  chart.setAttribute('viewBox', `0 0 ${n} 100`);
  chart.replaceChildren(
    ...code.map((value, i) => {
      const height = Math.min(Math.abs(value) / limit, 1) * 48;
      const y = value > 0 ? 50 - height : 50;
      return svg('rect', { x: i + 0.1, y, width: 0.8, height: Math.max(height, 0.4) });
    }),
  );
}
