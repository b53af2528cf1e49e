// The API's description (/openapi.json) as a page. Every text is set as text, never as HTML.
const METHODS = ["get", "post", "put", "delete"];
const MOST_DEEP = 8;
let all = {};

function node(name, texts = [], attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[texts].flat());
  return made;
}

// A reference within the description, and the description itself of a schema, as a short text.
function followed(schema) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.split("/").slice(1).reduce((part, key) => part?.[key], all) ?? {};
}

function short(schema, deep = 0) {
  const found = followed(schema);
  if (deep > MOST_DEEP) return "...";
  if (found.enum) return found.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.anyOf) return found.anyOf.map((each) => short(each, deep + 1)).join(" | ");
  if (found.prefixItems) return `[${found.prefixItems.map((each) => short(each, deep + 1)).join(", ")}]`;
  if (found.type === "array") return `[${short(found.items, deep + 1)} ...]`;
  if (found.properties) {
    const needed = new Set(found.required ?? []);
    const pad = "  ".repeat(deep + 1);
    const lines = Object.entries(found.properties).map(
      ([key, value]) => `${pad}${key}${needed.has(key) ? "" : "?"}: ${short(value, deep + 1)}`,
    );
    return `{\n${lines.join("\n")}\n${"  ".repeat(deep)}}`;
  }
  if (found.additionalProperties) return `{ name: ${short(found.additionalProperties, deep + 1)} }`;
  return [found.type ?? "any", found.pattern].filter(Boolean).join(" ");
}

// A text with `code` in it.
const written = (text) => text.split("`").map((part, number) => (number % 2 ? node("code", part) : part));

function content(part) {
  return Object.entries(part?.content ?? {}).flatMap(([kind, { schema }]) => [
    node("p", node("code", kind)),
    node("pre", short(schema)),
  ]);
}

function parameters(operation) {
  const rows = (operation.parameters ?? []).map((each) =>
    node("tr", [
      node("td", node("code", each.name)),
      node("td", each.in + (each.required ? ", required" : "")),
      node("td", short(each.schema)),
      node("td", each.description ?? ""),
    ]),
  );
  if (!rows.length) return [];
  const head = ["Parameter", "Where", "Value", "Meaning"].map((text) => node("th", text, { scope: "col" }));
  return [node("table", [node("thead", node("tr", head)), node("tbody", rows)])];
}

function shown(method, path, operation) {
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const more = Number(status) < 300 ? content(answer) : [];
    return node("div", [node("p", [node("strong", status), ` ${answer.description ?? ""}`]), ...more]);
  });
  const name = node("span", method.toUpperCase(), { class: "method" });
  return node("details", [
    node("summary", [name, node("code", path), " ", ...written((operation.summary ?? "").replaceAll("``", "`"))]),
    node("p", written((operation.description ?? "").replaceAll("``", "`"))),
    ...parameters(operation),
    ...(operation.requestBody ? [node("h3", "Body"), ...content(operation.requestBody)] : []),
    node("h3", "Answers"),
    ...answers,
  ]);
}

async function begin() {
  const docs = document.getElementById("docs");
  const answer = await fetch("/openapi.json");
  all = await answer.json();
  const groups = new Map();
  for (const [path, methods] of Object.entries(all.paths)) {
    for (const method of METHODS.filter((each) => methods[each])) {
      const tag = methods[method].tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), shown(method, path, methods[method])]);
    }
  }
  docs.append(node("p", `Version ${all.info.version}`));
  for (const text of all.info.description.split("\n\n")) docs.append(node("p", written(text)));
  docs.append(node("p", ["The same as JSON: ", node("a", "/openapi.json", { href: "/openapi.json" })]));
  for (const [tag, items] of groups) docs.append(node("section", [node("h2", tag), ...items]));
}

begin().catch((error) => document.getElementById("docs").append(node("p", `no description: ${error.message}`)));
