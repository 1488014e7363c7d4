/** Small helpers for the page: elements, words, downloads. */
import { stepColor } from './colors.js';

/**
 * @param {string} id
 * @returns {any} the element, which index.html has
 */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `class`, `text` and `on...` listeners among them
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function el(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

/**
 * The same of SVG.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') element.textContent = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * Give an element the color of a step. By script: the page's policy forbids style attributes.
 * @template {HTMLElement | SVGElement} Element
 * @param {Element} element
 * @param {number} step from 1
 * @returns {Element}
 */
export function tint(element, step) {
  element.style.setProperty('--step', stepColor(step));
  return element;
}

/** @param {number} n */
export const objects = (n) => `${n} ${n === 1 ? 'object' : 'objects'}`;

/**
 * A probability, never 0 or 1: the model's are rounded.
 * @param {number} p
 */
export function probability(p) {
  if (p >= 0.995) return 'over 0.99';
  if (p < 0.005) return 'under 0.01';
  return p.toFixed(2);
}

/**
 * The same in the space beside a bar.
 * @param {number} p
 */
export const shortProbability = (p) =>
  probability(p).replace('over ', '> ').replace('under ', '< ');

/**
 * Say something to those who listen to the page.
 * @param {string} text
 */
export function announce(text) {
  const announcer = byId('announcer');
  if (announcer.textContent !== text) announcer.textContent = text;
}

/** The calm line at the top: what went wrong, and what to do. */
export const notice = {
  /**
   * @param {string} text
   * @param {{lasting?: boolean}} [options] lasting: it goes with its cause, not with what is done next
   */
  show(text, { lasting = false } = {}) {
    const line = byId('notice');
    line.classList.toggle('lasting', lasting);
    line.querySelector('span').textContent = text;
    line.querySelector('button').hidden = lasting;
    line.hidden = false;
  },
  /** @param {{lasting?: boolean}} [options] whether a lasting one has lost its cause */
  hide({ lasting = false } = {}) {
    const line = byId('notice');
    if (lasting || !line.classList.contains('lasting')) line.hidden = true;
  },
};

/**
 * Hand a file to the user.
 * @param {string} name
 * @param {Blob} blob
 */
export function download(name, blob) {
  const href = URL.createObjectURL(blob);
  el('a', { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000); // the browser has read it by then
}

/**
 * @param {string} uri of a picture
 * @returns {Promise<HTMLImageElement>}
 */
export async function loaded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}
