/** Pictures from outside: chosen, dropped or pasted. */
import { byId } from './dom.js';

/** Above this, pictures are made smaller here: the canvas shows no more of them. */
const LARGEST_SIDE = 1600;

/**
 * @param {(file: File) => void} onPicture
 * @param {(file: File) => void} onScene for a file of JSON
 */
export function receivePictures(onPicture, onScene) {
  const take = (file) => (isJson(file) ? onScene(file) : onPicture(file));
  const input = byId('picture-file');
  byId('open-picture').addEventListener('click', () => input.click());
  input.addEventListener('change', () => {
    if (input.files[0]) onPicture(input.files[0]);
    input.value = ''; // the same file may be chosen again
  });
  receiveDrops(take);
  document.addEventListener('paste', (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}

const isJson = ({ name, type }) => type === 'application/json' || /\.jsonl?$/i.test(name);

/** Anywhere on the page: a picture that missed would otherwise replace the page. */
function receiveDrops(take) {
  const root = document.documentElement;
  const isFile = (event) => event.dataTransfer?.types.includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    root.classList.add('dropping');
  });
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) root.classList.remove('dropping');
  });
  document.addEventListener('drop', (event) => {
    root.classList.remove('dropping');
    if (!isFile(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

/**
 * A picture as the API takes it; one that is too large for it is made smaller.
 * @param {File} file
 * @param {number} limit bytes
 * @returns {Promise<string>} data URI
 */
export async function toDataUri(file, limit) {
  // As text it is a third larger, and something stands around it.
  if (file.size * 1.4 < limit) return read(file);
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return read(file); // of a kind that only the server knows; it says what is wrong
  const shrink = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(Math.round(bitmap.width * shrink), 1);
  canvas.height = Math.max(Math.round(bitmap.height * shrink), 1);
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/jpeg', 0.92);
}

/** @param {Blob} file @returns {Promise<string>} */
function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
