// Orders at a time of the day, and what was done by whom.
import { get, isOperator, post, remove } from "./api.js";
import { ORDERS, OrderField } from "./actions.js";
import { room } from "./live.js";
import { said } from "./sentences.js";
import { Component, Dialog, Icon, Problem, clock, has, html, language, nameOf, naturally, say, t, tn } from "./ui.js";

const DAYS = [0, 1, 2, 3, 4, 5, 6]; // 0 is Monday
const WEEK = new Set([0, 1, 2, 3, 4]);
const GROUP = "group:";

// 1 January 2024 was a Monday.
const dayName = (day) => new Date(2024, 0, 1 + day).toLocaleDateString(language, { weekday: "short" });

// Three days or more that follow each other are a span.
function daysOf(days) {
  if (days.length === DAYS.length) return t("schedule.daily");
  const [first, last] = [days[0], days.at(-1)];
  const isSpan = days.length > 2 && last - first === days.length - 1;
  return isSpan ? `${dayName(first)}\u2060–\u2060${dayName(last)}` : days.map(dayName).join(", ");
}

// What an entry of the audit tells: order:NAME, or another action.
function actionName(action) {
  const key = action.startsWith("order:") ? action.replace("order:", "order.") : `action.${action}`;
  return has(key) ? t(key) : action;
}

function whom(seats) {
  if (!seats.length) return t("schedule.everybody");
  return seats.map((each) => each.startsWith(GROUP) ? t("schedule.group", { group: each.slice(GROUP.length) })
    : room.seats.has(each) ? nameOf(room.seats.get(each)) : each).join(", ");
}

export class Schedules extends Component {
  state = { schedules: null, audit: [], error: "", order: "wake", asked: null };

  componentDidMount() {
    this.load();
  }

  async load() {
    try {
      this.setState({ schedules: await get("schedules"), error: "" });
      if (isOperator()) this.setState({ audit: await get("audit") });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  async change(work, text) {
    try {
      await work();
      say(text, true);
      this.setState({ asked: null });
      await this.load();
    } catch (error) {
      this.setState({ error: error.message, asked: null });
    }
  }

  add(event) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const to = form.get("to");
    const { field, name } = ORDERS.find((order) => order.name === this.state.order);
    const days = form.getAll("days").map(Number);
    const body = { order: name, seats: to ? [to] : [], at: form.get("at"), days, enabled: true };
    if (field) body[field] = form.get(field);
    this.change(() => post("schedules", body), t("schedule.added"));
  }

  render(_, { schedules, audit, error, asked }) {
    return html`<h1 tabindex="-1">${t("nav.schedules")}</h1><${Problem} error=${error} />
      ${schedules && (schedules.length ? this.list(schedules) : html`<p class="empty">${t("schedule.none")}</p>`)}
      ${isOperator() ? this.form() : html`<p class="fine">${t("schedule.login")}</p>`}
      ${isOperator() && this.audit(audit)}
      ${asked && html`<${Dialog} title=${t("schedule.remove.ask")} onClose=${() => this.setState({ asked: null })}>
        <p>${t(`order.${asked.order}`)}, ${asked.at}: ${whom(asked.seats)}</p>
        <p class="buttons"><button onClick=${() => this.setState({ asked: null })}>${t("cancel")}</button>
          <button class="primary" onClick=${() => this.change(() => remove(`schedules/${asked.id}`), t("schedule.removed"))}>${t("remove")}</button></p><//>`}`;
  }

  list(schedules) {
    return html`<div class="card"><div class="scroller" tabindex="0" role="region" aria-label=${t("nav.schedules")}><table><thead><tr>
      <th scope="col">${t("schedule.at")}</th><th scope="col">${t("schedule.days")}</th><th scope="col">${t("schedule.order")}</th>
      <th scope="col">${t("schedule.to")}</th>${isOperator() && html`<th scope="col"><span class="sr">${t("remove")}</span></th>`}</tr></thead>
      <tbody>${schedules.map((each) => html`<tr key=${each.id}><th scope="row">${each.at}</th>
        <td>${daysOf(each.days)}</td>
        <td>${t(`order.${each.order}`)} ${each.text || each.image || each.loader || ""}${!each.enabled && ` (${t("schedule.disabled")})`}</td>
        <td>${whom(each.seats)}</td>${isOperator() && html`<td><button onClick=${() => this.setState({ asked: each })}
          title=${t("remove")} aria-label="${t("remove")}: ${t(`order.${each.order}`)}, ${each.at}"><${Icon} name="remove" /></button></td>`}</tr>`)}</tbody></table></div></div>`;
  }

  form() {
    const seats = [...room.seats.values()].sort((a, b) => naturally(nameOf(a), nameOf(b)));
    const groups = [...new Set(seats.flatMap((seat) => seat.groups ?? []))].sort(naturally);
    const { field, asked } = ORDERS.find((order) => order.name === this.state.order);
    return html`<form class="card schedule" onSubmit=${(event) => this.add(event)}><h2>${t("schedule.new")}</h2>
      <div class="fields">
        <label>${t("schedule.order")}<select name="order" value=${this.state.order} onChange=${(event) => this.setState({ order: event.target.value })}>
          ${ORDERS.map(({ name }) => html`<option value=${name}>${t(`order.${name}`)}</option>`)}</select></label>
        <label>${t("schedule.to")}<select name="to"><option value="">${t("schedule.everybody")}</option>
          ${groups.map((group) => html`<option value=${GROUP + group}>${t("schedule.group", { group })}</option>`)}
          ${seats.map((seat) => html`<option value=${seat.mac}>${nameOf(seat)}</option>`)}</select></label>
        <label>${t("schedule.at")}<input type="time" name="at" required /></label>
        <${OrderField} field=${asked ?? field} /></div>
      <fieldset><legend>${t("schedule.days")}</legend>${DAYS.map((day) => html`<label class="check"><input type="checkbox" name="days"
        value=${day} defaultChecked=${WEEK.has(day)} /> ${dayName(day)}</label>`)}</fieldset>
      <button class="primary">${t("schedule.add")}</button></form>`;
  }

  audit(entries) {
    return html`<section class="card"><h2>${t("audit.title")}</h2>${!entries.length && html`<p class="empty">${t("audit.none")}</p>`}
      ${entries.length > 0 && html`<div class="scroller" tabindex="0" role="region" aria-label=${t("audit.title")}><table><thead><tr>
        <th scope="col">${t("event.when")}</th><th scope="col">${t("audit.by")}</th><th scope="col">${t("audit.action")}</th>
        <th scope="col">${t("audit.detail")}</th></tr></thead><tbody>${entries.map((entry) => html`<tr><td class="time">${clock(entry.when, true)}</td>
        <td>${entry.by} <span class="fine">${entry.address}</span></td><td>${actionName(entry.action)}</td><td class="prose">${entry.seats.length > 6
          ? tn("seats", entry.seats.length) : entry.seats.length ? whom(entry.seats) : ""} ${entry.detail} ${said(entry.outcome)}</td></tr>`)}</tbody></table></div>`}</section>`;
  }
}
