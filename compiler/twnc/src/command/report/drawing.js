"use strict";
// The network as a drawing: its steps in blocks, each a small graph from left to right. Nothing here knows the page; what is drawn is returned.

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, parent, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}
const clipped = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

// Names of converters are lists of paths; the first path says enough. What all names begin with says nothing.
function shortener(names) {
  const firsts = names.map(name => name.split(" + ").map(part => part.split(";")[0].replace(/^\/+/, "")));
  const roots = firsts.flat().map(name => name.split("/").slice(0, -1)).filter(root => root.length);
  let shared = 0;
  while (roots.length > 1 && roots.every(root => root.length > shared && root[shared] === roots[0][shared])) shared += 1;
  const cut = name => name.includes("/") ? name.split("/").slice(shared).join("/") : name;
  return new Map(names.map((name, i) => [name, firsts[i].map(cut).join(" + ")]));
}

// Where a name stands in the hierarchy of names, its own last word left out.
const place = name => name.split(" + ").pop().split(";")[0].split(/[\/.:]+/).filter(word => word !== "").slice(0, -1);

// Steps in blocks: by the deepest level of their names at which blocks have two steps on average and none has most (`named`); where names
// tell nothing, between the places at which everything goes through one value, chains cut into blocks of `longest` steps.
function blocks(steps, short, longest) {
  const paths = steps.map(step => place(step.name)), deepest = Math.max(0, ...paths.map(path => path.length));
  for (let depth = Math.min(deepest, 32); depth > 0; depth -= 1) {
    const found = runs(steps, (a, b) => paths[a].slice(0, depth).join("/") === paths[b].slice(0, depth).join("/"));
    const largest = Math.max(...found.map(block => block.length));
    if (steps.length / found.length >= 2 && largest <= Math.max(8, steps.length / 2)) {
      const levels = found.map(block => paths[block[0]].slice(0, depth)).filter(path => path.length);
      let shared = 0;
      while (levels.length > 1 && levels.every(path => path.length > shared + 1 && path[shared] === levels[0][shared])) shared += 1;
      return found.map(block => ({ steps: block, name: paths[block[0]].slice(shared, depth).join(".") || span(block), named: true }));
    }
  }
  const last = steps.map((_, i) => i);
  steps.forEach((step, i) => step.reads.forEach(read => { last[read] = Math.max(last[read], i); }));
  const cut = [];
  let reach = 0;
  steps.forEach((_, i) => { cut[i] = reach <= i; reach = Math.max(reach, last[i]); });
  const parts = runs(steps, (_, b) => !cut[b - 1]);
  const found = [];
  for (const part of parts) {
    const before = found[found.length - 1];
    if (part.length === 1 && before && before.chain && before.steps.length < longest) before.steps.push(...part);
    else found.push({ steps: [...part], chain: part.length === 1 });
  }
  return found.map(block => ({ steps: block.steps, name: span(block.steps) }));

  function span(block) {
    const [first, end] = [block[0], block[block.length - 1]].map(i => short.get(steps[i].name).split(" + ").pop().split("/")[0]);
    return first === end ? first : `${first} … ${end}`;
  }
}

// The numbers of steps, apart wherever two neighbours do not belong together.
function runs(steps, together) {
  const found = [];
  steps.forEach((_, i) => { if (i && together(i - 1, i)) found[found.length - 1].push(i); else found.push([i]); });
  return found;
}

// A block as a graph. `look` says of a step how it is drawn: {label, under, colour, fill, share, title}.
function drawn(block, steps, look, small) {
  const inside = new Map(block.map((step, i) => [step, i]));
  const nodes = block.map(step => ({ step, look: look(step), reads: steps[step].reads.filter(read => inside.has(read)).map(read => inside.get(read)) }));
  const columns = [];
  for (const node of nodes) {
    node.rank = node.reads.length ? 1 + Math.max(...node.reads.map(read => nodes[read].rank)) : 0;
    const column = columns[node.rank] ||= [];
    const wanted = node.reads.length ? nodes[node.reads[0]].lane : 0, taken = column.map(other => other.lane);
    node.lane = wanted;
    while (taken.includes(node.lane)) node.lane += 1;
    column.push(node);
  }
  const height = small ? 12 : 36, apart = small ? 4 : 10, gap = small ? 8 : 20, margin = small ? 6 : 12;
  const width = node => small ? 12 : node.look.fill ? 100 : Math.max(44, 12 + 6.2 * node.look.label.length);
  const lanes = 1 + Math.max(...nodes.map(node => node.lane));
  const far = nodes.some(node => node.reads.some(read => node.rank - nodes[read].rank > 1) || node.rank > 0 && node.reads.length < steps[node.step].reads.length);
  const top = far ? margin + 8 : margin;
  let x = gap;
  for (const column of columns) {
    const widest = Math.max(...column.map(width));
    for (const node of column) { node.x = x; node.w = width(node); node.y = top + node.lane * (height + apart) + height / 2; }
    x += widest + gap;
  }
  const size = [x, top + lanes * (height + apart) - apart + margin];
  const svg = shape("svg", null, { width: size[0], height: size[1], viewBox: `0 0 ${size[0]} ${size[1]}`, role: "img" });
  const edge = (x1, y1, x2, y2, over, dashed) => {
    const bend = Math.min(gap, (x2 - x1) / 2), up = margin / 2 + 1;
    const path = over
      ? `M${x1},${y1} C${x1 + bend},${y1} ${x1 + bend / 3},${up} ${x1 + bend + 2},${up} L${x2 - bend - 2},${up} C${x2 - bend / 3},${up} ${x2 - bend},${y2} ${x2},${y2}`
      : `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
    shape("path", svg, { d: path, class: "edge", ...(dashed ? { "stroke-dasharray": "3 3" } : {}) });
  };
  const middle = top + height / 2;
  for (const node of nodes) {
    for (const read of node.reads) {
      const from = nodes[read];
      edge(from.x + from.w, from.y, node.x, node.y, node.rank - from.rank > 1 && from.lane === node.lane);
    }
    const outer = steps[node.step].reads.filter(read => !inside.has(read));
    if (outer.length || !steps[node.step].reads.length) edge(0, middle, node.x, node.y, node.rank > 0, outer.length > 0 && outer.every(read => read < block[0] - 1));
    if (node.step === block[block.length - 1]) edge(node.x + node.w, node.y, size[0], middle);
  }
  for (const node of nodes) {
    const group = shape("g", svg, { class: "node", "data-step": node.step }), { label, under, colour, fill, share, title } = node.look;
    shape("title", group, {}, title);
    const box = { x: node.x, y: node.y - height / 2, width: node.w, height, rx: small ? 3 : 6 };
    shape("rect", group, { ...box, fill: fill ? "var(--raised)" : "var(--panel)", stroke: colour });
    if (small) { shape("rect", group, { ...box, fill: colour, "fill-opacity": fill ? 1 : 0 }); continue; }
    const at = node.x + node.w / 2;
    shape("text", group, { x: at, y: under ? node.y - 3 : node.y + 4, "text-anchor": "middle", ...(fill ? {} : { class: "soft" }) }, label);
    if (under) shape("text", group, { x: at, y: node.y + 9, "text-anchor": "middle", class: "soft" }, under);
    if (share) shape("rect", group, { x: node.x + 5, y: node.y + height / 2 - 4, width: Math.max(1, (node.w - 10) * share), height: 2.5, rx: 1, fill: colour });
  }
  return svg;
}
