// The room: a tile per seat, where the seat stands.
import { isOperator } from "./api.js";
import { Actions } from "./actions.js";
import { Arrange } from "./arrange.js";
import { listen, room } from "./live.js";
import { MOST_ON_PLAN, Tiles } from "./tiles.js";
import { Bar, Component, Icon, bytes, createRef, html, isTroubled, language, naturally, number, t } from "./ui.js";

export const STATES = ["booting", "waiting", "running", "short", "lost", "off", "unknown"];
const MOVING = new Set(["booting", "waiting"]);

// What decides where a seat is shown.
const placeOf = (seat) => `${seat.name} ${seat.groups?.[0] ?? ""}`;
const placesOf = () => new Map([...room.seats.values()].map((seat) => [seat.mac, placeOf(seat)]));

export class Room extends Component {
  state = { show: "all", search: "", group: "", server: "", selected: new Set(), arranging: false };
  field = createRef();

  componentDidMount() {
    this.open();
    this.end = listen((change) => this.changed(change));
    this.clock = setInterval(() => this.tick(), 1000);
  }

  componentWillUnmount() {
    this.end();
    clearInterval(this.clock);
    this.tiles?.end();
  }

  open() {
    const options = () => ({
      shows: (seat) => this.shows(seat),
      selected: this.state.selected,
      selectable: isOperator(),
    });
    this.tiles = new Tiles(this.field.current, options, (macs, on) => this.pick(macs, on));
    this.look = this.lookOf();
    this.places = placesOf();
    this.tiles.layout();
  }

  // What all tiles depend on.
  lookOf() {
    const away = [...room.servers.values()].filter((server) => !server.connected).map((server) => server.name);
    return JSON.stringify([language, isOperator(), room.down > 0, away]);
  }

  componentDidUpdate() {
    if (this.state.arranging) {
      this.tiles?.end();
      this.tiles = null;
      return;
    }
    if (!this.tiles) return this.open();
    const look = this.lookOf();
    if (look === this.look) return;
    this.look = look;
    this.tiles.layout();
  }

  changed(change) {
    if (this.tiles) {
      const fresh = change.seats.filter((seat) => this.places.get(seat.mac) !== placeOf(seat));
      if (change.all || change.plan || change.gone.length || fresh.length) {
        this.places = placesOf();
        this.tiles.layout();
      } else this.tiles.changed(change.seats.map((seat) => seat.mac));
    }
    this.setState({});
  }

  // Seats that boot show for how long.
  tick() {
    const moving = [...room.seats.values()].filter((seat) => MOVING.has(seat.state));
    this.tiles?.changed(moving.map((seat) => seat.mac));
  }

  shows(seat) {
    const { show, search, group, server } = this.state;
    if (show === "trouble" ? !isTroubled(seat) : show !== "all" && seat.state !== show) return false;
    if (group && !seat.groups?.includes(group)) return false;
    if (server && seat.server !== server) return false;
    const text = `${seat.name} ${seat.mac} ${seat.address} ${seat.groups?.join(" ")}`.toLowerCase();
    return text.includes(search.trim().toLowerCase());
  }

  filter(change) {
    this.setState(change, () => this.tiles?.all());
  }

  pick(macs, on) {
    const selected = new Set(this.state.selected);
    for (const mac of macs) if (!on) selected.delete(mac);
      else if (room.seats.has(mac) && this.shows(room.seats.get(mac))) selected.add(mac);
    this.setState({ selected }, () => this.tiles?.changed(macs));
  }

  clear() {
    const selected = [...this.state.selected];
    this.setState({ selected: new Set() }, () => this.tiles?.changed(selected));
    for (const box of this.field.current?.querySelectorAll("[data-group]") ?? []) box.checked = false;
  }

  render(_, { arranging, selected }) {
    const seats = [...room.seats.values()];
    const shown = seats.filter((seat) => this.shows(seat));
    const chosen = seats.filter((seat) => selected.has(seat.mac));
    if (arranging) return html`<${Arrange} onClose=${() => this.setState({ arranging: false })} />`;
    return html`<div class="title"><h1 tabindex="-1">${t("nav.room")}</h1><${Stores} /></div>
      ${this.filters(seats, shown)}
      ${room.plan.length > 0 && seats.length <= MOST_ON_PLAN && html`<p class="front">${t("room.front")}</p>`}
      <${Field} field=${this.field} />
      ${!shown.length && html`<p class="empty">${t(seats.length ? "room.none-shown" : "room.none")}</p>`}
      ${chosen.length > 0 && html`<div class="selection" role="region" aria-label=${t("room.selection")}>
        <${Actions} seats=${chosen} />
        <button class="plain" onClick=${() => this.clear()}>${t("room.clear")}</button></div>`}`;
  }

  filters(seats, shown) {
    const { show, search, group, server } = this.state;
    const groups = [...new Set(seats.flatMap((seat) => seat.groups ?? []))].sort(naturally);
    const count = (name) => seats.filter((seat) => (name === "trouble" ? isTroubled(seat) : seat.state === name)).length;
    const chip = (name, many) => html`<button class="chip s-${name}" aria-pressed=${show === name}
      onClick=${() => this.filter({ show: show === name ? "all" : name })}><span class="dot"></span>
      ${t(name === "all" || name === "trouble" ? `room.${name}` : `state.${name}`)} <b>${number(many)}</b></button>`;
    return html`<div class="filters">
      <div class="chips" role="group" aria-label=${t("room.filter")}>
        ${chip("all", seats.length)}${chip("trouble", count("trouble"))}
        ${STATES.map((name) => [name, count(name)]).filter(([name, many]) => many || show === name).map(
          ([name, many]) => chip(name, many))}
      </div>
      <input type="search" aria-label=${t("room.search")} placeholder=${t("room.search")} value=${search}
        onInput=${(event) => this.filter({ search: event.target.value })} />
      ${groups.length > 1 && html`<${Choice} label=${t("room.group")} all=${t("room.all-groups")} names=${groups} value=${group}
        onChange=${(value) => this.filter({ group: value })} />`}
      ${room.servers.size > 1 && html`<${Choice} label=${t("room.server")} all=${t("room.all-servers")}
        names=${[...room.servers.keys()]} value=${server} onChange=${(value) => this.filter({ server: value })} />`}
      ${isOperator() && html`<p class="tools">
        <button onClick=${() => this.pick(shown.map((seat) => seat.mac), true)}>${t("room.select-shown")}</button>
        ${seats.length <= MOST_ON_PLAN && html`<button onClick=${() => this.setState({ arranging: true })}>
          <${Icon} name="plan" />${t("room.arrange")}</button>`}</p>`}
    </div>`;
  }
}

const Choice = ({ label, all, names, value, onChange }) => html`<select aria-label=${label} value=${value}
  onChange=${(event) => onChange(event.target.value)}>
  <option value="">${all}</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}</select>`;

// preact must leave the tiles alone.
class Field extends Component {
  shouldComponentUpdate() {
    return false;
  }

  render({ field }) {
    return html`<div class="room" ref=${field}></div>`;
  }
}

// How full the servers' memory for pages is.
function Stores() {
  const servers = [...room.servers.values()].filter((server) => server.capacity > 0);
  return html`<ul class="stores">${servers.slice(0, 4).map((server) => html`<li key=${server.name}>
    <a href="#/servers">${server.name}</a> <span>${t("room.stored", {
      stored: bytes(server.stored), capacity: bytes(server.capacity) })}</span>
    <${Bar} value=${server.stored / server.capacity} /></li>`)}</ul>`;
}

