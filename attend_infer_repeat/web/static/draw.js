/** The drawing: brush, eraser, keys. What is seen is what the model reads, pixel by pixel. */
import { byId, el } from './dom.js';

/** @typedef {import('./scene.js').Drawing} Drawing */

const COLORS = {
  White: '#ffffff',
  Red: '#ff0000',
  Green: '#00ff00',
  Blue: '#0000ff',
  Yellow: '#ffff00',
  Magenta: '#ff00ff',
  Cyan: '#00ffff',
};

/**
 * @param {{canvas: {width: number, height: number}, channels: number}} model
 * @param {(drawing: Drawing, stroke: string) => void} onDrawing while and after a stroke
 * @param {() => void} onEnd after a stroke
 */
export function createDraw(model, onDrawing, onEnd) {
  const { width, height } = model.canvas;
  const canvas = byId('drawing');
  Object.assign(canvas, model.canvas);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  Object.assign(context, { lineCap: 'round', lineJoin: 'round' });
  canvas.setAttribute(
    'aria-label',
    `Drawing of ${width} by ${height} pixels. Arrow keys move the brush, Space puts it down.`,
  );
  const size = setUpSize(Math.max(width, height));
  const tool = { erase: false, color: COLORS.White };
  let strokes = 0;
  let frame = 0;

  const read = () => ({ data: context.getImageData(0, 0, width, height).data });
  const tell = () => {
    frame = 0;
    onDrawing(read(), `stroke ${strokes}`);
  };
  /** At most once a frame: a mouse may report a thousand times a second. */
  const tellSoon = () => {
    frame ||= requestAnimationFrame(tell);
  };

  const line = ([x0, y0], [x1, y1]) => {
    context.strokeStyle = tool.erase ? '#000000' : tool.color;
    context.lineWidth = Number(size.value) * (tool.erase ? 2 : 1);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1 + (x0 === x1 && y0 === y1 ? 0.01 : 0)); // a dot has some length
    context.stroke();
    tellSoon();
  };
  const end = () => {
    cancelAnimationFrame(frame);
    tell();
    onEnd();
  };
  const brush = { begin: () => (strokes += 1), line, end };

  drawByPointer(canvas, brush);
  drawByKeys(canvas, brush);
  setUpTools(tool);
  if (model.channels === 3) setUpPalette(tool);
  byId('clear').addEventListener('click', () => {
    brush.begin();
    blacken(context);
    end();
  });
  blacken(context);

  return {
    read,
    /** @param {Drawing} drawing */
    show({ data }) {
      context.putImageData(new ImageData(data.slice(), width, height), 0, 0);
    },
    /** @param {CanvasImageSource} image of the canvas's size @returns {Drawing} */
    fromImage(image) {
      blacken(context);
      context.drawImage(image, 0, 0, width, height);
      return read();
    },
  };
}

function blacken(context) {
  context.fillStyle = '#000000';
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

/**
 * A drawing as the API takes it.
 * @param {Drawing} drawing
 * @param {{canvas: {width: number, height: number}, channels: number}} model
 * @returns {number[][] | number[][][]} rows, or three planes of rows; 0 to 1
 */
export function toPixels({ data }, { canvas: { width, height }, channels }) {
  const plane = (channel) =>
    Array.from({ length: height }, (_, y) =>
      Array.from({ length: width }, (_, x) => intensity(data[4 * (y * width + x) + channel])),
    );
  return channels === 1 ? plane(0) : [plane(0), plane(1), plane(2)];
}

/** Four digits tell 256 levels apart. */
const intensity = (byte) => Math.round((byte / 255) * 1e4) / 1e4;

/** @param {Drawing} drawing */
export const isBlank = ({ data }) => data.every((byte, i) => i % 4 === 3 || byte === 0);

function setUpSize(side) {
  const size = byId('brush-size');
  // About a twentieth of the canvas: what a digit of a twentieth of a page's width is written with.
  Object.assign(size, { min: 1, max: Math.round(side / 6), step: 0.5 });
  size.value = side / 18;
  return size;
}

function setUpTools(tool) {
  const buttons = { brush: byId('brush'), eraser: byId('eraser') };
  const choose = (erase) => () => {
    tool.erase = erase;
    buttons.brush.setAttribute('aria-pressed', String(!erase));
    buttons.eraser.setAttribute('aria-pressed', String(erase));
  };
  buttons.brush.addEventListener('click', choose(false));
  buttons.eraser.addEventListener('click', choose(true));
}

function setUpPalette(tool) {
  const palette = byId('palette');
  palette.hidden = false;
  for (const [name, color] of Object.entries(COLORS)) {
    const chosen = String(color === tool.color);
    const swatch = el('button', {
      type: 'button',
      class: 'swatch',
      'aria-label': name,
      'aria-pressed': chosen,
      onclick: () => {
        tool.color = color;
        for (const other of palette.children) {
          other.setAttribute('aria-pressed', String(other === swatch));
        }
        byId('brush').click();
      },
    });
    swatch.style.setProperty('--swatch', color);
    palette.append(swatch);
  }
}

/** The point of the canvas under the pointer, in its pixels. */
function pointOf(canvas, { clientX, clientY }) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [
    ((clientX - left) / width) * canvas.width,
    ((clientY - top) / height) * canvas.height,
  ];
}

function drawByPointer(canvas, brush) {
  let last = null;
  let pointer = null; // a second finger does not draw
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || pointer !== null) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    last = pointOf(canvas, event);
    brush.begin();
    brush.line(last, last);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (event.pointerId !== pointer) return;
    // A quick stroke's points between two events, which would otherwise be cut off straight.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const point = pointOf(canvas, each);
      brush.line(last, point);
      last = point;
    }
  });
  const stop = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    brush.end();
  };
  canvas.addEventListener('pointerup', stop);
  canvas.addEventListener('pointercancel', stop);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function drawByKeys(canvas, brush) {
  const cursor = byId('draw-cursor');
  let at = [canvas.width / 2, canvas.height / 2];
  let down = false;
  const show = () => {
    cursor.hidden = false;
    cursor.classList.toggle('down', down);
    cursor.style.left = `${(100 * at[0]) / canvas.width}%`;
    cursor.style.top = `${(100 * at[1]) / canvas.height}%`;
  };
  const lift = () => {
    if (down) brush.end();
    down = false;
  };
  const go = ([dx, dy], step) => {
    const within = (value, size) => Math.min(Math.max(value, 0), size);
    const next = [within(at[0] + step * dx, canvas.width), within(at[1] + step * dy, canvas.height)];
    if (down) brush.line(at, next);
    at = next;
  };
  canvas.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      go(ARROWS[event.key], event.shiftKey ? 1 : Math.max(canvas.width, canvas.height) / 25);
    } else if (event.key === ' ') {
      if (down) lift();
      else {
        down = true;
        brush.begin();
        brush.line(at, at);
      }
    } else return;
    event.preventDefault();
    show();
  });
  canvas.addEventListener('blur', () => {
    lift();
    cursor.hidden = true;
  });
}
