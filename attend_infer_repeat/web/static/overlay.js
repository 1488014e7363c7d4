/** Boxes over a picture, in the colors of their steps, with their numbers. */
import { svg, tint } from './dom.js';

/**
 * @typedef {{step: number, box: import('./geometry.js').Box, dashed?: boolean, label?: string}} Mark
 */

/**
 * Draw boxes into an SVG that lies over a picture.
 * @param {SVGElement} over
 * @param {Mark[]} marks boxes in canvas pixels
 * @param {{width: number, height: number}} canvas
 */
export function showBoxes(over, marks, { width, height }) {
  over.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const unit = Math.max(width, height) / 100;
  over.replaceChildren(...marks.map((mark) => boxElement(mark, unit)));
}

/** @param {Mark} mark @param {number} unit a hundredth of the canvas, in its pixels */
function boxElement({ step, box: [x0, y0, x1, y1], dashed = false, label }, unit) {
  const place = { x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0) };
  const group = svg('g', { class: dashed ? 'box dashed' : 'box' });
  group.append(svg('rect', place));
  if (label) {
    const inside = { x: Math.max(x0, 0) + 1.2 * unit, y: Math.max(y0, 0) + 5.4 * unit };
    const size = { 'font-size': 5 * unit, 'stroke-width': unit };
    group.append(svg('text', { ...inside, ...size, text: label }));
  }
  return tint(group, step);
}
