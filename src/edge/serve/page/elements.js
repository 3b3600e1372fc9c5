// Elements, requests and texts. Text from outside is only ever inserted as a text node.

const DATA = JSON.parse(document.getElementById('data').textContent);
const MAIN = document.getElementById('main');
const SVG = 'http://www.w3.org/2000/svg';

/** Sets attributes and properties (`onclick`, `value`, …) and appends children; null and false are left out. */
function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name in element && !(element instanceof SVGElement) && name !== 'list') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function labelled(text, control, className) {
  return h('label', { className: className || '' }, h('span', {}, text), control);
}

/** A key or path, whose control and format characters could look like another one, written as in the log. */
function keyCode(text) {
  const code = (character) => '\\u{' + character.codePointAt(0).toString(16) + '}';
  return h('code', {}, text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, code));
}

/** A line that screen readers announce when it changes. */
function statusLine() {
  return h('p', { role: 'status', className: 'muted' });
}

function say(line, text, className) {
  line.className = className || 'muted';
  line.textContent = text;
}

/** Replaces children only if their text has changed, so that focus and selection survive a refresh. */
function refresh(element, children) {
  const next = h('div', {}, children);
  if (next.textContent !== element.textContent) element.replaceChildren(...next.childNodes);
}

function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return count.toFixed(unit === 0 || count >= 100 ? 0 : count >= 10 ? 1 : 2) + '\u00a0' + units[unit];
}

function milliseconds(count) {
  if (count < 1) return (count * 1000).toFixed(0) + '\u00a0µs';
  return count >= 1000 ? (count / 1000).toFixed(2) + '\u00a0s' : count.toFixed(count < 10 ? 1 : 0) + '\u00a0ms';
}

/** How much smaller than `before`, in per cent. */
function saving(before, after) {
  const share = Math.round((1 - after / before) * 1000) / 10;
  return share >= 0 ? share + '\u00a0% smaller' : -share + '\u00a0% larger';
}

/** A key in a path. A segment of dots would be resolved by the browser, and the server refuses it. */
function encodePath(key) {
  return key.split('/').map(encodeURIComponent).join('/');
}

function encodeQuery(options) {
  const value = (text) => encodeURIComponent(text).replaceAll('%3A', ':');
  const pairs = Object.entries(options).map(([name, text]) => name + '=' + value(text));
  return pairs.length ? '?' + pairs.join('&') : '';
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard object, except on localhost.
    const area = h('textarea', { value: text, readOnly: true });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
    button.focus();
  }
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
}
