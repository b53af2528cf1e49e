// The stages of a boot as bars under each other, beside those of the boots before.
import { said } from "./sentences.js";
import { Component, clock, duration, html, stageName, t } from "./ui.js";

const SHADES = ["first", "second", "third"];

// When each stage of a boot began and how long it took, by its name; the first one if it came again.
function stagesOf(boot) {
  const stages = new Map();
  boot.stages.forEach((stage, index) => {
    const next = boot.stages[index + 1]?.at ?? Math.max(boot.seconds ?? stage.at, stage.at);
    if (stages.has(stage.stage)) stages.get(stage.stage).end = Math.max(stages.get(stage.stage).end, next);
    else stages.set(stage.stage, { ...stage, end: next });
  });
  return stages;
}

export class Waterfall extends Component {
  render({ boots }) {
    const shown = boots.slice(0, SHADES.length).filter((boot) => boot.stages.length);
    if (!shown.length) return html`<p class="empty">${t("boot.none")}</p>`;
    const columns = shown.map(stagesOf);
    const length = Math.max(...columns.flatMap((stages) => [...stages.values()].map(({ end }) => end)), 1);
    const names = [...new Set(columns.flatMap((stages) => [...stages.keys()]))];
    names.sort((a, b) => (columns.find((each) => each.has(a)).get(a).at) - (columns.find((each) => each.has(b)).get(b).at));
    const left = (at) => `${(at / length) * 100}%`;
    return html`<ul class="legend">${shown.map((boot, index) => html`<li><span class="swatch ${SHADES[index]}"></span>
        ${clock(boot.began)}: ${t(`outcome.${boot.outcome}`)}${boot.seconds != null && `, ${duration(boot.seconds)}`}
        ${boot.image && html` <span class="fine">${boot.image}</span>`}</li>`)}</ul>
      <table class="waterfall"><caption class="sr">${t("boot.caption")}</caption>
        <thead><tr><th scope="col">${t("boot.stage")}</th><th scope="col" class="figure">${t("boot.took")}</th>
          <th scope="col" class="wide" aria-hidden="true"></th></tr></thead>
        <tbody>${names.map((name) => {
          const own = columns[0].get(name);
          return html`<tr class=${name.startsWith("failed") ? "failed" : ""}>
            <th scope="row" title=${[name, own && said(own.message)].filter(Boolean).join(": ")}>${stageName(name)}</th>
            <td class="figure">${own ? duration(own.end - own.at) : "–"}</td>
            <td class="wide" aria-hidden="true"><div class="lanes">${columns.map((stages, index) => {
              const stage = stages.get(name);
              return html`<div class="lane">${stage && html`<span class="span ${SHADES[index]}"
                style=${{ left: left(stage.at), width: left(stage.end - stage.at) }}></span>`}</div>`;
            })}</div></td></tr>`;
        })}</tbody></table>`;
  }
}
