// What the two gates say of each model, which model is the best so far, and how a run built its EFT.

function gates({ models, best }) {
  const judged = models.filter((model) => at(model, "metrics.gate.findings") || model.doubts);
  if (!best && !judged.length) return null;
  return el(
    "section", { class: "card gates", "aria-labelledby": "gates-title" },
    el("h2", { id: "gates-title" }, best ? `Best so far: ${best.model}` : "What the gates say"),
    best && el("p", { class: "best muted" }, best.why),
    judged.length > 0 && el("dl", {}, judged.map((model) => [
      el("dt", {}, model.model), promotion(model.doubts), health(at(model, "metrics.gate")),
    ])),
  );
}

const verdict = (label, good) => el("span", { class: good ? "chip chosen" : "chip rejected" }, label);

// May the next model learn from this one's judgements? Nothing where that was not asked, as for the last model.
function health(gate) {
  if (!gate?.findings) return null;
  const passed = gate.findings.every((found) => found.waived);
  const unseen = gate.unmeasured || [];
  return el(
    "dd", { class: "health" }, "As a judge: ",
    verdict(passed ? "passed the health gate" : gate.accepted ? "accepted with --accept-judge" : "stopped the run", passed),
    el("ul", {}, gate.findings.map((found) => el("li", {}, found.text)),
      unseen.length > 0 && el("li", { class: "muted" }, `not measured, so not checked: ${unseen.join(", ")}`)),
  );
}

// Is it better than the model before it?
function promotion(doubts) {
  if (!doubts) return null;
  const promoted = doubts.every((found) => found.waived);
  return el(
    "dd", { class: "promotion" }, "As the next model: ", verdict(promoted ? "promoted" : "in doubt", promoted),
    el("ul", {}, doubts.map((found) => el("li", {}, found.text))),
  );
}

function baselineCard(baseline) {
  if (!baseline) return null;
  const eft = baseline.eft, scores = eft ? Object.keys(eft.scores_judged).sort((a, b) => a - b) : [];
  const seconds = Object.entries(baseline.stages).filter(([, stage]) => known(stage.seconds)).map(([name, stage]) => `${name} ${duration(stage.seconds)}`);
  return el(
    "section", { class: "card baseline", "aria-labelledby": "baseline-title" },
    el("h2", { id: "baseline-title" }, "EFT from ranked responses"),
    el("p", { class: "muted" }, eft
      ? `${grouped(eft.kept)} of ${grouped(eft.responses)} responses have a judgement that agrees with people and was kept; the baseline's pairwise accuracy is ${percent(eft.pairwise_accuracy)}. `
      : `${grouped(baseline.judged)} of ${grouped(baseline.ranked)} ranked responses have been judged. `, seconds.length > 0 && `Time: ${seconds.join(", ")}.`),
    eft && el("div", { class: "scroll" }, el(
      "table", {}, el("thead", {}, el("tr", {}, el("th", {}, "score"), scores.map((score) => el("th", { scope: "col" }, score)))),
      el("tbody", {}, ["judged", "agreeing", "kept"].map((name) => el("tr", {}, el("th", { scope: "row" }, name), scores.map((score) => el("td", {}, grouped(eft[`scores_${name}`][score] || 0)))))),
    )),
    eft && el("p", { class: "muted small" }, `Rule: ${eft.rule}`),
  );
}
