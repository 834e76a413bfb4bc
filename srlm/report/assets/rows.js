// The browser of rows: filters, a list that is paged, and one row whole, its answers side by side.

const PAGE = 25;
const LONG = 240; // characters of an answer that needs a wide column
const SORTS = [["", "newest model first"], ["margin", "margin"], ["score", "score"], ["length", "length"], ["disagreement", "disagreement"]];
const KINDS = [["", "all kinds"], ["rollout", "new instructions"], ["answer", "held-out prompts"]];

const keyOf = (item) => `${item.model}/${item.kind}/${item.id}`;

class Browser {
  constructor(root, data, ask, remember) {
    Object.assign(this, { root, data, ask, remember, query: {}, start: 0, page: null, selected: 0, asked: 0, judgements: true });
  }

  build() {
    const models = this.data.models.map((model) => [model.model, model.model]);
    this.search = el("input", { type: "search", placeholder: "Search prompts, answers, judgements", "aria-label": "Search", autocomplete: "off", spellcheck: "false" });
    this.fields = {
      model: this.choice("Model", [["", "all models"], ...models]), kind: this.choice("Kind", KINDS),
      outcome: this.choice("Outcome", [["", "all outcomes"]]), sort: this.choice("Sort by", SORTS),
    };
    this.ascending = el("button", { type: "button", class: "quiet", "aria-pressed": "false", title: "Lowest first", on: { click: () => this.change({ ascending: !this.query.ascending }) } }, "↓");
    this.unparsed = el("input", { type: "checkbox", on: { change: () => this.change({ unparsed: this.unparsed.checked }) } });
    let waiting = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.change({ text: this.search.value }), 150);
    });
    this.count = el("p", { class: "muted count", role: "status" });
    this.list = el("ul", { class: "list", role: "listbox", "aria-label": "Rows", tabindex: "0" });
    this.position = el("span", { class: "muted" });
    this.back = el("button", { type: "button", class: "quiet", title: "Previous page (p)", on: { click: () => this.turn(-1) } }, "‹ Previous");
    this.next = el("button", { type: "button", class: "quiet", title: "Next page (n)", on: { click: () => this.turn(1) } }, "Next ›");
    this.detail = el("article", { class: "detail", tabindex: "-1", "aria-label": "Row" });
    this.root.replaceChildren(
      el("div", { class: "filters" }, this.search, Object.values(this.fields), this.ascending, el("label", { class: "check" }, this.unparsed, "with unparsed judgements")),
      ...sampled(this.data),
      el("div", { class: "panes" }, el("div", { class: "side" }, this.count, this.list, el("div", { class: "pager" }, this.back, this.position, this.next)), this.detail),
    );
  }

  choice(label, options) {
    const field = el("select", { "aria-label": label, on: { change: () => this.change({ [this.nameOf(field)]: field.value }) } });
    field.append(...options.map(([value, text]) => el("option", { value }, text)));
    return field;
  }

  nameOf(field) {
    return Object.keys(this.fields).find((name) => this.fields[name] === field);
  }

  // Ask anew after a change of the query; the first row is then shown.
  change(part) {
    this.query = { ...this.query, ...part };
    return this.load(0, 0);
  }

  turn(by) {
    const start = this.start + by * PAGE;
    if (this.page && start >= 0 && start < this.page.matching) this.load(start, 0);
  }

  // Show the page from row `start` on, with its row `selected` (a number, or a key) open.
  async load(start, selected) {
    const number = ++this.asked;
    let page;
    try {
      page = await this.ask(this.query, start, PAGE);
    } catch (error) {
      this.count.textContent = `The server does not answer: ${error.message}. Is srlm view still running?`;
      return;
    }
    if (number !== this.asked) return; // a later question was asked meanwhile
    Object.assign(this, { page, start });
    this.showFilters();
    this.showList();
    const index = typeof selected === "number" ? selected : Math.max(0, page.items.findIndex((item) => keyOf(item) === selected));
    this.select(Math.min(index, page.items.length - 1));
  }

  showFilters() {
    const outcomes = [["", "all outcomes"], ...this.page.outcomes.map((outcome) => [outcome, outcome])];
    this.fields.outcome.replaceChildren(...outcomes.map(([value, text]) => el("option", { value }, text)));
    for (const [name, field] of Object.entries(this.fields)) field.value = this.query[name] || "";
    if (document.activeElement !== this.search) this.search.value = this.query.text || "";
    this.unparsed.checked = Boolean(this.query.unparsed);
    this.ascending.textContent = this.query.ascending ? "↑" : "↓";
    this.ascending.setAttribute("aria-pressed", String(Boolean(this.query.ascending)));
  }

  showList() {
    const { matching, total, items } = this.page;
    this.count.textContent = matching === total ? `${grouped(total)} rows` : `${grouped(matching)} of ${grouped(total)} rows`;
    this.position.textContent = items.length ? `${grouped(this.start + 1)} – ${grouped(this.start + items.length)}` : "";
    this.back.disabled = this.start === 0;
    this.next.disabled = this.start + PAGE >= matching;
    this.list.replaceChildren(...items.map((item, index) => listed(item, index, () => { this.select(index); this.open(); })));
    this.list.scrollTop = 0;
  }

  select(index) {
    this.selected = index;
    const item = this.page.items[index];
    [...this.list.children].forEach((node, number) => node.setAttribute("aria-selected", String(number === index)));
    if (item) {
      this.list.setAttribute("aria-activedescendant", `row-${index}`);
      reveal(this.list, this.list.children[index]);
      this.detail.replaceChildren(...whole(item, this.judgements, () => this.close()));
    } else {
      this.list.removeAttribute("aria-activedescendant");
      this.detail.replaceChildren(el("p", { class: "muted" }, "No row matches."));
    }
    this.detail.scrollTop = 0;
    this.remember({ ...this.query, start: this.start || "", row: item ? keyOf(item) : "" });
  }

  step(by) {
    if (!this.page) return;
    const index = this.selected + by;
    if (index >= 0 && index < this.page.items.length) this.select(index);
    else if (by > 0 && this.start + PAGE < this.page.matching) this.load(this.start + PAGE, 0);
    else if (by < 0 && this.start > 0) this.load(this.start - PAGE, PAGE - 1);
  }

  // On a small screen the row covers the list until it is closed.
  open() { this.root.classList.add("open"); }
  close() { this.root.classList.remove("open"); }

  toggleJudgements() {
    this.judgements = !this.judgements;
    for (const one of this.detail.querySelectorAll("details")) one.open = this.judgements;
  }

  restore(state) {
    const { start, row, ...query } = state;
    for (const name of ["unparsed", "ascending"]) if (query[name]) query[name] = true;
    this.query = query;
    return this.load(Math.max(0, Math.floor(Number(start) || 0)), row || 0);
  }
}

// Scroll the list alone: scrollIntoView would move the page, too.
function reveal(list, node) {
  const outer = list.getBoundingClientRect(), inner = node.getBoundingClientRect();
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

function sampled(data) {
  if (data.live) return [];
  const shown = data.sources.reduce((sum, source) => sum + source.shown, 0);
  const total = data.sources.reduce((sum, source) => sum + source.total, 0);
  return shown < total ? [el("p", { class: "note" }, `To stay small, this page holds only a sample: ${grouped(shown)} of ${grouped(total)} rows. `, el("code", {}, "srlm view"), " shows all of them.")] : [];
}

const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
const outcomeOf = (item) => el("span", { class: item.outcome === "pair" ? "chip chosen" : "chip" }, item.outcome ?? HELD_OUT);

function listed(item, index, pick) {
  const last = item.messages[item.messages.length - 1];
  return el(
    "li", { role: "option", id: `row-${index}`, on: { click: pick } },
    el("p", { class: "prompt" }, last ? last.content.slice(0, 240) : NOTHING),
    el("p", { class: "muted facts" }, el("span", { class: "chip model" }, item.model), outcomeOf(item), el("span", {}, `score ${fixed(2)(item.score)}`), el("span", {}, `margin ${fixed(2)(item.margin)}`)),
  );
}

function whole(item, open, close) {
  const facts = [["mean score", fixed(2)(item.score)], ["margin", fixed(2)(item.margin)], ["mean length", `${grouped(item.length)} characters`], ["disagreement", fixed(2)(item.disagreement)]];
  const pair = item.pair;
  const elsewhere = pair ? ["chosen", "rejected"].filter((side) => pair[side] === null) : [];
  return [
    el("button", { type: "button", class: "quiet close", on: { click: close } }, "‹ List"),
    el("h2", {}, item.id), el("p", { class: "facts" }, el("span", { class: "chip model" }, item.model), outcomeOf(item), facts.map(([name, value]) => el("span", { class: "muted" }, `${name} ${value}`))),
    el("div", { class: "conversation" }, item.messages.map((message) => el("div", { class: "turn" }, el("p", { class: "role muted" }, message.role), el("p", { class: "text" }, message.content)))),
    el("div", { class: item.candidates.some((candidate) => candidate.text.length > LONG) ? "answers long" : "answers" },
      item.candidates.map((candidate, index) => answer(candidate, index, pair ? ["chosen", "rejected"].find((side) => pair[side] === index) : null, open)),
      elsewhere.map((side) => el("section", { class: `answer ${side}` }, el("p", { class: "band" }, `${side}, from another model`), el("p", { class: "score" }, fixed(2)(pair[`${side}_score`])), el("p", { class: "text" }, pair[`${side}_text`])))),
    item.candidates.length === 0 && el("p", { class: "muted" }, "No answers."),
  ].filter(Boolean);
}

function answer(candidate, index, side, open) {
  const truth = Object.entries(candidate.truth || {});
  return el(
    "section", { class: side ? `answer ${side}` : "answer", "aria-label": `Answer ${index + 1}${side ? ", " + side : ""}` },
    el("p", { class: "band" }, `answer ${index + 1}${side ? " · " + side : ""}`),
    el("p", { class: "score" }, fixed(2)(candidate.score), candidate.judgements.map((judgement) => el("span", { class: `pill v${Math.min(5, Math.max(0, Math.floor(judgement.score ?? -1)))}` + (judgement.score === null ? " none" : "") }, judgement.score === null ? "?" : short(judgement.score)))),
    el("p", { class: "text" }, candidate.text || "(empty)"),
    el("p", { class: "muted small" }, `${counted(candidate.text.length, "character")}, ${counted(candidate.tokens, "token")}${candidate.finish === "stop" ? "" : ", ended by " + candidate.finish}`),
    truth.length > 0 && el("p", { class: "small truth" }, el("span", { class: "muted" }, "ground truth "), truth.map(([name, value]) => el("span", { class: "chip" }, `${words(name)} ${short(value)}`))),
    candidate.judgements.map((judgement, number) => el(
      "details", { open },
      el("summary", {}, `judgement ${number + 1}: ${judgement.score === null ? "not parsed" : short(judgement.score)}`, (judgement.flags || []).map((flag) => el("span", { class: "chip" }, flag))),
      el("p", { class: "text judgement" }, judgement.text),
      judgement.swapped && [el("p", { class: "muted small" }, "in the other order"), el("p", { class: "text judgement" }, judgement.swapped)],
    )),
  );
}
