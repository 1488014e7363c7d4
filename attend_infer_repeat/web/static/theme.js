// Light, dark, or as the system: before the page is first painted, so it does not flash.
// A script of its own and no module: modules run after the page is parsed.
'use strict';

(() => {
  const KEY = 'air-theme';
  const NAMES = { auto: 'as the system', light: 'light', dark: 'dark' };

  /** Storage may be forbidden; then the choice lasts as long as the page. */
  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // See above.
    }
  };

  const show = (theme, button) => {
    document.documentElement.dataset.theme = theme;
    if (!button) return;
    button.title = `Colors: ${NAMES[theme]}`;
    button.setAttribute('aria-label', button.title);
  };

  let theme = remembered() in NAMES ? remembered() : 'auto';
  show(theme);
  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    show(theme, button);
    button.addEventListener('click', () => {
      const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
      // The first click always changes what is seen.
      const order = isDark ? ['auto', 'light', 'dark'] : ['auto', 'dark', 'light'];
      theme = order[(order.indexOf(theme) + 1) % order.length];
      remember(theme);
      show(theme, button);
    });
  });
})();
