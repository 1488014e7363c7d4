/** Sliders for the selected object: its size, and the main directions of its code. */
import { byId, el, tint } from './dom.js';
import { resized, windowBox } from './geometry.js';
import { along, turned } from './scene.js';

const REACH = 3; // standard deviations to either side

/**
 * @param {any} model
 * @param {(change: Partial<import('./scene.js').SceneObject>, key: string) => void} onChange
 * @param {() => void} onEnd
 */
export function createSliders(model, onChange, onEnd) {
  const { canvas } = model;
  const { mean, components } = model.code ?? { mean: [], components: [] };
  const group = byId('sliders');
  /** @type {import('./scene.js').SceneObject | null} */
  let object = null;

  const width = (pose) => {
    const [x0, , x1] = windowBox(pose, canvas);
    return x1 - x0;
  };
  const size = row('Size', { min: 3, max: canvas.width, step: 0.5 }, (value) => {
    const z_where = resized(object.z_where, value / width(object.z_where), canvas);
    onChange({ z_where }, `size ${object.step}`);
  });
  const looks = components.map((component, i) =>
    row(`Look ${i + 1}`, { min: -REACH, max: REACH, step: 0.05 }, (value) => {
      const z_what = turned(object.z_what, mean, component, value);
      onChange({ z_what }, `look ${i} ${object.step}`);
    }),
  );
  for (const { input } of [size, ...looks]) input.addEventListener('change', onEnd);
  byId('slider-rows').replaceChildren(...[size, ...looks].map(({ label }) => label));

  return {
    /** @param {import('./scene.js').SceneObject | null} now */
    show(now) {
      object = now;
      group.disabled = now === null;
      byId('sliders-title').textContent =
        now === null
          ? 'No object is selected'
          : `Object ${now.step}: its size${looks.length ? ', and ways to look' : ''}`;
      if (now === null) return;
      tint(group, now.step);
      const pixels = width(now.z_where);
      size.set(pixels, `${pixels.toFixed(0)} px`);
      looks.forEach(({ set }, i) => {
        const value = along(now.z_what, mean, components[i]);
        set(value, deviations(value));
      });
    },
  };
}

/** @param {number} value in standard deviations */
function deviations(value) {
  const size = Math.abs(value).toFixed(1);
  if (size === '0.0') return '0 sd';
  return `${value < 0 ? '\u2212' : '+'}${size} sd`;
}

function row(name, range, onInput) {
  const input = el('input', { type: 'range', ...range });
  input.value = String((range.min + range.max) / 2); // until an object is selected
  const value = el('output');
  const label = el('label', { class: name === 'Size' ? 'slider' : 'slider look' }, el('span', { text: name }), input, value);
  input.addEventListener('input', () => onInput(Number(input.value)));
  const set = (number, text) => {
    // Under the finger the slider is where it is; it would jump by rounding.
    if (Math.abs(Number(input.value) - number) > Number(range.step)) input.value = number;
    input.setAttribute('aria-valuetext', text);
    value.textContent = text;
  };
  return { input, label, set };
}
