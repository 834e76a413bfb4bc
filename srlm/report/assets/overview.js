// The overview: the latest figures, a chart for each question, and a table with all figures.

const metric = (models, name) => models.map((model) => { const value = at(model, name); return known(value) ? value : null; });
const any = (values) => values.some(known);

function overview(data) {
  const models = data.models, names = models.map((model) => model.model);
  const cards = [
    answersCard(models, names), judgeCard(models, names), scoresCard(models), lengthCard(models, names),
    outcomesCard(models), marginsCard(models), ...trainingCards(models), timesCard(models),
  ].filter(Boolean);
  return [
    el("div", { class: "tiles" }, tiles(models)),
    state(data),
    gates(data),
    baselineCard(data.baseline),
    el("div", { class: "cards" }, cards),
    figures(models),
    el("p", { class: "muted foot" }, `Made ${data.made} by srlm ${data.versions.srlm || ""} from ${data.run} (${data.model}), a run of ${data.created}.`),
  ];
}

// The latest value of the figures that matter most, with what changed since the first trained model.
function tiles(models) {
  const wanted = [
    ["Ground truth", "metrics.answers.truth_score", fixed(2), 1], ["Fully correct", "metrics.answers.truth_correct", percent, 100],
    ["Judge accuracy", "metrics.judge.pairwise_accuracy", percent, 100], ["Self-score", "metrics.answers.self_score", fixed(2), 1],
    ["Usable pairs", "metrics.answers.usable_pair_rate", percent, 100],
  ];
  return wanted.map(([title, name, show, scale]) => {
    const values = metric(models, name), last = values.findLastIndex(known);
    if (last < 0) return null;
    const since = last > 1 && known(values[1]) ? scale * (values[last] - values[1]) : null;
    const digits = scale === 1 ? 2 : 1;
    return el(
      "div", { class: "tile" },
      el("p", { class: "muted" }, title), el("p", { class: "big" }, show(values[last])),
      el("p", { class: "muted" }, models[last].model, known(since) && `, ${since < 0 ? "−" : "+"}${Math.abs(since).toFixed(digits)}${scale === 100 ? " pts" : ""} since M1`),
    );
  });
}

function state({ baseline, models }) {
  const parts = [...(baseline ? [{ model: "baseline", stages: baseline.stages }] : []), ...models];
  const open = parts.flatMap((part) => Object.entries(part.stages).filter(([, stage]) => stage.state !== "done").map(([name, stage]) => `${part.model} ${name} is ${stage.state}`));
  return open.length > 0 && el("p", { class: "note" }, `Not finished: ${open.join(", ")}. The page shows what there is so far.`);
}

function answersCard(models, names) {
  const series = [["ground truth", "truth_score"], ["its own judgement", "self_score"]]
    .map(([name, key]) => ({ name, values: metric(models, `metrics.answers.${key}`) })).filter((one) => any(one.values));
  return series.length > 0 && card({
    title: "How good are the answers?", caption: "Mean score of the answers to the held-out prompts, 0 to 5.",
    legend: series.map((one, index) => [one.name, `s${index}`]),
    chart: lineChart({ label: "Mean score of the answers by model", models: names, series, show: fixed(2), axis: (value, step) => value.toFixed(step < 0.1 ? 2 : 1) }),
  });
}

function judgeCard(models, names) {
  const values = metric(models, "metrics.judge.pairwise_accuracy");
  const intervals = models.map((model) => at(model, "metrics.judge.pairwise_interval") || null);
  return any(values) && card({
    title: "How well does it judge?", caption: "Share of held-out pairs that it orders as people did, with 95% intervals.",
    chart: lineChart({ label: "Pairwise accuracy of the judge by model", models: names, series: [{ name: "pairwise accuracy", values, intervals }], show: percent, axis: (value, step) => (100 * value).toFixed(step < 0.01 ? 1 : 0) + "%" }),
  });
}

function scoresCard(models) {
  const all = models.map((model) => at(model, "metrics.answers.score_histogram") || {});
  const scores = [...new Set(all.flatMap(Object.keys))].sort((a, b) => a - b);
  // Scores between the whole ones (a judge may give 4.5, or a mean) count with the whole one below.
  const rows = models.map((model, index) => {
    const counts = [0, 0, 0, 0, 0, 0];
    for (const [score, count] of Object.entries(all[index])) counts[Math.min(5, Math.max(0, Math.floor(score)))] += count;
    return { name: model.model, parts: counts.map((value, score) => ({ name: `score ${score}`, value, color: `v${score}` })) };
  }).filter((row) => row.parts.some((part) => part.value));
  return scores.length > 0 && card({
    title: "Which scores does it give?", caption: "Each model's single judgements of its own held-out answers.",
    legend: [0, 1, 2, 3, 4, 5].map((score) => [score, `v${score}`]),
    chart: stackedBars({ label: "Share of each score by model", rows, share: true, show: (value, sum) => percent(value / sum) }),
  });
}

function lengthCard(models, names) {
  const series = [["held-out answers", "metrics.answers.chars"], ["chosen", "aift.pairs.chosen_chars", "chosen"], ["rejected", "aift.pairs.rejected_chars", "rejected"]]
    .map(([name, key, color]) => ({ name, values: metric(models, key), color })).filter((one) => any(one.values));
  return series.length > 0 && card({
    title: "Do the answers get longer?", caption: "Mean length in characters: held-out answers, and both sides of the pairs that each model made.",
    legend: series.map((one, index) => [one.name, `s${one.color ?? index}`]),
    chart: lineChart({ label: "Mean length by model", models: names, series, show: grouped }),
  });
}

function outcomesCard(models) {
  const made = models.filter((model) => at(model, "aift.pairs"));
  const reasons = [...new Set(made.flatMap((model) => Object.keys(model.aift.pairs.dropped)))];
  const color = (index) => `r${Math.min(index, 4)}`;
  const rows = made.map((model) => ({
    name: model.model,
    parts: [{ name: "pair", value: model.aift.pairs.pairs, color: "chosen" }, ...reasons.map((reason, index) => ({ name: reason, value: model.aift.pairs.dropped[reason] || 0, color: color(index) }))],
  }));
  return rows.length > 0 && card({
    title: "What came of its instructions?", caption: "How many new instructions gave a preference pair, and why the others gave none.",
    legend: [["pair", "chosen"], ...reasons.slice(0, 5).map((reason, index) => [reason, color(index)])],
    chart: stackedBars({ label: "Outcome of the instructions by model", rows, share: true, show: (value) => grouped(value) }),
  });
}

function marginsCard(models) {
  const made = models.filter((model) => Object.keys(at(model, "rollouts.margins") || {}).length > 0);
  const rows = made.map((model) => {
    const counts = [0, 0, 0, 0, 0];
    for (const [margin, count] of Object.entries(model.rollouts.margins)) counts[Math.min(4, Math.floor(margin))] += count;
    return { name: model.model, parts: counts.map((value, index) => ({ name: `margin ${index} to ${index < 4 ? index + 1 : "5"}`, value, color: `v${index + 1}` })) };
  });
  return rows.length > 0 && card({
    title: "How clear are its preferences?", caption: "Pairs by margin: the chosen answer's score minus the rejected one's.",
    legend: ["below 1", "1 to 2", "2 to 3", "3 to 4", "4 or more"].map((name, index) => [name, `v${index + 1}`]),
    chart: stackedBars({ label: "Pairs by margin and model", rows, share: true, show: (value) => grouped(value) }),
  });
}

function trainingCards(models) {
  const trained = models.filter((model) => at(model, "training.course.step"));
  return trained.map((model) => {
    const course = model.training.course;
    const dpo = course.logps_chosen && course.logps_rejected;
    const series = dpo
      ? [{ name: "chosen", values: course.logps_chosen, color: "chosen" }, { name: "rejected", values: course.logps_rejected, color: "rejected" }]
      : course.loss ? [{ name: "loss", values: course.loss }] : [];
    const reached = dpo ? `Log-probabilities of the answers. Loss ${short(model.training.first.loss)} to ${short(model.training.last.loss)}.` : "Loss by step.";
    return series.length > 0 && card({
      title: `How was ${model.model} trained?`, caption: reached,
      legend: dpo ? series.map((one) => [one.name, `s${one.color}`]) : [],
      chart: curveChart({ label: `Training of ${model.model}`, steps: course.step, ends: [model.training.first.step, model.training.last.step], series, show: short }),
    });
  });
}

function timesCard(models) {
  const parts = [["train", "s0"], ["eval", "s1"], ["aift", "s2"], ["pairs", "s3"]];
  const color = (name) => (parts.find(([known]) => known === name) || [name, "s4"])[1];
  const rows = models.map((model) => {
    const stages = Object.entries(model.stages).filter(([, stage]) => known(stage.seconds));
    const seconds = stages.reduce((sum, [, stage]) => sum + stage.seconds, 0);
    return {
      name: model.model, note: duration(seconds),
      parts: stages.map(([name, stage]) => ({ name, value: stage.seconds, color: color(name), rate: stage.tokens_per_second })),
    };
  }).filter((row) => row.parts.length);
  const names = [...new Set(rows.flatMap((row) => row.parts.map((part) => part.name)))];
  return rows.length > 0 && card({
    title: "Where did the time go?", caption: "Seconds by stage, including loading, with tokens per second.", wide: true,
    legend: names.map((name) => [name, color(name)]),
    chart: stackedBars({ label: "Seconds by stage and model", rows, share: false, show: (value, sum, part) => duration(value) + (part.rate ? `, ${grouped(part.rate)} tok/s` : "") }),
  });
}

// Every number that metrics.json and the counts hold, whatever later versions add to it.
function figures(models) {
  const rows = new Map();
  const collect = (index, value, name) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) collect(index, inner, name ? `${name} › ${words(key)}` : words(key));
    } else if (value !== null && value !== undefined && name !== "model") {
      if (!rows.has(name)) rows.set(name, models.map(() => null));
      rows.get(name)[index] = Array.isArray(value) ? value.slice(0, 8).map((one) => (known(one) ? short(one) : one)).join(" to ") : known(value) ? short(value) : String(value);
    }
  };
  models.forEach((model, index) => {
    collect(index, model.metrics, ""); collect(index, model.aift, "AIFT");
    collect(index, at(model, "stages.train.info.survives"), "update that survives");
  });
  return rows.size > 0 && el(
    "details", { class: "card figures" }, el("summary", {}, `All figures (${rows.size})`),
    el("div", { class: "scroll" }, el(
      "table", {}, el("thead", {}, el("tr", {}, el("th", {}), models.map((model) => el("th", { scope: "col" }, model.model)))),
      el("tbody", {}, [...rows].map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, name), cells.map((cell) => el("td", {}, cell ?? NOTHING))))),
    )),
  );
}
