// Where rows come from: the page itself (a file on disk) or the server of `srlm view`. Both answer the same question:
// ask(query, start, count) -> {total, matching, outcomes, items}, as srlm/report/index.py defines it.

const HELD_OUT = "held out";

function rowText(item) {
  const judged = (candidate) => [candidate.text, ...candidate.judgements.flatMap((judgement) => [judgement.text, judgement.swapped || ""])];
  return [item.id, ...item.messages.map((message) => message.content), ...item.candidates.flatMap(judged)].join("\n").toLowerCase();
}

function embeddedRows(items) {
  const texts = items.map(rowText), newest = (item) => -Number(item.model.slice(1));
  const outcomes = [...new Set(items.map((item) => item.outcome ?? HELD_OUT))].sort();
  const passes = (query) => (item, index) =>
    (!query.text || texts[index].includes(query.text.toLowerCase())) && (!query.model || item.model === query.model) &&
    (!query.kind || item.kind === query.kind) && (!query.outcome || (item.outcome ?? HELD_OUT) === query.outcome) &&
    (!query.unparsed || item.unparsed > 0);
  const asWritten = (a, b) => newest(a) - newest(b) || (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
  const bySort = (name, sign) => (a, b) => (known(a[name]) && known(b[name]) ? sign * (a[name] - b[name]) : known(b[name]) - known(a[name]));
  return async (query, start, count) => {
    const found = items.filter(passes(query));
    const sign = query.ascending ? 1 : -1;
    found.sort(query.sort ? bySort(query.sort, sign) : query.ascending ? (a, b) => asWritten(b, a) : asWritten);
    return { total: items.length, matching: found.length, outcomes, items: found.slice(start, start + count) };
  };
}

function servedRows() {
  return async (query, start, count) => {
    const parameters = new URLSearchParams({ start, count });
    for (const [name, value] of Object.entries(query)) if (value) parameters.set(name, value === true ? "1" : value);
    const answer = await fetch(`rows?${parameters}`);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  };
}
