// The login of viewers and operators.
import { loadMe, post } from "./api.js";
import { Component, Problem, createRef, html, t } from "./ui.js";

export class Login extends Component {
  state = { error: "", busy: false };
  password = createRef();

  async submit(event) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    this.setState({ busy: true, error: "" });
    try {
      await post("login", { name: form.get("name"), password: form.get("password") });
      await loadMe();
      this.props.onDone();
    } catch (error) {
      this.setState({ error: error.message, busy: false });
      this.password.current.value = "";
      this.password.current.focus();
    }
  }

  render() {
    return html`<form class="card login" onSubmit=${(event) => this.submit(event)}>
      <h1 tabindex="-1">${t("login")}</h1>
      <p>${t("login.why")}</p>
      <label>${t("login.name")}<input name="name" autocomplete="username" required autocapitalize="none" /></label>
      <label>${t("login.password")}<input ref=${this.password} name="password" type="password"
        autocomplete="current-password" required /></label>
      <${Problem} error=${this.state.error} />
      <button class="primary" disabled=${this.state.busy}>${t("login")}</button>
    </form>`;
  }
}
