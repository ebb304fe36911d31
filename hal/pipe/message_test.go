package pipe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"iid2secure.nl/camagent/hal"
)

// session is one without a program, that has said hello and has all open.
func handling(t testing.TB, greeting string) *session {
	t.Helper()
	s, err := newSession([]string{"fuzz"}, usualWaits)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.handle(message{kind: msgHello, body: []byte(greeting)}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i := range s.lanes {
		s.lanes[i] = newLane(s, s.hello.Streams[i].Name)
	}
	if s.hello.Microphone != nil {
		s.mic = &recording{from: s, format: s.hello.Microphone.format(), feed: newFeed[hal.AudioFrame]()}
	}
	return s
}

// S5: any bytes from a sidecar: no crash, no frame that breaks the contract, no
// more memory than is bounded.
func FuzzSidecar(f *testing.F) {
	units := film()
	add := func(m message) { f.Add(m.kind, m.detail, m.number, m.stamp, m.body, m.append(nil)) }
	for _, m := range []message{
		{kind: msgVideo, body: units[0]}, {kind: msgVideo, detail: 1, number: 2, body: units[0]}, {kind: msgVideo, stamp: now(), body: units[1]},
		{kind: msgSound, body: make([]byte, 160)}, {kind: msgEvent, body: []byte("button bell 1")}, {kind: msgEvent, body: []byte("ended sub x")},
		{kind: msgReply, number: 1, body: []byte("640 360 25 50 0")}, {kind: msgReply, number: 2, detail: replyFailed, body: []byte("no\n")},
		{kind: 99, body: []byte("?")},
	} {
		add(m)
	}
	f.Add(uint8(msgVideo), uint8(0), uint16(0), uint64(0), []byte{}, []byte("\xff\xff\xff\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, kind, detail uint8, number uint16, stamp uint64, body, rest []byte) {
		s := handling(t, simpleHello)
		lanes := append([]*lane(nil), s.lanes...)
		for range 2 {
			c := &call{accept: func(b []byte) error { _, err := parseConfig(b); return err }, answer: make(chan answer, 1)}
			if _, err := s.register(c); err != nil {
				t.Fatal(err)
			}
		}
		key := message{kind: msgVideo, body: units[0]}
		m := message{kind: kind, detail: detail, number: number, stamp: stamp, body: body}
		b := append(m.append(m.append(key.append(nil))), rest...)
		r := &reader{from: bytes.NewReader(b)}
		if err := s.consume(r); err == nil {
			t.Fatal("no end")
		}
		if cap(r.buf) > maxMessage {
			t.Fatalf("a buffer of %d", cap(r.buf))
		}
		for _, l := range lanes {
			contract(t, l)
		}
	})
}

// contract checks what waits in a lane.
func contract(t *testing.T, l *lane) {
	t.Helper()
	if len(l.feed.items) > laneFrames {
		t.Fatalf("%d frames wait", len(l.feed.items))
	}
	for i := range l.feed.items {
		au := &l.feed.items[i]
		first := i == 0
		if len(au.Data) == 0 || (first || au.Lost > 0) && !au.Key || au.Key && au.Params == 0 {
			t.Fatalf("frame %d: key %v, lost %d, %d of %d bytes are parameters", i, au.Key, au.Lost, au.Params, len(au.Data))
		}
		if !first && (!au.Time.After(l.feed.items[i-1].Time) || au.Seq != l.feed.items[i-1].Seq+1+au.Lost) {
			t.Fatalf("frame %d does not follow the one before", i)
		}
	}
}

// S5: any hello: no crash, and what is taken is sane.
func FuzzHello(f *testing.F) {
	f.Add([]byte(simpleHello))
	for _, h := range jsonOf(f, "../../docs/sidecar.md") {
		f.Add([]byte(h))
	}
	f.Add([]byte(`{"protocol":1,"streams":[{"name":"main"}],"speaker":[{"codec":"aac","rate":16000,"channels":2,"config":"1408"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		if h.Streams[0].Name != "main" || h.check() != nil || h.same(h) != nil {
			t.Fatalf("%+v", h)
		}
		(&Framed{hello: h}).abilities()
	})
}

// block returns what stands between two marks, each time.
func block(t testing.TB, path, begin string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(b), begin)[1:] {
		text, _, _ := strings.Cut(part, "```")
		list = append(list, text)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no %q", path, begin)
	}
	return list
}

func jsonOf(t testing.TB, path string) []string { return block(t, path, "```json\n") }

// The page that makers read is true: its hello is one, with all abilities.
func TestM1_HelloOfTheDocumentation(t *testing.T) {
	t.Parallel()
	h, err := parseHello([]byte(jsonOf(t, "../../docs/sidecar.md")[0]))
	if err != nil {
		t.Fatal(err)
	}
	if n := len((&Framed{hello: h}).abilities()); n != 15 || !h.Streams[1].Reopens || h.Streams[0].Bitrate.Max != 6_000_000 || h.Image[1].Max != 1 {
		t.Errorf("%d abilities, %+v", n, h)
	}
}

var dumpLine = regexp.MustCompile(`(?m)^([<>]) [0-9a-f]{4}  ((?:[0-9a-f]{2} +)+)`)

// So is its dump.
func TestM1_DumpOfTheDocumentation(t *testing.T) {
	t.Parallel()
	var streams [2]bytes.Buffer
	for _, l := range dumpLine.FindAllStringSubmatch(block(t, "../../docs/sidecar.md", "```dump\n")[0], -1) {
		b, err := hex.DecodeString(strings.ReplaceAll(l[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		streams[strings.Index("<>", l[1])].Write(b)
	}
	var got []string
	var frame []byte
	for i := range streams {
		r := &reader{from: &streams[i]}
		for m, err := r.next(); ; m, err = r.next() {
			if errors.Is(err, io.EOF) && streams[i].Len() == 0 {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.kind == msgVideo {
				frame = bytes.Clone(m.body)
				m.body = []byte("frame")
			}
			got = append(got, string([]byte{'0' + m.kind/10, '0' + m.kind%10, ' ', '0' + byte(m.number), ' '})+string(m.body))
		}
	}
	want := `01 0 {"protocol":1,"streams":[{"name":"main"}],"lights":["white"],"buttons":["bell"]}` +
		"|04 1 320 180 25 50 0|02 0 frame|05 0 button bell 1|04 2 100|65 1 start main 0 0 0 0 0|65 2 light white 60"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("the dump is\n%s, want\n%s", s, want)
	}
	if au, err := hal.ParseAnnexB(frame, nil); err != nil || !au.Key || au.Params == 0 {
		t.Error(err, au.Key, au.Params)
	}
}

// However the bytes come, the same messages do.
func TestM1_MessagesAtAnyBorder(t *testing.T) {
	t.Parallel()
	var b []byte
	for i := range 20 {
		m := message{kind: uint8(i), detail: 7, number: 0x1234, stamp: 0x0102030405060708, body: bytes.Repeat([]byte{byte(i)}, i*i*i)}
		b = m.append(b)
	}
	r := &reader{from: iotest.OneByteReader(bytes.NewReader(b))}
	for i := range 20 {
		m, err := r.next()
		if err != nil || int(m.kind) != i || m.detail != 7 || m.number != 0x1234 || m.stamp != 0x0102030405060708 || len(m.body) != i*i*i {
			t.Fatal(i, m, err)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Error(err)
	}
	for _, cut := range []int{1, headerSize - 1, len(b) - 1} {
		r := &reader{from: bytes.NewReader(b[:cut])}
		var err error
		for err == nil {
			_, err = r.next()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(cut, err)
		}
	}
}

// What a hello may not say.
func TestM1_BadHello(t *testing.T) {
	t.Parallel()
	for text, word := range map[string]string{
		`{`:              "hello",
		`{"protocol":0}`: "protocol is 0, want 1",
		`{"protocol":1}`: "streams [], want main",
		`{"protocol":1,"streams":[{"name":"sub"}]}`:                                                        `streams ["sub"]`,
		`{"protocol":1,"streams":[{"name":"main","default":{"fps":60},"fps":{"min":1,"max":30}}]}`:         "default fps is 60",
		`{"protocol":1,"streams":[{"name":"main"}],"buttons":["two words"]}`:                               `"two words"`,
		`{"protocol":1,"streams":[{"name":"main"}],"leds":["a","a"]}`:                                      `"a" twice`,
		`{"protocol":1,"streams":[{"name":"main"}],"lights":["uv"]}`:                                       `"uv"`,
		`{"protocol":1,"streams":[{"name":"main"}],"image":[{"id":"wdr","min":0,"max":1,"value":2}]}`:      `image "wdr": value 2`,
		`{"protocol":1,"streams":[{"name":"main"}],"microphone":{"codec":"mp3","rate":8000,"channels":1}}`: `codec "mp3"`,
		`{"protocol":1,"streams":[{"name":"main"}],"speaker":[{"codec":"aac","rate":8000,"channels":1}]}`:  "AudioSpecificConfig",
		`{"protocol":1,"streams":[{"name":"main"}],"speaker":[{"codec":"pcmu","rate":8,"channels":1}]}`:    "rate is 8",
		`{"protocol":1,"model":"a\nb","streams":[{"name":"main"}]}`:                                        "model",
		`{"protocol":1,"streams":"` + strings.Repeat("x", maxHello) + `"}`:                                 "at most 65536",
		`{"protocol":7,"streams":12}`: "speaks version 7",
		`{"protocol":1,"streams":12}`: "streams",
	} {
		if _, err := parseHello([]byte(text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%.60s: %v does not say %q", text, err, word)
		}
	}
}

// Stamps of CLOCK_MONOTONIC keep their distances exactly, and a step of the
// wall clock is followed.
func TestM1_ClockOfTheSidecar(t *testing.T) {
	t.Parallel()
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	arrived := time.Now()
	a, err1 := c.time(uint64(c.mono), arrived)
	b, err2 := c.time(uint64(c.mono)+40e6, arrived.Add(33*time.Millisecond))
	if err := errors.Join(err1, err2); err != nil || b.Sub(a) != 40*time.Millisecond || a.Sub(c.at).Abs() > time.Microsecond {
		t.Error(err, b.Sub(a), a.Sub(c.at))
	}
	if d := c.at.Round(0).Sub(a.Round(0)).Abs(); d > time.Second {
		t.Error("the wall clock is off by", d)
	}
	for _, stamp := range []uint64{1, uint64(c.mono) + 6e9, uint64(c.mono) - 6e9, 1 << 63, 1<<64 - 1} {
		if at, err := c.time(stamp, arrived); err == nil {
			t.Error(stamp, at)
		}
	}
	if at, err := c.time(0, arrived); err != nil || !at.Equal(arrived) {
		t.Error(at, err)
	}
}

// What a frame costs between the sidecar's pipe and its reader.
func BenchmarkSidecar(b *testing.B) {
	var wire []byte
	units := film()
	for _, u := range units {
		m := message{kind: msgVideo, body: u}
		wire = m.append(wire)
	}
	s := handling(b, simpleHello)
	r := &reader{}
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		r.from = bytes.NewReader(wire)
		if err := s.consume(r); err != io.EOF {
			b.Fatal(err)
		}
		for range units {
			if _, err := s.lanes[0].Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(units)), "ns/frame")
}
