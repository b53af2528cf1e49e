// The plan of the room, put in order: seats are dragged, or picked up and put down by keys or taps.
import { put } from "./api.js";
import { room } from "./live.js";
import { Component, Icon, Problem, StateWord, html, naturally, say, t } from "./ui.js";

const COLUMNS = 6;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TRAY = "tray";

// A plan of whole rows; `wide` and `high` at least.
function padded(rows, wide = 1, high = 1) {
  const columns = Math.max(wide, ...rows.map((row) => row.length));
  const all = rows.map((row) => [...row, ...Array(columns - row.length).fill("")]);
  while (all.length < high) all.push(Array(columns).fill(""));
  return all;
}

// The same without empty rows at the end and empty places at the right.
export function trimmed(rows) {
  const cut = rows.map((row) => row.slice(0, row.findLastIndex(Boolean) + 1));
  return cut.slice(0, cut.findLastIndex((row) => row.length) + 1);
}

export class Arrange extends Component {
  constructor(props) {
    super(props);
    const rows = room.plan.some((row) => row.some(Boolean)) ? room.plan : [];
    // Not in the state, which is set later: keys may come faster than a frame.
    this.rows = padded(rows, rows.length ? 1 : COLUMNS, rows.length ? 1 : 3);
    this.picked = null;
    this.at = [0, 0];
    this.state = { error: "" };
  }

  become(change) {
    Object.assign(this, change);
    this.setState({});
  }

  others() {
    const placed = new Set(this.rows.flat());
    const names = [...room.seats.values()].map((seat) => seat.name).filter(Boolean);
    return [...new Set(names)].filter((name) => !placed.has(name)).sort(naturally);
  }

  // Put a seat in a place; what is there goes where the seat came from.
  move(name, x, y) {
    const rows = this.rows.map((row) => [...row]);
    const there = rows[y][x];
    rows.forEach((row) => row.forEach((each, column) => {
      if (each === name) row[column] = there;
    }));
    rows[y][x] = name;
    say(t("arrange.put", { name, row: y + 1, column: x + 1 }));
    this.become({ rows, picked: null, at: [x, y] });
  }

  takeOff(name) {
    const rows = this.rows.map((row) => row.map((each) => (each === name ? "" : each)));
    say(t("arrange.off", { name }));
    this.become({ rows, picked: null });
  }

  pick(name) {
    this.become({ picked: name });
    say(t("arrange.picked", { name }));
  }

  use(x, y) {
    const { picked, rows } = this;
    this.become({ at: [x, y] });
    if (picked) this.move(picked, x, y);
    else if (rows[y][x]) this.pick(rows[y][x]);
  }

  key(event, x, y) {
    const { picked, rows } = this;
    if (event.key === "Escape" && picked) this.become({ picked: null });
    else if (event.key === "Delete" && rows[y][x]) this.takeOff(rows[y][x]);
    else if (MOVES[event.key]) {
      const [dx, dy] = MOVES[event.key];
      const at = [Math.max(0, Math.min(rows[0].length - 1, x + dx)), Math.max(0, Math.min(rows.length - 1, y + dy))];
      this.become({ at });
      event.currentTarget.closest("table").querySelector(`[data-at="${at.join(" ")}"]`).focus();
    } else return;
    event.preventDefault();
  }

  add(columns, rows) {
    this.become({ rows: padded(this.rows, this.rows[0].length + columns, this.rows.length + rows) });
  }

  inRows() {
    const width = this.rows[0].length;
    const names = [...this.rows.flat().filter(Boolean), ...this.others()].sort(naturally);
    const rows = [];
    for (let at = 0; at < names.length; at += width) rows.push(names.slice(at, at + width));
    this.become({ rows: padded(rows, width) });
  }

  async save() {
    try {
      const rows = trimmed(this.rows);
      await put("plan", { rows });
      room.plan = rows;
      say(t("arrange.saved"), true);
      this.props.onClose();
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  drag(name) {
    return {
      draggable: true,
      onDragStart: (event) => {
        event.dataTransfer.setData("text/plain", name);
        event.dataTransfer.effectAllowed = "move";
        this.dragged = name;
      },
    };
  }

  drop(act) {
    return {
      onDragOver: (event) => event.preventDefault(),
      onDrop: (event) => {
        event.preventDefault();
        if (this.dragged) act(this.dragged);
        this.dragged = null;
      },
    };
  }

  render({ onClose }, { error }) {
    const { rows, picked, at } = this;
    const seats = new Map([...room.seats.values()].map((seat) => [seat.name, seat]));
    return html`<div class="arrange"><div class="title"><h1 tabindex="-1">${t("room.arrange")}</h1></div>
      <p>${t("arrange.how")}</p>
      <p class="tools"><button class="primary" onClick=${() => this.save()}><${Icon} name="check" />${t("save")}</button>
        <button onClick=${onClose}>${t("cancel")}</button>
        <button onClick=${() => this.add(1, 0)}>${t("arrange.column")}</button>
        <button onClick=${() => this.add(0, 1)}>${t("arrange.row")}</button>
        <button onClick=${() => this.inRows()}>${t("arrange.by-name")}</button></p>
      <${Problem} error=${error} />
      <p class="front">${t("room.front")}</p>
      <div class="scroller"><table class="plan" role="grid" aria-label=${t("room.plan")}><tbody>${rows.map((row, y) => html`<tr role="row">${row.map(
        (name, x) => html`<td role="gridcell"><button class="place ${name ? "" : "free"}" data-at="${x} ${y}"
          tabindex=${at[0] === x && at[1] === y ? 0 : -1} aria-pressed=${name ? picked === name : undefined}
          onClick=${() => this.use(x, y)} onKeyDown=${(event) => this.key(event, x, y)}
          ...${name ? this.drag(name) : {}} ...${this.drop((each) => this.move(each, x, y))}>
          ${name ? html`<b>${name}</b>${seats.has(name) && html`<${StateWord} state=${seats.get(name).state} />`}` : t("arrange.free")}
          <span class="sr">, ${t("arrange.where", { row: y + 1, column: x + 1 })}</span></button></td>`)}</tr>`)}</tbody></table></div>
      <section class="tray" aria-label=${t("room.others")} ...${this.drop((name) => this.takeOff(name))}>
        <h2>${t("room.others")}</h2>
        <div class="chips">${this.others().map((name) => html`<button key=${name} class="chip" aria-pressed=${picked === name}
          ...${this.drag(name)} onClick=${() => this.pick(name)}>${name}</button>`)}
        ${picked && rows.flat().includes(picked) && html`<button onClick=${() => this.takeOff(picked)} key=${TRAY}>
          ${t("arrange.take-off", { name: picked })}</button>`}</div></section></div>`;
  }
}
