// KL of every layer and head of one student. One cell is chosen; arrow keys move to the next one.

class KlGrid {
  /** pick(layer, head): called when a cell is chosen. */
  constructor(model, pick) {
    this.model = model;
    this.pick = pick;
    this.caption = element("figcaption");
    this.table = element("table", { role: "grid", "aria-label": `KL of ${model.name} by layer and head` });
    this.table.addEventListener("click", (event) => this.#clicked(event));
    this.table.addEventListener("keydown", (event) => this.#pressed(event));
    const scroll = element("div", { class: "scroll" }, this.table);
    this.node = element("figure", { class: "kl" }, this.caption, scroll);
  }

  /** values: layer × head; most: the largest of all grids, for a common scale. */
  setValues(values, layerMap, most, total) {
    const heads = values[0].map((_, head) => element("th", { scope: "col", role: "columnheader" }, `${head + 1}`));
    const corner = element("th", { scope: "col", role: "columnheader", class: "corner" }, "layer");
    this.#worst = worst(values);
    this.cells = values.map((row, layer) => row.map((value, head) => this.#cell(layer, head, value, most)));
    const rows = this.cells.map((cells, layer) => {
      const name = element("th", { scope: "row", role: "rowheader" }, `${layer + 1} – ${layerMap[layer]}`);
      return element("tr", { role: "row" }, name, ...cells);
    });
    const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, corner, ...heads));
    this.table.style.minWidth = `${2.2 + 1.6 * heads.length}rem`; // what numbers need; more than fits scrolls
    this.table.replaceChildren(head, element("tbody", { role: "rowgroup" }, ...rows));
    this.#describe(values, total);
  }

  #worst = [0, 0];

  #cell(layer, head, value, most) {
    const isWorst = layer === this.#worst[0] && head === this.#worst[1];
    const said = `layer ${layer + 1}, head ${head + 1}, KL ${value.toFixed(3)}${isWorst ? ", the worst" : ""}`;
    const names = `o${klLevel(value, most)}${isWorst ? " worst" : ""}`;
    const cell = element("td", { role: "gridcell", tabindex: -1, class: names, "aria-label": said, title: said });
    cell.append(value.toFixed(2));
    Object.assign(cell.dataset, { layer, head });
    return cell;
  }

  #describe(values, total) {
    const [layer, head] = this.#worst;
    const go = element("button", { type: "button" }, `layer ${layer + 1}, head ${head + 1}`);
    go.addEventListener("click", () => this.pick(layer, head));
    const worstValue = values[layer][head].toFixed(3);
    const sum = element("span", {}, "total ", element("b", {}, total.toFixed(3)));
    const most = element("span", {}, "worst ", go, ` ${worstValue}`);
    this.caption.replaceChildren(methodName(this.model), sum, most);
  }

  /** Show which head is chosen. focus: move the keyboard there too. */
  select(layer, head, focus) {
    this.cells.flat().forEach((cell) => {
      const chosen = Number(cell.dataset.layer) === layer && Number(cell.dataset.head) === head;
      cell.tabIndex = chosen ? 0 : -1;
      cell.setAttribute("aria-selected", String(chosen));
    });
    if (focus) this.cells[layer][head].focus();
  }

  #clicked(event) {
    const cell = event.target.closest("td");
    if (cell) this.pick(Number(cell.dataset.layer), Number(cell.dataset.head), this);
  }

  #pressed(event) {
    const cell = event.target.closest("td");
    if (!cell) return;
    const next = moved(event.key, Number(cell.dataset.layer), Number(cell.dataset.head), this.cells.length, this.cells[0].length);
    if (!next) return;
    event.preventDefault();
    this.pick(...next, this);
  }
}

/** Where a key leads from a row and column of a table; null for other keys. */
function moved(key, row, column, rows, columns) {
  const steps = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    Home: [row, 0],
    End: [row, columns - 1],
    PageUp: [0, column],
    PageDown: [rows - 1, column],
  };
  if (!(key in steps)) return null;
  const inside = (value, count) => Math.max(0, Math.min(count - 1, value));
  return [inside(steps[key][0], rows), inside(steps[key][1], columns)];
}

/** A model's name with its colour and meaning. */
function methodName(model) {
  const family = model.name.split("-")[0];
  const swatch = element("i", { class: `swatch m-${family}`, "aria-hidden": "true" });
  const meaning = element("span", { class: "meaning" }, model.meaning);
  return element("span", { class: "method" }, swatch, element("b", {}, model.name), " ", meaning);
}
