// The attention explorer: choose an example, a layer and a head; see every model look.

class Explorer {
  constructor(root) {
    this.root = root;
    this.state = { task: 0, example: 0, layer: 0, head: 0, over: "example", place: null };
    this.controls = {
      task: this.#select("task", "Task"),
      example: this.#select("example", "Example"),
      layer: this.#select("layer", "Layer, student – teacher"),
      head: this.#select("head", "Head"),
      over: this.#select("over", "KL in the grids"),
    };
    this.card = element("div", { class: "card" });
    this.grids = element("div", { class: "grids" });
    this.maps = element("div", {
      class: "maps",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "attention maps",
      "aria-label": "Attention maps. Arrow keys go from weight to weight, Escape leaves.",
    });
    this.readout = element("p", { class: "readout", role: "status" });
    this.#listen();
    const bar = element("div", { class: "controls" }, ...Object.values(this.controls).map((select) => select.parentNode));
    this.klScale = element("div");
    const weightScale = scaleLegend("b", "attention weight", (share) => String(Number((share ** 2).toFixed(2))));
    root.append(bar, this.card, this.grids, this.klScale, this.maps, this.readout, weightScale);
    this.#openTask();
  }

  get task() {
    return tasks[this.state.task];
  }

  get example() {
    return this.task.examples[this.state.example];
  }

  get students() {
    return this.task.models.filter((model) => model.kl);
  }

  #select(name, label) {
    const select = element("select", { id: `choose-${name}` });
    element("div", { class: `control ${name}` }, element("label", { for: select.id }, label), select);
    select.addEventListener("change", () => {
      this.state[name] = name === "over" ? select.value : Number(select.value);
      if (name === "task") this.#openTask();
      else if (name === "example") this.#openExample();
      else if (name === "over") this.#drawGrids();
      else this.#drawHead();
    });
    return select;
  }

  #fill(name, texts, hidden = false) {
    const select = this.controls[name];
    select.replaceChildren(...texts.map((text, value) => element("option", { value }, text)));
    select.parentNode.hidden = hidden;
  }

  #openTask() {
    const { task, students } = this;
    Object.assign(this.state, { example: 0, layer: 0, head: 0 });
    this.#fill("task", tasks.map((each) => each.task), tasks.length < 2);
    const said = (each) => (each.texts.length ? shortened(each.texts.join(" / "), 90) : `row ${each.row}`);
    this.#fill("example", task.examples.map((each, place) => `${place + 1}. ${said(each)} (${each.reason})`));
    this.#fill("layer", task.layer_map.map((teacher, layer) => `${layer + 1} – ${teacher}`));
    this.#fill("head", Array.from({ length: task.heads }, (_, head) => `${head + 1}`));
    this.#fill("over", [], !students.length);
    const choices = { example: "of this example", all: "mean over all validation rows" };
    this.controls.over.append(...Object.entries(choices).map(([value, text]) => element("option", { value }, text)));
    this.heatMaps = task.models.map((model) => new HeatMap(model));
    this.klGrids = students.map((model) => new KlGrid(model, (...chosen) => this.choose(...chosen)));
    this.maps.replaceChildren(...this.heatMaps.map((map) => map.node));
    this.grids.replaceChildren(...this.klGrids.map((grid) => grid.node));
    this.#start();
    this.#openExample();
  }

  /** Begin where the first student is worst. */
  #start() {
    const [first] = this.students;
    if (first) [this.state.layer, this.state.head] = worst(this.example.models[first.name].kl);
  }

  #openExample() {
    this.state.place = null;
    this.heatMaps.forEach((map) => map.setTokens(this.example.tokens));
    this.card.replaceChildren(...exampleCard(this.task, this.example));
    this.#drawGrids();
  }

  #drawGrids() {
    const found = this.students.map((model) => (this.state.over === "all" ? model : this.example.models[model.name]));
    const most = mostOf(found.map((each) => each.kl));
    this.klGrids.forEach((grid, place) => grid.setValues(found[place].kl, this.task.layer_map, most, found[place].total));
    const legend = scaleLegend("o", "KL to the teacher", (share) => (most * share ** 2).toFixed(2));
    this.klScale.replaceChildren(...(found.length ? [legend] : []));
    this.#drawHead();
  }

  /** Go to a head. from: the grid that has the keyboard, if one has. */
  choose(layer, head, from = null) {
    Object.assign(this.state, { layer, head });
    this.#drawHead(from);
  }

  #drawHead(from = null) {
    const { layer, head, task, example, over } = this.state;
    for (const [name, value] of Object.entries({ task, example, layer, head, over })) this.controls[name].value = value;
    this.klGrids.forEach((grid) => grid.select(layer, head, grid === from));
    const size = this.example.tokens.length;
    this.heatMaps.forEach((map) => {
      const seen = this.example.models[map.model.name];
      const number = seen.kl ? layer + 1 : this.task.layer_map[layer];
      const kl = seen.kl ? seen.kl[layer][head].toFixed(3) : null;
      const where = element("span", {}, `layer ${number}, head ${head + 1}`);
      const far = kl === null ? "to be copied" : element("span", { class: "far" }, "KL ", element("b", {}, kl));
      const said = `${map.model.name}, layer ${number}, head ${head + 1}${kl === null ? "" : `, KL ${kl}`}`;
      map.paint(headBytes(seen, layer, head, size), [methodName(map.model), element("span", { class: "place" }, where, far)], said);
    });
    this.#drawPoint();
  }

  #drawPoint() {
    const { place } = this.state;
    this.heatMaps.forEach((map) => map.point(place));
    if (place === null) {
      this.readout.textContent = "Point at a cell, or press arrow keys on the maps, to read its weights.";
      return;
    }
    const { tokens } = this.example;
    const [from, to] = [tokens[Math.floor(place / tokens.length)], tokens[place % tokens.length]];
    const weights = this.heatMaps.map((map) => `${map.model.name} ${weightText(map.bytes[place])}`);
    this.readout.textContent = `From ${from} to ${to}: ${weights.join(", ")}`;
  }

  #pointAt(place) {
    if (place === this.state.place) return;
    this.state.place = place;
    this.#drawPoint();
  }

  #listen() {
    const place = (event) => event.target.dataset.place;
    this.maps.addEventListener("pointerover", (event) => place(event) && this.#pointAt(Number(place(event))));
    this.maps.addEventListener("pointerleave", () => this.maps !== document.activeElement && this.#pointAt(null));
    this.maps.addEventListener("blur", () => this.#pointAt(null));
    this.maps.addEventListener("keydown", (event) => this.#pressed(event));
  }

  #pressed(event) {
    if (event.key === "Escape") this.#pointAt(null);
    const size = this.example.tokens.length;
    const at = this.state.place ?? 0;
    const next = moved(event.key, Math.floor(at / size), at % size, size, size);
    if (!next) return;
    event.preventDefault();
    this.#pointAt(this.state.place === null ? 0 : next[0] * size + next[1]);
  }
}

/** The example's texts, its label, and what each model predicts. */
function exampleCard(task, example) {
  const texts = example.texts.map((text) => element("blockquote", { dir: "auto" }, text));
  const about = [`Validation row ${example.row}, ${example.reason}.`];
  if (example.label !== null) about.push(" Its label is ", element("b", {}, String(example.label)), ".");
  const rows = task.models.map((model) => predictionRow(task, example, model));
  const list = element("ul", { class: task.labels.length ? "predictions" : "predictions scores" }, ...rows);
  return [element("div", { class: "texts" }, ...texts, element("p", { class: "aside" }, ...about)), list];
}

function predictionRow(task, example, model) {
  const { prediction, probabilities } = example.models[model.name];
  const row = element("li", {}, element("span", { class: "name" }, model.name));
  const share = probabilities ? Math.max(...probabilities) : null;
  const right = prediction === example.label;
  row.append(element("span", { class: "said" }, probabilities ? prediction : prediction.toFixed(3)));
  if (share === null) return row;
  const filled = element("i");
  filled.style.width = `${100 * share}%`;
  row.append(element("span", { class: "bar", "aria-hidden": "true" }, filled), element("span", { class: "share" }, share.toFixed(2)));
  const verdict = right ? "✓ right" : "✗ wrong";
  row.append(example.label === null ? element("span") : element("span", { class: right ? "right" : "wrong" }, verdict));
  return row;
}

/** The legend of a colour scale, whose steps are of the square root. text(share of the scale) names a step. */
function scaleLegend(scale, label, text) {
  const steps = Array.from({ length: LEVELS + 1 }, (_, level) => element("i", { class: `${scale}${level}` }));
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => element("span", {}, text(share)));
  const ramp = element("span", { class: "ramp", "aria-hidden": "true" }, ...steps);
  return element("div", { class: "scale" }, element("b", {}, label), ramp, element("span", { class: "marks" }, ...marks));
}

if (tasks.length) new Explorer(document.getElementById("explorer"));

// What is wider than its place says that it scrolls.
function sayWhatScrolls() {
  for (const box of document.querySelectorAll(".scroll")) {
    const note = box.nextElementSibling;
    if (note?.className === "scrolls") note.hidden = box.scrollWidth <= box.clientWidth;
  }
}
sayWhatScrolls();
addEventListener("resize", sayWhatScrolls);
document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", sayWhatScrolls));

// Paper has no clicks: what is folded is printed too.
const folded = () => document.querySelectorAll("details");
addEventListener("beforeprint", () => folded().forEach((part) => Object.assign(part, { was: part.open, open: true })));
addEventListener("afterprint", () => folded().forEach((part) => Object.assign(part, { open: part.was })));
