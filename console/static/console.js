// What needs a script: a search that answers while one types, a part that renews itself, buttons that copy, and the link of a
// sign-in that need not be clicked twice. Every page works without.
(() => {
	"use strict";

	// Buttons that copy.
	for (const button of document.querySelectorAll("[data-copy]")) {
		const field = document.getElementById(button.dataset.copy);
		button.hidden = false;
		button.addEventListener("click", async () => {
			field.select();
			try {
				await navigator.clipboard.writeText(field.value);
			} catch {
				document.execCommand("copy"); // pages without https have no clipboard
			}
			button.textContent = "Copied";
			setTimeout(() => { button.textContent = "Copy"; }, 2000);
		});
	}
	for (const field of document.querySelectorAll(".copy input")) field.addEventListener("focus", () => field.select());

	// A link that opens the console once: who has a script need not press the button.
	document.querySelector("form[data-once]")?.requestSubmit();

	// part fetches a part of a page and puts it into its place. Nothing is touched if it says the same as before.
	const part = async (place, url, kind, signal) => {
		const answer = await fetch(url, { headers: { "X-Partial": kind }, signal, credentials: "same-origin", redirect: "error" });
		if (answer.status === 401) return location.reload(); // signed out
		if (!answer.ok) throw new Error(answer.status);
		const text = await answer.text();
		// That time goes by is no news: of a part that says the same only the times are replaced, so that nothing that
		// somebody reads, selects or has the focus on goes away under their hands.
		const said = text.replace(/<time[^>]*>[^<]*<\/time>/g, "");
		if (said === place.said) {
			const fresh = document.createElement("template");
			fresh.innerHTML = text;
			const times = fresh.content.querySelectorAll("time");
			place.querySelectorAll("time").forEach((time, i) => { time.textContent = times[i].textContent; });
			return;
		}
		const title = () => place.querySelector(".title")?.textContent;
		const before = title();
		place.said = said;
		place.innerHTML = text;
		const voice = document.getElementById(place.dataset.announce);
		if (voice && title() !== before) voice.textContent = title() ?? "";
	};

	// A search that answers while one types.
	for (const form of document.querySelectorAll("form[data-live]")) {
		const place = document.getElementById(form.dataset.live);
		let under, timer;
		const search = () => {
			under?.abort();
			under = new AbortController();
			const fields = new URLSearchParams(new FormData(form));
			for (const [name, value] of [...fields]) if (!value) fields.delete(name);
			const query = fields.toString();
			const url = form.action.split("?")[0] + (query ? "?" + query : "");
			part(place, url, "typed", under.signal).then(() => {
				history.replaceState(null, "", url);
				if (place.dataset.refresh) place.dataset.refresh = url;
			}).catch(() => {});
		};
		form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 150); });
		form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
		form.querySelector("button").hidden = true;
	}

	// A part that renews itself for as long as somebody can see it.
	for (const place of document.querySelectorAll("[data-refresh]")) {
		const again = async () => {
			if (!document.hidden && !place.contains(document.activeElement)) await part(place, place.dataset.refresh, "live").catch(() => {});
			setTimeout(again, Number(place.dataset.every));
		};
		setTimeout(again, Number(place.dataset.every));
	}
})();
