// Lines over time, drawn by uPlot. It is loaded when the first chart is shown.
import { Component, bytes, createRef, html, language, t } from "./ui.js";

let loading = null;

function loadLibrary() {
  loading ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = "/static/vendor/uPlot.min.css";
    const script = document.createElement("script");
    script.src = "/static/vendor/uPlot.iife.min.js";
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => reject(new Error("uPlot"));
    document.head.append(style, script);
  });
  return loading;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const DAY = 86400;
const POWERS = Array.from({ length: 44 }, (_, power) => 2 ** power); // steps of an axis of bytes

// samples: {columns, rows}; lines: [{column, label, color: a custom property, scale?: factor}]; show: figure -> text.
export class Chart extends Component {
  box = createRef();

  componentDidMount() {
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box.current);
    this.recolor = () => this.draw();
    dark.addEventListener("change", this.recolor);
    this.draw();
  }

  componentDidUpdate(before) {
    if (before.samples !== this.props.samples || this.spoken !== language) this.draw();
  }

  componentWillUnmount() {
    this.observer.disconnect();
    dark.removeEventListener("change", this.recolor);
    this.plot?.destroy();
    this.ended = true;
  }

  data() {
    const { samples, lines } = this.props;
    const at = (column) => samples.columns.indexOf(column);
    const column = (index, factor = 1) =>
      samples.rows.map((row) => (index < 0 || row[index] == null ? null : row[index] * factor));
    return [column(at("when")), ...lines.map((line) => column(at(line.column), line.scale))];
  }

  resize() {
    const width = this.box.current.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: this.plot.height });
  }

  async draw() {
    const uPlot = await loadLibrary();
    if (this.ended) return;
    this.spoken = language;
    this.plot?.destroy();
    const { lines, show, top, since, until } = this.props;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false },
      font: "12px system-ui, sans-serif" };
    const time = (when) => new Date(when * 1000).toLocaleString(language, until - since > 2 * DAY
      ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hour12: false });
    this.plot = new uPlot({
      width: this.box.current.clientWidth || 300,
      height: 170,
      cursor: { y: false },
      scales: { x: { range: () => [since, until] }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, top ?? 0) * 1.05 || 1] } },
      axes: [{ ...axis, size: 28, values: (_, splits) => splits.map(time), space: 70 },
        { ...axis, size: 72, values: (_, splits) => splits.map((value) => show(value)),
        ...(show === bytes ? { incrs: POWERS } : {}) }],
      series: [{ label: t("chart.time"), value: (_, when) => (when == null ? "–" : time(when)) }, ...lines.map((line) => ({
        label: line.label,
        stroke: color(line.color),
        width: 2,
        dash: line.dash,
        fill: line.fill ? `${color(line.color)}22` : undefined,
        points: { show: false },
        value: (_, value) => (value == null ? "–" : show(value)),
      }))],
    }, this.data(), this.box.current);
  }

  // What the picture says, for those who do not see it.
  words() {
    const [, ...columns] = this.data();
    return this.props.lines.map((line, index) => {
      const known = columns[index].filter((value) => value != null);
      if (!known.length) return "";
      return t("chart.line", { name: line.label, last: this.props.show(known.at(-1)), most: this.props.show(Math.max(...known)) });
    }).filter(Boolean).join(" ");
  }

  render({ title }) {
    const words = this.words();
    return html`<figure class="chart"><figcaption>${title}</figcaption>
      <div ref=${this.box} role="img" aria-label="${title}. ${words}"></div>
      <p class="fine">${words || t("chart.empty")}</p></figure>`;
  }
}
