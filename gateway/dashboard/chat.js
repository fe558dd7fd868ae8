// The chat box: the same endpoint, headers and streams as any OpenAI client's.

import { authorization, events } from "./feed.js";
import { element } from "./draw.js";

const find = (id) => document.getElementById(id);
const turns = [];
let running = null;
let offered = "";

export function setUpChat(askForKey) {
  const form = find("ask"), prompt = find("prompt");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else if (prompt.value.trim() && find("model").value) ask(prompt.value.trim(), askForKey);
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!running) form.requestSubmit();
  });
  find("clear").addEventListener("click", () => {
    running?.abort();
    turns.length = 0;
    find("talk").replaceChildren();
    prompt.focus();
  });
}

// Offers the models of the fleet, and keeps the one that was chosen.
export function offerModels(names) {
  const select = find("model");
  if (offered === names.join("\n")) return;
  offered = names.join("\n");
  const chosen = select.value;
  const options = names.map((name) => new Option(name, name));
  select.replaceChildren(...(names.length ? options : [new Option("none yet", "")]));
  if (names.includes(chosen)) select.value = chosen;
  select.disabled = find("send").disabled = names.length === 0;
}

async function ask(text, askForKey) {
  const prompt = find("prompt"), send = find("send");
  prompt.value = "";
  turns.push({ role: "user", content: text });
  show("user", text);
  const turn = show("assistant waiting", "");
  const note = element("small");
  running = new AbortController();
  send.textContent = "Stop";
  try {
    const answer = await stream(turn, note, running.signal);
    turns.push({ role: "assistant", content: answer });
  } catch (error) {
    if (error.name === "AbortError") {
      note.append("stopped");
    } else {
      turn.classList.add("failed");
      turn.append(element("span", { textContent: error.message }));
    }
    if (error.status === 401) askForKey();
  } finally {
    running = null;
    send.textContent = "Send";
    turn.classList.remove("waiting");
    if (note.childNodes.length) turn.append(note);
    scroll();
  }
}

async function stream(turn, note, signal) {
  const began = performance.now();
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    signal,
    headers: {
      "Content-Type": "application/json",
      "x-mesh-policy": find("policy").value,
      ...authorization(),
    },
    body: JSON.stringify({
      model: find("model").value, messages: turns, stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (!response.ok) throw await refusal(response);
  const words = document.createTextNode("");
  turn.append(words);
  let first = 0, usage = null;
  for await (const data of events(response)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    usage = chunk.usage ?? usage;
    const piece = chunk.choices[0]?.delta?.content;
    if (!piece) continue;
    first ||= performance.now();
    words.data += piece;
    scroll();
  }
  tell(note, response.headers, began, first, usage);
  return words.data;
}

async function refusal(response) {
  const body = await response.json().catch(() => null);
  const error = new Error(body?.error?.message ?? `HTTP ${response.status}`);
  error.status = response.status;
  return error;
}

function tell(note, headers, began, first, usage) {
  const tier = headers.get("x-mesh-tier") ?? "";
  const reason = headers.get("x-mesh-fallback");
  const facts = [headers.get("x-mesh-worker")];
  if (reason) facts.push(reason.replaceAll("_", " "));
  if (first) facts.push(`first token after ${Math.round(first - began)} ms`);
  const seconds = (performance.now() - first) / 1000;
  const count = usage?.completion_tokens ?? 0;
  if (count) facts.push(`${count} tokens`);
  if (count > 1 && seconds > 0.05) facts.push(`${Math.round(count / seconds)} tokens/s`);
  const badge = element("b", { textContent: tier, className: tier });
  note.append(badge, ` · ${facts.filter(Boolean).join(" · ")}`);
}

function show(kind, text) {
  const turn = element("div", { className: `turn ${kind}`, textContent: text });
  find("talk").append(turn);
  scroll();
  return turn;
}

function scroll() {
  const talk = find("talk");
  talk.scrollTop = talk.scrollHeight;
}
