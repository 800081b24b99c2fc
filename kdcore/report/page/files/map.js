// One attention map as a heat map: a row per token that looks, a column per token that is looked at.

const CELL = 14;
const LETTER = 6.4; // about the width of a letter
const LETTERS = 12; // of a token that are shown
const ANGLE = Math.PI / 3; // of the tokens above

class HeatMap {
  constructor(model) {
    this.model = model;
    this.caption = element("figcaption");
    this.cells = [];
    this.svg = shape("svg", { role: "img" });
    this.mark = shape("rect", { class: "cursor", width: CELL, height: CELL, visibility: "hidden" });
    this.node = element("figure", { class: "map" }, this.caption, this.svg);
  }

  /** Make room for these tokens. */
  setTokens(tokens) {
    this.size = tokens.length;
    const side = this.size * CELL;
    const widths = tokens.map((token) => LETTER * Math.min(token.length, LETTERS) + 8);
    [this.left, this.top] = [Math.max(...widths), Math.sin(ANGLE) * Math.max(...widths) + 6];
    const ends = widths.map((width, place) => place * CELL + CELL / 2 + Math.cos(ANGLE) * width);
    const width = this.left + Math.max(side + 2, ...ends);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.top + side + 2}`);
    this.svg.style.maxWidth = `${width * 1.5}px`;
    this.rows = tokens.map((token, place) => this.#label(token, place, false));
    this.columns = tokens.map((token, place) => this.#label(token, place, true));
    this.cells = Array.from({ length: this.size ** 2 }, (_, place) => this.#cell(place));
    const frame = shape("rect", { class: "frame", x: this.left, y: this.top, width: side, height: side });
    this.svg.replaceChildren(...this.rows, ...this.columns, ...this.cells, frame, this.mark);
  }

  #label(token, place, above) {
    const short = token.length > LETTERS ? `${token.slice(0, LETTERS - 1)}…` : token;
    const middle = place * CELL + CELL / 2;
    const where = above
      ? { transform: `translate(${this.left + middle + 3} ${this.top - 4}) rotate(-60)`, class: "to" }
      : { x: this.left - 5, y: this.top + middle + 4, class: "from" };
    return shape("text", where, shape("title", {}, token), short);
  }

  #cell(place) {
    const x = this.left + (place % this.size) * CELL;
    const y = this.top + Math.floor(place / this.size) * CELL;
    return shape("rect", { x, y, width: CELL, height: CELL, "data-place": place });
  }

  /** Colour the cells. bytes: packed weights, from × to; caption: nodes above the map; said: its name aloud. */
  paint(bytes, caption, said) {
    this.bytes = bytes;
    this.cells.forEach((cell, place) => cell.setAttribute("class", `b${byteLevel(bytes[place])}`));
    this.caption.replaceChildren(...caption);
    this.svg.setAttribute("aria-label", said);
  }

  /** Outline one cell and its two tokens; null outlines nothing. */
  point(place) {
    const [from, to] = place === null ? [-1, -1] : [Math.floor(place / this.size), place % this.size];
    this.mark.setAttribute("visibility", place === null ? "hidden" : "visible");
    if (place !== null) {
      this.mark.setAttribute("x", this.left + to * CELL);
      this.mark.setAttribute("y", this.top + from * CELL);
    }
    this.rows.forEach((label, row) => label.classList.toggle("on", row === from));
    this.columns.forEach((label, column) => label.classList.toggle("on", column === to));
  }
}
