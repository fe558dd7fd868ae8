// The page: takes snapshots in, and writes them where they belong.

import { offerModels, setUpChat } from "./chat.js";
import { SAMPLES, drawRibbons, drawTrace, element, slots } from "./draw.js";
import { follow, key } from "./feed.js";

const find = (id) => document.getElementById(id);
const history = [];

const REASONS = {
  no_model: "no edge worker has it",
  deadline: "too late at the edge",
  queue_depth: "the line was too long",
  wait: "the wait was too long",
  hedge: "the edge stayed silent",
  edge_failed: "the edge failed",
};

function write(id, text) {
  const place = find(id);
  if (place.textContent !== text) place.textContent = text;
}

const drawn = new Map();

// Tells whether this is news: what stays as it is can be selected and read in peace.
function changed(id, value) {
  const text = JSON.stringify(value);
  if (drawn.get(id) === text) return false;
  drawn.set(id, text);
  return true;
}

const whole = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => (value < 10 ? value.toFixed(1).replace(/\.0$/, "") : whole(value));
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const money = (usd) => `$${usd.toLocaleString("en", {
  minimumFractionDigits: 2, maximumFractionDigits: usd > 0 && usd < 1 ? 4 : 2 })}`;

function lasted(seconds) {
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

function onSnapshot(now) {
  onState("live");
  write("about", [`version ${now.version}`, `up ${lasted(now.uptime)}`, ...(now.tenant ? [`tenant ${now.tenant}`] : [])].join(" · "));
  showOutput(now);
  showSlots(now);
  showMoney(now);
  showFleet(now);
  showFlow(now);
  showFailures(now.failures);
  const edgeFirst = [...now.models].sort((one, other) => other.edge - one.edge);
  offerModels(edgeFirst.map((model) => model.name));
}

function showOutput({ edge, cloud }) {
  history.push({ edge: edge.tokens_per_second, cloud: cloud.tokens_per_second });
  if (history.length > SAMPLES) history.shift();
  write("rate", rate(edge.tokens_per_second + cloud.tokens_per_second));
  write("rate-edge", rate(edge.tokens_per_second));
  write("rate-cloud", rate(cloud.tokens_per_second));
  const top = drawTrace(find("trace"), history);
  write("peak", history.some((at) => at.edge + at.cloud) ? `dotted line: ${rate(top)} tokens/s` : "");
}

function showSlots(now) {
  const sum = (field) => now.models.reduce((total, model) => total + model[field], 0);
  const total = sum("slots"), busy = total - sum("free"), meter = find("meter");
  write("busy", whole(busy));
  write("slots", whole(total));
  write("in-flight", whole(now.in_flight));
  write("waiting", whole(sum("waiting")));
  meter.setAttribute("aria-valuemax", Math.max(total, 1));
  meter.setAttribute("aria-valuenow", busy);
  meter.classList.toggle("full", total > 0 && busy === total);
  meter.firstElementChild.style.width = total ? `${(100 * busy) / total}%` : "0";
}

function showMoney({ edge, cloud, priced }) {
  write("saved", priced ? money(edge.usd) : "–");
  write("spent", priced ? money(cloud.usd) : "–");
  write("edge-tokens", short.format(edge.prompt_tokens + edge.completion_tokens));
  write("saved-note", priced
    ? "what the cloud would have taken for the edge's tokens"
    : "The cloud's prices are not known here: --usd-per-million-in, --usd-per-million-out");
}

function showFleet(now) {
  const count = now.workers.length + now.more_workers;
  write("fleet-count", count === 1 ? "1 worker" : count ? `${count} workers` : "");
  find("nobody").hidden = count > 0;
  find("fleet").hidden = count === 0;
  const lines = now.models.filter((model) => model.waiting);
  find("lines").hidden = lines.length === 0;
  write("lines", `In line: ${lines.map((model) => `${model.name} ${whole(model.waiting)}`).join(", ")}`);
  find("fleet-more").hidden = now.more_workers === 0;
  write("fleet-more", `and ${now.more_workers} more workers`);
  if (changed("fleet", now.workers)) {
    find("fleet").tBodies[0].replaceChildren(...now.workers.flatMap(rows));
  }
}

// A row for each model; the worker's own figures stand in its first.
function rows(worker) {
  const models = worker.models.length ? worker.models : [null];
  return models.map((model, at) => {
    const row = element("tr", { className: at ? `more ${worker.tier}` : worker.tier });
    row.append(at ? element("td") : nameOf(worker));
    row.append(element("td", {}, ...(model ? described(model) : ["–"])));
    row.append(element("td", {}, model ? slots(model.slots - model.free, model.slots) : ""));
    const figures = at ? ["", ""] : [rate(worker.tokens_per_second), memory(worker.memory_free)];
    for (const [place, unit] of [[0, "tokens/s"], [1, "free"]]) {
      const cell = element("td", { className: "num", textContent: figures[place] });
      if (figures[place]) cell.dataset.unit = unit;
      row.append(cell);
    }
    return row;
  });
}

function nameOf(worker) {
  const mark = element("i", { className: worker.tier });
  const labels = Object.entries(worker.labels).map(([name, value]) => `${name}=${value}`).join(" ");
  const state = worker.draining ? "draining" : worker.tier === "cloud" ? "cloud" : labels;
  return element("td", {}, element("div", { className: "worker", title: `${worker.name} (${worker.tier})` },
    mark, element("span", { textContent: worker.name }), element("em", { textContent: state })));
}

function described(model) {
  const name = element("div", { className: "model", textContent: model.name, title: model.name });
  if (model.state === "ready") return [name];
  const share = model.state === "loading" && model.progress ? ` ${Math.round(model.progress * 100)} %` : "";
  const text = `${model.state}${share}${model.detail ? `: ${model.detail}` : ""}`;
  return [name, element("span", { className: `state ${model.state}`, textContent: text, title: text })];
}

const memory = (bytes) => (bytes ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : "–");

function showFlow(now) {
  const total = now.edge.requests + now.cloud.requests + now.refused;
  find("flow").hidden = find("flow-total").hidden = total === 0;
  find("flow-none").hidden = total > 0;
  if (!total) return;
  const answered = now.edge.requests + now.cloud.requests;
  const share = answered ? Math.floor((100 * now.edge.requests) / answered) : 0;
  find("flow-total").replaceChildren(element("b", { textContent: answered ? `${share} %` : "–" }),
    ` of ${whole(answered)} at the edge`);
  const ways = [{ kind: "edge", count: now.edge.requests, title: "edge", detail: "your own machines" }];
  const reasons = Object.entries(now.fallbacks).sort((one, other) => other[1] - one[1]);
  for (const [reason, count] of reasons) {
    ways.push({ kind: "cloud", count, title: "cloud", detail: REASONS[reason] ?? reason });
  }
  const asked = now.cloud.requests - reasons.reduce((sum, [, count]) => sum + count, 0);
  ways.push({ kind: "cloud", count: asked, title: "cloud", detail: "asked for by the request" });
  ways.push({ kind: "none", count: now.refused, title: "nowhere", detail: "refused, or gave up waiting" });
  const shown = ways.filter((way) => way.count > 0);
  if (!changed("flow", shown)) return;
  for (const way of shown) way.title = `${whole(way.count)} · ${way.title}`;
  drawRibbons(find("flow"), shown);
}

function showFailures(failures) {
  find("failures-none").hidden = failures.length > 0;
  if (!changed("failures", failures)) return;
  find("failures").replaceChildren(...failures.map((failure) => {
    const at = new Date(failure.at * 1000);
    return element("li", {},
      element("time", { dateTime: at.toISOString(), textContent: at.toLocaleTimeString("en-GB") }),
      element("code", { textContent: failure.code }),
      element("span", { textContent: failure.model === "other" ? "no known model" : failure.model }));
  }));
}

const STATES = {
  live: "live",
  lost: "gateway not reachable, trying again",
  locked: "waiting for a key",
};

function onState(state) {
  const link = find("link");
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  link.lastElementChild.textContent = STATES[state];
}

function askForKey() {
  const dialog = find("ask-key");
  write("key-wrong", key.get() ? "This key is not known here." : "");
  onState("locked");
  if (!dialog.open) dialog.showModal();
  find("key-value").value = "";
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    key.set(find("key-value").value.trim());
    find("key").hidden = false;
    resolve();
  }, { once: true }));
}

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("mesh-theme", theme);
  write("theme", `Theme: ${theme}`);
}

find("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
find("key").addEventListener("click", () => { key.forget(); location.reload(); });
find("key").hidden = !key.get();
setTheme(localStorage.getItem("mesh-theme") ?? "auto");
setUpChat(askForKey);
follow({ onSnapshot, onState, askForKey });
