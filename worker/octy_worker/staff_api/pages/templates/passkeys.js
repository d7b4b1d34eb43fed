// Asks the browser for a passkey when a form with options is sent, and sends the answer with that form.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const withBytes = (descriptors = []) => descriptors.map((each) => ({ ...each, id: toBytes(each.id) }));

async function create(options) {
  const { response, ...rest } = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      user: { ...options.user, id: toBytes(options.user.id) },
      excludeCredentials: withBytes(options.excludeCredentials),
    },
  }).then(parts);
  return { ...rest, response: { ...response, attestationObject: toText(rest.raw.attestationObject) } };
}

async function get(options) {
  const { response, ...rest } = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      allowCredentials: withBytes(options.allowCredentials),
    },
  }).then(parts);
  const { authenticatorData, signature, userHandle } = rest.raw;
  const signed = { authenticatorData: toText(authenticatorData), signature: toText(signature) };
  return { ...rest, response: { ...response, ...signed, ...(userHandle && { userHandle: toText(userHandle) }) } };
}

const parts = (credential) => ({
  id: credential.id,
  rawId: toText(credential.rawId),
  type: credential.type,
  response: { clientDataJSON: toText(credential.response.clientDataJSON) },
  raw: credential.response,
});

async function ask(form) {
  const problem = form.querySelector("[data-problem]");
  const button = form.querySelector("button");
  problem.hidden = true;
  button.disabled = true;
  try {
    const options = JSON.parse(form.dataset.options);
    const { raw, ...answer } = await (form.dataset.ceremony === "create" ? create(options) : get(options));
    form.elements.answer.value = JSON.stringify(answer);
    form.submit();
  } catch (error) {
    problem.textContent = `${form.dataset.failed} (${error.name})`;
    problem.hidden = false;
    button.disabled = false;
  }
}

for (const form of document.querySelectorAll("form[data-options]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(form);
  });
  // Until here the button is disabled: without this script the form would be sent without an answer.
  window.addEventListener("pageshow", () => {
    form.querySelector("button").disabled = false; // also after "Back", when the page comes out of the browser's cache
  });
}
