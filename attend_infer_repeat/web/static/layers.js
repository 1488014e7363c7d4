/**
 * The scene's picture, put together here from a picture of each object, so that a dragged object
 * follows the pointer at once; the server's own drawing of it comes a little later.
 */
import { between, carried, windowBox } from './geometry.js';

/**
 * @typedef {import('./scene.js').SceneObject} SceneObject
 * @typedef {import('./geometry.js').Box} Box
 * @typedef {{objects: SceneObject[], background: number[] | null}} Scene
 * @typedef {{pose: import('./geometry.js').Pose, box: Box, image: CanvasImageSource}} Part
 */

export class Layers {
  /**
   * @param {HTMLCanvasElement} element
   * @param {{canvas: {width: number, height: number}, composition: 'sum' | 'over'}} model
   */
  constructor(element, { canvas, composition }) {
    this.canvas = canvas;
    this.composition = composition;
    Object.assign(element, canvas);
    this.context = element.getContext('2d');
    // Objects and codes are never changed, so what was drawn of them stays true. An object that
    // was moved, copied or given another's look shares its code with one that is known.
    /** @type {WeakMap<SceneObject, Part>} */
    this.exact = new WeakMap();
    /** @type {WeakMap<number[], Part>} */
    this.alike = new WeakMap();
    /** @type {WeakMap<number[], CanvasImageSource>} */
    this.backgrounds = new WeakMap();
  }

  /**
   * Learn what the server drew.
   * @param {Scene} scene
   * @param {CanvasImageSource[]} images each object alone, transparent where there is none of it
   * @param {CanvasImageSource | null} behind them
   * @param {Box[]} boxes
   */
  learn({ objects, background }, images, behind, boxes) {
    if (background && behind) this.backgrounds.set(background, behind);
    objects.forEach((object, i) => {
      const part = { pose: object.z_where, box: boxes[i], image: images[i] };
      this.exact.set(object, part);
      this.alike.set(object.z_what, part);
    });
  }

  /**
   * Whether all of a scene has been drawn by the server.
   * @param {Scene} scene
   */
  knows({ objects, background }) {
    return objects.every((o) => this.exact.has(o)) && (!background || this.backgrounds.has(background));
  }

  /** @param {SceneObject} object */
  part(object) {
    return this.exact.get(object) ?? this.alike.get(object.z_what);
  }

  /**
   * @param {SceneObject} object
   * @returns {Box}
   */
  box(object) {
    const part = this.part(object);
    if (!part) return windowBox(object.z_where, this.canvas);
    return carried(part.box, part.pose, object.z_where, this.canvas);
  }

  /** @param {Scene} scene */
  draw({ objects, background }) {
    this.clear();
    const { context } = this;
    const behind = background && this.backgrounds.get(background);
    if (behind) context.drawImage(behind, 0, 0);
    // As the model's: intensities add up, or the first object is in front of the others.
    const hides = this.composition === 'over';
    context.globalCompositeOperation = hides ? 'source-over' : 'lighter';
    for (const object of hides ? objects.toReversed() : objects) {
      const part = this.part(object);
      if (!part) continue;
      const { scale, dx, dy } = between(part.pose, object.z_where, this.canvas);
      context.setTransform(scale, 0, 0, scale, dx, dy);
      context.drawImage(part.image, 0, 0);
    }
  }

  /** @param {CanvasImageSource} image */
  show(image) {
    this.clear();
    this.context.drawImage(image, 0, 0);
  }

  clear() {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = 'source-over';
    context.fillStyle = '#000000';
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }
}
