package clip

import (
	"bytes"
	"math"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4"

	"iid2secure.nl/camagent/hal"
)

// mic makes µ-law sound: frame n holds the byte n%251 in all samples.
type mic struct {
	n       int
	samples int           // per frame
	skew    time.Duration // is added to the time stamps
}

var pcmu = &hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}

func (m *mic) data() []byte { return bytes.Repeat([]byte{byte(m.n % 251)}, m.samples) }

// run pushes frames when their last sample is captured, until stop.
func (m *mic) run(c *camera, stop <-chan struct{}) {
	length := time.Duration(m.samples) * time.Second / 8000
	for {
		at := time.Now()
		select {
		case <-stop:
			return
		case <-time.After(length):
		}
		c.PushAudio(hal.AudioFrame{Data: m.data(), Samples: m.samples, Time: at.Add(m.skew)})
		m.n++
	}
}

// withMic plays n pictures while the microphone is open.
func withMic(c *camera, m *mic, n int) {
	c.SetAudio(pcmu)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); m.run(c, stop) }()
	c.play(n)
	close(stop)
	<-done
	c.SetAudio(nil)
}

func TestM3_SoundIsCompleteAcrossClips(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	m := &mic{samples: 320}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		c.SetAudio(pcmu)
		time.Sleep(13 * time.Millisecond)
		withMic(c, m, 25*35)
	})
	once(t, c, store.clips, 0, 25*35)
	if len(store.clips) != 4 {
		t.Fatalf("%d clips", len(store.clips))
	}
	n := 0
	for i, clip := range store.clips {
		got := open(t, clip.data)
		lpcm, ok := got.init.Tracks[1].Codec.(*mp4.CodecLPCM)
		if !ok || lpcm.BitDepth != 16 || lpcm.SampleRate != 8000 || lpcm.LittleEndian {
			t.Fatalf("clip %d: sound is %+v", i, got.init.Tracks[1].Codec)
		}
		for _, s := range got.sound {
			var want g711.Mulaw
			want.Unmarshal(bytes.Repeat([]byte{byte(n % 251)}, 320))
			if !bytes.Equal(s.Payload, want) || s.Duration != 320 {
				t.Fatalf("clip %d: sound frame %d is missing", i, n)
			}
			n++
		}
		streams := probe(t, clip.data)
		if len(streams) != 2 || streams[1].Codec != "pcm_s16be" {
			t.Fatalf("clip %d: %+v", i, streams)
		}
		if d := streams[1].seconds() - streams[0].seconds(); math.Abs(d) > 0.041 {
			t.Errorf("clip %d: sound is %v s longer than the picture", i, d)
		}
	}
	if n < m.n-2 {
		t.Errorf("%d frames of sound of %d", n, m.n)
	}
}

// Sound stands where it was captured, within a sample, whatever its phase.
func TestM3_SoundIsInStep(t *testing.T) {
	t.Parallel()
	list := real(t)
	for _, phase := range []time.Duration{0, 1, 17 * time.Millisecond, 39 * time.Millisecond, -13 * time.Millisecond} {
		store := &memStore{}
		record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
			c.SetAudio(pcmu)
			begin := time.Now()
			withMic(c, &mic{samples: 160, skew: phase}, 100)
			got := open(t, finished(c, store).data)
			at := time.Duration(got.soundAt[0]) * time.Second / 8000
			want := begin.Add(phase).Sub(store.clips[0].start.Time)
			if want < 0 { // captured before the first picture: not of this clip
				want += 20 * time.Millisecond
			}
			if (at - want).Abs() > time.Millisecond/8 {
				t.Errorf("phase %v: sound begins at %v, want %v", phase, at, want)
			}
		})
	}
}

// finished makes the recorder close its clip.
func finished(c *camera, store *memStore) *memClip {
	time.Sleep(3 * time.Second) // a gap
	c.seq = 0
	c.play(1)
	synctest.Wait()
	return store.clips[0]
}

// A microphone that is switched on or off begins a new clip at the next key frame.
func TestP2_SoundOnAndOff(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		c.play(60)
		withMic(c, &mic{samples: 320}, 60) // on at frame 60, off at 120
		c.play(60)
	})
	once(t, c, store.clips, 0, 180)
	var firsts []uint64
	for i, clip := range store.clips {
		firsts = append(firsts, clip.info.FirstFrame)
		if n := len(probe(t, clip.data)); n != []int{1, 2, 1}[i] {
			t.Errorf("clip %d has %d tracks", i, n)
		}
		if sound := open(t, clip.data).sound; i == 1 && len(sound) < 44 {
			t.Errorf("%d frames of sound", len(sound))
		}
	}
	if len(firsts) != 3 || firsts[1] != 75 || firsts[2] != 125 {
		t.Errorf("clips begin at %v, want 0, 75, 125", firsts)
	}
}

// Sound of another kind than the track's, from before or after a switch, is left out.
func TestM3_ForeignSound(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		c.SetAudio(pcmu)
		c.play(2)
		c.PushAudio(hal.AudioFrame{Data: make([]byte, 320), Samples: 320, Time: time.Now()})
		c.SetAudio(&hal.AudioFormat{Codec: hal.Opus, Rate: 48000, Channels: 1})
		c.PushAudio(hal.AudioFrame{Data: []byte{0xf8, 0xff, 0xfe}, Samples: 960, Time: time.Now()})
		c.play(10)
	})
	if n := len(open(t, store.clips[0].data).sound); n != 1 {
		t.Errorf("%d frames of sound, want 1", n)
	}
}

// A clip that has a sound track without a single frame is playable, and waits
// for no sound at its end.
func TestM3_SilentMicrophone(t *testing.T) {
	t.Parallel()
	list := real(t)
	store := &memStore{}
	c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
		c.SetAudio(pcmu)
		c.play(300)
	})
	once(t, c, store.clips, 0, 300)
	if n := probe(t, store.clips[0].data); n[0].Frames != "250" {
		t.Errorf("%+v", n)
	}
	if late := store.clips[0].at.Sub(store.clips[1].start.Time); late != 0 {
		t.Errorf("the first clip was closed %v after its end", late)
	}
}

// A sound clock that is off by far more than any crystal is followed.
func TestM3_SoundClockDrifts(t *testing.T) {
	t.Parallel()
	list := real(t)
	for name, perFrame := range map[string]time.Duration{
		"slow": 41 * time.Millisecond, "fast": 39 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			var times []time.Time
			record(t, func() *camera { return newCamera(list) }, store, Config{Length: 20 * time.Second}, func(c *camera) {
				c.SetAudio(pcmu)
				next := time.Now()
				for range 400 {
					c.push()
					for end := time.Now().Add(frame); next.Before(end); next = next.Add(perFrame) {
						c.PushAudio(hal.AudioFrame{Data: make([]byte, 320), Samples: 320, Time: next})
						times = append(times, next)
					}
					time.Sleep(frame)
				}
			})
			clip := store.clips[0]
			got := open(t, clip.data)
			last := time.Duration(got.soundAt[len(got.soundAt)-1]) * time.Second / 8000
			want := times[len(times)-1].Sub(clip.start.Time)
			if (last - want).Abs() > maxDrift+40*time.Millisecond {
				t.Errorf("the last sound is at %v, captured at %v", last, want)
			}
			for i := 1; i < len(got.soundAt); i++ {
				if got.soundAt[i] < got.soundAt[i-1]+320 {
					t.Fatalf("sound %d overlaps the one before", i)
				}
			}
			if lost := len(times) - len(got.sound); name == "slow" && lost > 0 || lost > 12 {
				t.Errorf("%d of %d sound frames left out", lost, len(times))
			}
		})
	}
}

// aac makes AAC frames by ffmpeg.
func aac(t *testing.T) (list [][]byte) {
	t.Helper()
	out, err := exec.Command(tool(t, "ffmpeg", "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", "sine=r=16000:d=4",
		"-c:a", "aac", "-f", "adts", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	var packets mpeg4audio.ADTSPackets
	if err := packets.Unmarshal(out); err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		list = append(list, p.AU)
	}
	return list
}

func TestM3_SoundCodecs(t *testing.T) {
	t.Parallel()
	list := real(t)
	config, err := mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 16000, ChannelCount: 1}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		format  hal.AudioFormat
		frames  [][]byte
		samples int
		want    string
	}{
		{hal.AudioFormat{Codec: hal.AAC, Rate: 16000, Channels: 1, Config: config}, aac(t), 1024, "aac"},
		{hal.AudioFormat{Codec: hal.Opus, Rate: 48000, Channels: 1}, [][]byte{{0xf8, 0xff, 0xfe}}, 960, "opus"},
		{hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 2}, [][]byte{make([]byte, 2560)}, 640, "pcm_s16be"},
		{hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1}, [][]byte{make([]byte, 160)}, 160, "pcm_s16be"},
	} {
		t.Run(string(test.format.Codec), func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			count := 0
			c := record(t, func() *camera { return newCamera(list) }, store, Config{Length: 2 * time.Second}, func(c *camera) {
				c.SetAudio(&test.format)
				length := time.Duration(test.samples) * time.Second / time.Duration(test.format.Rate)
				next := time.Now()
				for range 100 {
					c.push()
					for end := time.Now().Add(frame); next.Before(end); next = next.Add(length) {
						c.PushAudio(hal.AudioFrame{Data: test.frames[count%len(test.frames)], Samples: test.samples, Time: next})
						count++
					}
					time.Sleep(frame)
				}
			})
			once(t, c, store.clips, 0, 100)
			got := 0
			for i, clip := range store.clips {
				streams := probe(t, clip.data)
				if len(streams) != 2 || streams[1].Codec != test.want {
					t.Fatalf("clip %d: %+v", i, streams)
				}
				if d := streams[1].seconds(); math.Abs(d-2) > 0.1 {
					t.Errorf("clip %d: %v s of sound, want 2", i, d)
				}
				for _, s := range open(t, clip.data).sound {
					if data := test.frames[got%len(test.frames)]; test.format.Codec != hal.PCMA && !bytes.Equal(s.Payload, data) {
						t.Fatalf("sound frame %d is not the one that was pushed", got)
					}
					got++
				}
			}
			if got != count {
				t.Errorf("%d frames of sound of %d", got, count)
			}
		})
	}
}

// Sound that no MP4 can hold costs the sound, not the clip.
func TestM3_ImpossibleSound(t *testing.T) {
	t.Parallel()
	list := real(t)
	for _, f := range []hal.AudioFormat{
		{Codec: "mp1", Rate: 8000, Channels: 1}, {Codec: hal.PCMU, Channels: 1}, {Codec: hal.L16, Rate: 8000},
		{Codec: hal.AAC, Rate: 8000, Channels: 1, Config: []byte{1}},
	} {
		store := &memStore{}
		c := record(t, func() *camera { return newCamera(list) }, store, Config{}, func(c *camera) {
			c.SetAudio(&f)
			c.PushAudio(hal.AudioFrame{Data: []byte{1}, Samples: 1, Time: time.Now()})
			c.play(30)
		})
		once(t, c, store.clips, 0, 30)
		if n := len(open(t, store.clips[0].data).init.Tracks); n != 1 {
			t.Errorf("%+v: %d tracks", f, n)
		}
	}
}
