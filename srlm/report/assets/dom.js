// Small parts: elements, text, numbers. Data reaches the page through text nodes and attributes set one by one, only.

const SVG = "http://www.w3.org/2000/svg";
const NOTHING = "–";

// What can hide, reorder or restyle text is written out, as the terminal does it (srlm/console.py).
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function visible(text) {
  return String(text).replace(UNSAFE, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const known = (value) => typeof value === "number" && Number.isFinite(value);
const fixed = (digits) => (value) => (known(value) ? value.toFixed(digits) : NOTHING);
const percent = (value) => (known(value) ? (100 * value).toFixed(1) + "%" : NOTHING);
const grouped = (value) => (known(value) ? Math.round(value).toLocaleString("en") : NOTHING);
const short = (value) => (known(value) ? String(Number(value.toPrecision(4))) : NOTHING);

function duration(seconds) {
  if (!known(seconds)) return NOTHING;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// The value under a path of keys ("metrics.answers.chars"), or undefined.
const at = (data, path) => path.split(".").reduce((found, key) => (found && typeof found === "object" ? found[key] : undefined), data);
const words = (name) => String(name).replaceAll("_", " ");
