// Puts the page together: data, theme, parts, keys, and the address that remembers where the reader is.

const KEYS = [
  ["1  2", "overview, rows"], ["/", "search"], ["j  k  or  ↓  ↑", "next row, previous row"], ["n  p  or  →  ←", "next page, previous page"],
  ["Enter", "open the row (small screens)"], ["Esc", "leave the search, close the row"], ["v", "show or hide judgements"], ["t", "light or dark"], ["?", "these keys"],
];

const data = JSON.parse(byId("data").textContent);
const rows = new Browser(byId("rows"), data, data.live ? servedRows() : embeddedRows(data.rows), (state) => address("rows", state));

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("srlm-theme", theme); } catch { /* a browser may keep nothing for files */ }
}

function startTheme() {
  let kept = null;
  try { kept = localStorage.getItem("srlm-theme"); } catch { /* as above */ }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}

function otherTheme() {
  const now = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
}

// "#/rows", not "#rows": browsers scroll to an element that the address names.
function address(part, state = {}) {
  const kept = new URLSearchParams(Object.entries(state).filter(([, value]) => value).map(([name, value]) => [name, value === true ? "1" : value]));
  history.replaceState(null, "", `#/${part}${kept.size ? "?" + kept : ""}`);
}

let built = false;

function show(part, state = {}) {
  for (const name of ["overview", "rows"]) {
    byId(name).hidden = name !== part;
    byId(`tab-${name}`).setAttribute("aria-current", String(name === part));
  }
  if (part === "overview") address(part);
  else if (!built) { built = true; rows.build(); rows.restore(state); }
  else rows.load(rows.start, rows.selected);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const typing = event.target.matches("input[type=search]"), choosing = event.target.matches("select");
  if (event.key === "Escape") { if (typing) event.target.blur(); else rows.close(); return; }
  if (typing && event.key === "Enter") { event.target.blur(); return; }
  if (typing || choosing) return;
  const browsing = !byId("rows").hidden;
  const moves = { j: () => rows.step(1), ArrowDown: () => rows.step(1), k: () => rows.step(-1), ArrowUp: () => rows.step(-1), n: () => rows.turn(1), ArrowRight: () => rows.turn(1), p: () => rows.turn(-1), ArrowLeft: () => rows.turn(-1), v: () => rows.toggleJudgements() };
  const others = { 1: () => show("overview"), 2: () => show("rows"), t: otherTheme, "?": () => byId("keys").showModal(), "/": () => { show("rows"); rows.search.focus(); rows.search.select(); } };
  if (event.key === "Enter" && browsing && event.target === rows.list) { rows.open(); return; }
  const act = others[event.key] || (browsing && moves[event.key]);
  if (act) { event.preventDefault(); act(); }
}

function start() {
  startTheme();
  const models = data.models;
  document.title = `srlm: ${visible(data.run)}`;
  byId("run").append(visible(data.run));
  byId("about").append(visible(`M0 to ${models[models.length - 1].model}, recipe ${data.recipe}, seed ${data.seed}`));
  byId("overview").append(...overview(data).filter(Boolean));
  byId("keys").append(
    el("h2", { id: "keys-title" }, "Keys"), el("dl", {}, KEYS.map(([name, does]) => [el("dt", {}, name), el("dd", {}, does)])),
    el("form", { method: "dialog" }, el("button", { class: "quiet" }, "Close")),
  );
  byId("tab-overview").addEventListener("click", () => show("overview"));
  byId("tab-rows").addEventListener("click", () => show("rows"));
  byId("theme").addEventListener("click", otherTheme);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  document.addEventListener("keydown", key);
  const [part, state] = location.hash.slice(2).split("?");
  show(part === "rows" ? "rows" : "overview", Object.fromEntries(new URLSearchParams(state || "")));
}

start();
