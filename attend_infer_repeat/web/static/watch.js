/** How a picture is read, step by step. */
import { byId, el, svg, tint } from './dom.js';
import { probability } from './dom.js';
import { showBoxes } from './overlay.js';
import { showCode } from './charts.js';

const PACE = 1600; // milliseconds a step is shown while it plays

/**
 * @param {any} model
 */
export function createWatch(model) {
  const panels = makePanels(model);
  const slider = byId('step');
  let steps = [];
  let reconstruction = '';
  let at = 0;
  let timer = 0;

  const show = () => {
    const step = steps[at];
    slider.max = String(Math.max(steps.length, 1));
    slider.value = String(at + 1);
    slider.disabled = steps.length < 2;
    byId('step-back').disabled = at === 0;
    byId('step-next').disabled = at >= steps.length - 1;
    byId('play').disabled = steps.length < 2;
    if (!step) return;
    const line = describe(step, steps.length, model.max_objects);
    byId('step-line').textContent = line;
    slider.setAttribute('aria-valuetext', line);
    tint(byId('watch'), step.step);
    // What the step that stops would have drawn is no part of the scene.
    const last = step.present ? step : steps.findLast(({ present }) => present);
    const sum = last ? last.sum : reconstruction;
    panels.show({ ...step, sum }, codeLimit(steps), model.canvas);
  };
  const go = (index) => {
    at = Math.min(Math.max(index, 0), Math.max(steps.length - 1, 0));
    show();
  };
  const setPlaying = (now) => {
    clearInterval(timer);
    timer = now ? setInterval(() => (at < steps.length - 1 ? go(at + 1) : setPlaying(false)), PACE) : 0;
    byId('play').setAttribute('aria-label', now ? 'Pause' : 'Play');
    byId('play-icon').setAttribute('href', now ? '#i-pause' : '#i-play');
  };
  const pick = (index) => {
    setPlaying(false);
    go(index);
  };

  byId('step-back').addEventListener('click', () => pick(at - 1));
  byId('step-next').addEventListener('click', () => pick(at + 1));
  slider.addEventListener('input', () => pick(Number(slider.value) - 1));
  byId('play').addEventListener('click', () => {
    const begin = !timer;
    if (begin && at === steps.length - 1) go(0);
    setPlaying(begin);
  });
  document.addEventListener('keydown', (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || !isForSteps(event)) return;
    event.preventDefault();
    pick(at + way);
  });

  return {
    /** @param {{steps: any[], reconstruction: string}} answer */
    show(answer) {
      ({ steps, reconstruction } = answer);
      go(at);
    },
  };
}

/** Keys count where nothing is focused, and among the buttons here; a slider has its own. */
function isForSteps({ target, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey || target.matches('input, select, textarea')) return false;
  return target === document.body || byId('watch').contains(target);
}

function describe({ step, present }, shown, most) {
  const found = present ? 'an object is found' : 'nothing more: stop';
  return `Step ${step} of ${shown < most ? shown : most}: ${found}`;
}

/** One scale for all steps, so that their codes can be compared. */
const codeLimit = (steps) => Math.max(1e-6, ...steps.flatMap((s) => s.z_what.map(Math.abs)));

function makePanels({ guide }) {
  const looksAtRest = ['residual', 'pursuit', 'memoryless'].includes(guide);
  const seen = picture();
  const presence = presenceBar();
  const crop = picture();
  const code = svg('svg', { class: 'code', role: 'img', preserveAspectRatio: 'none' });
  const redrawn = picture();
  const sum = picture();
  const parts = [
    panel('Attend', looksAtRest ? 'what is not yet drawn, and the window' : 'the picture, and the window', seen.stage),
    panel('One more?', 'probability that there is', presence.element),
    panel('Infer', 'what is in the window', crop.stage),
    panel('Code', 'z_what, read from it', el('div', { class: 'stage square' }, code)),
    panel('Draw', 'the code, decoded', redrawn.stage),
    panel('Repeat', 'all that is drawn so far', sum.stage),
  ];
  byId('panels').replaceChildren(...parts);
  crop.stage.classList.add('square');
  redrawn.stage.classList.add('square');

  return {
    show(step, limit, canvas) {
      const { step: t, present } = step;
      byId('panels').classList.toggle('stopped', !present);
      seen.show(step.seen, `Step ${t}: ${looksAtRest ? 'what is not yet drawn' : 'the picture'}`);
      const glimpse = step.glimpse ? [{ step: t, box: step.glimpse, dashed: true }] : [];
      showBoxes(seen.over, [...glimpse, { step: t, box: step.box }], canvas);
      presence.show(step.presence);
      crop.show(step.window, `Step ${t}: the window, enlarged`);
      showCode(code, step.z_what, limit);
      code.setAttribute('aria-label', `Step ${t}: ${step.z_what.length} numbers, as columns`);
      redrawn.show(step.redrawn, `Step ${t}: the decoded window`);
      sum.show(step.sum, `Step ${t}: what is drawn so far`);
    },
  };
}

function panel(title, about, content) {
  return el(
    'figure',
    { class: `panel ${title.toLowerCase().replace(/\W/g, '')}` },
    el('figcaption', {}, el('b', { text: title }), el('span', { text: about })),
    content,
  );
}

function picture() {
  const image = el('img', { alt: '', draggable: 'false' });
  const over = svg('svg', { class: 'over', 'aria-hidden': 'true' });
  const none = el('p', { class: 'hint', text: 'no window: read from h', hidden: '' });
  const stage = el('div', { class: 'stage' }, image, over, none);
  const show = (uri, alt) => {
    image.hidden = uri === null;
    none.hidden = uri !== null;
    if (uri !== null) image.src = uri;
    image.alt = alt;
  };
  return { stage, over, show };
}

function presenceBar() {
  const fill = el('span', { class: 'fill', 'aria-hidden': 'true' });
  const value = el('b');
  const element = el('div', { class: 'upright' }, el('div', { class: 'track' }, fill), value);
  const show = (p) => {
    fill.style.height = `${100 * p}%`;
    value.textContent = probability(p);
  };
  return { element, show };
}
