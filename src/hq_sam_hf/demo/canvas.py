"""The canvas of the demo's page, which shows the image and the masks and takes clicks: HTML, CSS and JavaScript.

It is a `gradio.HTML` component with three properties: `image`, the image as a data URI; `image_id`; and `value`,
what lies over the image:

    image_id  the image that the value belongs to; over another image it is not shown
    version   the number of the session's state; a value of an older state than the shown one is not shown
    points    [[x, y, label], ...], as fractions of the image's width and height
    box       [x1, y1, x2, y2] in the same fractions, or null
    sam, hq   the masks of the two panels as data URIs of transparent images, or null
    note      the line of text under the panels
    event     the number of the click or drag that led to this value, or null

It triggers `point` with {number, x, y, label} for a click, and `box` with {number, x1, y1, x2, y2} for a drag.
Marks of clicks and drags are pale until their value comes. A dropped file is handed to the upload button.

gradio treats these texts as templates, so they may contain neither backquotes nor dollar signs.
"""

import base64
import io
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..masks.coco import label_map
from ..masks.drawing import COLOURS, transparent_overlay
from .session import DemoSession

PANEL_COLOURS = {"sam": COLOURS[1], "hq": COLOURS[0]}

CANVAS_HTML = """
<div class="empty">
  <p class="big">Drop an image here</p>
  <p>or open one, or the sample image, with the buttons above</p>
</div>
<div class="work" hidden>
  <div class="tools" role="radiogroup" aria-label="What a click means">
    <button type="button" data-label="1" role="radio" aria-checked="true"><i class="dot on"></i>Object</button>
    <button type="button" data-label="0" role="radio" aria-checked="false"><i class="dot off"></i>Background</button>
    <span>Click on either image; right-click for background; drag for a box.</span>
  </div>
  <div class="panels">
    <figure data-panel="sam">
      <figcaption>SAM</figcaption>
      <div class="stage"><img class="image" alt="the opened image" draggable="false"><img class="layer" alt=""
        draggable="false" hidden><div class="marks"></div></div>
    </figure>
    <figure data-panel="hq">
      <figcaption>HQ-SAM</figcaption>
      <div class="stage"><img class="image" alt="the opened image" draggable="false"><img class="layer" alt=""
        draggable="false" hidden><div class="marks"></div></div>
    </figure>
  </div>
  <p class="note" role="status"></p>
</div>
"""

CANVAS_CSS = """
.empty { border: 2px dashed var(--border-color-primary); border-radius: 12px; padding: 15vh 1rem; text-align: center;
  color: var(--body-text-color); opacity: .75; }
.empty .big { font-size: 1.5rem; font-weight: 600; margin: 0 0 .3rem; }
.empty p { margin: 0; }
.dropping { outline: 3px solid #0072b2; outline-offset: 4px; border-radius: 12px; }
.tools { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; margin: .2rem 0 .6rem; }
.tools button { display: inline-flex; align-items: center; gap: .5rem; padding: .35rem .9rem; border-radius: 999px;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary); cursor: pointer;
  font-size: .95rem; color: var(--body-text-color); }
.tools button[aria-checked="true"] { border-color: #0072b2; box-shadow: inset 0 0 0 1px #0072b2; font-weight: 600; }
.tools span { color: var(--body-text-color); opacity: .75; margin-left: .4rem; font-size: .95rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 1rem; }
figure { margin: 0; text-align: center; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .3rem; color: var(--body-text-color); }
.stage { position: relative; display: inline-block; line-height: 0; cursor: crosshair; touch-action: none;
  user-select: none; border-radius: 8px; overflow: hidden; width: min(100%, calc(68vh * var(--aspect))); }
.stage img { margin: 0; border-radius: 0; }
.stage .image { display: block; width: 100%; height: auto; min-height: 1px; }
.stage .layer { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; }
.stage .layer[hidden] { display: none; }
.stage .marks { position: absolute; inset: 0; }
.dot { display: inline-block; width: 13px; height: 13px; border-radius: 50%; border: 2px solid white;
  box-shadow: 0 0 0 1px rgba(0, 0, 0, .55); box-sizing: border-box; }
.dot.on { background: #00a651; }
.dot.off { background: #dc1e1e; }
.marks .dot { position: absolute; transform: translate(-50%, -50%); }
.marks .box { position: absolute; border: 2px solid white; box-shadow: 0 0 0 1px rgba(0, 0, 0, .6),
  inset 0 0 0 1px rgba(0, 0, 0, .6); box-sizing: border-box; }
.marks .pending { opacity: .6; }
.busy figcaption::after { content: "…"; position: absolute; margin-left: .2rem; }
.note { min-height: 1.5em; margin: .6rem 0 0; color: var(--body-text-color); opacity: .75; font-size: .95rem; }
"""

CANVAS_JS = """
const one = (selector) => element.querySelector(selector);
const every = (selector) => Array.from(element.querySelectorAll(selector));
const images = every('.image');
const stages = every('.stage');
const CLICK_DISTANCE = 6;  // a pointer that moves further, in pixels of the screen, drags a box
let label = 1;
let drag = null;
let lastNumber = 0;
let pending = [];  // [kind, mark, number] of clicks and drags whose result has not come
let current = null;  // the last value of this image

function place(marks, kind, mark, isPending) {
  const node = document.createElement('i');
  if (kind === 'point') {
    node.className = 'dot ' + (mark[2] ? 'on' : 'off');
    node.style.left = 100 * mark[0] + '%';
    node.style.top = 100 * mark[1] + '%';
  } else {
    node.className = 'box';
    node.style.left = 100 * Math.min(mark[0], mark[2]) + '%';
    node.style.top = 100 * Math.min(mark[1], mark[3]) + '%';
    node.style.width = 100 * Math.abs(mark[2] - mark[0]) + '%';
    node.style.height = 100 * Math.abs(mark[3] - mark[1]) + '%';
  }
  if (isPending) node.classList.add('pending');
  marks.append(node);
}

function drawMarks() {
  element.classList.toggle('busy', pending.length > 0);
  for (const marks of every('.marks')) {
    marks.replaceChildren();
    const isReplaced = drag || pending.some(([kind]) => kind === 'box');
    if (current && current.box && !isReplaced) place(marks, 'box', current.box, false);
    for (const point of current ? current.points : []) place(marks, 'point', point, false);
    for (const [kind, mark] of pending) place(marks, kind, mark, true);
    if (drag && drag.box) place(marks, 'box', drag.box, true);
  }
}

function setSource(image, uri) {
  image.hidden = !uri;
  if (!uri) image.removeAttribute('src');
  else if (image.getAttribute('src') !== uri) image.src = uri;
}

function draw() {
  // Automatic masks take long, and may come after another image was opened or after the result of a newer click.
  const value = props.value;
  if (value && value.image_id !== props.image_id) return;
  if (value && value.event !== null) pending = pending.filter((entry) => entry[2] > value.event);
  const isOlder = value && current && current.image_id === value.image_id && value.version < current.version;
  if (!isOlder) current = value;
  if (current && !isOlder) {
    for (const panel of ['sam', 'hq']) setSource(one('[data-panel="' + panel + '"] .layer'), current[panel]);
    one('.note').textContent = current.note;
  }
  drawMarks();
}

function drawImage() {
  pending = [];
  for (const image of images) setSource(image, props.image);
  one('.empty').hidden = Boolean(props.image);
  one('.work').hidden = !props.image;
}

function fractions(event, stage) {
  const area = stage.getBoundingClientRect();
  const clip = (value) => Math.min(1, Math.max(0, value));
  return [clip((event.clientX - area.left) / area.width), clip((event.clientY - area.top) / area.height)];
}

function send(kind, mark, data) {
  lastNumber += 1;
  pending.push([kind, mark, lastNumber]);
  drawMarks();
  trigger(kind, {...data, number: lastNumber});
}

for (const stage of stages) {
  stage.addEventListener('contextmenu', (event) => event.preventDefault());
  stage.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 && event.button !== 2) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    const pointLabel = event.button === 2 ? 0 : label;
    drag = {start: fractions(event, stage), x: event.clientX, y: event.clientY, label: pointLabel, box: null};
  });
  stage.addEventListener('pointermove', (event) => {
    if (!drag) return;
    if (!drag.box && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) <= CLICK_DISTANCE) return;
    drag.box = [...drag.start, ...fractions(event, stage)];
    drawMarks();
  });
  stage.addEventListener('pointerup', () => {
    if (!drag) return;
    const {start: [x, y], label: pointLabel, box} = drag;
    drag = null;
    if (box) send('box', box, {x1: box[0], y1: box[1], x2: box[2], y2: box[3]});
    else send('point', [x, y, pointLabel], {x: x, y: y, label: pointLabel});
  });
  stage.addEventListener('pointercancel', () => { drag = null; drawMarks(); });
}

images[0].addEventListener('load', () => {
  element.style.setProperty('--aspect', images[0].naturalWidth / images[0].naturalHeight);
});

for (const button of every('.tools button')) {
  button.addEventListener('click', () => {
    label = Number(button.dataset.label);
    for (const other of every('.tools button')) other.setAttribute('aria-checked', String(other === button));
  });
}

element.addEventListener('dragover', (event) => { event.preventDefault(); element.classList.add('dropping'); });
element.addEventListener('dragleave', () => element.classList.remove('dropping'));
element.addEventListener('drop', (event) => {
  event.preventDefault();
  element.classList.remove('dropping');
  const input = document.querySelector('input[type=file]');
  if (!input || event.dataTransfer.files.length === 0) return;
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
});

watch('value', draw);
watch('image', drawImage);
drawImage();
draw();
"""


_serial = itertools.count()


def canvas_value(session: DemoSession, start: float, event: int | None = None) -> dict[str, Any]:
    """The canvas's `value` for the present state of a session.

    start: `time.perf_counter()` when the event began; the note shows the time since. event: number of the click or
    drag. A serial number makes each value differ from the last one, since gradio only sends a value that has changed.
    """
    height, width = session.size
    state = session.state
    value: dict[str, Any] = {"image_id": session.id, "version": state.version, "serial": next(_serial), "event": event}
    value |= {"sam": None, "hq": None, "points": [], "box": None}
    if state.records is not None:
        value["hq"] = _mask_uri(label_map(state.records, session.view_size), COLOURS)
        count = len(state.records)
        summary = f"{count} automatic mask{'s' * (count > 1)}" if count else "no automatic mask was good enough"
    else:
        prompts, result = state.prompts, state.result
        value["points"] = [[(x + 0.5) / width, (y + 0.5) / height, label] for x, y, label in prompts.points]
        if prompts.box is not None:
            value["box"] = [(edge + 0.5) / side for edge, side in zip(prompts.box, (width, height) * 2)]
        if result is not None:
            value["sam"] = _mask_uri(result.sam, [PANEL_COLOURS["sam"]])
            value["hq"] = _mask_uri(result.hq, [PANEL_COLOURS["hq"]])
        summary = "no prompt yet" if result is None else f"score {result.score:.2f}"
    size, duration = f"{width} x {height} pixels", f"{milliseconds_since(start):.0f} ms"
    value["note"] = " · ".join([session.name, size, summary, duration])
    return value


def to_pixel(session: DemoSession, x: float, y: float) -> tuple[float, float]:
    """From fractions of the image's width and height to pixels, whose centres are whole numbers."""
    height, width = session.size
    return float(x) * width - 0.5, float(y) * height - 0.5


def milliseconds_since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)


def image_uri(image: Image.Image) -> str:
    return _data_uri(image, format="JPEG", quality=90)


def _mask_uri(labels: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> str:
    return _data_uri(transparent_overlay(labels, colours), format="PNG", compress_level=1)


def _data_uri(image: Image.Image, format: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


__all__ = ["CANVAS_CSS", "CANVAS_HTML", "CANVAS_JS", "canvas_value", "image_uri", "milliseconds_since", "to_pixel"]
