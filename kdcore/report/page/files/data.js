// The data of the page, numbers as text, and elements. Texts of the data only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";
const tasks = JSON.parse(document.getElementById("attention-data").textContent);

const layers = new Map(); // packed text -> bytes

/** The bytes of one head: from × to, row by row. `seen` is what a model makes of an example. */
function headBytes(seen, layer, head, size) {
  const text = seen.maps[layer];
  if (!layers.has(text)) layers.set(text, Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
  return layers.get(text).subarray(head * size * size, (head + 1) * size * size);
}

const byteLevel = (byte) => Math.round((byte / 255) * LEVELS);
const klLevel = (kl, most) => (most > 0 ? Math.round(Math.sqrt(Math.min(1, kl / most)) * LEVELS) : 0);

/** A packed weight as text: two digits are as exact as it is. */
function weightText(byte) {
  const weight = (byte / 255) ** 2;
  return weight < 0.001 ? "below 0.001" : String(Number(weight.toPrecision(2)));
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);

/** The place of the largest value of a table: [row, column]. */
function worst(values) {
  let found = [0, 0];
  values.forEach((row, layer) =>
    row.forEach((value, head) => {
      if (value > values[found[0]][found[1]]) found = [layer, head];
    }),
  );
  return found;
}

const mostOf = (tables) => Math.max(0, ...tables.flat(2));

/** A new HTML element; strings among the children become text. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** A new SVG element. */
function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
