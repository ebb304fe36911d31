// A viewer on top of the npm package yellowstone: that does connection, requests,
// SDP, and the headers of RTP and RTCP. Release 2.1.0 plays no camera that asks for
// a password, nor any stream without header extensions; what is mended here is said
// where it is.
"use strict";

const { createHash } = require("node:crypto");
const { RtspClient } = require("yellowstone");

const md5 = (text) => createHash("md5").update(text).digest("hex");

class Client extends RtspClient {
  // kind is "video" or "audio"; onRTP gets (header, payload), onRTCP a packet.
  constructor(user, password, kind, onRTP, onRTCP) {
    super(user, password);
    this.kind = kind;
    this.received = Buffer.alloc(0);
    this.on("data", (_, payload, header) => onRTP(header, whole(payload)));
    this.on("controlData", (_, packet) => onRTCP(packet.payload));
  }

  connect(url) {
    this.presentation = url;
    return super.connect(url);
  }

  // The library loses what stands behind an answer in the same piece of the
  // connection, and fails on a header that two pieces share: it gets each message
  // and each packet whole and alone.
  _onData(data) {
    this.received = Buffer.concat([this.received, data]);
    for (;;) {
      const n = messageLength(this.received);
      if (n === 0 || n > this.received.length) return;
      const message = this.received.subarray(0, n);
      this.received = this.received.subarray(n);
      super._onData(message);
    }
  }

  // The library answers a challenge with an empty realm and nonce, and sends back
  // the headers of the refusal.
  async request(name, headers = {}, url = this._url) {
    const refusal = headers["WWW-Authenticate"];
    if (refusal) {
      if (this.challenge) throw new Error(`${name}: the password is refused`);
      this.challenge = Object.fromEntries([...refusal.matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1], m[2]]));
      headers = this.asked;
    }
    this.asked = { ...headers };
    if (this.challenge) headers = { ...headers, Authorization: this.answer(name, url) };
    const result = await super.request(name, { ...headers }, url);
    // It plays pictures alone: for sound it is shown that medium under their name.
    if (name !== "DESCRIBE" || result.chosen) return result;
    return { ...result, mediaHeaders: only(result.mediaHeaders, this.kind), chosen: true };
  }

  // Digest with MD5, as RFC 2069 has it.
  answer(name, url) {
    const { realm, nonce } = this.challenge;
    const response = md5(`${md5(`${this.username}:${realm}:${this.password}`)}:${nonce}:${md5(`${name}:${url}`)}`);
    return `Digest username="${this.username}", realm="${realm}", nonce="${nonce}", uri="${url}", response="${response}"`;
  }

  // After SETUP it goes on with the track's address; this plays the whole session.
  play() {
    return this.request("PLAY", { Session: this._session }, this.presentation);
  }

  // Its close never resolves.
  async leave() {
    await this.request("TEARDOWN", { Session: this._session }, this.presentation);
    this._client.end();
  }
}

// messageLength is the length of the message that b begins with, 0 if that can't be told yet.
function messageLength(b) {
  if (b.length < 4) return 0;
  if (b[0] === 0x24) return 4 + b.readUInt16BE(2);
  const head = b.indexOf("\r\n\r\n");
  if (head < 0) return 0;
  const body = /^content-length: *(\d+)/im.exec(b.toString("latin1", 0, head));
  return head + 4 + (body ? Number(body[1]) : 0);
}

// whole is a payload with its first four bytes, which the library takes for a
// header extension in every packet.
function whole(payload) {
  return Buffer.from(payload.buffer, payload.byteOffset - 4, payload.length + 4);
}

// only leaves one medium of a session description.
function only(lines, kind) {
  let keep = true;
  return lines
    .filter((l) => {
      if (l.startsWith("m=")) keep = l.startsWith(`m=${kind}`);
      return keep;
    })
    .map((l) => l.replace(/^m=audio/, "m=video"));
}

module.exports = { Client };
