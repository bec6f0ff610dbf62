"use strict";
(() => {
  // Theme: as the system, then the two by hand.
  const themes = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
  const button = document.getElementById("theme");
  let theme = 0;
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    document.documentElement.dataset.theme = themes[theme][0];
    button.textContent = "Theme: " + themes[theme][1];
  });
})();
