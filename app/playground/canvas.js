// Painting over an image in cells of 8×8 px of the output: the model draws whole cells, so whole cells are painted.
import { blobOf, dataUri } from "./dom.js";

const PAINT = "#d9480f";
const MAX_SIDE = 1024; // a square image up to this side is sent as it is
const SIDE = 512;

const context = (canvas, options) => canvas.getContext("2d", options);

export class MaskBoard {
  // `onChange()` is called when the painted cells change.
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.width = 8; // cells along a side
    this.brush = 1; // side of the brush in cells
    this.isErasing = false;
    this.uri = null;
    this.bitmap = null;
    this.reset();
    canvas.addEventListener("pointerdown", (event) => this.beginStroke(event));
    canvas.addEventListener("pointermove", (event) => { if (event.buttons && this.last) this.continueStroke(event); });
    canvas.addEventListener("pointerup", () => { this.last = null; });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  get total() {
    return this.width ** 2;
  }

  reset() {
    this.cells = new Set();
    this.undone = [];
    this.cursor = { x: this.width >> 1, y: this.width >> 1 };
    this.last = null;
  }

  setWidth(cells) {
    if (cells === this.width) return;
    this.width = cells;
    this.reset();
    this.changed();
  }

  // Shows an image without paint; null: none. Rejects for an image that cannot be decoded.
  async load(uri) {
    this.uri = uri;
    this.reset();
    const bitmap = uri ? await createImageBitmap(blobOf(uri)) : null;
    if (this.uri !== uri) return; // another image was loaded meanwhile
    this.bitmap = bitmap;
    this.changed();
  }

  // Paints the cells in which the mask has a transparent pixel.
  async paintMask(uri) {
    const mask = await createImageBitmap(blobOf(uri));
    const pixels = new OffscreenCanvas(mask.width, mask.height);
    context(pixels).drawImage(mask, 0, 0);
    const { data } = context(pixels).getImageData(0, 0, mask.width, mask.height);
    for (let index = 0; index < mask.width * mask.height; index += 1) {
      if (data[4 * index + 3]) continue;
      const x = Math.floor((index % mask.width) * this.width / mask.width);
      const y = Math.floor(Math.floor(index / mask.width) * this.width / mask.height);
      this.cells.add(y * this.width + x);
    }
    this.changed();
  }

  undo() {
    if (!this.undone.length) return;
    this.cells = this.undone.pop();
    this.changed();
  }

  clear() {
    this.remember();
    this.cells = new Set();
    this.changed();
  }

  remember() {
    this.undone.push(new Set(this.cells));
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const cell = (offset, size) => Math.min(Math.max(Math.floor((offset / size) * this.width), 0), this.width - 1);
    return { x: cell(event.clientX - box.left, box.width), y: cell(event.clientY - box.top, box.height) };
  }

  beginStroke(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.last = this.cellAt(event);
    this.cursor = this.last;
    this.paint();
  }

  // Paints every cell between the last position and this one: a fast stroke has few events.
  continueStroke(event) {
    const to = this.cellAt(event);
    const from = this.last;
    const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
    for (let step = 1; step <= steps; step += 1) {
      this.cursor = {
        x: Math.round(from.x + ((to.x - from.x) * step) / steps),
        y: Math.round(from.y + ((to.y - from.y) * step) / steps),
      };
      this.paint();
    }
    this.last = to;
  }

  onKey(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      this.remember();
      this.paint();
    } else if (move) {
      const within = (value) => Math.min(Math.max(value, 0), this.width - 1);
      this.cursor = { x: within(this.cursor.x + move[0]), y: within(this.cursor.y + move[1]) };
      this.draw();
    } else return;
    event.preventDefault();
  }

  paint() {
    if (!this.bitmap) return;
    const reach = this.brush >> 1;
    for (let y = Math.max(this.cursor.y - reach, 0); y <= Math.min(this.cursor.y + reach, this.width - 1); y += 1) {
      for (let x = Math.max(this.cursor.x - reach, 0); x <= Math.min(this.cursor.x + reach, this.width - 1); x += 1) {
        if (this.isErasing) this.cells.delete(y * this.width + x);
        else this.cells.add(y * this.width + x);
      }
    }
    this.changed();
  }

  changed() {
    this.draw();
    this.onChange();
  }

  draw() {
    const pen = context(this.canvas);
    const side = this.canvas.width;
    const cell = side / this.width;
    pen.clearRect(0, 0, side, side);
    if (!this.bitmap) return;
    this.drawImage(pen, side);
    pen.fillStyle = PAINT;
    pen.globalAlpha = 0.65;
    for (const index of this.cells) pen.fillRect((index % this.width) * cell, Math.floor(index / this.width) * cell, cell, cell);
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
    pen.strokeStyle = "#0006";
    for (let line = 1; line < this.width; line += 1) {
      pen.strokeRect(line * cell, -1, 0, side + 2);
      pen.strokeRect(-1, line * cell, side + 2, 0);
    }
    // Two colours, so that the frame is visible on every image and on the paint.
    for (const [colour, width] of [["#000", 5], ["#fff", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(this.cursor.x * cell + 2, this.cursor.y * cell + 2, cell - 4, cell - 4);
    }
  }

  // Draws the square in the middle of the image.
  drawImage(pen, side) {
    const { width, height } = this.bitmap;
    const square = Math.min(width, height);
    pen.imageSmoothingEnabled = square > side;
    pen.drawImage(this.bitmap, (width - square) / 2, (height - square) / 2, square, square, 0, 0, side, side);
  }

  // The image and its mask as data URIs of one size. `isOwn`: the image has the bytes of the file.
  async parts() {
    const { width, height } = this.bitmap;
    const isOwn = width === height && width <= MAX_SIDE && width >= 4 * this.width;
    const side = isOwn ? width : SIDE;
    const mask = new OffscreenCanvas(side, side);
    const pen = context(mask);
    pen.fillRect(0, 0, side, side);
    for (const index of this.cells) {
      // Only pixels that belong to this cell alone.
      const [left, right] = this.edges(index % this.width, side);
      const [top, bottom] = this.edges(Math.floor(index / this.width), side);
      pen.clearRect(left, top, right - left, bottom - top);
    }
    return { image: isOwn ? this.uri : await this.square(side), mask: await dataUri(await mask.convertToBlob()), isOwn };
  }

  edges(cell, side) {
    return [Math.ceil((cell * side) / this.width), Math.floor(((cell + 1) * side) / this.width)];
  }

  async square(side) {
    const canvas = new OffscreenCanvas(side, side);
    this.drawImage(context(canvas), side);
    return dataUri(await canvas.convertToBlob());
  }
}
