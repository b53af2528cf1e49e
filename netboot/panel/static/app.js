// The page's frame: which screen is shown, the menu, what is said to everybody.
import { render } from "./vendor/preact.mjs";
import { loadMe, me, onMe, post } from "./api.js";
import { Boot } from "./boot.js";
import { Inventory } from "./inventory.js";
import { listen, load, room, start, stop } from "./live.js";
import { Login } from "./login.js";
import { Room } from "./room.js";
import { said } from "./sentences.js";
import { Schedules } from "./schedules.js";
import { Seat } from "./seat.js";
import { Servers } from "./servers.js";
import { Troubles } from "./troubles.js";
import {
  Component, Icon, clock, html, isTroubled, language, loadTexts, nameOf, onTranslated, say, setLanguage, setSpeaker, t, tn,
} from "./ui.js";

const SCREENS = { room: Room, boot: Boot, servers: Servers, troubles: Troubles, inventory: Inventory, schedules: Schedules };
const SHOWN_MS = 8000;

const placeOf = (hash) => hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

class App extends Component {
  state = { place: placeOf(location.hash), said: "", shown: "" };
  troubled = new Map(); // the trouble that was told last, by MAC address

  componentDidMount() {
    setSpeaker((text, shown) => this.speak(text, shown));
    onMe(() => this.setState({}));
    onTranslated(() => this.setState({}));
    listen((change) => this.changed(change));
    addEventListener("hashchange", () => this.go());
  }

  componentDidUpdate() {
    this.title();
  }

  go() {
    this.setState({ place: placeOf(location.hash) }, () => {
      document.querySelector("h1")?.focus();
      scrollTo(0, 0);
    });
  }

  title() {
    const title = `${document.querySelector("h1")?.textContent ?? ""} – netboot`;
    if (title !== document.title) document.title = title;
  }

  speak(text, shown) {
    this.setState(shown ? { said: text, shown: text } : { said: text });
    if (!shown) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.setState({ shown: "" }), SHOWN_MS);
  }

  // New troubles are told, but not those that were there when the page was opened.
  changed(change) {
    const fresh = [];
    for (const seat of change.all ? room.seats.values() : change.seats) {
      const trouble = isTroubled(seat) ? `${seat.state} ${seat.trouble?.message ?? ""}` : "";
      if (trouble && this.troubled.get(seat.mac) !== trouble && !change.all) fresh.push(seat);
      this.troubled.set(seat.mac, trouble);
    }
    if (fresh.length === 1) {
      const [seat] = fresh;
      say(t("trouble.new", { name: nameOf(seat), what: said(seat.trouble?.message) || t(`state.${seat.state}`) }));
    } else if (fresh.length > 1) say(tn("trouble.new", fresh.length));
    this.setState({});
  }

  async logout() {
    try {
      await post("logout");
    } finally {
      await loadMe();
      if (me.needs_login) stop();
      else await load();
    }
  }

  async entered() {
    await start();
    if (placeOf(location.hash)[0] === "login") location.hash = "#/room"; // or where the reader went meanwhile
  }

  screen() {
    const [name, part] = this.state.place;
    if (name === "login" || (me.needs_login && me.role === "anonymous"))
      return html`<${Login} onDone=${() => this.entered()} />`;
    if (!room.loaded) return html`<p class="empty" role="status">${t(room.down ? "down.first" : "loading")}</p>`;
    if (name === "seat") return html`<${Seat} key=${part} mac=${part} />`;
    const Screen = SCREENS[name] ?? Room;
    return html`<${Screen} key=${name} part=${part} />`;
  }

  render() {
    const seats = [...room.seats.values()];
    const troubled = seats.filter(isTroubled).length;
    const [place] = this.state.place;
    const here = place in SCREENS || place === "login" ? place : "room";
    const link = (name, count = 0) => html`<a href="#/${name}"
      aria-current=${here === name ? "page" : undefined}>${t(`nav.${name}`)}${
      count > 0 && html`<span class="count">${count}<span class="sr"> ${t("nav.seats")}</span></span>`}</a>`;
    const jump = (event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    };
    return html`
      <a class="skip" href="#main" onClick=${jump}>${t("skip")}</a>
      <header>
        <a class="brand" href="#/room"><img src="/static/icon.svg" alt="" width="24" height="24" />netboot</a>
        <nav aria-label=${t("nav.menu")}>
          ${link("room")}${link("boot")}${link("troubles", troubled)}${link("servers")}${link("inventory")}
          ${link("schedules")}
        </nav>
        <div class="user">
          <button class="plain" lang=${language === "de" ? "en" : "de"} onClick=${() => this.translate()}>
            ${language === "de" ? "English" : "Deutsch"}</button>
          ${me.name
            ? html`<span class="who">${me.name}${me.name !== me.role && ` (${t(`role.${me.role}`)})`}</span>
                <button class="plain" onClick=${() => this.logout()}>${t("logout")}</button>`
            : html`<a href="#/login">${t("login")}</a>`}
        </div>
      </header>
      <${Banners} />
      <main id="main" tabindex="-1">${this.screen()}</main>
      <div class="sr" role="status" aria-live="polite">${this.state.said}</div>
      ${this.state.shown && html`<div class="toast" aria-hidden="true">${this.state.shown}</div>`}`;
  }

  translate() {
    setLanguage(language === "de" ? "en" : "de", true);
    this.setState({});
  }
}

// What the whole view lacks: the panel, or a server.
function Banners() {
  const away = [...room.servers.values()].filter((server) => !server.connected);
  return html`${room.down > 0 && room.loaded && html`<p class="banner" role="alert"><${Icon} name="alert" />
      <span>${t("down.panel", { since: clock(room.down, true) })}</span></p>`}
    ${!room.down && away.map((server) => html`<p class="banner" role="alert" key=${server.name}><${Icon} name="alert" />
      <span>${t("down.server", { name: server.name, since: clock(server.since || server.when, true) })}</span></p>`)}`;
}

async function main() {
  await Promise.all([loadTexts(), loadMe().catch(() => {})]);
  render(html`<${App} />`, document.getElementById("app"));
  if (!(me.needs_login && me.role === "anonymous")) await start();
}

main();
