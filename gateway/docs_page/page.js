"use strict";

// Everything is built from nodes and text, never from markup: the description is data.
function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Text in which `words` and ``words`` between backquotes are code.
function prose(text) {
  return text.split(/`{1,2}([^`]+)`{1,2}/).map(
    (part, place) => (place % 2 ? node("code", {}, part) : part));
}

// A number as it is meant: JavaScript has read 2^63 - 1 as 2^63.
function limit(number) {
  if (!Number.isInteger(number) || Number.isSafeInteger(number)) return `${number}`;
  return `${number < 0 ? "-" : ""}2^${Math.round(Math.log2(Math.abs(number)))}`;
}

function bounds(schema) {
  const words = [];
  const add = (name, text) => { if (name in schema) words.push(`${text} ${limit(schema[name])}`); };
  add("minimum", "from"); add("exclusiveMinimum", "above");
  add("maximum", "to"); add("exclusiveMaximum", "below");
  if ("pattern" in schema) words.push(`matching ${schema.pattern}`);
  const [low, high] = [schema.minLength ?? schema.minItems, schema.maxLength ?? schema.maxItems];
  const unit = schema.type === "array" ? "entries" : "characters";
  if (low !== undefined && high !== undefined) words.push(`${low} to ${high} ${unit}`);
  else if (low !== undefined) words.push(`at least ${low} ${unit}`);
  else if (high !== undefined) words.push(`at most ${high} ${unit}`);
  return words.length ? ` ${words.join(" ")}` : "";
}

class Page {
  constructor(api) {
    this.api = api;
  }

  resolve(part) {
    if (!part.$ref) return part;
    return part.$ref.slice(2).split("/").reduce(
      (at, key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], this.api);
  }

  // The schema's alternatives without null, which only says that a field may be left open.
  alternatives(schema) {
    return (schema.anyOf ?? schema.oneOf ?? [schema]).filter((each) => each.type !== "null");
  }

  words(schema) {
    const each = this.alternatives(schema).map((one) => {
      if (one.$ref) return this.resolve(one).title ?? "object";
      if (one.const !== undefined) return JSON.stringify(one.const);
      if (one.enum) return one.enum.map((value) => JSON.stringify(value)).join(" | ");
      if (one.type === "array") {
        return one.items ? `list of (${this.words(one.items)})${bounds(one)}` : `list${bounds(one)}`;
      }
      if (one.additionalProperties && typeof one.additionalProperties === "object") {
        return `object of (${this.words(one.additionalProperties)})`;
      }
      return (one.type ?? "any value") + bounds(one);
    });
    return each.join(" or ") || "null";
  }

  // The objects that a schema holds, directly or as entries of a list.
  inside(schema) {
    return this.alternatives(schema).flatMap((one) => {
      if (one.$ref) {
        const target = this.resolve(one);
        return target.properties ? [target] : this.inside(target);
      }
      return one.items ? this.inside(one.items) : [];
    });
  }

  fields(schema, open = []) {
    const table = node("table");
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      const required = (schema.required ?? []).includes(name);
      const cell = node("td", {}, this.words(field));
      if (field.description) cell.append(" ", node("span", { class: "soft" }, ...prose(field.description)));
      for (const inner of this.inside(field)) cell.append(this.fold(inner, open));
      const label = node("code", {}, name);
      table.append(node("tr", {}, node("td", required ? { class: "required" } : {}, label), cell));
    }
    return table;
  }

  fold(schema, open) {
    const title = schema.title ?? "object";
    if (open.includes(title)) return node("div", { class: "soft" }, `${title}, as above`);
    const summary = node("summary", {}, title);
    const details = node("details", {}, summary);
    // Filled when it is opened: a description may refer to itself.
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      if (schema.description) details.append(node("div", { class: "soft" }, ...prose(schema.description)));
      details.append(this.fields(schema, [...open, title]));
    });
    return details;
  }

  body(title, schema) {
    const target = this.resolve(schema);
    const heading = node("h3", {}, title, " ", node("span", { class: "soft" }, target.title ?? ""));
    const shown = [heading];
    if (target.description) shown.push(node("div", { class: "soft" }, ...prose(target.description)));
    if (target.properties) shown.push(this.fields(target, [target.title]));
    else for (const inner of this.inside(target)) shown.push(this.fold(inner, []));
    return shown;
  }

  // What the data of a stream's events is: JSON of some shape, or a fixed text at the end.
  events(kind, schema) {
    const data = schema.properties?.data ?? schema;
    const shown = [node("h3", {}, `Events of ${kind}`)];
    for (const one of this.alternatives(data)) {
      if (one.const !== undefined) shown.push(node("div", { class: "soft" }, "At the end ", node("code", {}, one.const)));
      for (const inner of this.inside(one.contentSchema ?? {})) shown.push(this.fold(inner, []));
    }
    return shown;
  }

  parameters(list) {
    if (!list.length) return [];
    const table = node("table");
    for (const parameter of list.map((each) => this.resolve(each))) {
      const label = node("td", parameter.required ? { class: "required" } : {}, node("code", {}, parameter.name));
      const cell = node("td", {}, `${parameter.in}: ${this.words(parameter.schema)} `);
      cell.append(node("span", { class: "soft" }, ...prose(parameter.description ?? "")));
      table.append(node("tr", {}, label, cell));
    }
    return [node("h3", {}, "Parameters"), table];
  }

  example(method, path, content) {
    const lines = [`curl ${location.origin}${path}`];
    if (content?.example) {
      const json = JSON.stringify(content.example).replaceAll("'", "'\\''");
      lines.push("  -H 'Content-Type: application/json'", `  -d '${json}'`);
    } else if (method !== "get") {
      return [];
    }
    return [node("h3", {}, "Example"), node("pre", {}, lines.join(" \\\n"))];
  }

  failures(responses) {
    const table = node("table");
    const bodies = new Map();
    for (const [status, response] of Object.entries(responses)) {
      if (status.startsWith("2")) continue;
      table.append(node("tr", {}, node("td", {}, node("code", {}, status)),
        node("td", {}, ...prose(response.description))));
      const schema = response.content?.["application/json"]?.schema;
      if (schema) bodies.set(JSON.stringify(schema), schema);
    }
    const folds = [...bodies.values()].flatMap((schema) => this.inside(schema)).map((each) => this.fold(each, []));
    return table.childElementCount ? [node("h3", {}, "Failures"), table, ...folds] : [];
  }

  operation(method, path, operation) {
    const article = node("article", { id: operation.operationId });
    article.append(
      node("h2", {}, node("span", { class: `method ${method}` }, method), node("code", {}, path)),
      node("p", {}, ...prose(operation.summary)));
    const request = operation.requestBody?.content["application/json"];
    const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1];
    article.append(...this.example(method, path, request), ...this.parameters(operation.parameters ?? []));
    if (request) article.append(...this.body("Request", request.schema));
    for (const [kind, content] of Object.entries(success?.content ?? {})) {
      if (kind === "application/json") article.append(...this.body("Answer", content.schema));
      else article.append(...this.events(kind, content.schema));
    }
    article.append(...this.failures(operation.responses));
    return article;
  }

  show() {
    const contents = document.getElementById("contents");
    const operations = document.getElementById("operations");
    document.getElementById("version").textContent = this.api.info.version;
    document.getElementById("about").replaceChildren(
      ...prose(`${this.api.info.description} Made from `), node("a", { href: "openapi.json" }, "openapi.json"), ".");
    let section = null;
    for (const [path, methods] of Object.entries(this.api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const tag = operation.tags?.[0] ?? "Other";
        if (tag !== section) contents.append(node("h2", {}, tag));
        section = tag;
        contents.append(node("a", { href: `#${operation.operationId}` },
          node("span", { class: `method ${method}` }, method), path));
        operations.append(this.operation(method, path, operation));
      }
    }
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }
}

async function start() {
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    new Page(await answer.json()).show();
  } catch (error) {
    document.getElementById("about").textContent = `openapi.json could not be read: ${error.message}`;
  }
}

start();
