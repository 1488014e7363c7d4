/** The page: its parts, and what passes between them. */
import * as api from './api.js';
import { inWords, rereadInWords, showAnswer } from './answer.js';
import { createDraw, isBlank, toPixels } from './draw.js';
import { announce, byId, el, loaded, notice, objects as someObjects } from './dom.js';
import { createEdit } from './edit.js';
import { createKeep } from './keep.js';
import { createSample } from './sample.js';
import { createSliders } from './sliders.js';
import { createWatch } from './watch.js';
import { matched, windowBox } from './geometry.js';
import { Layers } from './layers.js';
import { receivePictures, toDataUri } from './picture.js';
import { checkedBackground, checkedObjects, isComplete, readRecord, SceneError } from './record.js';
import * as states from './scene.js';
import { fromFragment } from './share.js';
import { showBoxes } from './overlay.js';

/**
 * @typedef {import('./scene.js').Drawing} Drawing
 * @typedef {import('./scene.js').SceneObject} SceneObject
 */

const GONE = 'The server does not answer. Is air serve still running? Trying again.';
const EMPTY = { objects: [], background: null, record: null };
const QUIET = 700; // milliseconds after which keys begin a new step of undo, and are told

start();

async function start() {
  setUpHelp();
  api.onPresence((there) => {
    if (there) notice.hide({ lasting: true });
    else notice.show(GONE, { lasting: true });
  });
  byId('notice').querySelector('button').addEventListener('click', () => notice.hide());
  const model = await modelWhenThere();
  const page = new Page(model);
  api.onPresence((there) => there && page.comeBack());
  await page.begin();
  document.documentElement.dataset.ready = 'yes';
}

/** The page may be there before the server: from a cache, or while it starts again. */
async function modelWhenThere() {
  for (;;) {
    try {
      const model = await api.getModel();
      notice.hide({ lasting: true });
      return model;
    } catch (error) {
      if (!(error instanceof api.Gone)) notice.show(error.message, { lasting: true });
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
}

class Page {
  constructor(model) {
    this.model = model;
    this.selected = null;
    this.reread = null;
    /** The objects that are being drawn by the server. @type {SceneObject[] | null} */
    this.asked = null;
    /** What the model said of a drawing. @type {WeakMap<Drawing, any>} */
    this.answers = new WeakMap();
    this.times = [];
    this.inferring = new api.Newest((body) => this.timed(body));
    this.rendering = new api.Newest(api.render);
    this.sizeStages();
    this.layers = new Layers(byId('scene'), model);
    this.draw = createDraw(model, (d, stroke) => this.onDrawing(d, stroke), () => this.onStrokeEnd());
    const drawing = this.draw.read();
    this.history = states.begin({ drawing, ...EMPTY, pending: true });
    this.edit = createEdit(model, this.layers, {
      change: (objects, key, words) => this.onEdit(objects, key, words),
      seal: () => this.seal(),
      select: (step) => this.select(step),
    });
    this.sliders = createSliders(
      model,
      (change, key) => this.onSlide(change, key),
      () => this.seal(),
    );
    this.watch = createWatch(model);
    this.sample = createSample(
      model,
      (scene, posterior) => this.onPick(scene, posterior),
      (body) => this.calmly(() => api.sample(body)),
      () => this.asBody(this.present.drawing),
    );
    createKeep(
      model,
      () => this.present,
      (scene) => this.calmly(() => api.render(scene)),
      (file) => this.onSceneFile(file),
    );
    receivePictures((file) => this.onPicture(file), (file) => this.onSceneFile(file));
    this.setUpButtons();
    this.showModel();
  }

  get present() {
    return this.history.present;
  }

  // Beginning

  async begin() {
    addEventListener('hashchange', () => this.openLink());
    const [example] = this.model.examples;
    if (!(await this.openLink())) {
      if (example) await this.onExample(example);
      else await this.read(this.present.drawing);
    }
    this.history = states.begin(this.present); // there is nothing before it
    this.refresh();
    const missing = new Set(Object.values(this.model.missing));
    if (missing.size) notice.show([...missing].join(' '));
  }

  sizeStages() {
    const { width, height } = this.model.canvas;
    document.documentElement.style.setProperty('--ratio', `${width} / ${height}`);
  }

  showModel() {
    const { name, canvas, max_objects, unbounded, examples } = this.model;
    const most = unbounded ? 'any number of objects' : `up to ${someObjects(max_objects)}`;
    byId('model-line').textContent = `${name}: ${canvas.width} × ${canvas.height} pixels, ${most}`;
    byId('examples').replaceChildren(
      ...examples.map((example) => {
        const image = el('img', { src: example.image, alt: '' });
        const attributes = { type: 'button', class: 'example', 'aria-label': example.name };
        const button = el('button', attributes, image);
        button.addEventListener('click', () => this.onExample(example));
        return button;
      }),
    );
  }

  setUpButtons() {
    byId('undo').addEventListener('click', () => this.travel(states.undo));
    byId('redo').addEventListener('click', () => this.travel(states.redo));
    byId('again').addEventListener('click', () => this.inferAgain());
    document.addEventListener('keydown', (event) => {
      const key = event.key.toLowerCase();
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      if (key === 'z') this.travel(event.shiftKey ? states.redo : states.undo);
      else if (key === 'y') this.travel(states.redo);
      else return;
      event.preventDefault();
    });
  }

  // What is drawn

  /** While one draws, and at the end of a stroke. */
  onDrawing(drawing, stroke) {
    this.reread = null;
    notice.hide();
    this.commit({ ...this.present, drawing, record: null, pending: true }, stroke);
    this.reading = this.read(drawing, { quietly: true });
  }

  async onStrokeEnd() {
    this.seal();
    const { drawing } = this.present;
    await this.reading;
    if (this.present.drawing === drawing) this.tellAnswer();
  }

  async onExample({ image }) {
    this.reread = null;
    const drawing = this.draw.fromImage(await loaded(image));
    this.commit({ ...this.present, drawing, record: null, pending: true });
    await this.read(drawing);
  }

  async onPicture(file) {
    const limit = this.model.limits.max_upload_bytes;
    const image = await this.calmly(() => toDataUri(file, limit));
    if (!image) return;
    const answer = await this.ask({ image, name: file.name.slice(0, 255) || 'picture' });
    if (!answer) return;
    this.reread = null;
    const drawing = this.draw.fromImage(await loaded(answer.canvas));
    this.answers.set(drawing, answer);
    this.commit({ drawing, ...EMPTY, pending: true });
    this.showAnswer(drawing);
    this.tellAnswer();
  }

  asBody(drawing) {
    // What is drawn is bright on black, whatever its border looks like.
    return { pixels: toPixels(drawing, this.model), invert: 'no' };
  }

  /** Ask what is in a drawing, and show it unless the page has gone on since. */
  async read(drawing, { quietly = false } = {}) {
    const answer = await this.ask({ ...this.asBody(drawing), name: 'drawing' });
    if (!answer) return;
    this.answers.set(drawing, answer);
    this.showAnswer(drawing);
    if (!quietly && this.present.drawing === drawing) this.tellAnswer();
  }

  /** Infer, at most one at a time; null if a newer drawing took its place or something failed. */
  async ask(body) {
    return this.calmly(() => this.inferring.submit(body));
  }

  /** Infer, and show how long it took: the median of the last answers, to be read in peace. */
  async timed(body) {
    const began = performance.now();
    const answer = await api.infer(body);
    this.times = [...this.times, performance.now() - began].slice(-15);
    const middle = [...this.times].sort((a, b) => a - b)[(this.times.length - 1) >> 1];
    byId('latency').textContent = middle.toFixed(0);
    return answer;
  }

  // What the model says

  /** Show the answer to the present drawing, or to one that the same stroke has passed. */
  showAnswer(drawing) {
    const { present } = this;
    const isPresent = present.drawing === drawing;
    if (!isPresent && !present.pending) return;
    const answer = this.answers.get(drawing);
    showAnswer(answer, this.model);
    this.watch.show(answer);
    if (!present.pending) return; // an edited scene stays what it is
    const { objects, z_background } = answer.scene;
    this.history = states.amend(this.history, {
      objects: checkedObjects(objects, this.model),
      background: checkedBackground(z_background, this.model),
      record: answer.scene,
      pending: !isPresent,
    });
    this.refresh(answer);
  }

  tellAnswer() {
    const answer = this.answers.get(this.present.drawing);
    if (answer) announce(inWords(answer));
  }

  // What is edited

  onEdit(objects, key, words, background = this.present.background) {
    const { drawing } = this.present;
    this.reread = null;
    notice.hide();
    this.commit({ drawing, objects, background, record: null, pending: false }, key);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => {
      this.seal();
      announce(words);
    }, QUIET);
  }

  onSlide(change, key) {
    const objects = states.changed(this.present.objects, this.selected, change);
    this.onEdit(objects, key, `Object ${this.selected} is changed.`);
  }

  select(step) {
    if (step === this.selected) return;
    this.selected = step;
    this.seal();
    this.refresh();
  }

  seal() {
    this.history = states.seal(this.history);
  }

  commit(moment, key = null) {
    const isNewDrawing = moment.drawing !== this.present.drawing;
    this.history = states.commit(this.history, moment, key);
    if (isNewDrawing) this.sample.forget();
    // A link in the address bar would be of an earlier scene.
    if (location.hash.startsWith('#air')) history.replaceState(null, '', location.pathname);
    this.refresh();
  }

  /** Undo or redo. */
  travel(way) {
    const before = this.present;
    this.history = way(this.history);
    const { present } = this;
    if (present === before) return;
    this.reread = null;
    if (present.drawing !== before.drawing) {
      this.inferring.clear();
      this.draw.show(present.drawing);
      this.sample.forget();
    }
    this.refresh();
    if (this.answers.has(present.drawing)) this.showAnswer(present.drawing);
    else this.read(present.drawing, { quietly: true });
    announce(`${way === states.undo ? 'Undone' : 'Done again'}: ${someObjects(present.objects.length)}`);
  }

  /** Make the scene's picture what is read, and see whether the model finds the scene in it. */
  async inferAgain() {
    const scene = this.present;
    const drawn = await this.calmly(() => api.render(scene));
    if (!drawn) return;
    const drawing = this.draw.fromImage(await loaded(drawn.image));
    this.commit({ ...scene, drawing, pending: false });
    await this.read(drawing);
    this.compare(drawing);
  }

  compare(drawing) {
    const answer = this.answers.get(drawing);
    if (!answer || this.present.drawing !== drawing) return;
    const { canvas } = this.model;
    const boxesOf = (objects) => objects.map(({ z_where }) => windowBox(z_where, canvas));
    const found = boxesOf(answer.scene.objects);
    const overlaps = matched(boxesOf(this.present.objects), found);
    this.reread = { found, overlaps };
    this.refresh();
    announce(byId('reread').textContent);
  }

  // Scenes from elsewhere

  /** A sampled scene. One from the prior comes with its own picture. */
  onPick(picked, posterior) {
    const objects = checkedObjects(picked.objects, this.model);
    const background = checkedBackground(picked.z_background, this.model);
    if (!posterior) return this.openScene({ objects, background, record: null });
    this.onEdit(objects, null, `${someObjects(objects.length)}, to be edited`, background);
    return undefined;
  }

  async openScene(scene) {
    this.commit({ ...scene, drawing: this.present.drawing, pending: false });
    const drawn = await this.calmly(() => api.render(scene));
    if (!drawn) return;
    const drawing = this.draw.fromImage(await loaded(drawn.image));
    this.history = states.amend(this.history, { drawing });
    this.sample.forget();
    await this.read(drawing);
    this.compare(drawing);
  }

  async onSceneFile(file) {
    await this.calmly(async () => {
      const { record, ...scene } = readRecord(await file.text(), this.model);
      await this.openScene({ ...scene, record: isComplete(record) ? record : null });
    });
  }

  /** @returns {Promise<boolean>} whether there was a scene in the link */
  async openLink() {
    const { hash } = location;
    const scene = await this.calmly(async () => fromFragment(hash, this.model));
    if (!scene) return false;
    await this.openScene({ ...scene, record: null });
    history.replaceState(null, '', hash); // so that the page can be loaded again
    return true;
  }

  // Showing

  /** @param {any} [answer] to a drawing that is still being drawn */
  refresh(answer) {
    const { objects, pending, drawing } = this.present;
    if (!objects.some((o) => o.step === this.selected)) this.selected = null;
    byId('undo').disabled = this.history.past.length === 0;
    byId('redo').disabled = this.history.future.length === 0;
    byId('again').disabled = pending;
    byId('draw-hint').hidden = !isBlank(drawing);
    this.edit.show(objects, this.selected);
    this.sliders.show(objects.find((o) => o.step === this.selected) ?? null);
    this.showReread();
    // While a picture is being drawn, the answer's own drawing of the scene is shown: one request
    // at a time. When it is done, the objects are drawn one by one, to be taken hold of.
    if (pending) this.preview(answer);
    else this.drawScene(this.present);
  }

  async preview(answer) {
    if (!answer) return;
    const image = await loaded(answer.reconstruction);
    if (this.present.pending) this.layers.show(image);
  }

  async drawScene(scene) {
    const { objects } = scene;
    this.layers.draw(scene);
    if (objects === this.asked || this.layers.knows(scene)) return;
    this.asked = objects;
    const drawn = await this.calmly(() => this.rendering.submit(scene));
    if (this.asked === objects) this.asked = null;
    if (!drawn) return;
    const images = await Promise.all(drawn.objects.map(loaded));
    const behind = drawn.background && (await loaded(drawn.background));
    this.layers.learn(scene, images, behind, drawn.boxes);
    if (this.present.pending) return;
    this.layers.draw(this.present);
    this.edit.arrange();
  }

  showReread() {
    const { reread } = this;
    const line = byId('reread');
    const marks = (reread?.found ?? []).map((box, i) => ({ step: i + 1, box, dashed: true }));
    showBoxes(byId('reread-boxes'), marks, this.model.canvas);
    line.textContent = reread ? rereadInWords(reread) : '';
  }

  // When something fails

  /** Do something with the server; what it refuses is said in a calm line, and gives null. */
  async calmly(action) {
    try {
      return await action();
    } catch (error) {
      if (error instanceof api.Gone) return null; // said for as long as it lasts
      const known = error instanceof api.Refused || error instanceof SceneError;
      notice.show(known ? error.message : 'Something went wrong in this page. Reload it to go on.');
      if (!known) console.error(error);
      return null;
    }
  }

  /** The server is there again: ask what it could not be asked. */
  comeBack() {
    announce('The server is back.');
    if (!this.answers.has(this.present.drawing)) this.read(this.present.drawing);
    else this.refresh();
  }
}

function setUpHelp() {
  const dialog = byId('help');
  byId('help-open').addEventListener('click', () => dialog.showModal());
  byId('help-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === '?' && !dialog.open) dialog.showModal(); // nothing here is written into
  });
}
