/** The scene under the hands: objects to drag, scale, copy, swap and delete. */
import { byId, el, objects as someObjects, tint } from './dom.js';
import { center, moved, resized, windowBox } from './geometry.js';
import { added, changed, duplicated, swapped, without } from './scene.js';

/**
 * @typedef {import('./scene.js').SceneObject} SceneObject
 * @typedef {object} Doings what the editor asks the page to do
 * @property {(objects: SceneObject[], key: string | null, words: string) => void} change
 * @property {() => void} seal
 * @property {(step: number | null) => void} select
 */

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const CORNERS = ['nw', 'ne', 'se', 'sw'];
const BIGGER = 1.08; // by a key

/**
 * @param {any} model
 * @param {import('./layers.js').Layers} layers
 * @param {Doings} doings
 */
export function createEdit(model, layers, doings) {
  const { canvas } = model;
  const stage = byId('edit-stage');
  const root = byId('objects');
  /** @type {Map<number, HTMLElement>} */
  const elements = new Map();
  let scene = [];
  let selected = null;
  let swapping = false;
  let gestures = 0;

  const find = (step) => scene.find((o) => o.step === step);
  const place = (step, z_where, key) =>
    doings.change(changed(scene, step, { z_where }), key, describe({ step, z_where }, canvas));

  const remove = (step) => {
    const index = scene.findIndex((o) => o.step === step);
    const next = scene[index + 1] ?? scene[index - 1];
    doings.change(without(scene, step), null, `Object ${step} is deleted.`);
    doings.select(next?.step ?? null);
    (next ? elements.get(next.step) : byId('add')).focus();
  };
  const duplicate = (step) => {
    if (isFull()) return;
    const more = duplicated(scene, step, canvas);
    const { step: copy } = more.at(-1);
    doings.change(more, null, `Object ${copy} is a copy of object ${step}.`);
    doings.select(copy);
    elements.get(copy)?.focus();
  };
  const add = () => {
    if (isFull()) return;
    const code = model.code?.mean ?? Array(model.what_dim).fill(0); // else the prior's mean
    const more = added(scene, model.z_where.mean, [...code]);
    const { step } = more.at(-1);
    doings.change(more, null, `Object ${step} is added in the middle.`);
    doings.select(step);
    elements.get(step)?.focus();
  };
  const swap = (a, b) => {
    setSwapping(false);
    doings.change(swapped(scene, a, b), null, `Objects ${a} and ${b} have swapped looks.`);
  };
  const isFull = () => scene.length >= model.limits.max_objects_render;
  const setSwapping = (now) => {
    swapping = now;
    stage.classList.toggle('swapping', now);
    byId('swap').setAttribute('aria-pressed', String(now));
    byId('swap').textContent = now ? 'Choose the other' : 'Swap looks';
  };
  const startSwap = (step) => {
    const others = scene.filter((o) => o.step !== step);
    if (swapping) setSwapping(false);
    else if (others.length === 1) swap(step, others[0].step);
    else if (others.length > 1) setSwapping(true);
  };

  byId('add').addEventListener('click', add);
  byId('delete').addEventListener('click', () => selected !== null && remove(selected));
  byId('duplicate').addEventListener('click', () => selected !== null && duplicate(selected));
  byId('swap').addEventListener('click', () => selected !== null && startSwap(selected));
  stage.addEventListener('pointerdown', (event) => {
    if (event.target.closest('.object')) return;
    setSwapping(false);
    doings.select(null);
  });

  const choose = (step) => {
    if (swapping && selected !== null && step !== selected) swap(selected, step);
    else doings.select(step);
  };

  const onKey = (step) => (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pose = find(step)?.z_where;
    const { key } = event;
    if (!pose) return;
    if (key in ARROWS) {
      const pixels = event.shiftKey ? 5 : 1;
      const [dx, dy] = ARROWS[key];
      place(step, moved(pose, pixels * dx, pixels * dy, canvas), `keys ${step}`);
    } else if (key === '+' || key === '=') place(step, resized(pose, BIGGER, canvas), `keys ${step}`);
    else if (key === '-' || key === '_') place(step, resized(pose, 1 / BIGGER, canvas), `keys ${step}`);
    else if (key === 'Delete' || key === 'Backspace') remove(step);
    else if (key === 'd' || key === 'D') duplicate(step);
    else if (key === 's' || key === 'S') startSwap(step);
    else if (key === 'Escape' && swapping) setSwapping(false);
    else if ((key === 'Enter' || key === ' ') && swapping) choose(step);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  /** Follow a pointer from an object or from one of its corners. */
  const onPointerDown = (step) => (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // no text is selected, no picture dragged
    const element = elements.get(step);
    const isSwap = swapping && step !== selected;
    choose(step);
    if (isSwap) return;
    element.focus({ preventScroll: true });
    gestures += 1;
    const drag = dragFrom(event, find(step).z_where, stage, canvas);
    const key = `drag ${gestures}`;
    const follow = (later) => {
      if (later.pointerId === event.pointerId) place(step, drag(later), key);
    };
    const end = (later) => {
      if (later.pointerId !== event.pointerId) return;
      element.removeEventListener('pointermove', follow);
      element.removeEventListener('pointerup', end);
      element.removeEventListener('pointercancel', end);
      stage.classList.remove('dragging');
      doings.seal();
    };
    stage.classList.add('dragging');
    element.setPointerCapture(event.pointerId);
    element.addEventListener('pointermove', follow);
    element.addEventListener('pointerup', end);
    element.addEventListener('pointercancel', end);
  };

  const make = (step) => {
    const element = el(
      'button',
      { type: 'button', class: 'object', onpointerdown: onPointerDown(step), onkeydown: onKey(step) },
      el('span', { class: 'number', 'aria-hidden': 'true', text: String(step) }),
      ...CORNERS.map((corner) => el('span', { class: `corner ${corner}`, 'data-corner': corner })),
    );
    element.addEventListener('focus', () => {
      if (!swapping) doings.select(step);
    });
    elements.set(step, tint(element, step));
    root.append(element);
  };

  const lay = (object) => {
    const element = elements.get(object.step);
    const [x0, y0, x1, y1] = layers.box(object);
    const percent = (value, size) => `${(100 * value) / size}%`;
    element.style.left = percent(x0, canvas.width);
    element.style.top = percent(y0, canvas.height);
    element.style.width = percent(x1 - x0, canvas.width);
    element.style.height = percent(y1 - y0, canvas.height);
    const isSelected = object.step === selected;
    element.classList.toggle('selected', isSelected);
    element.setAttribute('aria-pressed', String(isSelected));
    element.setAttribute('aria-label', describe(object, canvas));
  };

  const arrange = () => {
    const steps = new Set(scene.map((o) => o.step));
    for (const [step, element] of elements) {
      if (steps.has(step)) continue;
      element.remove();
      elements.delete(step);
    }
    for (const object of scene) {
      if (!elements.has(object.step)) make(object.step);
      lay(object);
    }
  };

  return {
    /**
     * @param {SceneObject[]} objects
     * @param {number | null} step the one that is selected
     */
    show(objects, step) {
      [scene, selected] = [objects, step];
      if (swapping && (step === null || objects.length < 2)) setSwapping(false);
      arrange();
      byId('edit-hint').hidden = objects.length > 0;
      byId('scene').setAttribute('aria-label', `The scene, drawn: ${someObjects(objects.length)}`);
      byId('add').disabled = isFull();
      byId('duplicate').disabled = step === null || isFull();
      byId('delete').disabled = step === null;
      byId('swap').disabled = step === null || objects.length < 2;
    },
    /** Boxes again, after the server has drawn. */
    arrange,
  };
}

/** @returns {string} for those who listen */
function describe({ step, z_where }, canvas) {
  const [x, y] = center(z_where, canvas).map(Math.round);
  const [x0, , x1] = windowBox(z_where, canvas);
  return `Object ${step}, middle at ${x}, ${y}, ${Math.round(x1 - x0)} pixels wide`;
}

/**
 * How the pose follows a pointer that went down on an object: moved, or scaled by a corner.
 * @returns {(event: PointerEvent) => import('./geometry.js').Pose}
 */
function dragFrom(start, pose, stage, canvas) {
  const { left, top, width } = stage.getBoundingClientRect();
  const pixels = canvas.width / width; // of the canvas, to one of the screen
  const corner = start.target.dataset.corner;
  if (!corner) {
    return (event) =>
      moved(
        pose,
        (event.clientX - start.clientX) * pixels,
        (event.clientY - start.clientY) * pixels,
        canvas,
      );
  }
  const [cx, cy] = center(pose, canvas);
  const away = ({ clientX, clientY }) =>
    Math.hypot((clientX - left) * pixels - cx, (clientY - top) * pixels - cy);
  const before = Math.max(away(start), 1);
  return (event) => resized(pose, Math.max(away(event) / before, 0.01), canvas);
}
