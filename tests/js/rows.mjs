// Sends one of each kind of thing with matrix-js-sdk, on one homeserver, and looks at it with matrix-js-sdk on the other, in the
// SDK's own terms: what it replaces, answers, belongs to, and who is rung.
//
// Standard input: {"people": {"a1": {"url", "token", "user", "device", "room", "sees": {"b1": Matrix id}}, "b1": {...}}, "seconds",
// "only": the rows to play, or all, "after": how many things were said in the room before}
// Standard output: one JSON object a line, {"row", "from", "to"} and, if it went wrong, "error". The rows' names are those of
// docs/features.md.

import { isDeepStrictEqual } from "node:util";

import { createClient, EventType, MsgType, RelationType, RoomEvent } from "matrix-js-sdk";

// The SDK's log is for standard error: standard output has the results.
for (const level of ["log", "info", "debug", "trace", "warn"]) console[level] = () => {};

const input = JSON.parse(await new Response(process.stdin).text());
const patience = 1000 * (input.seconds ?? 30);

/** A person with a client that syncs, and everything that the client shows of the room. */
class Person {
    constructor(name, settings) {
        Object.assign(this, { name, ...settings });
        this.client = createClient({
            baseUrl: this.url, accessToken: this.token, userId: this.user, deviceId: this.device, timelineSupport: true,
        });
        this.waiting = new Set();
    }

    async start() {
        const look = () => { for (const one of this.waiting) one(); };
        for (const event of [RoomEvent.Timeline, RoomEvent.Redaction, RoomEvent.Receipt]) this.client.on(event, look);
        await this.client.startClient({ initialSyncLimit: 30, threadSupport: true });
        await this.until("its room", () => this.here());
    }

    here() {
        return this.client.getRoom(this.room);
    }

    /** The first thing other than nothing that `find` gives, asked again whenever something new is shown. */
    until(what, find) {
        return new Promise((resolve, reject) => {
            const end = (settle, value) => {
                this.waiting.delete(look);
                clearTimeout(timer);
                clearInterval(again);
                settle(value);
            };
            const look = () => {
                const found = find();
                if (found) end(resolve, found);
            };
            const timer = setTimeout(() => end(reject, new Error(`${this.name} does not see ${what}`)), patience);
            // Relations are worked out after the timeline was told of.
            const again = setInterval(look, 50);
            this.waiting.add(look);
            look();
        });
    }

    /** All that is in the room's timeline or a thread's. */
    events() {
        const room = this.here();
        return [...room.getLiveTimeline().getEvents(), ...room.getThreads().flatMap((thread) => thread.events)];
    }

    /** The event by which this person sees what `sender` said. */
    sees(sender, what, is) {
        return this.until(what, () => this.events().find((event) => event.getSender() === this.sees_as[sender.name] && is(event)));
    }

    send(content, type = EventType.RoomMessage, thread = null) {
        return this.client.sendEvent(this.room, thread, type, content).then((sent) => sent.event_id);
    }
}

function expect(what, found, wanted) {
    if (!isDeepStrictEqual(found, wanted)) throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

const text = (body) => ({ msgtype: MsgType.Text, body });
const html = (body, formatted_body) => ({ ...text(body), format: "org.matrix.custom.html", formatted_body });

let count = input.after ?? 0;
const own = (from, what) => `${what} ${++count} of ${from.name}`;

/** Says something and waits until the other sees it; both events' ids. */
async function said(from, to, body) {
    const sent = await from.send(text(body));
    const seen = await to.sees(from, `“${body}”`, (event) => event.getContent().body === body);
    return { sent, seen, id: seen.getId() };
}

/** Makes somebody a moderator, if they are none. */
async function moderator(who, by) {
    const level = () => who.here().getMember(who.user).powerLevel;
    if (level() < 50) await by.client.setPowerLevel(by.room, by.sees_as[who.name], 50);
    await who.until("its new level", () => level() >= 50);
}

/** Formatted text comes with the same markup. */
const formatted = (markup) => async (from, to) => {
    const marked = `<p>${own(from, "marked")}</p>${markup(to, from)}`;
    await from.send(html("the text alone", marked));
    const seen = await to.sees(from, marked, (event) => event.getContent().formatted_body?.includes(marked.slice(3, 20)));
    expect("markup", seen.getContent().formatted_body.replace(/\n/g, ""), marked.replace(/\n/g, ""));
    expect("format", seen.getContent().format, "org.matrix.custom.html");
};

/** Uploads bytes, as a client does before it sends an event with a file. */
async function upload(from, size, type, begins = []) {
    const data = crypto.getRandomValues(new Uint8Array(size));
    data.set(begins);
    const { content_uri } = await from.client.uploadContent(data, { type, includeFilename: false });
    return { data, url: content_uri, type };
}

/** That a file is, byte by byte, what somebody else uploaded. */
async function same(to, mxc, { data }) {
    const url = to.client.mxcUrlToHttp(mxc, undefined, undefined, undefined, false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${to.token}` } });
    if (!answer.ok) throw new Error(`${mxc} is not there: ${answer.status}`);
    const found = new Uint8Array(await answer.arrayBuffer());
    if (Buffer.compare(found, data) !== 0) throw new Error(`${mxc} has ${found.length} other bytes, not ${data.length}`);
}

/** Sends a file with its preview and caption; what the other has, and what was said of it. */
async function file(from, to, msgtype, type, more = {}, kind = EventType.RoomMessage, info = {}) {
    const [whole, small] = [await upload(from, 40_000, type), await upload(from, 900, "image/png")];
    const about = { mimetype: type, size: whole.data.length, ...info };
    const preview = { thumbnail_url: small.url, thumbnail_info: { mimetype: "image/png", size: small.data.length, w: 32, h: 24 } };
    const body = own(from, `${type.split("/")[0]}`);
    const name = kind === EventType.RoomMessage ? { filename: `${count}.${type.split("/")[1]}`, msgtype } : {};
    await from.send({ ...name, body, url: whole.url, info: { ...about, ...(info.w ? preview : {}) }, ...more }, kind);
    const seen = await to.sees(from, body, (event) => event.getType() === kind && event.getContent().body === body && event.getContent().url);
    const content = seen.getContent();
    if (content.msgtype !== name.msgtype || content.filename !== name.filename) throw new Error(`it came as ${JSON.stringify(content)}`);
    for (const [key, value] of Object.entries(about)) expect(key, content.info[key], value);
    await same(to, content.url, whole);
    if (info.w) await same(to, content.info.thumbnail_url, small);
    return seen;
}

const rows = {
    text: async (from, to) => {
        const body = own(from, "text, 1 < 2 & *no* markup, 🐌,\nin two lines,");
        await from.client.sendTextMessage(from.room, body);
        await to.sees(from, body, (event) => event.getContent().body === body && event.getContent().msgtype === MsgType.Text);
    },
    "bold, italics, struck text, code": formatted(() =>
        "<p><strong>bold</strong>, <em>italics</em>, <del>struck</del>, <strong><em>both</em></strong> and <code>a &lt; b</code></p>"),
    "headings, lists, quotes, tables, task lists, lines": formatted(() =>
        "<h2>Heading</h2><ul><li>one</li><li>two<ol><li>deep</li></ol></li></ul><ul><li>[x] done</li><li>[ ] to do</li></ul><blockquote><p>quoted</p></blockquote><hr>" +
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>"),
    "code blocks with their language": formatted(() => '<pre><code class="language-rust">fn main() {}</code></pre>'),
    links: formatted(() => '<p>see <a href="https://example.org/a?b=c&amp;d=e">here</a></p>'),
    spoilers: formatted(() => '<p>the end: <span data-mx-spoiler="">they win</span></p>'),
    mathematics: formatted(() => '<p>so <span data-mx-maths="x^2"><code>x^2</code></span></p>'),
    "mentions of people": async (from, to) => {
        const body = own(from, "ring");
        const ghost = from.sees_as[to.name];
        const pill = `<a href="https://matrix.to/#/${encodeURIComponent(ghost)}">${to.name}</a>`;
        await from.send({ ...html(`${to.name}: ${body}`, `${pill}: ${body}`), "m.mentions": { user_ids: [ghost] } });
        const seen = await to.sees(from, body, (event) => event.getContent().body?.includes(body));
        expect("who is mentioned", seen.getContent()["m.mentions"]?.user_ids, [to.user]);
        if (!to.client.getPushActionsForEvent(seen)?.notify) throw new Error("it rings nobody");
    },
    emotes: async (from, to) => {
        const body = own(from, "waves");
        await from.client.sendEmoteMessage(from.room, body);
        await to.sees(from, body, (event) => event.getContent().body === body && event.getContent().msgtype === MsgType.Emote);
    },
    notices: async (from, to) => {
        const body = own(from, "notice");
        await from.client.sendNotice(from.room, body);
        await to.sees(from, body, (event) => event.getContent().body === body && event.getContent().msgtype === MsgType.Notice);
    },
    "messages in extensible form": async (from, to) => {
        const body = own(from, "extensible");
        await from.send({ "org.matrix.msc1767.text": body, "m.text": [{ body }] }, "m.message");
        await to.sees(from, body, (event) => event.getContent().body === body);
    },
    replies: async (from, to) => {
        const first = await said(to, from, own(to, "question"));
        const body = own(from, "answer");
        await from.send({ ...text(body), "m.relates_to": { "m.in_reply_to": { event_id: first.id } } });
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        expect("what is answered", seen.replyEventId, first.sent);
    },
    threads: async (from, to) => {
        const first = await said(to, from, own(to, "topic"));
        const body = own(from, "in the thread");
        await from.send(text(body), EventType.RoomMessage, first.id);
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        expect("the thread's root", seen.threadRootId, first.sent);
    },
    edits: async (from, to) => {
        const first = await said(from, to, own(from, "mistake"));
        const body = own(from, "mended");
        await from.send({
            ...text(`* ${body}`), "m.new_content": text(body), "m.relates_to": { rel_type: RelationType.Replace, event_id: first.sent },
        });
        await to.until(`“${body}” in its place`, () => first.seen.getContent().body === body && first.seen.replacingEventId());
    },
    reactions: async (from, to) => {
        const first = await said(to, from, own(to, "joke"));
        await from.send({ "m.relates_to": { rel_type: RelationType.Annotation, event_id: first.id, key: "😂" } }, EventType.Reaction);
        await to.until("the reaction", () => {
            const found = to.here().relations.getChildEventsForEvent(first.sent, RelationType.Annotation, EventType.Reaction);
            return found?.getSortedAnnotationsByKey()?.some(([key, events]) =>
                key === "😂" && [...events].some((event) => event.getSender() === to.sees_as[from.name]));
        });
    },
    deletions: async (from, to) => {
        const first = await said(from, to, own(from, "nonsense"));
        await from.client.redactEvent(from.room, first.sent, undefined, { reason: "nonsense" });
        await to.until("it gone", () => first.seen.isRedacted());
    },
    "read receipts": async (from, to) => {
        const first = await said(to, from, own(to, "to be read"));
        await from.client.sendReadReceipt(first.seen);
        await to.until("that it was read", () => to.here().getEventReadUpTo(to.sees_as[from.name], true) === first.sent);
    },
    places: async (from, to) => {
        const body = own(from, "the club");
        await from.send({ msgtype: MsgType.Location, body, geo_uri: "geo:51.5008,-0.1247" });
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        expect("the place", seen.getContent().geo_uri, "geo:51.5008,-0.1247");
    },
    "polls, votes, ends of polls": async (from, to) => {
        const question = own(from, "chess or go?");
        const start = "org.matrix.msc3381.poll.start";
        const poll = {
            kind: "org.matrix.msc3381.poll.disclosed", max_selections: 1, question: { "org.matrix.msc1767.text": question },
            answers: ["Chess", "Go"].map((answer) => ({ id: answer, "org.matrix.msc1767.text": answer })),
        };
        const sent = await from.send({ [start]: poll, "org.matrix.msc1767.text": question }, start);
        const seen = await to.sees(from, question, (event) => event.getContent()["org.matrix.msc1767.text"] === question);
        expect("the poll", seen.getContent()[start], poll);
        const [response, end] = ["org.matrix.msc3381.poll.response", "org.matrix.msc3381.poll.end"];
        const to_poll = (event_id) => ({ "m.relates_to": { rel_type: RelationType.Reference, event_id } });
        await to.send({ ...to_poll(seen.getId()), [response]: { answers: ["Go"] } }, response);
        const vote = await from.sees(to, "the vote", (event) => event.getType() === response && event.relationEventId === sent);
        expect("the vote", vote.getContent()[response].answers, ["Go"]);
        await from.send({ ...to_poll(sent), [end]: {}, "org.matrix.msc1767.text": "Go won" }, end);
        await to.sees(from, "the poll's end", (event) => event.getType() === end && event.relationEventId === seen.getId());
    },
    calls: async (from, to) => {
        await from.send({ call_id: own(from, "call"), version: "1", lifetime: 60_000, offer: { type: "offer", sdp: "" } }, "m.call.invite");
        // Nobody outside finds a portal.
        const hosts = from.here().currentState.getStateEvents("m.room.create", "").getContent()["m.federate"] !== false;
        const words = hosts ? "A call in Matrix\nhttps://matrix.to/#/" : "[started a call, which can be joined in Matrix only]";
        const seen = await to.sees(from, "the call", (event) => event.getContent().body?.startsWith(words) && !event.looked);
        seen.looked = true;
        if (hosts) expect("the room of the link", decodeURIComponent(seen.getContent().body).includes(`#/${from.room}?via=`), true);
    },
    conferences: async (from, to) => {
        await moderator(from, to);
        const conferenceId = `Jitsi${from.name}${++count}`;
        const data = { conferenceId, domain: "meet.example.org", roomName: own(from, "conference"), isAudioOnly: false };
        await from.client.sendStateEvent(from.room, "im.vector.modular.widgets", {
            type: "jitsi", name: "Jitsi", url: "https://app.example.org/jitsi.html#conferenceId=$conferenceId", data, creatorUserId: from.user,
        }, `widget${count}`);
        const url = `https://meet.example.org/${conferenceId}`;
        await to.sees(from, url, (event) => event.getContent().body === `${data.roomName}\n\nJoin the conference\n${url}`);
    },
    "disappearing messages": async (from, to) => {
        const timer = { type: "after_read", timer: 3_600_000 };
        const body = own(from, "for an hour");
        await from.send({ ...text(body), "com.beeper.disappearing_timer": timer });
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        expect("the timer", seen.getContent()["com.beeper.disappearing_timer"], timer);
    },
    "pictures, videos, sounds, files": async (from, to) => {
        await file(from, to, MsgType.Image, "image/png", {}, undefined, { w: 640, h: 480 });
        await file(from, to, MsgType.Video, "video/mp4", {}, undefined, { w: 640, h: 480, duration: 4000 });
        await file(from, to, MsgType.Audio, "audio/ogg", {}, undefined, { duration: 2000 });
        await file(from, to, MsgType.File, "application/pdf");
    },
    "spoilers on pictures": async (from, to) => {
        const spoiler = "page.codeberg.everypizza.msc4193.spoiler";
        const seen = await file(from, to, MsgType.Image, "image/png", { [spoiler]: true });
        expect("that it is covered", seen.getContent()[spoiler], true);
    },
    "folded parts": formatted(() => "<details><summary>More</summary><p>of it</p></details>"),
    "link previews": async (from, to) => {
        const body = `${own(from, "look at")} https://example.org/a`;
        const preview = { matched_url: "https://example.org/a", "og:title": "A page", "og:description": "about a" };
        await from.send({ ...text(body), "com.beeper.linkpreviews": [preview] });
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        const [shown] = seen.getContent()["com.beeper.linkpreviews"] ?? [];
        for (const [key, value] of Object.entries(preview)) expect(key, shown?.[key], value);
    },
    "voice messages, stickers": async (from, to) => {
        const voice = { "org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": { duration: 2000, waveform: [0, 512, 1024] } };
        const seen = await file(from, to, MsgType.Audio, "audio/ogg", voice, undefined, { duration: 2000 });
        for (const [key, value] of Object.entries(voice)) expect(key, seen.getContent()[key], value);
        await file(from, to, undefined, "image/png", {}, EventType.Sticker, { w: 128, h: 128 });
    },
    galleries: async (from, to) => {
        const pictures = await Promise.all([1, 2].map(() => upload(from, 10_000, "image/png")));
        const itemtypes = pictures.map(({ url, data }, number) => ({
            itemtype: MsgType.Image, body: `${number} says`, filename: `${number}.png`, url, info: { mimetype: "image/png", size: data.length },
        }));
        const body = own(from, "gallery");
        await from.send({ msgtype: "dm.filament.gallery", body, itemtypes });
        for (const [number, picture] of pictures.entries()) {
            const seen = await to.sees(from, `picture ${number} of ${body}`, (event) =>
                event.getContent().url && event.getContent().filename === `${number}.png` && !event.looked);
            seen.looked = true;
            expect("its own caption", seen.getContent().body.endsWith(`${number} says`), true);
            await same(to, seen.getContent().url, picture);
        }
    },
    "custom events": async (from, to) => {
        const content = { body: own(from, "dice"), "org.example.dice": { sides: 6, seen: [1, -2, null, "ü"] } };
        await from.send(content, "org.example.dice");
        const seen = await to.sees(from, content.body, (event) => event.getType() === "org.example.dice" && event.getContent().body === content.body);
        expect("the event", seen.getContent()["org.example.dice"], content["org.example.dice"]);
    },
    "what apps add to messages": async (from, to) => {
        // Of a kind that only some clients know, and a text for all.
        const added = { sides: 6, seen: [1, -2, null, "ü"] };
        for (const msgtype of ["org.example.dice", MsgType.Text]) {
            const message = { msgtype, body: own(from, `a 6 as ${msgtype}`), "org.example.dice": added };
            await from.send(message);
            const seen = await to.sees(from, message.body, (event) => event.getContent().body === message.body);
            for (const field of ["msgtype", "org.example.dice"]) expect(field, seen.getContent()[field], message[field]);
        }
    },
    "custom emoji in texts": async (from, to) => {
        const png = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
        const cat = await upload(from, 3_000, "image/png", png);
        const said = own(from, "look");
        const picture = `<img data-mx-emoticon="" src="${cat.url}" alt=":cat:" title=":cat:" height="32">`;
        await from.send(html(`${said} :cat: :cat:`, `${said} ${picture} <b>${picture}</b>`));
        const seen = await to.sees(from, said, (event) => event.getContent().body?.startsWith(said));
        const { body, formatted_body } = seen.getContent();
        expect("the text", body, `${said} :cat: :cat:`);
        const [src, other] = [...formatted_body.matchAll(/<img data-mx-emoticon="" src="(mxc:[^"]+)" alt=":cat:" title=":cat:" height="32">/g)]
            .map(([, src]) => src);
        if (!src || src !== other) throw new Error(`it came as ${formatted_body}`);
        await same(to, src, cat);
    },
    "mentions of everybody": async (from, to) => {
        // Only who has the level for it may ring everybody.
        await moderator(from, to);
        const body = `@room: ${own(from, "1 < 2")}`;
        await from.send({ ...text(body), "m.mentions": { room: true } });
        const seen = await to.sees(from, body, (event) => event.getContent().body === body);
        expect("who is mentioned", seen.getContent()["m.mentions"], { room: true });
        if (!to.client.getPushActionsForEvent(seen)?.tweaks?.highlight) throw new Error("it rings nobody");
    },
};

const people = Object.entries(input.people).map(([name, { sees, ...settings }]) => new Person(name, { ...settings, sees_as: sees }));
await Promise.all(people.map((person) => person.start()));
for (const [row, play] of Object.entries(rows)) {
    if (input.only && !input.only.includes(row)) continue;
    for (const [from, to] of [people, [...people].reverse()]) {
        const result = { row, from: from.name, to: to.name };
        try {
            await play(from, to);
        } catch (error) {
            result.error = `${error.message ?? error}`;
        }
        process.stdout.write(JSON.stringify(result) + "\n");
    }
}
people.forEach((person) => person.client.stopClient());
process.exit(0);
