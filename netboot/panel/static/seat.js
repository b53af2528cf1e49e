// One seat: how it is, how it booted, what it said, and what to do about it.
import { get } from "./api.js";
import { Actions } from "./actions.js";
import { Chart } from "./chart.js";
import { listen, now, room } from "./live.js";
import { Waterfall } from "./waterfall.js";
import {
  Bar, Component, Facts, Icon, Problem, Prose, StateWord, ago, bytes, clock, has, html, nameOf, number, percent, rate, stageName, swapOf, t,
} from "./ui.js";

const RANGES = { hour: 3600, day: 86400 };
const AGAIN_MS = 2000; // after an event of the seat
const SAMPLES_MS = 60000;

export class Seat extends Component {
  state = { events: [], boots: [], samples: null, range: "hour", error: "" };

  componentDidMount() {
    this.load();
    this.loadSamples();
    this.clock = setInterval(() => this.loadSamples(), SAMPLES_MS);
    this.end = listen((change) => {
      const own = change.events.filter((event) => event.seat === this.props.mac);
      if (own.length || change.all) this.soon ??= setTimeout(() => this.load(), AGAIN_MS);
      if (own.length || change.all || change.seats.some(({ mac }) => mac === this.props.mac)) this.setState({});
    });
  }

  componentWillUnmount() {
    this.end();
    clearInterval(this.clock);
    clearTimeout(this.soon);
  }

  async load() {
    this.soon = null;
    try {
      const { seat, events, boots } = await get(`seats/${encodeURIComponent(this.props.mac)}`);
      this.setState({ seat, events, boots, error: "" });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  async loadSamples(range = this.state.range) {
    const until = now();
    const since = until - RANGES[range];
    const asked = `seats/${encodeURIComponent(this.props.mac)}/samples?since=${since.toFixed()}&until=${until.toFixed()}&points=300`;
    try {
      const samples = await get(asked);
      this.setState({ samples, range, since, until });
    } catch (error) {
      this.setState({ error: error.message, range });
    }
  }

  render({ mac }, { events, boots, error }) {
    const seat = room.seats.get(mac) ?? this.state.seat;
    if (!seat) return html`<h1 tabindex="-1">${mac}</h1><${Problem} error=${error} />`;
    return html`<p class="back"><a href="#/room">‹ ${t("nav.room")}</a></p>
      <div class="title"><h1 tabindex="-1">${nameOf(seat)}</h1><${StateWord} state=${seat.state} />
        <span class="fine">${t("seat.since", { since: clock(seat.since), ago: ago(seat.since) })}</span></div>
      <${Problem} error=${error} />
      <${Now} seat=${seat} />
      <${Trouble} seat=${seat} />
      <${Actions} seats=${[seat]} />
      <div class="cards two">
        <section class="card wide"><h2>${t("seat.boot")}</h2><${Waterfall} boots=${boots} /></section>
        <section class="card"><h2>${t("seat.now")}</h2><${Memory} seat=${seat} /></section>
        <section class="card"><h2>${t("seat.pc")}</h2><${Machine} seat=${seat} /></section>
        <section class="card wide"><h2>${t("seat.history")}</h2>${this.charts()}</section>
        <${Console} events=${events} />
        <section class="card wide"><h2>${t("seat.events")}</h2><${Events} events=${events} /></section>
      </div>`;
  }

  charts() {
    const { samples, range, since, until } = this.state;
    const line = (column, color, more = {}) => ({ column, label: t(`column.${column}`), color, ...more });
    return html`<div class="ranges" role="group" aria-label=${t("chart.range")}>${Object.keys(RANGES).map((name) => html`<button
        aria-pressed=${range === name} onClick=${() => this.loadSamples(name)}>${t(`chart.${name}`)}</button>`)}</div>
      ${samples && html`<div class="charts">
        <${Chart} title=${t("chart.swap")} samples=${samples} since=${since} until=${until} show=${bytes}
          lines=${[line("swap_used", "--blue", { fill: true }), line("swap_size", "--muted", { dash: [4, 4] }), line("available", "--green")]} />
        <${Chart} title=${t("chart.pressure")} samples=${samples} since=${since} until=${until} show=${percent} top=${10}
          lines=${[line("memory_some", "--orange", { fill: true }), line("memory_full", "--red"), line("io_some", "--blue", { dash: [4, 4] })]} />
        </div>`}`;
  }
}

// What a PC that boots says on its screen too (netboot/boot/words.py). A wait begins with its seconds.
function Now({ seat }) {
  const seconds = parseInt(seat.message, 10);
  if (!has(`now.${seat.state}`) || (seat.state === "waiting" && !(seconds > 0))) return null;
  return html`<p>${t(`now.${seat.state}`, { n: number(seconds) })}</p>`;
}

function Trouble({ seat }) {
  const { trouble, state } = seat;
  const hint = has(`hint.${state}`) ? t(`hint.${state}`) : "";
  if (!trouble && !hint) return null;
  return html`<section class="note ${trouble || state === "lost" ? "bad" : "warn"}" aria-label=${t("seat.trouble")}>
    <${Icon} name="alert" /><div>
    ${trouble && html`<p><b><${Prose} text=${trouble.message} /></b> <span class="fine" title=${trouble.stage}>${stageName(trouble.stage)}, ${clock(trouble.when, true)}</span></p>`}
    <p>${t("seat.remedy")} <${Prose} text=${trouble?.remedy || hint || t("hint.other")} /></p></div></section>`;
}

function Memory({ seat }) {
  const { report, pages } = seat;
  if (!report) return html`<p class="empty">${t("seat.no-report")}</p>`;
  const { used, size } = swapOf(seat);
  const [stored, compressed] = report.zswap;
  const { pressure } = report;
  const meter = (name, text, value, tone) => html`<div class="meter"><span>${name}</span><span>${text}</span><${Bar} value=${value} tone=${tone} /></div>`;
  return html`${meter(t("column.swap_used"), t("of", { part: bytes(used), whole: bytes(size) }), used / size, "blue")}
    ${meter(t("seat.ram-used"), t("of", { part: bytes(report.memory - report.available), whole: bytes(report.memory) }),
      1 - report.available / report.memory, "green")}
    ${meter(t("column.memory_some"), percent(pressure.memory_some, 1), pressure.memory_some / 100, "orange")}
    ${meter(t("column.io_some"), percent(pressure.io_some, 1), pressure.io_some / 100, "orange")}
    <${Facts} rows=${[
      [t("seat.rates"), t("seat.in-out", { read: rate(pages.read_rate), write: rate(pages.write_rate) })],
      [t("seat.stored"), bytes(pages.stored)],
      [t("seat.mirror"), seat.mirror && t(`mirror.${seat.mirror}`) + (report.copied >= 0 ? `: ${percent(report.copied, 1)}` : "")],
      [t("seat.zswap"), stored ? t("seat.zswap.packed", { stored: bytes(stored), compressed: bytes(compressed) }) : t("seat.zswap.none")],
      [t("seat.oom"), number(report.oom_kills)],
      [t("seat.load"), number(report.load, 2)],
      [t("seat.losses"), report.losses ? t("seat.losses.some", { n: number(report.losses), longest: `${number(report.longest_loss, 1)} s` }) : number(0)],
      [t("seat.users"), report.users >= 0 ? number(report.users) : ""],
      [t("seat.screen"), report.screen],
      [t("seat.reported"), t("ago", { ago: ago(report.when) })],
    ]} />`;
}

function Machine({ seat }) {
  const { hardware } = seat;
  return html`<${Facts} rows=${[
    [t("pc.mac"), seat.mac], [t("pc.address"), seat.address], [t("pc.groups"), seat.groups.join(", ")], [t("pc.server"), seat.server],
    [t("pc.memory"), hardware.memory ? bytes(hardware.memory) : ""], [t("pc.card"), hardware.card], [t("pc.driver"), hardware.driver],
    [t("pc.arch"), hardware.arch], [t("pc.kernel"), hardware.kernel], [t("pc.uuid"), seat.uuid], [t("pc.image"), seat.image],
    [t("pc.digest"), seat.digest ? `${seat.digest.slice(0, 16)} …` : ""], [t("pc.booted"), clock(seat.booted)],
    [t("pc.seen"), seat.seen ? t("ago", { ago: ago(seat.seen) }) : "–"],
  ]} />`;
}

// The last lines of a failed boot's console, or another text of several lines in its event.
function Console({ events }) {
  const failed = events.filter((event) => event.stage.startsWith("failed")).at(-1);
  const lines = (text) => (Array.isArray(text) ? text.join("\n") : text);
  const texts = failed ? [...Object.values(failed.data ?? {}), failed.message].map(lines) : [];
  const tail = lines(failed?.data?.console) || texts.find((text) => typeof text === "string" && text.includes("\n"));
  if (!tail) return null;
  return html`<section class="card wide"><h2>${t("seat.console")}</h2>
    <pre tabindex="0" role="region" aria-label=${t("seat.console")}>${tail}</pre></section>`;
}

function Events({ events }) {
  if (!events.length) return html`<p class="empty">${t("seat.no-events")}</p>`;
  return html`<div class="scroller" tabindex="0" role="region" aria-label=${t("seat.events")}><table class="events">
    <thead><tr><th scope="col">${t("event.when")}</th><th scope="col">${t("boot.stage")}</th><th scope="col">${t("event.message")}</th></tr></thead>
    <tbody>${[...events].reverse().map((event) => html`<tr class=${event.stage.startsWith("failed") ? "failed" : ""}>
      <td class="time">${clock(event.when, true)}</td><td class="stage">${stageName(event.stage)}<span class="fine">${event.stage}</span></td><td><${Prose} text=${event.message} /></td></tr>`)}</tbody></table></div>`;
}
