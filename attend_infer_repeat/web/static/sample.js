/** Strips of scenes: other explanations of the picture, and new ones from the prior. */
import { byId, el, objects as someObjects, shortProbability, svg } from './dom.js';
import { showBoxes } from './overlay.js';

const NUM = 8;

/**
 * @param {any} model
 * @param {(scene: any, posterior: boolean) => void} onPick
 * @param {(body: object) => Promise<any>} sample null if it was refused
 * @param {() => object} picture what the posterior is of, as the API takes it
 */
export function createSample(model, onPick, sample, picture) {
  const { max_objects, limits } = model;
  const num = Math.min(NUM, limits.max_samples);
  const count = byId('imagine-count');
  for (let n = 0; n <= max_objects; n += 1) count.append(el('option', { value: n, text: someObjects(n) }));
  // Most scenes of the prior are empty, or nearly.
  count.value = String(Math.min(2, max_objects));
  // Another seed each time; the first ones are the same for everybody.
  const seeds = { explanations: 0, scenes: 0 };

  const fill = async (id, button, body, posterior) => {
    button.disabled = true;
    seeds[id] += 1;
    const answer = await sample({ num, seed: seeds[id], ...body });
    button.disabled = false;
    if (answer) showStrip(byId(id), answer.scenes, model.canvas, (s) => onPick(s, posterior));
  };
  byId('explain').textContent = `Explain it ${num} times`;
  byId('imagine').textContent = `Draw ${num} scenes`;
  byId('explain').addEventListener('click', (event) =>
    fill('explanations', event.currentTarget, picture(), true),
  );
  byId('imagine').addEventListener('click', (event) => {
    const wanted = count.value === '' ? null : Number(count.value);
    return fill('scenes', event.currentTarget, { count: wanted }, false);
  });

  return {
    /** Explanations are of one picture; of another one they say nothing. */
    forget() {
      byId('explanations').replaceChildren();
    },
  };
}

function showStrip(strip, scenes, canvas, onPick) {
  strip.replaceChildren(
    ...scenes.map((scene, i) => {
      const button = thumbnail(scene, i, canvas);
      button.addEventListener('click', () => {
        for (const other of strip.children) {
          other.setAttribute('aria-pressed', String(other === button));
        }
        onPick(scene);
      });
      return button;
    }),
  );
}

function thumbnail({ count, objects, image, weight }, index, canvas) {
  const over = svg('svg', { class: 'over', 'aria-hidden': 'true' });
  showBoxes(over, objects.map(({ box }, i) => ({ step: i + 1, box })), canvas);
  const words = `${index + 1}: ${someObjects(count)}`;
  const share = weight === null ? '' : `, weight ${shortProbability(weight)}`;
  const stage = el('span', { class: 'stage' }, el('img', { src: image, alt: '' }), over);
  const button = el(
    'button',
    { type: 'button', class: 'thumbnail', 'aria-pressed': 'false', 'aria-label': words + share },
    stage,
    el('span', { class: 'caption', text: someObjects(count) }),
  );
  if (weight !== null) button.append(weightBar(weight));
  return button;
}

function weightBar(weight) {
  const fill = el('span', { class: 'fill' });
  fill.style.width = `${100 * weight}%`;
  return el(
    'span',
    { class: 'weight', 'aria-hidden': 'true' },
    el('span', { class: 'track' }, fill),
    el('span', { text: shortProbability(weight) }),
  );
}
