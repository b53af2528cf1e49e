// What all screens share: htm over preact, texts in the reader's language, figures for people, icons.
import { h, Component, createRef } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";
import { now } from "./live.js";
import { loadSentences, said } from "./sentences.js";

export const html = htm.bind(h);
export { Component, createRef };

let texts = {};
export let language = "en";
const LANGUAGES = ["en", "de"]; // in the order of each text's list

export async function loadTexts() {
  texts = await (await fetch("/static/texts.json")).json();
  const wanted = stored("language") || navigator.language.slice(0, 2);
  setLanguage(LANGUAGES.includes(wanted) ? wanted : "en");
}

export function setLanguage(name, keep = false) {
  language = name;
  document.documentElement.lang = name;
  loadSentences(name).then(() => translated(), () => {});
  if (keep) store("language", name);
}

let translated = () => {};
export const onTranslated = (listener) => (translated = listener);

// Some browsers refuse storage; then the choice lasts until the page is closed.
function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // see above
  }
}

// The text of a key, with {name} replaced by values.name.
export function t(key, values = {}) {
  const text = texts[key]?.[LANGUAGES.indexOf(language)] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

// The text for a number of things: KEY.one or KEY.many, with {n}.
export function tn(key, n, values = {}) {
  return t(`${key}.${n === 1 ? "one" : "many"}`, { n: number(n), ...values });
}

export function has(key) {
  return key in texts;
}

// A stage's name for people. The stages of other releases have none.
export const stageName = (stage) => (has(`stage.${stage}`) ? t(`stage.${stage}`) : stage);

const SPACE = "\u00a0";

export function number(value, digits = 0) {
  return Number(value || 0).toLocaleString(language, { maximumFractionDigits: digits });
}

function scaled(value, base, units) {
  let step = 0;
  for (; Math.abs(value) >= base && step < units.length - 1; step++) value /= base;
  return number(value, step && value < 10 ? 1 : 0) + SPACE + units[step];
}

export const bytes = (value) => scaled(value || 0, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const rate = (value) => scaled(value || 0, 1000, ["B/s", "kB/s", "MB/s", "GB/s"]);
export const percent = (value, digits = 0) => number(value, digits) + SPACE + "%";
export const ratio = (value) => percent(value * 100, value < 0.1 ? 1 : 0);

export function duration(seconds) {
  const s = Math.max(0, seconds || 0);
  if (s < 10) return number(s, 1) + SPACE + "s";
  if (s < 120) return number(s) + SPACE + "s";
  if (s < 7200) return number(Math.floor(s / 60)) + SPACE + "min";
  if (s < 172800) return number(Math.floor(s / 3600)) + SPACE + "h";
  return tn("days", Math.floor(s / 86400));
}

export const ago = (when) => duration(Math.floor(now() - when));

// A time of the day; with the date if it was not today.
export function clock(when, seconds = false) {
  if (!when) return "–";
  const date = new Date(when * 1000);
  const time = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (seconds) time.second = "2-digit";
  const today = new Date(now() * 1000).toDateString() === date.toDateString();
  return date.toLocaleString(language, today ? time : { day: "numeric", month: "short", ...time });
}

export const naturally = (a, b) => a.localeCompare(b, language, { numeric: true });
export const nameOf = (seat) => seat.name || seat.mac;
export const isTroubled = (seat) =>
  Boolean(seat.trouble) || seat.state === "short" || seat.state === "lost";

export function swapOf(seat) {
  const areas = seat.report?.areas ?? [];
  const used = areas.reduce((sum, area) => sum + area[0], 0);
  return { used, size: areas.reduce((sum, area) => sum + area[1], 0) };
}

const ICONS = {
  alert: "M12 3 2 20h20L12 3zm0 6v5m0 2.5v.5",
  wake: "M12 3v8M6.5 6.5a8 8 0 1 0 11 0",
  reboot: "M20 12a8 8 0 1 1-3-6.2M20 3v5h-5",
  poweroff: "M5 5l14 14M12 3v4M7 6.5a8 8 0 0 0 9.5 12.5M19.5 15a8 8 0 0 0-2-8.5",
  message: "M4 5h16v11H9l-5 4V5z",
  identify: "M12 3a6 6 0 0 0-3 11.2V17h6v-2.8A6 6 0 0 0 12 3zM10 21h4",
  image: "M12 3 3 8l9 5 9-5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
  loader: "M12 3v11m-4-4 4 4 4-4M4 20h16",
  entry: "M4 6h16M4 12h16M4 18h10",
  "end-lease": "M5 8h14v12H5zM9 8V4h6v4M9 12l6 5M15 12l-6 5",
  remove: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5m4-5v5",
  check: "M4 12l5 6L20 5",
  plan: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
  <path d=${ICONS[name]} /></svg>`;

export const StateWord = ({ state }) =>
  html`<span class="word s-${state}"><span class="dot"></span>${t(`state.${state}`)}</span>`;

// A bar from 0 to 1. Beside it stands the same as text, so a screen reader skips the bar.
export function Bar({ value, tone = "" }) {
  const width = `${Math.max(0, Math.min(1, value || 0)) * 100}%`;
  return html`<span class="bar ${tone}" aria-hidden="true"><span class="fill" style=${{ width }}></span></span>`;
}

export const Facts = ({ rows }) => html`<dl class="facts">
  ${rows.filter((row) => row[1] !== "" && row[1] != null).map(
    ([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

export const Problem = ({ error }) =>
  error ? html`<p class="note bad" role="alert">${said(error)}</p>` : null;

// A dialog over the page. The browser keeps the focus inside, and gives it back.
export class Dialog extends Component {
  element = createRef();

  componentDidMount() {
    this.element.current.showModal();
  }

  render({ title, children, onClose }) {
    const cancel = (event) => (event.preventDefault(), onClose());
    return html`<dialog ref=${this.element} aria-labelledby="dialog-title" onCancel=${cancel}>
      <h2 id="dialog-title">${title}</h2>${children}</dialog>`;
  }
}

// A sentence of a server; `names` in it are those of commands and keys.
export const Prose = ({ text }) => html`${said(text).split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part))}`;

let speaker = null;
export const setSpeaker = (speak) => (speaker = speak);

// Say a sentence to a screen reader; show it for some seconds too if it is the answer to an action.
export function say(text, shown = false) {
  speaker?.(text, shown);
}
