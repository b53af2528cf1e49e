// The servers: what they carry, what they refuse, and how much room is left.
import { get } from "./api.js";
import { Chart } from "./chart.js";
import { listen, now, room } from "./live.js";
import { Bar, Component, Facts, Problem, ago, bytes, clock, duration, has, html, number, percent, rate, ratio, t, tn } from "./ui.js";

const HOUR = 3600;
const SAMPLES_MS = 60000;
const PAGE = 4096;
const PCS = "pcs:"; // before a processor, of the kernel that its PCs boot
// Columns of a server's samples that are drawn, if the history has them.
const CHARTS = [
  { title: "server.traffic", show: rate, lines: [["read_rate", "--blue"], ["write_rate", "--orange"]] },
  { title: "server.requests", show: (value) => number(value), lines: [["requests_rate", "--green"]] },
  { title: "server.memory", show: bytes, lines: [["stored", "--blue"], ["granted", "--orange"], ["capacity", "--muted"]] },
  { title: "server.lag", show: (value) => `${number(value, 1)} ms`, scale: 1000, lines: [["lag", "--red"]] },
];

export class Servers extends Component {
  componentDidMount() {
    this.end = listen(() => this.setState({}));
  }

  componentWillUnmount() {
    this.end();
  }

  render() {
    const servers = [...room.servers.values()];
    return html`<h1 tabindex="-1">${t("nav.servers")}</h1>
      ${servers.map((server) => html`<${Server} key=${server.name} server=${server} />`)}
      ${!servers.length && html`<p class="empty">${t("server.none")}</p>`}`;
  }
}

class Server extends Component {
  state = { samples: null, error: "" };

  componentDidMount() {
    this.load();
    this.clock = setInterval(() => this.load(), SAMPLES_MS);
  }

  componentWillUnmount() {
    clearInterval(this.clock);
  }

  async load() {
    const until = now();
    const since = until - HOUR;
    const name = encodeURIComponent(this.props.server.name);
    try {
      const samples = await get(`servers/${name}/samples?since=${since.toFixed()}&until=${until.toFixed()}&points=300`);
      this.setState({ samples, since, until, error: "" });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  render({ server }, { samples, since, until, error }) {
    const [free, whole] = server.disk;
    const seats = [...room.seats.values()].filter((seat) => seat.server === server.name);
    const downloads = server.downloads + total(server.transfers);
    const meter = (name, part, all, show, tone) => html`<div class="meter"><span>${name}</span>
      <span>${t("of", { part: show(part), whole: show(all) })}</span><${Bar} value=${all ? part / all : 0} tone=${tone} /></div>`;
    const charts = samples ? CHARTS.map((chart) => ({ ...chart, lines: chart.lines.filter(([column]) => samples.columns.includes(column)) }))
      .filter((chart) => chart.lines.length) : [];
    return html`<section class=${server.connected ? "" : "gone"} aria-label=${server.name}>
      <div class="title"><h2 class="big">${server.name}</h2>
        <span class="word s-${server.connected ? "running" : "lost"}"><span class="dot"></span>${t(server.connected ? "server.here" : "server.away")}</span>
        ${server.drained && html`<span class="word s-waiting"><span class="dot"></span>${t("server.drained")}</span>`}
        <span class="fine">netboot ${server.version} · ${t("server.started", { when: clock(server.started) })}</span></div>
      <${Problem} error=${error} />
      <div class="cards">
        <div class="card"><h3>${t("server.room")}</h3>
          ${meter(t("server.stored"), server.stored, server.capacity, bytes, "blue")}
          ${meter(t("server.granted"), server.granted, server.capacity, bytes, "orange")}
          ${meter(t("server.connections"), server.connections, server.most_connections, number, "green")}
          ${meter(t("server.disk"), whole - free, whole, bytes, "blue")}</div>
        <div class="card"><h3>${t("server.work")}</h3><${Facts} rows=${[
          [t("server.cpu"), percent(server.cpu * 100)],
          [t("server.pages"), number((server.read_rate + server.write_rate) / PAGE)], [t("server.requests"), number(server.requests_rate)], [t("server.read"), rate(server.read_rate)],
          [t("server.written"), rate(server.write_rate)], [t("server.lag"), `${number(server.lag * 1000, 1)} ms`],
          [t("server.waiting"), number(server.waiting)], [t("server.downloads"), number(downloads)],
          [t("server.process"), bytes(server.memory)], [t("server.seats"), number(seats.length)],
          [t("server.heard"), t("ago", { ago: ago(server.when) })]]} /></div>
        ${total(server.mirrors) > 0 && html`<div class="card"><h3>${t("server.mirrors")}</h3><${Facts} rows=${
          Object.entries(server.mirrors).filter(([, many]) => many).map(([state, many]) => [t(`mirror.${state}`), number(many)])} /></div>`}
        <div class="card"><h3>${t("server.versions")}</h3><${Facts} rows=${versionsOf(server, seats)} /></div>
        <div class="card"><h3>${t("server.delays")}</h3><${Facts} rows=${[
          [t("server.delayed"), duration(server.delayed)],
          ...Object.entries(server.delays).map(([reason, seconds]) => [t(`delay.${reason}`), duration(seconds)])]} /></div>
        <div class="card"><h3>${t("server.latency")}</h3><${Latency} buckets=${server.latency} /></div>
        <div class="card"><h3>${t("server.packets")}</h3><${Facts} rows=${[
          ...Object.entries(server.packets).map(([name, many]) => [name, number(many)]),
          ...Object.entries(server.transfers_ended).map(([name, many]) => [`TFTP: ${name}`, number(many)]),
          [t("server.sent"), bytes(server.sent)],
          ...Object.entries(server.refused).map(([name, many]) => [t("server.refused", { why: has(`refused.${name}`) ? t(`refused.${name}`) : name }), number(many)])]} /></div>
        ${charts.map(({ title, show, scale, lines }) => html`<div class="card" key=${title}><${Chart} title=${t(title)} samples=${samples}
          since=${since} until=${until} show=${show} lines=${lines.map(([column, color]) => ({ column, color, scale, label: t(`column.${column}`) }))} /></div>`)}
      </div></section>`;
  }
}

const total = (counts) => Object.values(counts).reduce((sum, many) => sum + many, 0);

// What runs on a server, and which versions of images its PCs run.
function versionsOf(server, seats) {
  const images = new Map();
  for (const { image, digest, state } of seats) {
    if (!image || state === "off" || state === "lost") continue;
    const name = `${image} ${digest.slice(0, 12)}`;
    images.set(name, (images.get(name) ?? 0) + 1);
  }
  const nameOf = (name) => (name.startsWith(PCS) ? t("version.pcs", { name: name.slice(PCS.length) }) : has(`version.${name}`) ? t(`version.${name}`) : name);
  return [["netboot", server.version], ...Object.entries(server.versions).map(([name, version]) => [nameOf(name), version]),
    ...[...images].sort(([a], [b]) => a.localeCompare(b)).map(([name, many]) => [t("version.image", { name }), tn("seats", many)])];
}

// Requests by the power of two of their microseconds.
function Latency({ buckets }) {
  const all = buckets.reduce((sum, many) => sum + many, 0);
  if (!all) return html`<p class="empty">${t("chart.empty")}</p>`;
  const time = (power) => (power < 10 ? `${2 ** power} µs` : power < 20 ? `${2 ** (power - 10)} ms` : `${2 ** (power - 20)} s`);
  const rows = buckets.map((many, power) => [power, many]).filter(([, many]) => many);
  const most = Math.max(...buckets);
  return html`<table class="tight"><thead><tr><th scope="col" class="figure">${t("server.below")}</th><th scope="col" class="figure">${t("server.share")}</th>
    <th scope="col" class="wide" aria-hidden="true"></th></tr></thead><tbody>${rows.map(([power, many]) => html`<tr>
    <th scope="row" class="figure">${time(power + 1)}</th><td class="figure">${ratio(many / all)}</td>
    <td class="wide" aria-hidden="true"><${Bar} value=${many / most} tone="blue" /></td></tr>`)}</tbody></table>`;
}
