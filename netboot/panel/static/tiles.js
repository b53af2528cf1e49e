// The tiles of a room, by hand and not by preact: 1,000 of them change each second. A tile keeps its
// elements and touches those that differ; a frame spends BUDGET_MS on it, and the rest waits for the next.
import { Icon, clock, duration, has, html, isTroubled, nameOf, naturally, percent, bytes, stageName, swapOf, t, tn } from "./ui.js";
import { now, room } from "./live.js";
import { render } from "./vendor/preact.mjs";

const BUDGET_MS = 6;
const MANY_COLUMNS = 8;
const AISLE = "minmax(1rem, 0.4fr)"; // a column of the plan without a seat
export const MOST_ON_PLAN = 300; // above it the seats are in groups, and drawn small

// One line about a seat that fits its state.
export function detailOf(seat) {
  const { state } = seat;
  if (state === "booting" || state === "waiting")
    return `${stageName(seat.stage)} · ${duration(Math.floor(now() - (seat.booted || seat.since)))}`;
  if (state === "short") return t("tile.short", { part: percent(seat.report?.pressure?.memory_some ?? 0) });
  if (state === "running") {
    const { used, size } = swapOf(seat);
    return size ? t("tile.swap", { used: bytes(used) }) : "";
  }
  if (state === "unknown") return t("tile.unknown");
  return t("tile.since", { since: clock(seat.since) });
}

// A tile has room for a short word.
const wordOf = (state) => t(has(`tile.state.${state}`) ? `tile.state.${state}` : `state.${state}`);

function element(name, className, parent) {
  const made = document.createElement(name);
  if (className) made.className = className;
  parent?.append(made);
  return made;
}

class Tile {
  constructor(mac) {
    this.mac = mac;
    this.cache = {};
    this.item = element("li", "tile");
    this.link = element("a", "", this.item);
    this.link.href = `#/seat/${encodeURIComponent(mac)}`;
    const head = element("span", "name", this.link);
    this.name = document.createTextNode("");
    head.append(this.name);
    const word = element("span", "word", this.link);
    element("span", "dot", word);
    this.sign = element("span", "sign", word); // in place of the dot
    this.word = document.createTextNode("");
    word.append(this.word);
    const detail = element("span", "detail", this.link);
    this.detail = document.createTextNode("");
    detail.append(this.detail);
    this.bar = element("span", "bar", this.link);
    this.bar.ariaHidden = "true";
    this.fill = element("span", "fill", this.bar);
  }

  set(key, value, act) {
    if (this.cache[key] === value) return;
    this.cache[key] = value;
    act(value);
  }

  paint(seat, shown, selected, selectable) {
    const server = room.servers.get(seat.server);
    const gone = room.down > 0 || (server && !server.connected);
    const troubled = isTroubled(seat);
    const { used, size } = swapOf(seat);
    this.set("hidden", !shown, (value) => (this.item.hidden = value));
    if (!shown) return;
    const kind = `tile s-${seat.state}${troubled ? " troubled" : ""}${gone ? " gone" : ""}${selected ? " selected" : ""}`;
    this.set("kind", kind, (value) => (this.item.className = value));
    this.set("name", nameOf(seat), (value) => (this.name.data = value));
    this.set("word", wordOf(seat.state), (value) => (this.word.data = value));
    this.set("detail", detailOf(seat), (value) => (this.detail.data = value));
    this.set("fill", size ? Math.round((used / size) * 100) : -1, (value) => this.fillTo(value));
    this.set("sign", troubled ? t("tile.trouble") : "", (value) => this.mark(value));
    this.set("box", selectable ? t("tile.select", { name: nameOf(seat) }) : "", (value) => this.offer(value));
    if (this.box) this.set("checked", selected, (value) => (this.box.checked = value));
  }

  // Percent of swap in use; -1: there is no swap.
  fillTo(value) {
    this.bar.style.visibility = value < 0 ? "hidden" : "visible";
    this.fill.style.transform = `scaleX(${Math.max(value, 0) / 100})`;
  }

  mark(text) {
    render(text ? html`<${Icon} name="alert" /><span class="sr">${text}: </span>` : null, this.sign);
  }

  offer(label) {
    if (!label) {
      this.label?.remove();
      this.box = this.label = null;
      return;
    }
    if (!this.box) {
      this.label = element("label", "pick", this.item);
      this.box = element("input", "", this.label);
      this.box.type = "checkbox";
      this.box.dataset.mac = this.mac;
      this.cache.checked = false;
    }
    this.box.ariaLabel = label;
  }
}

// Where seats are shown: sections of {key, title, names or seats, columns}.
export function sectionsOf(seats, plan) {
  const sorted = [...seats].sort((a, b) => naturally(nameOf(a), nameOf(b)));
  if (sorted.length > MOST_ON_PLAN) {
    const groups = new Map();
    for (const seat of sorted) {
      const group = seat.groups?.[0] ?? "";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push({ mac: seat.mac });
    }
    return [...groups].sort((a, b) => (a[0] === "") - (b[0] === "") || naturally(a[0], b[0])).map(
      ([group, places]) => ({ key: `group ${group}`, group, title: group || t("room.no-group"), places }));
  }
  if (!plan.some((row) => row.some(Boolean))) return [{ key: "all", title: "", places: sorted.map(({ mac }) => ({ mac })) }];
  const named = new Map(sorted.map((seat) => [seat.name, seat.mac]));
  const places = [];
  plan.forEach((row, y) => row.forEach((name, x) => {
    if (named.has(name)) places.push({ mac: named.get(name), x: x + 1, y: y + 1 });
  }));
  const placed = new Set(places.map(({ mac }) => mac));
  const others = sorted.filter(({ mac }) => !placed.has(mac)).map(({ mac }) => ({ mac }));
  const sections = [{ key: "plan", title: "", places, columns: Math.max(...plan.map((row) => row.length)), rows: plan.length }];
  if (others.length) sections.push({ key: "others", title: t("room.others"), places: others });
  return sections;
}

export class Tiles {
  tiles = new Map();
  queue = new Set();
  frame = 0;

  // options(): {shows(seat), selected: Set, selectable}; onPick(macs, on, event).
  constructor(root, options, onPick) {
    this.root = root;
    this.options = options;
    root.addEventListener("change", ({ target }) => {
      if (target.dataset.mac) onPick([target.dataset.mac], target.checked);
      else if (target.dataset.group !== undefined) onPick(this.macsOf(target.dataset.group), target.checked);
    });
  }

  macsOf(group) {
    return this.sections.find((section) => section.group === group)?.places.map(({ mac }) => mac) ?? [];
  }

  // Put each tile in its place. Tiles that exist are moved, not made anew.
  layout() {
    this.sections = sectionsOf(room.seats.values(), room.plan);
    const { selectable } = this.options();
    const parts = this.sections.map((section) => {
      const part = element("section", `field ${section.columns ? "on-plan" : ""} ${section.columns > MANY_COLUMNS ? "dense" : ""} ${section.group === undefined ? "" : "small"}`);
      if (section.title) this.heading(section, part, selectable);
      const scroller = element("div", "scroller", part);
      if (section.columns > MANY_COLUMNS) {
        scroller.tabIndex = 0;
        scroller.role = "region";
        scroller.ariaLabel = t("room.plan");
      }
      const list = element("ul", "tiles", scroller);
      if (section.columns) {
        const widths = Array.from({ length: section.columns }, (_, x) =>
          section.places.some((place) => place.x === x + 1) ? "minmax(6.4rem, 1fr)" : AISLE);
        list.style.setProperty("--columns", widths.join(" "));
        list.style.setProperty("--rows", section.rows);
      }
      for (const place of section.places) list.append(this.placed(place));
      section.part = part;
      return part;
    });
    for (const mac of this.tiles.keys()) if (!room.seats.has(mac)) this.tiles.delete(mac);
    const focused = document.activeElement; // an element that moves loses the focus
    this.root.replaceChildren(...parts);
    if (focused !== document.activeElement && this.root.contains(focused)) focused.focus();
    this.all();
  }

  heading(section, part, selectable) {
    const heading = element("h2", "", part);
    if (selectable && section.group !== undefined) {
      const label = element("label", "", heading);
      const box = element("input", "", label);
      box.type = "checkbox";
      box.dataset.group = section.group;
      label.append(document.createTextNode(` ${section.title}`));
    } else heading.textContent = section.title;
    element("small", "", heading).textContent = ` ${tn("seats", section.places.length)}`;
  }

  placed({ mac, x, y }) {
    if (!this.tiles.has(mac)) this.tiles.set(mac, new Tile(mac));
    const { item } = this.tiles.get(mac);
    item.style.setProperty("--x", x ?? "auto");
    item.style.setProperty("--y", y ?? "auto");
    return item;
  }

  all() {
    this.changed(room.seats.keys());
  }

  changed(macs) {
    for (const mac of macs) this.queue.add(mac);
    this.frame ||= requestAnimationFrame(() => this.pump());
  }

  pump() {
    this.frame = 0;
    const options = this.options();
    const until = performance.now() + BUDGET_MS;
    for (const mac of this.queue) {
      this.queue.delete(mac);
      const seat = room.seats.get(mac);
      if (seat) this.tiles.get(mac)?.paint(seat, options.shows(seat), options.selected.has(mac), options.selectable);
      if (performance.now() > until) break;
    }
    if (this.queue.size) this.frame = requestAnimationFrame(() => this.pump());
    else this.settle(options);
  }

  // A section without a seat that is shown is hidden.
  settle(options) {
    for (const section of this.sections)
      section.part.hidden = !section.places.some(({ mac }) => room.seats.has(mac) && options.shows(room.seats.get(mac)));
  }

  end() {
    cancelAnimationFrame(this.frame);
  }
}
