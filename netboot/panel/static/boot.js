// The boot of the whole room: how far it is, who waits, who is slow, and how it was the last time.
import { get } from "./api.js";
import { listen, room } from "./live.js";
import { Bar, Component, Facts, Problem, Prose, ago, clock, duration, html, nameOf, naturally, number, stageName, t, tn } from "./ui.js";

const EVERY_MS = 3000;

export class Boot extends Component {
  state = { boot: null, error: "" };

  componentDidMount() {
    this.load();
    this.clock = setInterval(() => document.hidden || this.load(), EVERY_MS);
    this.end = listen(() => this.setState({}));
  }

  componentWillUnmount() {
    clearInterval(this.clock);
    this.end();
  }

  async load() {
    try {
      this.setState({ boot: await get("boot"), error: "" });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  render(_, { boot, error }) {
    return html`<h1 tabindex="-1">${t("boot.title")}</h1><${Problem} error=${error} />
      ${boot && (boot.seats ? this.progress(boot) : html`<p class="empty">${t("boot.none")}</p>`)}`;
  }

  progress(boot) {
    const under = [...room.seats.values()].filter(({ state }) => state === "booting" || state === "waiting");
    const share = boot.done / boot.seats;
    const slowest = Math.max(...boot.slowest.map(({ seconds }) => seconds), 1);
    return html`
      ${boot.regression && html`<p class="note warn sentence" role="status"><${Prose} text=${boot.regression} /></p>`}
      <section class="card"><h2>${t("boot.progress", { done: number(boot.done), seats: number(boot.seats) })}</h2>
        <div class="progress" role="progressbar" aria-label=${t("boot.title")} aria-valuemin="0" aria-valuemax=${boot.seats} aria-valuenow=${boot.done}>
          <${Bar} value=${share} tone="green" /></div>
        <${Facts} rows=${[
          [t("boot.began"), `${clock(boot.began)} (${t("ago", { ago: ago(boot.began) })})`],
          [t("boot.waiting"), number(boot.waiting)],
          [t("boot.failed"), number(boot.failed)],
          [t("boot.previous"), boot.previous ? t("boot.previous.was", {
            seats: tn("seats", boot.previous.seats), seconds: duration(boot.previous.seconds) }) : t("boot.previous.none")],
        ]} /></section>
      <div class="cards">
        <section class="card"><h2>${t("boot.under")}</h2>${this.under(under)}</section>
        <section class="card"><h2>${t("boot.slowest")}</h2>
          ${boot.slowest.length ? html`<table><thead><tr><th scope="col">${t("pc.name")}</th><th scope="col" class="figure">${t("boot.took")}</th>
            <th scope="col">${t("boot.longest")}</th><th scope="col" class="wide" aria-hidden="true"></th></tr></thead>
          <tbody>${boot.slowest.map((seat) => html`<tr><th scope="row"><a href="#/seat/${seat.mac}">${nameOf(seat)}</a></th>
            <td class="figure">${duration(seat.seconds)}</td><td title=${seat.stage}>${stageName(seat.stage)}</td>
            <td class="wide" aria-hidden="true"><${Bar} value=${seat.seconds / slowest} tone="blue" /></td></tr>`)}</tbody></table>`
            : html`<p class="empty">${t("boot.none-slow")}</p>`}</section></div>`;
  }

  under(seats) {
    if (!seats.length) return html`<p class="empty">${t("boot.none-under")}</p>`;
    seats.sort((a, b) => (a.state === b.state ? naturally(nameOf(a), nameOf(b)) : a.state === "waiting" ? -1 : 1));
    return html`<table><thead><tr><th scope="col">${t("pc.name")}</th><th scope="col">${t("boot.stage")}</th>
      <th scope="col">${t("event.message")}</th></tr></thead><tbody>${seats.slice(0, 50).map((seat) => html`<tr key=${seat.mac}>
      <th scope="row"><a href="#/seat/${seat.mac}">${nameOf(seat)}</a></th>
      <td><span class="word s-${seat.state}"><span class="dot"></span>${seat.state === "waiting" ? t("state.waiting") : stageName(seat.stage)}</span></td>
      <td><${Prose} text=${seat.message} /></td></tr>`)}</tbody></table>`;
  }
}
