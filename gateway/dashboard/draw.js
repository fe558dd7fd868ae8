// What is drawn rather than written: the trace of the last minutes, the ribbons, the slots.

const SVG = "http://www.w3.org/2000/svg";
export const SAMPLES = 120;

export function element(name, props = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, props);
  made.append(...children);
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Two stacked areas, the edge below. Returns the top of the scale.
export function drawTrace(svg, history) {
  const top = niceTop(Math.max(...history.map((at) => at.edge + at.cloud), 1));
  const x = (index) => 600 - (history.length - 1 - index) * (600 / (SAMPLES - 1));
  const y = (value) => 98 - (value / top) * 94;
  const line = (height) => history.map((at, i) => `${x(i).toFixed(1)} ${y(height(at)).toFixed(1)}`);
  const floor = line(() => 0).reverse();
  const edge = line((at) => at.edge);
  const both = line((at) => at.edge + at.cloud);
  const parts = [];
  const add = (kind, there, back) => parts.push(
    shape("path", { class: `${kind} wash`, d: `M${there.join("L")}L${back.join("L")}Z` }),
    shape("path", { class: kind, d: `M${there.join("L")}` }));
  if (history.some((at) => at.cloud > 0)) add("cloud", both, [...edge].reverse());
  if (history.some((at) => at.edge > 0)) add("edge", edge, floor);
  if (parts.length) parts.unshift(shape("line", { x1: 0, x2: 600, y1: y(top), y2: y(top) }));
  svg.replaceChildren(...parts);
  return top;
}

function niceTop(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].map((step) => step * unit).find((step) => step >= value);
}

// One ribbon for each way: as thick on the left as its share, and beside its words on the right.
export function drawRibbons(box, ways) {
  const total = ways.reduce((sum, way) => sum + way.count, 0);
  const least = 46;
  const height = Math.max(200, ways.length * least);
  const room = height - ways.length * least;
  const svg = shape("svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none" });
  svg.setAttribute("aria-hidden", "true");
  const list = element("ul");
  const trunk = Math.min(height * 0.5, 130);
  let left = (height - trunk) / 2;
  let right = 0;
  for (const way of ways) {
    const share = way.count / total;
    const block = least + room * share;
    const thick = Math.max(1.5, trunk * share);
    const wide = Math.max(3, Math.min(block - 10, thick * 1.15));
    const far = right + (block - wide) / 2;
    const bend = `M0 ${left}C45 ${left} 55 ${far} 100 ${far}V${far + wide}`;
    const d = `${bend}C55 ${far + wide} 45 ${left + thick} 0 ${left + thick}Z`;
    svg.append(shape("path", { class: way.kind, d }));
    const item = element("li", {}, element("b", { textContent: way.title }),
      element("span", { textContent: way.detail }));
    item.style.height = `${block}px`;
    list.append(item);
    left += trunk * share;
    right += block;
  }
  box.replaceChildren(svg, list);
}

// A pip for each slot, or a bar where there are too many to see.
export function slots(busy, total) {
  const box = element("div", { className: "pips" });
  if (total <= 12) {
    for (let at = 0; at < total; at++) box.append(element("i", { className: at < busy ? "on" : "" }));
  } else {
    const fill = element("i", { className: "on" });
    fill.style.width = `${(100 * busy) / total}%`;
    box.append(element("div", { className: "bar" }, fill));
  }
  box.append(element("span", { textContent: `${busy} of ${total}` }));
  return box;
}
