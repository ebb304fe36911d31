package pipe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// playSidecar is what the test binary does when it is started as a sidecar.
func playSidecar(part string) {
	a := actor{out: bufio.NewWriter(os.Stdout), in: &reader{from: os.Stdin}}
	if play, ok := faults[part]; ok {
		play(&a)
		return
	}
	small := sim.DefaultStreams()
	small[0].Default.Width, small[0].Default.Height, small[0].Default.Bitrate = 480, 270, 400_000
	small[1].Default.Width, small[1].Default.Height, small[1].Default.Bitrate = 320, 180, 200_000
	a.camera = hal.NewCamera(sim.New(sim.Config{Title: "sidecar", Streams: small}))
	defer a.camera.Close()
	if part == "noisy" {
		go func() {
			for {
				fmt.Fprintln(os.Stderr, strings.Repeat("noise ", 500))
			}
		}()
	}
	a.serve()
}

// actor is a sidecar.
type actor struct {
	mu     sync.Mutex
	out    *bufio.Writer
	in     *reader
	camera *hal.Camera
	stops  map[string]func()
	play   hal.Playback
}

func (a *actor) send(m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.out.Write(m.append(nil))
	if errors.Join(err, a.out.Flush()) != nil {
		os.Exit(1)
	}
}

func (a *actor) event(format string, args ...any) {
	a.send(message{kind: msgEvent, body: fmt.Appendf(nil, format, args...)})
}

// expect reads the next command; its number and text.
func (a *actor) expect() (uint16, string) {
	for {
		m, err := a.in.next()
		if err != nil {
			os.Exit(0)
		}
		if m.kind == msgCommand {
			return m.number, string(m.body)
		}
	}
}

func (a *actor) answer(n uint16, text string) {
	if n != 0 {
		a.send(message{kind: msgReply, number: n, body: []byte(text)})
	}
}

// note writes what happens to the file of the arguments, if there is one, and
// tells how many lines there are.
func (a *actor) note(line string) int {
	if len(os.Args) < 4 {
		return 0
	}
	f, err := os.OpenFile(os.Args[3], os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
	b, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// hang ignores everything, but not for ever: the test may have been killed.
func hang() {
	signal.Ignore(syscall.SIGTERM)
	time.AfterFunc(2*time.Minute, func() { os.Exit(1) })
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	for {
		<-c
	}
}

const simpleHello = `{"protocol":1,"streams":[{"name":"main"},{"name":"sub"}],"irfilter":true,"lights":["white"],"buttons":["bell"],` +
	`"microphone":{"codec":"pcmu","rate":8000,"channels":1},"speaker":[{"codec":"pcmu","rate":8000,"channels":1}],"siren":true,"future":[1]}`

func (a *actor) hello(text string) { a.send(message{kind: msgHello, body: []byte(text)}) }

// begin says hello and waits for the start of a stream, which it answers.
func (a *actor) begin() {
	a.hello(simpleHello)
	for {
		n, text := a.expect()
		a.answer(n, "0 0 25 25 0")
		if strings.HasPrefix(text, "start") {
			return
		}
	}
}

// obey answers all commands well.
func (a *actor) obey() {
	for {
		n, text := a.expect()
		a.note(text)
		switch {
		case strings.HasPrefix(text, "start"):
			a.answer(n, "0 0 25 25 0")
		case text == "irfilter 0":
			os.Exit(7)
		default:
			a.answer(n, "")
		}
	}
}

// film is the access units of a recorded stream, in Annex B.
func film() (units [][]byte) {
	b, err := os.ReadFile("../../testdata/high-320x180.h264")
	if err != nil {
		panic(err)
	}
	s := newSplitter()
	for {
		n := copy(s.space(), b)
		b = b[n:]
		s.added(n, time.Now())
		for u, ok := s.next(); ok; u, ok = s.next() {
			units = append(units, bytes.Clone(u.data))
		}
		if len(b) == 0 {
			u, _ := s.flush()
			return append(units, bytes.Clone(u.data))
		}
	}
}

func now() uint64 {
	c, _ := newClock()
	return uint64(c.mono)
}

// faults are what badly made sidecars do.
var faults = map[string]func(a *actor){
	"mute":    func(*actor) { fmt.Fprintln(os.Stderr, "waiting for the sensor"); hang() },
	"deaf":    func(a *actor) { a.hello(simpleHello); hang() },
	"quit":    func(*actor) {},
	"garbage": func(*actor) { fmt.Println("INFO: acme sensor driver 1.0 starting up"); hang() },
	"huge": func(a *actor) {
		a.begin()
		_, _ = os.Stdout.Write([]byte("\xff\xff\xff\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
		hang()
	},
	"newer": func(a *actor) { a.hello(`{"protocol":2,"streams":{"not":"as today"}}`); hang() },
	"early": func(a *actor) { a.event("motion 1"); hang() },
	"twice": func(a *actor) { a.begin(); a.hello(simpleHello); hang() },
	"cut": func(a *actor) {
		a.begin()
		fmt.Fprintln(os.Stderr, "segmentation fault")
		m := message{kind: msgVideo, body: film()[0]}
		_, _ = os.Stdout.Write(m.append(nil)[:1000])
		os.Exit(3)
	},
	"stuck": func(a *actor) {
		a.begin()
		m := message{kind: msgVideo, body: film()[0]}
		_, _ = os.Stdout.Write(m.append(nil)[:1000])
		hang()
	},
	"obedient": func(a *actor) { a.note("hello"); a.hello(simpleHello); a.obey() },
	"once": func(a *actor) { // works when it is started first
		if a.note("hello") == 1 {
			a.hello(simpleHello)
			a.obey()
		}
	},
	"changing": func(a *actor) {
		a.hello(strings.Replace(simpleHello, `"name":"sub"`, fmt.Sprintf(`"name":"sub","default":{"fps":%d}`, os.Getpid()), 1))
		a.obey()
	},
	"future": func(a *actor) { // all that a later version may add
		a.begin()
		a.send(message{kind: 40, detail: 9, body: bytes.Repeat([]byte("x"), 100_000)})
		a.event("earthquake 7.1")
		a.send(message{kind: msgReply, number: 999})
		a.send(message{kind: msgVideo, body: film()[0]})
		a.obey()
	},
	"flood": func(a *actor) { // as much of main as goes, and sub as it should be
		a.begin()
		go func() {
			for {
				for _, u := range film() {
					a.send(message{kind: msgVideo, body: u})
				}
			}
		}()
		go func() {
			for t := time.NewTicker(40 * time.Millisecond); ; {
				for _, u := range film() {
					a.send(message{kind: msgVideo, detail: 1, stamp: now(), body: u})
					<-t.C
				}
			}
		}()
		a.obey()
	},
	"script": func(a *actor) { // each light percentage is a message to be sent
		a.hello(simpleHello)
		for {
			n, text := a.expect()
			a.answer(n, map[bool]string{true: "0 0 25 25 0"}[strings.HasPrefix(text, "start")])
			if what, ok := strings.CutPrefix(text, "light white "); ok {
				i, _ := strconv.Atoi(what)
				a.send(scripted[i]())
			}
		}
	},
}

// scripted are messages that tests want by their number.
var scripted = []func() message{
	func() message { return message{kind: msgVideo, stamp: now(), body: film()[0]} },
	func() message { return message{kind: msgVideo, stamp: now(), body: []byte("no video")} },
	func() message {
		return message{kind: msgVideo, stamp: now(), body: slices.Concat(film()[0], film()[1])}
	},
	func() message { return message{kind: msgVideo, stamp: now(), body: []byte("\x00\x00\x01\x65\x88key")} },
	func() message { return message{kind: msgVideo, stamp: now() - 60e9, body: film()[0]} },
	func() message { return message{kind: msgVideo, detail: 2, body: film()[0]} },
	func() message { return message{kind: msgEvent, body: []byte("button none 1")} },
	func() message { return message{kind: msgEvent, body: []byte("motion 1")} },
	func() message { return message{kind: msgEvent, body: []byte("ended main sensor unplugged")} },
	func() message { return message{kind: msgSound, number: 7, body: make([]byte, 160)} },
	func() message { return message{kind: msgEvent, body: []byte("button bell 1")} },
	func() message { return message{kind: msgVideo, stamp: now(), number: 3, body: film()[1]} },
	func() message { return message{kind: msgVideo, stamp: now(), number: 2, body: film()[25]} },
	func() message { return message{kind: msgVideo, stamp: 1, body: film()[0]} },
	func() message { return message{kind: msgEvent, body: []byte("ended speaker burnt")} },
	func() message { return message{kind: msgSound, body: make([]byte, 160)} },
}

// serve lets a simulated camera be served by the protocol.
func (a *actor) serve() {
	c := a.camera
	has := func(name string) bool { _, ok := c.Capability(name); return ok }
	h := hello{Protocol: protocol, Model: "simulated", Streams: c.Streams(), Keyframe: true, Tune: true, Image: c.ImageControls(),
		IRFilter: has(hal.CapIRFilter), Lights: c.Lights(), LightSensor: has(hal.CapLightSensor), Snapshot: has(hal.CapSnapshot),
		Microphone: &soundFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1},
		Buttons:    c.Buttons(), LEDs: c.LEDs(), Siren: has(hal.CapSiren), Sensors: has(hal.CapSensors)}
	if has(hal.CapMotion) {
		h.Motion = &motionAbility{Zones: true}
	}
	if has(hal.CapPTZ) {
		h.PTZ = &axes{true, true, true}
	}
	for _, f := range c.SpeakerFormats() {
		h.Speaker = append(h.Speaker, soundFormat{Codec: f.Codec, Rate: f.Rate, Channels: f.Channels})
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	a.stops = map[string]func(){}
	a.hello(string(text))
	for {
		m, err := a.in.next()
		if err != nil {
			for _, stop := range a.stops {
				stop()
			}
			return
		}
		switch m.kind {
		case msgTalk:
			if a.play != nil {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_ = a.play.Write(ctx, hal.AudioFrame{Data: bytes.Clone(m.body), Samples: int(m.number)})
				cancel()
			}
		case msgCommand:
			a.command(m.number, strings.Fields(string(m.body)))
		}
	}
}

// command does one and replies.
func (a *actor) command(n uint16, f []string) {
	reply := message{kind: msgReply, number: n}
	answer, err := a.do(f)
	reply.body = []byte(answer)
	if err != nil {
		reply.detail, reply.body = replyFailed, []byte(err.Error())
		if errors.Is(err, hal.ErrNotFound) {
			reply.detail = replyNotFound
		}
	}
	a.send(reply)
	if f[0] == "start" && err == nil {
		a.film(f[1])
	}
}

func ints(f []string) []int {
	list := make([]int, max(5, len(f)))
	for i := range f {
		list[i], _ = strconv.Atoi(f[i])
	}
	return list
}

func (a *actor) do(f []string) (string, error) {
	c := a.camera
	number := func(n int, err error) (string, error) { return strconv.Itoa(n), err }
	wish := func() hal.VideoConfig {
		n := ints(f[2:])
		return hal.VideoConfig{Width: n[0], Height: n[1], FPS: n[2], GOP: n[3], Bitrate: n[4]}
	}
	switch f[0] {
	case "start":
		v, err := c.OpenVideo(context.Background(), f[1], wish())
		if err != nil {
			return "", err
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		a.stops[f[1]] = func() { cancel(); <-done; v.Close() }
		a.stops["go "+f[1]] = func() { go func() { defer close(done); a.pump(ctx, v, f[1]) }() }
		return wishText(v.Config()), nil
	case "stop", "microphone":
		name := map[bool]string{true: f[len(f)-1], false: "microphone"}[f[0] == "stop"]
		if stop := a.stops[name]; stop != nil {
			stop()
			delete(a.stops, name)
		}
		if f[0] == "microphone" && f[1] == "1" {
			return "", a.listen()
		}
		return "", nil
	case "keyframe":
		return "", c.RequestKeyframe(f[1])
	case "tune":
		got, err := c.Tune(f[1], wish())
		return wishText(got), err
	case "image":
		return number(c.SetImageControl(f[1], ints(f[2:])[0]))
	case "irfilter":
		return "", c.SetIRFilter(f[1] == "1")
	case "light":
		return number(c.SetLight(hal.LightKind(f[1]), ints(f[2:])[0]))
	case "lightsensor":
		return number(c.Light(context.Background()))
	case "snapshot":
		b, err := c.Snapshot(context.Background())
		return string(b), err
	case "motion":
		m := hal.MotionConfig{Sensitivity: ints(f[1:])[0]}
		for _, z := range f[2:] {
			p := ints(strings.Split(z, ","))
			m.Zones = append(m.Zones, hal.Zone{X: p[0], Y: p[1], Width: p[2], Height: p[3]})
		}
		return "", c.SetMotion(m)
	case "speaker":
		if a.play != nil {
			_ = a.play.Close()
			a.play = nil
		}
		if f[1] == "-1" {
			return "", nil
		}
		p, err := c.OpenSpeaker(context.Background(), c.SpeakerFormats()[ints(f[1:])[0]])
		a.play = p
		return "", err
	case "led":
		p := ints(f[2:])
		return "", c.SetLED(f[1], hal.Pattern{On: time.Duration(p[0]) * time.Millisecond, Off: time.Duration(p[1]) * time.Millisecond})
	case "siren":
		return "", c.SetSiren(f[1] == "1")
	case "sensors":
		list, err := c.Readings(context.Background())
		var b strings.Builder
		for _, r := range list {
			fmt.Fprintf(&b, "%s %g %s\n", r.Name, r.Value, r.Unit)
		}
		return b.String(), err
	case "ptz":
		return a.turn(f[1], f[2:])
	}
	return "", errors.New("no such command")
}

func (a *actor) turn(what string, f []string) (string, error) {
	c := a.camera
	position := func() (p hal.Position) {
		for i, to := range []*float64{&p.Pan, &p.Tilt, &p.Zoom} {
			*to, _ = strconv.ParseFloat(f[i], 64)
		}
		return p
	}
	name := strings.Join(f, " ")
	switch what {
	case "position":
		p, err := c.Position()
		return three(p), err
	case "move":
		return "", c.MoveTo(position())
	case "drive":
		return "", c.Drive(position(), time.Duration(ints(f[3:])[0])*time.Millisecond)
	case "presets":
		list, err := c.Presets()
		return strings.Join(list, "\n"), err
	case "save":
		return "", c.SavePreset(name)
	case "goto":
		return "", c.GoToPreset(name)
	case "delete":
		return "", c.DeletePreset(name)
	}
	return "", errors.New("no such command")
}

// film begins to send a stream, after the reply.
func (a *actor) film(name string) {
	a.stops["go "+name]()
	delete(a.stops, "go "+name)
}

func (a *actor) pump(ctx context.Context, v *hal.Video, name string) {
	place := uint8(slices.IndexFunc(a.camera.Streams(), func(s hal.StreamInfo) bool { return s.Name == name }))
	c, _ := newClock()
	for {
		au, err := v.Next(ctx)
		if err != nil {
			return
		}
		var b []byte
		for n := range au.NALs() {
			b = append(append(b, 0, 0, 0, 1), n...)
		}
		a.send(message{kind: msgVideo, detail: place, number: uint16(au.Lost), stamp: uint64(c.mono + int64(au.Time.Sub(c.at))), body: b})
	}
}

func (a *actor) listen() error {
	s, err := a.camera.OpenMicrophone(context.Background())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c, _ := newClock()
	a.stops["microphone"] = func() { cancel(); <-done; s.Close() }
	go func() {
		defer close(done)
		for {
			f, err := s.Next(ctx)
			if err != nil {
				return
			}
			a.send(message{kind: msgSound, number: uint16(f.Samples), stamp: uint64(c.mono + int64(f.Time.Sub(c.at))), body: f.Data})
		}
	}()
	return nil
}
