"use strict";
// Replaces what the page shows with what the server has now, as long as somebody looks.
(() => {
	const period = 5000, patience = 10000; // milliseconds
	const address = location.origin + location.pathname + location.search;
	const live = document.getElementById("live");
	let timer = 0, busy = false;

	const say = (text, failed) => {
		if (live.textContent !== text) live.textContent = text;
		document.documentElement.classList.toggle("failed", failed);
	};

	const update = async () => {
		const response = await fetch(address, {
			headers: {Accept: "text/html"}, cache: "no-store", signal: AbortSignal.timeout(patience),
		});
		if (!response.ok) throw new Error("HTTP " + response.status);
		const next = new DOMParser().parseFromString(await response.text(), "text/html");
		const main = next.querySelector("main");
		if (!main || !next.getElementById("live")) throw new Error("another page is there now");
		const focused = document.activeElement && document.activeElement.id;
		document.querySelector("main").replaceWith(main);
		document.title = next.title;
		if (focused) document.getElementById(focused)?.focus({preventScroll: true});
	};

	const run = async () => {
		clearTimeout(timer);
		if (busy || document.hidden) return; // visibilitychange comes back here
		busy = true;
		if (getSelection().isCollapsed) { // a text that somebody copies stays
			try {
				await update();
				say("Updates every 5 seconds", false);
			} catch (error) {
				say("Cannot reach Caddy (" + error.message + "). Trying again; below is the last answer.", true);
			}
		} else {
			say("Does not update while text is selected", false);
		}
		busy = false;
		timer = setTimeout(run, period);
	};

	say("Updates every 5 seconds", false);
	document.addEventListener("visibilitychange", run);
	timer = setTimeout(run, period);
})();
