'use strict';
for (const section of document.querySelectorAll('section.mixing')) {
  const kind = section.querySelector('select'), text = section.querySelector('input');
  const count = section.querySelector('output');
  const tiles = [...section.querySelectorAll('.gallery button')];
  const filter = () => {
    const word = text.value.toLowerCase();
    let shown = 0;
    for (const tile of tiles) {
      const fits = (!kind.value || tile.dataset.kind === kind.value) &&
        (!word || (tile.dataset.name + ' ' + tile.dataset.recipe).toLowerCase().includes(word));
      tile.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + ' of ' + tiles.length + ' shown';
  };
  kind.addEventListener('change', filter);
  text.addEventListener('input', filter);
  const wished = new URLSearchParams(location.hash.slice(1));
  if (wished.has('kind')) kind.value = wished.get('kind');
  if (wished.has('text')) text.value = wished.get('text');
  filter();
}
const dialog = document.querySelector('dialog');
document.addEventListener('click', event => {
  const tile = event.target.closest('.gallery button');
  if (!tile) return;
  dialog.querySelector('img').src = tile.querySelector('img').src;
  dialog.querySelector('img').alt = tile.dataset.name;
  dialog.querySelector('h3').textContent = tile.dataset.name;
  dialog.querySelector('pre').textContent = tile.dataset.recipe || 'carries no recipe';
  dialog.showModal();
});
document.addEventListener('keydown', event => {
  const tile = event.target.closest && event.target.closest('.gallery button');
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!tile || !step) return;
  const shown = [...tile.parentElement.children].filter(one => !one.hidden);
  const next = shown[shown.indexOf(tile) + step];
  if (next) { next.focus(); event.preventDefault(); }
});
