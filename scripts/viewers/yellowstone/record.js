// Usage: RTSP_URL=rtsp://user:password@host/path node record.js FOLDER PICTURES
//
// Records so many pictures, and twice as many packets of sound (20 ms each), as two
// sessions (the library plays one medium): video.h264 (Annex B), sound.ulaw (the payloads), times.json
// (what each picture and each packet of sound was captured at, in seconds since
// 1970 by the sender reports).
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { Client } = require("./client.js");

const [folder, count] = [process.argv[2], Number(process.argv[3])];
const url = new URL(process.env.RTSP_URL);
const [user, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
url.username = url.password = "";

// Track is one medium: its bytes, and the RTP times of what they are made of.
class Track {
  constructor(file, rate) {
    this.out = fs.openSync(path.join(folder, file), "w");
    this.rate = rate;
    this.parts = []; // {rtp, bytes}
    this.reports = []; // {rtp, ntp}
    this.complaints = [];
  }

  // Packets must come in order, all of them.
  follows(header) {
    if (this.id !== undefined && header.id !== ((this.id + 1) & 0xffff)) {
      this.complaints.push(`packet ${header.id} came after ${this.id}`);
    }
    this.id = header.id;
  }

  write(bytes) {
    fs.writeSync(this.out, bytes);
  }

  report(p) {
    if (p[1] !== 200) return; // RFC 3550, 6.4.1
    const since1970 = p.readUInt32BE(8) - 2208988800 + p.readUInt32BE(12) / 2 ** 32;
    this.reports.push({ rtp: p.readUInt32BE(16), ntp: since1970, parts: this.parts.length });
  }

  // times maps each part by the newest report that was there, or the first one.
  times() {
    return this.parts.map((part, i) => {
      const r = this.reports.findLast((r) => r.parts <= i) ?? this.reports[0];
      return { at: r ? r.ntp + ((part.rtp - r.rtp) | 0) / this.rate : null, bytes: part.bytes };
    });
  }
}

const startCode = Buffer.from([0, 0, 0, 1]);
const [pictures, sound] = [new Track("video.h264", 90000), new Track("sound.ulaw", 8000)];

// picture takes packets of RFC 6184; the marker ends a picture.
function picture(header, payload) {
  if (pictures.parts.length === count) return;
  pictures.follows(header);
  const kind = payload[0] & 31;
  if (kind === 28) {
    if (payload[1] & 0x80) pictures.write(Buffer.concat([startCode, Buffer.from([(payload[0] & 0xe0) | (payload[1] & 31)])]));
    pictures.write(payload.subarray(2));
  } else if (kind >= 1 && kind <= 23) {
    pictures.write(Buffer.concat([startCode, payload]));
  } else {
    pictures.complaints.push(`NAL unit of type ${kind}`);
  }
  if (header.marker) pictures.parts.push({ rtp: header.timestamp });
}

function samples(header, payload) {
  sound.follows(header);
  sound.write(payload);
  sound.parts.push({ rtp: header.timestamp, bytes: payload.length });
}

async function main() {
  const clients = [
    new Client(user, password, "video", picture, (p) => pictures.report(p)),
    new Client(user, password, "audio", samples, (p) => sound.report(p)),
  ];
  for (const c of clients) await c.connect(url.href);
  for (const c of clients) await c.play();
  // Sound may begin a GOP later.
  while (pictures.parts.length < count || sound.parts.length < 2 * count) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (clients.some((c) => c._client.destroyed)) throw new Error("the camera has closed the connection");
  }
  const result = {
    video: pictures.times(),
    sound: sound.times(),
    complaints: [...pictures.complaints, ...sound.complaints],
  };
  fs.writeFileSync(path.join(folder, "times.json"), JSON.stringify(result));
  for (const c of clients) await c.leave();
}

main().catch((err) => {
  console.error("yellowstone:", err.message);
  process.exit(1);
});
