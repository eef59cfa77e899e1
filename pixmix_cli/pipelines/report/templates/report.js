'use strict';
const galleries = [...document.querySelectorAll('section.mixing')];
// The filters stand in the address: kind and text of the first gallery, kind2 and text2 of the next.
const keys = number => ['kind', 'text'].map(name => name + (number ? number + 1 : ''));
const controls = section => [section.querySelector('select'), section.querySelector('input')];
const filter = section => {
  const [kind, text] = controls(section);
  const tiles = [...section.querySelectorAll('.gallery button')];
  const word = text.value.toLowerCase();
  let shown = 0;
  for (const tile of tiles) {
    const fits = (!kind.value || tile.dataset.kind === kind.value) &&
      (!word || (tile.dataset.name + ' ' + tile.dataset.recipe).toLowerCase().includes(word));
    tile.hidden = !fits;
    shown += fits;
  }
  section.querySelector('output').textContent = shown + ' of ' + tiles.length + ' shown';
};
const fromAddress = () => {
  const wished = new URLSearchParams(location.hash.slice(1));
  galleries.forEach((section, number) => {
    controls(section).forEach((control, k) => {
      control.value = wished.get(keys(number)[k]) || '';
      if (control.selectedIndex === -1) control.value = '';
    });
    filter(section);
  });
};
const toAddress = () => {
  const wished = new URLSearchParams();
  galleries.forEach((section, number) => controls(section).forEach((control, k) => {
    if (control.value) wished.set(keys(number)[k], control.value);
  }));
  history.replaceState(null, '', '#' + wished);
};
for (const section of galleries) {
  for (const control of controls(section)) {
    control.addEventListener('input', () => { filter(section); toAddress(); });
  }
}
window.addEventListener('hashchange', fromAddress);
fromAddress();

// Where a table is wider than the page: say so, and let the keyboard scroll it.
const scrollers = [...document.querySelectorAll('.scroller')];
const measure = () => {
  for (const scroller of scrollers) {
    const wide = scroller.firstElementChild, left = wide.scrollWidth - wide.clientWidth;
    const hint = scroller.previousElementSibling;
    hint.hidden = left < 2;
    scroller.classList.toggle('more', left - wide.scrollLeft > 2);
    if (left < 2) wide.removeAttribute('tabindex');
    else wide.tabIndex = 0;
  }
};
for (const scroller of scrollers) scroller.firstElementChild.addEventListener('scroll', measure);
window.addEventListener('resize', measure);
measure();

// A recipe as a table: what is nested folds away.
const cell = (name, text) => {
  const one = document.createElement(name);
  one.textContent = text;
  return one;
};
const plain = value => value === null || typeof value !== 'object';
const text = value => value === null ? 'none' : String(value);
const table = value => {
  const whole = document.createElement('table');
  for (const [name, one] of Object.entries(value)) {
    const row = whole.insertRow();
    row.append(cell('th', Array.isArray(value) ? Number(name) + 1 : name));
    if (plain(one)) row.append(cell('td', text(one)));
    else if (Array.isArray(one) && one.every(plain)) row.append(cell('td', one.map(text).join(', ')));
    else {
      const count = Object.keys(one).length;
      const about = typeof one.kind === 'string' ? one.kind + ', ' : '';
      const fold = document.createElement('details');
      fold.append(cell('summary', about + count + (count === 1 ? ' entry' : ' entries')), table(one));
      row.append(document.createElement('td'));
      row.lastChild.append(fold);
    }
  }
  return whole;
};
const recipe = tile => {
  const steps = tile.parentElement.querySelector('ol');
  if (steps) return steps.cloneNode(true);
  if (!('recipe' in tile.dataset)) return '';
  if (!tile.dataset.recipe) return cell('p', 'carries no recipe');
  try {
    const value = JSON.parse(tile.dataset.recipe);
    if (!plain(value)) return table(value);
  } catch (error) { /* not JSON, or too long for the page: shown as it is */ }
  return cell('pre', tile.dataset.recipe);
};

const dialog = document.querySelector('dialog');
let current = null;
const all = () => [...current.closest('section').querySelectorAll('.picture:not([hidden])')];
const show = tile => {
  current = tile;
  const picture = dialog.querySelector('img'), small = tile.querySelector('img');
  const [width, height] = tile.dataset.size.split(' ').map(Number);
  const tiles = all(), shrunk = small.getAttribute('width') < width || small.getAttribute('height') < height;
  const say = note => {
    dialog.querySelector('p').textContent = [(tiles.indexOf(tile) + 1) + ' of ' + tiles.length,
      width + ' × ' + height + ' px', tile.dataset.kind, note].filter(Boolean).join(' · ');
  };
  picture.src = small.src;
  picture.alt = small.alt;
  picture.width = width;
  picture.height = height;
  picture.classList.toggle('tiny', Math.max(width, height) <= 64);
  dialog.querySelector('h3').textContent = tile.dataset.name;
  dialog.querySelector('.recipe').replaceChildren(recipe(tile));
  say(shrunk ? 'shown smaller' : '');
  if (shrunk && tile.dataset.file) {
    const whole = new Image();  // the file itself, where it still lies beside the page
    whole.onload = () => {
      if (current !== tile) return;
      picture.src = whole.src;
      say('');
    };
    whole.src = tile.dataset.file;
  }
};
const move = step => {
  const tiles = all(), next = tiles[tiles.indexOf(current) + step];
  if (next) show(next);
};
document.addEventListener('click', event => {
  const tile = event.target.closest('.picture'), way = event.target.closest('dialog button[value]');
  if (way) move(Number(way.value));
  else if (event.target === dialog) dialog.close();
  else if (tile) { show(tile); dialog.showModal(); }
});
dialog.addEventListener('close', () => current.focus());
document.addEventListener('keydown', event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  if (dialog.open) { move(step); event.preventDefault(); return; }
  const tile = event.target.closest && event.target.closest('.picture');
  if (!tile) return;
  current = tile;
  const tiles = all(), next = tiles[tiles.indexOf(tile) + step];
  if (next) { next.focus(); event.preventDefault(); }
});
