// The page: cards, the drawing, the table of layers, and what else the report has. Everything is made here, and text is only ever text.
const report = JSON.parse(document.getElementById("report").textContent);
const main = document.getElementById("main");
function make(tag, parent, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (kind) element.className = kind;
  if (parent) parent.append(element);
  return element;
}
const known = value => value !== undefined && value !== null;
const whole = value => known(value) ? Math.round(value).toLocaleString("en") : "";
const fixed = (value, digits) => known(value) ? value.toFixed(digits) : "";
const percent = value => known(value) ? (100 * value).toFixed(1) + "%" : "";
const figures = value => value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4 ? value.toExponential(2) : String(+value.toPrecision(3));
// Three figures and a prefix: 1.06 G.
function scaled(value, unit = "", steps = ["", "k", "M", "G", "T", "P"]) {
  if (!known(value)) return "";
  let step = 0;
  while (Math.abs(value) >= 999.5 && step + 1 < steps.length) { value /= 1000; step += 1; }
  const text = value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3);
  return text + (steps[step] + unit ? "\u2009" + steps[step] + unit : "");
}
const bytes = value => scaled(value, "B");
const time = ms => known(ms) ? scaled(ms * 1e6, "s", ["n", "µ", "m", ""]) : "";
const times = value => value >= 100 ? whole(value) : value.toPrecision(3);

const layers = report.layers || [], steps = report.steps || [];
const accuracies = new Map(((report.repair || {}).accuracies || []).map(layer => [layer.name, layer]));
const compared = new Map(((report.compare || {}).layers || []).map(layer => [layer.name, layer]));
const short = shortener(steps.map(step => step.name)), of_step = new Map(layers.map(layer => [layer.step, layer]));
for (const layer of layers) {
  // A sum of several layers is one step; each was fitted by itself.
  const fits = layer.name.split(" + ").map(name => accuracies.get(name)).filter(known), beside = compared.get(layer.name) || {};
  const worst = key => fits.length ? Math.max(...fits.map(fit => fit[key])) : undefined;
  layer.short = short.get(layer.name) || layer.name;
  layer.form = layer.ternary ? (layer.planes > 1 && !layer.name.includes(" + ") ? layer.planes + " planes" : layer.scale || "no scale") : "float";
  layer.colour = !layer.ternary ? "var(--float)" : layer.form.endsWith("planes") ? "var(--several)" : "var(--one)";
  layer.error = worst("error"); layer.error_rounded = worst("error_rounded");
  layer.sqnr_db = beside.sqnr_db; layer.cosine = beside.cosine;
  layer.multiplications = layer.multiplications_kernel + layer.multiplications_epilogue;
  // Weights of a sum of products are several; planes of one weight look alike.
  const shapes = [...new Set((layer.shapes || [layer.shape]).map(sizes => sizes.join("×")))];
  layer.sizes = layer.op + " " + shapes.join(" + ");
  const kernels = [...new Set(shapes.map(sizes => sizes.split("×").slice(2).join("×") || "linear"))];
  const [out, inside] = layer.op === "conv" ? layer.shape : [layer.shape[1], layer.shape[0]];
  layer.geometry = kernels.join(" + ") + (shapes.length > 1 ? ` → ${out}` : inside === 1 && layer.op === "conv" ? `  ${out} channels` : `  ${inside} → ${out}`);
}

const head = make("header", main);
make("p", head, "twnc report", "soft over");
make("h1", head, report.network || "A network");
make("p", head, `Sizes that are open count as 1. Times are the fastest of some runs on noise, with one thread${report.isa ? " of " + report.isa : ""}, on the machine that wrote this.`, "soft");
const cards = make("div", main, null, "cards");
function card(name, value, more) {
  if (!value) return;
  const box = make("div", cards, null, "card");
  make("span", box, name); make("b", box, value);
  if (more) make("span", box, more);
}
const totals = report.totals || {}, ternary = layers.filter(layer => layer.ternary).length;
const estimates = steps.map(step => step.estimate_ms).filter(known), ratio = totals.multiplications_float_network / Math.max(totals.multiplications, 1);
card("model.bin", bytes(report.bytes), report.bytes_onnx ? `ONNX file: ${bytes(report.bytes_onnx)}, ${times(report.bytes_onnx / report.bytes)} times as much` : `${whole(report.bytes)} bytes`);
card("ternary layers", `${ternary} of ${layers.length}`, ternary < layers.length ? `${layers.length - ternary} float` : "none is float");
card("multiplications", scaled(totals.multiplications), ratio >= 1.1 ? `float network: ${times(ratio)} times as many` : "as in the float network");
card("additions", scaled(totals.additions), "of an inference");
card("a run", time(report.time_ms), estimates.length ? `${time(estimates.reduce((a, b) => a + b, 0))} expected of ${estimates.length} steps` : null);
if (report.compare) {
  const found = report.compare;
  card("same class as float", percent(found.agreement), `on ${whole(found.samples)} samples`);
  card("top-1", percent(found.top1), known(found.top1_float) ? `float network: ${percent(found.top1_float)}` : null);
  card("signal to noise", known(found.sqnr_db) ? fixed(found.sqnr_db, 1) + " dB" : "exact", `cosine ${fixed(found.cosine, 4)}`);
}
for (const output of (report.repair || {}).outputs || []) {
  const many = report.repair.outputs.length > 1 ? output.name + ": " : "";
  if (known(output.agreement)) card(many + "same class as float", percent(output.agreement), `only rounded: ${percent(output.agreement_rounded)}; ${report.repair.held_out} samples held out`);
  if (known(output.right)) card(many + "right", percent(output.right), `float network: ${percent(output.right_float)}`);
  if (known(output.sqnr_db)) card(many + "signal to noise", fixed(output.sqnr_db, 1) + " dB", `only rounded: ${fixed(output.sqnr_db_rounded, 1)} dB`);
}

make("h2", main, "Operations of an inference");
make("p", main, "The float network multiplies and adds once for each weight and place; the ternary one adds where a weight is not zero, and multiplies by scales.", "lead");
const pairs = make("div", main, null, "pair"), most = Math.max(totals.multiplications_float_network, totals.multiplications, totals.additions, 1);
for (const [name, value, colour] of [["multiplications, float network", totals.multiplications_float_network, "var(--float)"], ["multiplications", totals.multiplications, "var(--one)"], ["additions", totals.additions, "var(--several)"]]) {
  make("span", pairs, name);
  const bar = make("i", pairs);
  bar.style.width = 100 * (value || 0) / most + "%"; bar.style.background = colour;
  make("span", pairs, scaled(value)).title = whole(value);
}

// The network, block by block.
const slowest = Math.max(...steps.map(step => step.time_ms || 0), 1e-9), all_time = report.time_ms || 0;
const small = steps.length > 400, groups = blocks(steps, short, small ? 24 : 5);
function look(number, named) {
  const step = steps[number], layer = of_step.get(number);
  const title = [step.name, layer ? `${layer.sizes}, ${layer.form}, ${bytes(layer.bytes)}` : step.kind, step.kernel, known(step.time_ms) ? `${time(step.time_ms)}${known(step.estimate_ms) ? `, ${time(step.estimate_ms)} expected` : ""}` : ""].filter(Boolean).join("\n");
  const share = (step.time_ms || 0) / slowest;
  if (!layer) return { label: clipped(step.kind, 12), colour: "var(--other)", fill: false, share, title };
  const words = layer.short.split(" + ").pop().split(/[\/.:]/);
  return { label: clipped(words[named ? words.length - 1 : 0], 14), under: layer.geometry, colour: layer.colour, fill: true, share, title };
}
if (steps.length) {
  make("h2", main, "The network");
  make("p", main, "From left to right, block by block. A line under a step is its share of the slowest step's time; dashed: a value from an earlier block. A click leads to the layer.", "lead");
  const legend = make("div", main, null, "legend");
  for (const [colour, text] of [["var(--one)", "ternary, one plane a layer"], ["var(--several)", "ternary, several planes"], ["var(--float)", "float"], ["var(--other)", "no layer"]]) {
    const entry = make("span", legend);
    make("i", entry).style.background = colour; entry.append(text);
  }
  const flow = make("div", main, null, "flow");
  for (const group of groups) {
    const block = make("div", flow, null, "block"), title = make("p", block);
    make("b", title, group.name).title = group.name;
    const spent = group.steps.reduce((sum, step) => sum + (steps[step].time_ms || 0), 0);
    if (all_time) make("span", title, percent(spent / all_time));
    make("div", block).append(drawn(group.steps, steps, step => look(step, group.named), small));
  }
  flow.onclick = event => {
    const node = event.target.closest("[data-step]"), layer = node && of_step.get(+node.dataset.step);
    if (layer) show(layer);
  };
}

function bars(histogram, colour) {
  const counts = histogram.counts, most = Math.max(...counts, 1), width = 64, height = 20, step = width / counts.length;
  const svg = shape("svg", null, { width, height, role: "img" });
  svg.style.marginLeft = "auto";
  shape("title", svg, {}, `${figures(histogram.least)} to ${figures(histogram.most)}: ${counts.map(whole).join(", ")}`);
  shape("rect", svg, { x: 0, y: height - 0.5, width, height: 0.5, fill: "var(--other)" });
  counts.forEach((count, i) => shape("rect", svg, { x: i * step, y: height - count / most * height, width: Math.max(step - 1, 1), height: count / most * height, fill: colour }));
  return svg;
}
function amount(cell, text, share) {
  if (!text) return make("span", cell, "–", "none");
  cell.append(text);
  if (share > 0) make("span", cell, null, "share").style.width = Math.max(2, 56 * share) + "px";
}
const top_of = key => Math.max(...layers.map(layer => layer[key] || 0), 1e-12);
const column = (name, key, text, share) => [name, layer => layer[key], (cell, layer) => amount(cell, text(layer[key]), share ? (layer[key] || 0) / top_of(key) : 0)];
const columns = [
  ["layer", layer => layer.short, (cell, layer) => {
    const name = make("button", cell, layer.short);
    name.title = layer.name; name.onclick = () => { layer.open = !layer.open; fill(); };
    make("span", cell, layer.sizes, "soft");
  }],
  ["form", layer => layer.form, (cell, layer) => { make("span", cell, layer.form, "tag").style.color = layer.colour; }],
  column("size", "bytes", bytes, true),
  column("zeros", "sparsity", percent),
  ["weights", layer => layer.weights, (cell, layer) => layer.weight_histogram ? cell.append(bars(layer.weight_histogram, layer.colour)) : amount(cell)],
  ["scales α", layer => (layer.scale_histogram || {}).most, (cell, layer) => {
    const found = layer.scale_histogram;
    if (!found) return amount(cell);
    if (found.least === found.most) return amount(cell, figures(found.most));
    cell.append(bars(found, layer.colour));
    make("span", cell, `${figures(found.least)} to ${figures(found.most)}`, "range");
  }],
  column("additions", "additions", scaled, true),
  column("multiplications", "multiplications", scaled, true),
  ["error", layer => layer.error, (cell, layer) => {
    amount(cell, known(layer.error) ? figures(layer.error) : "", (layer.error || 0) / top_of("error"));
    if (known(layer.error_rounded)) make("span", cell, `rounded ${figures(layer.error_rounded)}`, "range");
  }],
  column("SQNR", "sqnr_db", value => known(value) ? fixed(value, 1) + " dB" : ""),
  column("cosine", "cosine", value => fixed(value, 4)),
  column("time", "time_ms", time, true),
  column("expected", "estimate_ms", time),
].filter(([, value]) => layers.some(layer => known(value(layer))));
make("h2", main, "Layers");
make("p", main, "Columns sort; a name opens what else is known of its layer. Weights: how many are −1, 0 and +1, or a histogram of float ones. Errors: squared error of what comes of the layer, relative to the float network's, repaired and only rounded.", "lead");
const control = make("div", main, null, "control");
const filter = make("input", control); filter.type = "search"; filter.placeholder = "filter names"; filter.setAttribute("aria-label", "layers whose name contains");
const kind = make("select", control); kind.setAttribute("aria-label", "form");
[["all", "all layers"], ["ternary", "ternary"], ["float", "float"]].forEach(([value, text]) => { make("option", kind, text).value = value; });
const order = make("button", control, "network order"); order.onclick = () => { sorted = null; mark(); fill(); };
const shown_count = make("span", control, null, "soft");
const table = make("table", make("div", main, null, "scroll"), null, "layers"), heads = make("tr", make("thead", table)), body = make("tbody", table);
let sorted = null, falling = false;
const is_text = name => name === "layer" || name === "form";
columns.forEach(([name], i) => {
  make("button", make("th", heads, null, is_text(name) ? "text" : ""), name).onclick = () => {
    falling = sorted === i ? !falling : !is_text(name); sorted = i; mark(); fill();
  };
});
function mark() {
  [...heads.children].forEach((cell, i) => i === sorted ? cell.setAttribute("aria-sort", falling ? "descending" : "ascending") : cell.removeAttribute("aria-sort"));
}
function fill() {
  body.replaceChildren();
  const shown = layers.filter(layer => layer.name.toLowerCase().includes(filter.value.toLowerCase()) && (kind.value === "all" || layer.ternary === (kind.value === "ternary")));
  shown_count.textContent = shown.length === layers.length ? "" : `${shown.length} of ${layers.length}`;
  if (sorted !== null) {
    const value = columns[sorted][1];
    const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : (known(a) ? a : -Infinity) - (known(b) ? b : -Infinity);
    shown.sort((a, b) => (falling ? -1 : 1) * compare(value(a), value(b)));
    return shown.forEach(row);
  }
  // In the network's order the blocks of the drawing head their layers, unless each has but one.
  const inside = new Map(groups.map(group => [group, shown.filter(layer => group.steps.includes(layer.step))]));
  const heading = groups.length < layers.length && steps.length <= 5000;
  if (!heading) return shown.forEach(row);
  for (const [group, members] of inside) {
    if (!members.length) continue;
    const line = make("tr", body, null, "group"), sum = key => members.reduce((sum, layer) => sum + (layer[key] || 0), 0);
    columns.forEach(([name]) => {
      const text = { layer: group.name, size: bytes(sum("bytes")), additions: scaled(sum("additions")), multiplications: scaled(sum("multiplications")), time: all_time ? time(sum("time_ms")) : "", expected: sum("estimate_ms") ? time(sum("estimate_ms")) : "" }[name];
      if (name === "form") return;
      const cell = make("td", line);
      make("span", cell, text).title = name === "layer" ? text : "";
      if (name === "layer") cell.colSpan = 2;
    });
    members.forEach(row);
  }
}
function row(layer) {
  const line = make("tr", body, null, layer.found ? "found" : "");
  layer.line = line;
  columns.forEach(([name, , put]) => put(make("td", line, null, is_text(name) ? "text" : ""), layer));
  if (!layer.open) return;
  const cell = make("td", make("tr", body, null, "more")), list = make("dl", cell), step = steps[layer.step] || {};
  cell.colSpan = columns.length;
  const code = layer.code, kernel = code && `${whole(code.instructions)} instructions, ${whole(code.multiplying)} multiply, ${whole(code.epilogue)} multiply when the sum is finished, ${whole(code.calls)} calls`;
  const facts = [["name", layer.name], ["in the file", layer.in_file], ["recognised", layer.recognised], [layer.ternary ? "rounded, for it was not ternary" : "not ternary", layer.why_not],
    ["size", `${whole(layer.bytes)} bytes, ${whole(layer.weights)} weights at ${layer.bits_per_weight} bits`], ["additions", whole(layer.additions)],
    ["multiplications", `${whole(layer.multiplications_kernel)} in the sum, ${whole(layer.multiplications_epilogue)} after it`], ["kernel", step.kernel], ["code", kernel],
    ["reads", (step.reads || []).map(read => steps[read].name).join(", ")]];
  for (const [name, value] of facts) if (value) { make("dt", list, name); make("dd", list, value); }
}
function show(layer) {
  filter.value = ""; kind.value = "all"; sorted = null; mark();
  layers.forEach(other => { other.found = other === layer; });
  fill();
  layer.line.scrollIntoView({ block: "center" });
}
filter.oninput = fill; kind.onchange = fill; fill();

const frontier = (report.repair || {}).frontier;
if (frontier) {
  make("h2", main, "Size against error");
  make("p", main, "Each point gives every layer one form. The line is what is expected where errors add up; filled points were fitted as a whole and measured.", "lead");
  main.append(curve(frontier));
  const list = make("table", make("div", main, null, "scroll")), first = make("tr", make("thead", list));
  ["size", "error", "SQNR", "same class", "right", "forms of layers"].forEach((name, i) => make("th", first, name, i === 5 ? "text" : ""));
  const rows = make("tbody", list);
  frontier.points.forEach((point, i) => {
    if (!point.measured && i !== frontier.chosen && i % Math.ceil(frontier.points.length / 16)) return;
    const line = make("tr", rows, null, i === frontier.chosen ? "found" : ""), measured = point.measured || {};
    const forms = Object.entries(point.forms).map(([form, count]) => `${count} ${form}`).join(", ");
    [(i === frontier.chosen ? "chosen: " : "") + bytes(point.bytes), figures(point.error), known(measured.sqnr_db) ? fixed(measured.sqnr_db, 1) + " dB" : "", percent(measured.agreement), percent(measured.right)].forEach(text => amount(make("td", line), text));
    make("td", line, forms, "text wrap");
  });
}
function curve({ points, chosen }) {
  const width = 720, height = 260, left = 56, bottom = 34, sizes = points.map(point => Math.log(Math.max(point.bytes, 1)));
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)], high = Math.max(...points.map(point => point.error), 1e-12);
  const at = (point, i) => [left + (width - left - 16) * (sizes[i] - least) / Math.max(most - least, 1e-9), 12 + (height - bottom - 12) * (1 - point.error / high)];
  const svg = shape("svg", null, { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.style.maxWidth = width + "px"; svg.style.width = "100%"; svg.style.marginBottom = "12px";
  for (const part of [0, 0.5, 1]) {
    const y = 12 + (height - bottom - 12) * (1 - part);
    shape("line", svg, { x1: left, x2: width - 16, y1: y, y2: y, stroke: "var(--line)" });
    shape("text", svg, { x: left - 8, y: y + 4, "text-anchor": "end", class: "soft" }, figures(high * part));
    const size = Math.exp(least + (most - least) * part);
    shape("text", svg, { x: left + (width - left - 16) * part, y: height - 14, "text-anchor": part === 1 ? "end" : part ? "middle" : "start", class: "soft" }, bytes(size));
  }
  shape("polyline", svg, { points: points.map((point, i) => at(point, i).join(",")).join(" "), fill: "none", stroke: "var(--other)", "stroke-width": 1.5 });
  points.forEach((point, i) => {
    const [cx, cy] = at(point, i), picked = i === chosen;
    if (!point.measured && !picked) return;
    const dot = shape("circle", svg, { cx, cy, r: picked ? 6 : 4, fill: picked ? "var(--float)" : "var(--one)" });
    shape("title", dot, {}, `${bytes(point.bytes)}, error ${figures(point.error)}`);
    if (picked) shape("text", svg, { x: cx + 10, y: cy - 8 }, "chosen");
  });
  return svg;
}

const remarks = report.remarks || [], passes = report.passes || [];
if (passes.length) {
  make("h2", main, "Passes");
  make("p", main, "What each did and said, in their order.", "lead");
  for (const pass of passes) {
    const own = remarks.filter(remark => remark.pass === pass.pass);
    if (!own.length && !pass.changes) continue;
    const box = make("details", main), line = make("summary", box, pass.pass + " ");
    make("span", line, `${whole(pass.changes)} change${pass.changes === 1 ? "" : "s"}, ${time(pass.ms)}` + (own.length ? `, ${own.length} remark${own.length > 1 ? "s" : ""}` : ""), "soft");
    if (!own.length) continue;
    const list = make("table", make("div", box, null, "scroll")), rows = make("tbody", list);
    for (const remark of own) {
      const said = make("tr", rows);
      make("td", said, short.get(remark.layer) || remark.layer, "text wrap").title = remark.layer || "";
      make("td", said, remark.kind, "text soft"); make("td", said, remark.message, "text wrap");
    }
  }
}
