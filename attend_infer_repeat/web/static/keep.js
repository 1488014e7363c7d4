/** The scene as files and as a link, and back again. */
import { announce, byId, download, loaded, notice } from './dom.js';
import { certainRecord } from './record.js';
import { toFragment } from './share.js';
import { sceneSvg } from './svg.js';

const ZOOM = 8; // of the enlarged PNG and the SVG

/**
 * @param {any} model
 * @param {() => import('./scene.js').Moment} present
 * @param {(scene: import('./scene.js').Moment) => Promise<any>} render null if the server is gone
 * @param {(file: File) => void} onScene
 */
export function createKeep(model, present, render, onScene) {
  const { canvas } = model;
  const rendered = async (use) => {
    const scene = present();
    const answer = await render(scene);
    if (answer) await use(answer, scene);
  };
  const onClick = (id, action) => byId(id).addEventListener('click', action);

  onClick('save-json', () =>
    rendered(({ boxes }, scene) => {
      const text = JSON.stringify(scene.record ?? certainRecord(scene, boxes, model));
      download('scene.json', new Blob([`${text}\n`], { type: 'application/json' }));
    }),
  );
  onClick('save-png', () => rendered(async ({ image }) => savePng(await loaded(image), 1)));
  onClick('save-large', () => rendered(async ({ image }) => savePng(await loaded(image), ZOOM)));
  onClick('save-svg', () =>
    rendered(({ image, boxes }, { objects }) => {
      const marks = objects.map(({ step }, i) => ({ step, box: boxes[i] }));
      const text = sceneSvg(image, marks, canvas, ZOOM);
      download('scene.svg', new Blob([text], { type: 'image/svg+xml' }));
    }),
  );
  onClick('copy-link', async () => {
    history.replaceState(null, '', toFragment(present(), model));
    const copied = await copy(location.href);
    const words = copied ? 'The link is copied.' : 'The link is in the address bar.';
    byId('copy-link').textContent = copied ? 'Copied' : 'In the address bar';
    setTimeout(() => (byId('copy-link').textContent = 'Copy a link'), 2500);
    announce(words);
  });
  const input = byId('json-file');
  onClick('open-json', () => input.click());
  input.addEventListener('change', () => {
    if (input.files[0]) onScene(input.files[0]);
    input.value = '';
  });
}

/** Browsers may refuse; the address bar has the link all the same. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function savePng(image, zoom) {
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth * zoom;
  canvas.height = image.naturalHeight * zoom;
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = false; // pixels stay pixels
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    if (blob) download(zoom === 1 ? 'scene.png' : `scene-x${zoom}.png`, blob);
    else notice.show('The browser could not write this picture.');
  });
}
