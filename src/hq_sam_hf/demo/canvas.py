"""The part of the demo's page that shows the picture and takes clicks: HTML, CSS and JavaScript for `gradio.HTML`.

It has three properties. `photo` is the picture as a data URI and `picture` its id. `value` is what lies over it:

    picture  the id of the picture that it belongs to; over another one it is not shown
    points   [[x, y, label], ...] and box [x1, y1, x2, y2] or null, as shares of the picture's width and height
    sam, hq  the layers of the two panels as data URIs, or null
    note     a line under the panels
    answered the number of the click or drag that this answers, or null

It triggers `point` with {number, x, y, label} for a click and `box` with {number, x1, y1, x2, y2} for a drag, as such
shares; until they are answered their marks are pale. A file that is dropped is handed to the upload button.

gradio takes these texts as templates, so that they may hold neither backquotes nor dollar signs.
"""

CANVAS_HTML = """
<div class="empty">
  <p class="big">Drop a picture here</p>
  <p>or open one, or take the sample photo, with the buttons above</p>
</div>
<div class="work" hidden>
  <div class="tools" role="radiogroup" aria-label="What a click means">
    <button type="button" data-label="1" role="radio" aria-checked="true"><i class="dot on"></i>Object</button>
    <button type="button" data-label="0" role="radio" aria-checked="false"><i class="dot off"></i>Background</button>
    <span>Click on either picture; right-click for background; drag for a box.</span>
  </div>
  <div class="panels">
    <figure data-panel="sam">
      <figcaption>SAM</figcaption>
      <div class="stage"><img class="photo" alt="the picture" draggable="false"><img class="layer" alt=""
        draggable="false" hidden><div class="marks"></div></div>
    </figure>
    <figure data-panel="hq">
      <figcaption>HQ-SAM</figcaption>
      <div class="stage"><img class="photo" alt="the picture" draggable="false"><img class="layer" alt=""
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
.stage .photo { display: block; width: 100%; height: auto; min-height: 1px; }
.stage .layer { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; }
.stage .layer[hidden] { display: none; }
.stage .marks { position: absolute; inset: 0; }
.dot { display: inline-block; width: 13px; height: 13px; border-radius: 50%; border: 2px solid white;
  box-shadow: 0 0 0 1px rgba(0, 0, 0, .55); box-sizing: border-box; }
.dot.on { background: #00a651; }
.dot.off { background: #dc1e1e; }
.marks .dot { position: absolute; transform: translate(-50%, -50%); }
.marks .frame { position: absolute; border: 2px solid white; box-shadow: 0 0 0 1px rgba(0, 0, 0, .6),
  inset 0 0 0 1px rgba(0, 0, 0, .6); box-sizing: border-box; }
.marks .pending { opacity: .6; }
.busy figcaption::after { content: "…"; position: absolute; margin-left: .2rem; }
.note { min-height: 1.5em; margin: .6rem 0 0; color: var(--body-text-color); opacity: .75; font-size: .95rem; }
"""

CANVAS_JS = """
const one = (selector) => element.querySelector(selector);
const every = (selector) => Array.from(element.querySelectorAll(selector));
const photos = every('.photo');
const stages = every('.stage');
const NEAR = 6;  // a pointer that moves no further, in pixels of the screen, has clicked
let label = 1;
let drag = null;
let sent = 0;
let pending = [];
let shown = null;

function place(marks, kind, mark, isPending) {
  const node = document.createElement('i');
  if (kind === 'point') {
    node.className = 'dot ' + (mark[2] ? 'on' : 'off');
    node.style.left = 100 * mark[0] + '%';
    node.style.top = 100 * mark[1] + '%';
  } else {
    node.className = 'frame';
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
    const replaced = drag || pending.some(([kind]) => kind === 'box');
    if (shown && shown.box && !replaced) place(marks, 'box', shown.box, false);
    for (const point of shown ? shown.points : []) place(marks, 'point', point, false);
    for (const [kind, mark] of pending) place(marks, kind, mark, true);
    if (drag && drag.box) place(marks, 'box', drag.box, true);
  }
}

function setImage(image, uri) {
  image.hidden = !uri;
  if (!uri) image.removeAttribute('src');
  else if (image.getAttribute('src') !== uri) image.src = uri;
}

function draw() {
  // Automatic masks take their time, and may come when another picture was opened.
  if (props.value && props.value.picture !== props.picture) return;
  shown = props.value;
  if (shown) {
    if (shown.answered !== null) pending = pending.filter((sending) => sending[2] > shown.answered);
    for (const panel of ['sam', 'hq']) setImage(one('[data-panel="' + panel + '"] .layer'), shown[panel]);
    one('.note').textContent = shown.note;
  }
  drawMarks();
}

function drawPhoto() {
  pending = [];
  for (const photo of photos) setImage(photo, props.photo);
  one('.empty').hidden = Boolean(props.photo);
  one('.work').hidden = !props.photo;
}

function share(event, stage) {
  const frame = stage.getBoundingClientRect();
  const within = (value) => Math.min(1, Math.max(0, value));
  return [within((event.clientX - frame.left) / frame.width), within((event.clientY - frame.top) / frame.height)];
}

function send(kind, mark, data) {
  sent += 1;
  pending.push([kind, mark, sent]);
  drawMarks();
  trigger(kind, {...data, number: sent});
}

for (const stage of stages) {
  stage.addEventListener('contextmenu', (event) => event.preventDefault());
  stage.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 && event.button !== 2) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    const isLabel = event.button === 2 ? 0 : label;
    drag = {start: share(event, stage), x: event.clientX, y: event.clientY, label: isLabel, box: null};
  });
  stage.addEventListener('pointermove', (event) => {
    if (!drag) return;
    if (!drag.box && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) <= NEAR) return;
    drag.box = [...drag.start, ...share(event, stage)];
    drawMarks();
  });
  stage.addEventListener('pointerup', () => {
    if (!drag) return;
    const {start: [x, y], label: isLabel, box} = drag;
    drag = null;
    if (box) send('box', box, {x1: box[0], y1: box[1], x2: box[2], y2: box[3]});
    else send('point', [x, y, isLabel], {x: x, y: y, label: isLabel});
  });
  stage.addEventListener('pointercancel', () => { drag = null; drawMarks(); });
}

photos[0].addEventListener('load', () => {
  element.style.setProperty('--aspect', photos[0].naturalWidth / photos[0].naturalHeight);
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
watch('photo', drawPhoto);
drawPhoto();
draw();
"""

__all__ = ["CANVAS_CSS", "CANVAS_HTML", "CANVAS_JS"]
