// Charts as SVG, drawn at the width they are given, so that their text keeps its size on a small screen.
// Colours are classes (s0, s1, ... for series; v0 to v5 for scores): the style sheet knows both themes.

const MARGIN = { top: 22, right: 16, bottom: 24, left: 40 };

// Round numbers from below `low` to above `high`, about `count` of them.
function ticks(low, high, count = 4) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count + 0.001);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function frame(width, height, label) {
  return svg("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": visible(label) });
}

function yAxis(root, width, height, values, show) {
  const marks = ticks(Math.min(...values), Math.max(...values));
  const low = marks[0], high = marks[marks.length - 1], step = marks[1] - low;
  const y = (value) => MARGIN.top + (1 - (value - low) / (high - low || 1)) * (height - MARGIN.top - MARGIN.bottom);
  for (const mark of marks) {
    root.append(
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(mark), y2: y(mark) }),
      svg("text", { class: "tick", x: MARGIN.left - 6, y: y(mark) + 4, "text-anchor": "end" }, show(mark, step)),
    );
  }
  return y;
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// One value per model and series: [{name, values: [number or null], intervals?: [[low, high] or null]}].
function lineChart({ label, models, series, show, axis = show }) {
  return (width) => {
    const height = 210, root = frame(width, height, label);
    const all = series.flatMap((one) => [...one.values, ...(one.intervals || []).flat()]).filter(known);
    const y = yAxis(root, width, height, all, axis);
    const inner = width - MARGIN.left - MARGIN.right - 48;
    const x = (index) => MARGIN.left + 24 + (models.length > 1 ? (index / (models.length - 1)) * inner : inner / 2);
    models.forEach((model, index) => root.append(svg("text", { class: "tick", x: x(index), y: height - 6, "text-anchor": "middle" }, model)));
    series.forEach((one, number) => {
      const color = `s${one.color ?? number}`;
      (one.intervals || []).forEach((interval, index) => {
        if (interval) root.append(svg("line", { class: `interval ${color}`, x1: x(index), x2: x(index), y1: y(interval[0]), y2: y(interval[1]) }));
      });
      const points = one.values.map((value, index) => [value, index]).filter(([value]) => known(value));
      root.append(svg("path", { class: `line ${color}`, d: path(points.map(([value, index]) => [x(index), y(value)])) }));
      for (const [value, index] of points) {
        // Of two series at one model the higher is named above its point, the lower below, so that the names part.
        const others = series.filter((other) => other !== one && known(other.values[index]));
        const below = others.some((other) => other.values[index] > value || (other.values[index] === value && series.indexOf(other) < number));
        root.append(svg("circle", { class: `dot ${color}`, cx: x(index), cy: y(value), r: 4 }, svg("title", {}, `${models[index]}, ${one.name}: ${show(value)}`)));
        if (series.length < 3) root.append(svg("text", { class: "value", x: x(index), y: below ? y(value) + 18 : y(at(one, `intervals.${index}.1`) ?? value) - 10, "text-anchor": "middle" }, show(value)));
      }
    });
    return root;
  };
}

// Curves over steps: [{name, values}], all over the same steps, which are means; `ends`: the first and the last step.
function curveChart({ label, steps, ends, series, show }) {
  return (width) => {
    const height = 190, root = frame(width, height, label);
    const y = yAxis(root, width, height, series.flatMap((one) => one.values), show);
    const last = steps[steps.length - 1], first = steps[0];
    const x = (step) => MARGIN.left + ((step - first) / (last - first || 1)) * (width - MARGIN.left - MARGIN.right);
    series.forEach((one, number) => {
      const line = svg("path", { class: `line curve s${one.color ?? number}`, d: path(one.values.map((value, index) => [x(steps[index]), y(value)])) });
      line.append(svg("title", {}, `${one.name}: ${show(one.values[0])} to ${show(one.values[one.values.length - 1])}`));
      root.append(line);
    });
    for (const [index, x, anchor] of [[0, MARGIN.left, "start"], [1, width - MARGIN.right, "end"]])
      root.append(svg("text", { class: "tick", x, y: height - 6, "text-anchor": anchor }, `step ${grouped(ends[index])}`));
    return root;
  };
}

// One horizontal bar per model, made of parts: [{name, parts: [{name, value, color}], note}]. `share`: each is 100% wide.
function stackedBars({ label, rows, share, show }) {
  return (width) => {
    const step = Math.min(48, Math.max(32, 160 / rows.length)), thick = step - 12;
    const left = 34, right = share ? 8 : 86, height = rows.length * step;
    const root = frame(width, height, label);
    const sums = rows.map((row) => row.parts.reduce((sum, part) => sum + part.value, 0));
    const most = Math.max(...sums, 1e-9), room = width - left - right;
    rows.forEach((row, index) => {
      const top = index * step + 6, middle = top + thick / 2 + 4, scale = room / ((share ? sums[index] : most) || 1);
      root.append(svg("text", { class: "tick strong", x: 0, y: middle }, row.name));
      let x = left;
      for (const part of row.parts) {
        const size = part.value * scale;
        const text = show(part.value, sums[index], part);
        root.append(svg("rect", { class: `block ${part.color}`, x, y: top, width: Math.max(size - 1, 0.5), height: thick, rx: 3 }, svg("title", {}, `${row.name}, ${part.name}: ${text}`)));
        if (part.text !== false && size > 8 * text.length + 10) root.append(svg("text", { class: `inside ${part.color}`, x: x + size / 2, y: middle, "text-anchor": "middle" }, text));
        x += size;
      }
      if (row.note) root.append(svg("text", { class: "tick", x: x + 6, y: middle }, row.note));
    });
    return root;
  };
}

// A card with title, caption, legend and a chart that is drawn anew when its width changes.
function card({ title, caption, legend = [], chart, wide = false }) {
  const holder = el("div", { class: "canvas" });
  let drawn = 0;
  const draw = () => {
    const width = Math.floor(holder.clientWidth);
    if (width > 0 && width !== drawn) holder.replaceChildren(chart((drawn = width)));
  };
  new ResizeObserver(draw).observe(holder);
  return el(
    "figure", { class: wide ? "card wide" : "card" },
    el("figcaption", {}, el("h2", {}, title), caption && el("p", { class: "muted" }, caption)),
    legend.length > 0 && el("ul", { class: "legend" }, legend.map(([name, color]) => el("li", {}, el("span", { class: `swatch ${color}` }), name))),
    holder,
  );
}
