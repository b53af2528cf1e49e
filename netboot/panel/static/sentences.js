// Sentences of servers and PCs. They are English; sentences.LANGUAGE.json has them in the reader's language.
// A sentence is its own key, so one of an older server, or of the history, is found as well. {name} stands for a
// value, which can be a sentence too. An unknown sentence stays English.
const LONGEST = 600;
const DEEPEST = 4;
const MOST_KEPT = 1000;
const PLACE = /\{(\w+)\}/;
const LITERAL = /[.*+?^${}()|[\]\\]/g;
const SEPARATORS = [": ", "; "];

let loaded = "en";
let exact = new Map();
let patterns = [];
const kept = new Map();

export async function loadSentences(language) {
  loaded = language;
  const found = language === "en" ? {} : await (await fetch(`/static/sentences.${language}.json`)).json();
  if (loaded === language) use(found);
}

export function use(found) {
  exact = new Map(Object.entries(found));
  // A pattern with more letters of its own comes first.
  patterns = Object.keys(found).filter((key) => PLACE.test(key)).map(pattern).sort((a, b) => b.letters - a.letters);
  kept.clear();
}

function pattern(key) {
  const parts = key.split(PLACE); // text, name, text, name, ...
  const source = parts.map((part, index) => (index % 2 ? "(.+?)" : part.replace(LITERAL, "\\$&"))).join("");
  const letters = parts.filter((_, index) => index % 2 === 0).join("").length;
  return { key, letters, first: parts[0], names: parts.filter((_, index) => index % 2), expression: new RegExp(`^${source}$`, "s") };
}

// A sentence in the reader's language, as far as it is known.
export function said(text) {
  if (!text || !exact.size || text.length > LONGEST) return text ?? "";
  if (!kept.has(text)) {
    if (kept.size >= MOST_KEPT) kept.clear();
    kept.set(text, found(text, DEEPEST) ?? text);
  }
  return kept.get(text);
}

function found(text, depth) {
  if (!depth) return null;
  if (exact.has(text)) return exact.get(text);
  for (const { key, first, names, expression } of patterns) {
    const match = text.startsWith(first) && expression.exec(text);
    if (!match) continue;
    const values = {};
    names.forEach((name, index) => (values[name] = found(match[index + 1], depth - 1) ?? match[index + 1]));
    return exact.get(key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
  }
  for (const separator of SEPARATORS) {
    const at = text.indexOf(separator);
    if (at < 1) continue;
    const [head, tail] = [text.slice(0, at), text.slice(at + separator.length)];
    const [before, after] = [found(head, depth - 1), found(tail, depth - 1)];
    if (before !== null || after !== null) return (before ?? head) + separator + (after ?? tail);
  }
  return null;
}
