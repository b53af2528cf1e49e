// What went wrong: one sentence, its cause and what to do; newest first.
import { get, isOperator, post } from "./api.js";
import { listen } from "./live.js";
import { said } from "./sentences.js";
import { Component, Icon, Problem, Prose, clock, html, nameOf, say, stageName, t } from "./ui.js";

const AGAIN_MS = 2000;

export class Troubles extends Component {
  state = { troubles: null, all: false, error: "" };

  componentDidMount() {
    this.load();
    this.end = listen((change) => {
      if (change.all || change.seats.length) this.soon ??= setTimeout(() => this.load(), AGAIN_MS);
    });
  }

  componentWillUnmount() {
    this.end();
    clearTimeout(this.soon);
  }

  async load(all = this.state.all) {
    this.soon = null;
    try {
      this.setState({ troubles: await get(`troubles?all=${all}`), all, error: "" });
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  async acknowledge(trouble) {
    try {
      await post(`troubles/${trouble.id}/acknowledge`);
      say(t("trouble.acknowledged", { name: nameOf({ name: trouble.name, mac: trouble.seat }) }), true);
      await this.load();
    } catch (error) {
      this.setState({ error: error.message });
    }
  }

  render(_, { troubles, all, error }) {
    return html`<div class="title"><h1 tabindex="-1">${t("nav.troubles")}</h1>
      <label class="check"><input type="checkbox" checked=${all} onChange=${(event) => this.load(event.target.checked)} /> ${t("trouble.all")}</label></div>
      <${Problem} error=${error} />
      ${troubles && !troubles.length && html`<p class="empty">${t("trouble.none")}</p>`}
      <ul class="troubles">${(troubles ?? []).map((trouble) => html`<li key=${trouble.id}
        class="card ${trouble.over || trouble.acknowledged_by ? "done" : ""}">
        <p class="fine"><a href="#/seat/${trouble.seat}">${trouble.name || trouble.seat}</a> · ${clock(trouble.when, true)} · <span title=${trouble.stage}>${stageName(trouble.stage)}</span>
          ${trouble.over != null && html` · ${t("trouble.over", { when: clock(trouble.over, true) })}`}</p>
        <p><b><${Prose} text=${trouble.message} /></b>${trouble.cause && html` ${t("trouble.cause")} <${Prose} text=${trouble.cause} />`}</p>
        ${trouble.remedy && html`<p>${t("seat.remedy")} <${Prose} text=${trouble.remedy} /></p>`}
        ${trouble.acknowledged_by
          ? html`<p class="fine">${t("trouble.seen-by", { name: trouble.acknowledged_by, when: clock(trouble.acknowledged_at) })}</p>`
          : isOperator() && html`<button onClick=${() => this.acknowledge(trouble)}
              aria-label="${t("trouble.acknowledge")}: ${trouble.name || trouble.seat}, ${said(trouble.message)}">
              <${Icon} name="check" />${t("trouble.acknowledge")}</button>`}</li>`)}</ul>`;
  }
}
