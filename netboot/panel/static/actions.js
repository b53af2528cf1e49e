// What an operator can do to one seat, a selection or a group. Many seats, and what ends work, are asked for.
import { isOperator, post } from "./api.js";
import { room } from "./live.js";
import { said } from "./sentences.js";
import { Component, Dialog, Icon, Problem, html, nameOf, say, t, tn } from "./ui.js";

// asks: always, even for one seat. field: what else the order says. asked: how a person gives it, if not as text.
export const ORDERS = [
  { name: "wake" },
  { name: "reboot", asks: true },
  { name: "poweroff", asks: true },
  { name: "message", field: "text" },
  { name: "identify" },
  { name: "image", field: "image" },
  { name: "loader", field: "loader" },
  { name: "entry", field: "text", asked: "entry" },
  { name: "end-lease", asks: true },
];
const ENTRIES = ["rescue", "local", "memtest"]; // of the boot menu; it may have others
export const LOADERS = ["auto", "ipxe", "native", "signed"]; // the profile's boot.loader
const MOST_NAMES = 12;
const LONGEST_TEXT = 200;

export class Actions extends Component {
  state = { order: null, refused: null };

  choose(order) {
    if (order.asks || order.field || this.props.seats.length > 1) this.setState({ order });
    else this.send(order, {});
  }

  async send(order, more) {
    const { seats } = this.props;
    try {
      const answer = await post("orders", { order: order.name, seats: seats.map(({ mac }) => mac), ...more });
      this.tell(order, seats, answer.results);
    } catch (error) {
      if (!this.state.order) say(said(error.message), true);
      else throw error;
    }
  }

  tell(order, seats, results) {
    const refused = seats.filter(({ mac }) => results[mac] !== "");
    const rows = refused.map((seat) => [nameOf(seat), results[seat.mac] ?? t("order.no-answer")]);
    say(tn("order.sent", seats.length - refused.length, { order: t(`order.${order.name}`) }), true);
    this.setState({ order: null, refused: rows.length ? rows : null });
  }

  render({ seats }, { order, refused }) {
    if (!isOperator()) return null;
    return html`<div class="actions">
      ${seats.length > 1 && html`<strong class="chosen">${tn("chosen", seats.length)}</strong>`}
      ${ORDERS.map((each) => html`<button key=${each.name} class="act-${each.name}" onClick=${() => this.choose(each)}>
        <${Icon} name=${each.name} />${t(`order.${each.name}`)}</button>`)}
      ${order && html`<${Question} order=${order} seats=${seats} onClose=${() => this.setState({ order: null })}
        onSend=${(more) => this.send(order, more)} />`}
      ${refused && html`<${Dialog} title=${tn("order.refused", refused.length)} onClose=${() => this.setState({ refused: null })}>
        <ul class="names">${refused.map(([name, why]) => html`<li><b>${name}</b>: ${said(why)}</li>`)}</ul>
        <p class="buttons"><button class="primary" onClick=${() => this.setState({ refused: null })}>${t("close")}</button></p>
      <//>`}
    </div>`;
  }
}

class Question extends Component {
  state = { error: "", busy: false };

  async submit(event) {
    event.preventDefault();
    const { order, onSend } = this.props;
    const more = order.field ? { [order.field]: new FormData(event.currentTarget).get(order.field) } : {};
    this.setState({ busy: true, error: "" });
    try {
      await onSend(more);
    } catch (error) {
      this.setState({ error: error.message, busy: false });
    }
  }

  render({ order, seats, onClose }, { error, busy }) {
    const names = seats.slice(0, MOST_NAMES).map(nameOf).join(", ");
    const more = seats.length - MOST_NAMES;
    return html`<${Dialog} title=${tn(`ask.${order.name}`, seats.length, { name: nameOf(seats[0]) })} onClose=${onClose}>
      <form onSubmit=${(event) => this.submit(event)}>
        ${seats.length > 1 && html`<p class="names">${names}${more > 0 && ` ${tn("ask.more", more)}`}</p>`}
        <p>${t(`ask.${order.name}.what`)}</p>
        <${OrderField} field=${order.asked ?? order.field} />
        <${Problem} error=${error} />
        <p class="buttons"><button type="button" onClick=${onClose}>${t("cancel")}</button>
          <button class="primary" disabled=${busy}>${order.name === "message" ? t("send") : t(`order.${order.name}`)}</button></p>
      </form><//>`;
  }
}

export function OrderField({ field }) {
  if (field === "text")
    return html`<label>${t("ask.text")}<textarea name="text" required maxlength=${LONGEST_TEXT} rows="3"></textarea></label>`;
  if (field === "image") {
    const images = [...new Set([...room.seats.values()].map((seat) => seat.image).filter(Boolean))].sort();
    return html`<label>${t("ask.image")}<input name="image" list="images" autocapitalize="none" />
      <datalist id="images">${images.map((image) => html`<option value=${image} />`)}</datalist></label>`;
  }
  if (field === "entry")
    return html`<label>${t("ask.entry")}<input name="text" list="entries" autocapitalize="none" />
      <datalist id="entries">${ENTRIES.map((entry) => html`<option value=${entry} />`)}</datalist></label>`;
  if (field === "loader")
    return html`<label>${t("ask.loader")}<select name="loader">
      ${LOADERS.map((loader) => html`<option value=${loader}>${t(`loader.${loader}`)}</option>`)}</select></label>`;
  return null;
}
