// All PCs that were ever seen, and which of them need more RAM.
import { get } from "./api.js";
import { said } from "./sentences.js";
import { Component, Problem, bytes, clock, html, nameOf, naturally, ratio, t, tn } from "./ui.js";

const SHORT = 0.1; // part of the running time; above it more RAM helps

const COLUMNS = [
  { key: "name", of: nameOf, show: (row) => html`<a href="#/seat/${row.mac}">${nameOf(row)}</a>` },
  { key: "memory", of: (row) => row.hardware.memory, show: (row) => (row.hardware.memory ? bytes(row.hardware.memory) : "–"), figure: true },
  { key: "short", of: (row) => row.short_ratio, show: (row) => ratio(row.short_ratio), figure: true },
  { key: "advice", of: (row) => said(row.advice) },
  { key: "mac", of: (row) => row.mac },
  { key: "card", of: (row) => `${row.hardware.card} ${row.hardware.driver}` },
  { key: "arch", of: (row) => row.hardware.arch },
  { key: "kernel", of: (row) => row.hardware.kernel },
  { key: "image", of: (row) => row.image },
  { key: "seen", of: (row) => row.last_seen, show: (row) => clock(row.last_seen) },
  { key: "uuid", of: (row) => row.uuid },
];

export class Inventory extends Component {
  state = { rows: null, by: "name", down: false, search: "", error: "" };

  async componentDidMount() {
    try {
      this.setState({ rows: await get("inventory") });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  sorted() {
    const { rows, by, down, search } = this.state;
    const { of } = COLUMNS.find(({ key }) => key === by);
    const compare = (a, b) => (typeof of(a) === "number" ? of(a) - of(b) : naturally(String(of(a)), String(of(b))));
    const found = rows.filter((row) => COLUMNS.some((column) => String(column.of(row)).toLowerCase().includes(search.toLowerCase())));
    return found.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
  }

  sort(key) {
    this.setState(({ by, down }) => ({ by: key, down: by === key ? !down : key === "short" }));
  }

  render(_, { rows, by, down, search, error }) {
    const short = (rows ?? []).filter((row) => row.short_ratio >= SHORT);
    return html`<h1 tabindex="-1">${t("nav.inventory")}</h1><${Problem} error=${error} />
      ${short.length > 0 && html`<p class="note warn"><b>${tn("inventory.short", short.length, { least: ratio(SHORT) })}</b>
        ${" "}${short.map(nameOf).sort(naturally).slice(0, 20).join(", ")}${short.length > 20 && " …"}</p>`}
      ${rows && html`<div class="filters"><input type="search" aria-label=${t("room.search")} placeholder=${t("room.search")} value=${search}
          onInput=${(event) => this.setState({ search: event.target.value })} /><span class="fine">${tn("seats", rows.length)}</span></div>
        <div class="scroller" tabindex="0" role="region" aria-label=${t("nav.inventory")}><table class="inventory"><thead><tr>${COLUMNS.map(
          ({ key, figure }) => html`<th scope="col" class=${figure && "figure"} aria-sort=${by === key ? (down ? "descending" : "ascending") : undefined}>
            <button class="plain" onClick=${() => this.sort(key)}>${t(`inventory.${key}`)}${by === key && html`<span aria-hidden="true">${down ? " ▼" : " ▲"}</span>`}</button></th>`)}</tr></thead>
        <tbody>${this.sorted().map((row) => html`<tr key=${row.mac} class=${row.short_ratio >= SHORT ? "short" : ""}>${COLUMNS.map(
          ({ key, of, show, figure }) => html`<${key === "name" ? "th" : "td"} scope=${key === "name" ? "row" : undefined}
            class=${figure ? "figure" : key === "advice" ? "prose" : ""}>${show ? show(row) : of(row)}<//>`)}</tr>`)}</tbody></table></div>`}`;
  }
}
