// Painting over a picture: what is painted becomes transparent in the mask.

export class PaintBoard {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.cursor = { x: canvas.width / 2, y: canvas.height / 2 };
    this.picture = null;
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); this.paintAt(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) this.paintAt(event); });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  async load(file) {
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width, bitmap.height);
    const { width, height } = this.canvas;
    this.picture = new OffscreenCanvas(width, height);
    this.picture.getContext("2d").drawImage(
      bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, width, height);
    this.clear();
  }

  clear() {
    this.painted = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.isPainted = false;
    this.draw();
  }

  paintAt(event) {
    const box = this.canvas.getBoundingClientRect();
    this.cursor = {
      x: (event.clientX - box.left) * this.canvas.width / box.width,
      y: (event.clientY - box.top) * this.canvas.height / box.height,
    };
    this.paint();
  }

  onKey(event) {
    const step = this.canvas.width / 16;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === " ") this.paint();
    else if (moves[event.key]) {
      this.cursor.x = Math.min(Math.max(this.cursor.x + moves[event.key][0], 0), this.canvas.width);
      this.cursor.y = Math.min(Math.max(this.cursor.y + moves[event.key][1], 0), this.canvas.height);
      this.draw();
    } else return;
    event.preventDefault();
  }

  paint() {
    if (!this.picture) return;
    const pen = this.painted.getContext("2d");
    pen.fillStyle = "#a83f28";
    pen.beginPath();
    pen.arc(this.cursor.x, this.cursor.y, this.canvas.width / 16, 0, 2 * Math.PI);
    pen.fill();
    this.isPainted = true;
    this.draw();
  }

  draw() {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.picture) return;
    context.drawImage(this.picture, 0, 0);
    context.globalAlpha = 0.6;
    context.drawImage(this.painted, 0, 0);
    context.globalAlpha = 1;
    context.strokeStyle = "#a83f28";
    context.strokeRect(this.cursor.x - 4, this.cursor.y - 4, 8, 8);
  }

  // The square picture and its mask as PNG blobs of the same size.
  async parts() {
    const mask = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    const pen = mask.getContext("2d");
    pen.fillRect(0, 0, mask.width, mask.height);
    pen.globalCompositeOperation = "destination-out";
    pen.drawImage(this.painted, 0, 0);
    return { image: await this.picture.convertToBlob(), mask: await mask.convertToBlob() };
  }
}
