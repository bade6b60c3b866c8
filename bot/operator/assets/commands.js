"use strict";
// Commands, asked twice: `ask` posts to the run that was looked at when the button was pressed, whatever is chosen since.

const Commands = (() => {
  const at = (id) => document.getElementById(id);

  // First what it would do now, by the bot's own words; then, a second time, the word itself.
  async function command(kind, ask) {
    const dialog = at("ask"), yes = at("ask-yes"), word = at("ask-word"), input = at("ask-input");
    at("ask-title").textContent = `${kind}?`;
    at("ask-text").textContent = "Asking the bot\u2026";
    word.hidden = true;
    input.value = "";
    yes.hidden = true;
    dialog.showModal();
    try {
      const foreseen = await ask("/foresee", { type: kind, why: "asked on the page" });
      at("ask-text").textContent = `If it were done now: ${foreseen.text}.`;
      yes.hidden = false;
      yes.textContent = `Yes, ${kind.toLowerCase()}`;
      yes.onclick = () => {
        word.hidden = false;
        word.firstElementChild.textContent = `Type ${kind.toUpperCase()} to do it:`;
        yes.textContent = `${kind} now`;
        yes.disabled = true;
        input.oninput = () => { yes.disabled = input.value !== kind.toUpperCase(); };
        input.focus();
        yes.onclick = async () => {
          yes.disabled = true;
          try {
            at("ask-text").textContent = (await ask("/obey", { confirm: foreseen.confirm })).text;
          } catch (error) {
            at("ask-text").textContent = error.message;
          }
          word.hidden = true;
          yes.hidden = true;
        };
      };
    } catch (error) {
      at("ask-text").textContent = error.message;
    }
  }

  at("ask").addEventListener("close", () => { at("ask-yes").disabled = false; });
  return { command };
})();
