/** A scene as SVG: its picture as pixels, its boxes as vectors. */
import { stepColor } from './colors.js';

const escaped = (text) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

/**
 * @param {string} image data URI
 * @param {{step: number, box: number[]}[]} objects boxes in canvas pixels
 * @param {{width: number, height: number}} canvas
 * @param {number} [zoom] user units per pixel
 */
export function sceneSvg(image, objects, { width, height }, zoom = 8) {
  const number = (value) => Number(value.toFixed(3));
  const rect = ({ step, box: [x0, y0, x1, y1] }) => {
    const place = [x0, y0, x1 - x0, y1 - y0].map((v) => number(v * zoom));
    const [x, y, w, h] = place;
    return (
      `  <rect x="${x}" y="${y}" width="${w}" height="${h}" fill="none" ` +
      `stroke="${stepColor(step)}" stroke-width="2"><title>object ${step}</title></rect>`
    );
  };
  const [w, h] = [width * zoom, height * zoom];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">`,
    '  <title>A scene of attend-infer-repeat</title>',
    `  <image width="${w}" height="${h}" href="${escaped(image)}" image-rendering="pixelated"/>`,
    ...objects.map(rect),
    '</svg>',
    '',
  ].join('\n');
}
