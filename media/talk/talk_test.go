package talk

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// requireTone checks that what was played is the tone, whole, and nothing else.
func requireTone(t *testing.T, tp tape, lasts time.Duration, pure float64) {
	t.Helper()
	pcm := tp.sounding()
	if got := time.Duration(len(pcm)) * time.Second / time.Duration(tp.rate); got < lasts-25*time.Millisecond || got > lasts+100*time.Millisecond {
		t.Errorf("%v were played of %v", got, lasts)
	}
	want := 20 * math.Log10(level/32768/math.Sqrt2)
	step := tp.rate / 50
	end := min(len(pcm), int(lasts*time.Duration(tp.rate)/time.Second)) // the made-up tail is no tone
	for i := step; i+2*step < end; i += step {
		part := pcm[i : i+step]
		if p, l := purity(part, hertz, tp.rate), loudness(part); p < pure || math.Abs(l-want) > 0.5 {
			t.Fatalf("at %v of %v: purity %.3f, %.1f dB, want %.1f", tp.when(i).Sub(tp.from), lasts, p, l, want)
		}
	}
	if len(tp.gaps) > 0 {
		t.Errorf("the speaker ran empty: %v", tp.gaps)
	}
}

func TestM6_WhatIsSaidIsHeard(t *testing.T) {
	t.Parallel()
	for _, f := range []hal.AudioFormat{
		{Codec: hal.L16, Rate: 16000, Channels: 1}, {Codec: hal.L16, Rate: 8000, Channels: 1},
		{Codec: hal.L16, Rate: 48000, Channels: 2}, {Codec: hal.L16, Rate: 11025, Channels: 1},
		{Codec: hal.PCMU, Rate: 8000, Channels: 1}, {Codec: hal.PCMA, Rate: 8000, Channels: 1},
	} {
		for _, codec := range []hal.Codec{hal.PCMU, hal.PCMA} {
			for _, n := range []int{80, 160, 240, 320, 480} {
				t.Run(fmt.Sprintf("%s in packets of %d for %s %d", codec, n, f.Codec, f.Rate), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(t *testing.T, b *bench) {
						say(t, b.Join("anna"), speech(codec, 3*time.Second, n))
						time.Sleep(time.Second)
						requireTone(t, b.tape(), 3*time.Second, 0.998)
						if s := b.Stats(); s.Lost+s.Skipped+s.Late+s.Garbage+s.Errors != 0 {
							t.Errorf("%+v", s)
						}
					}, f)
				})
			}
		}
	}
}

func TestM6_SameCodecIsPassedOnUnchanged(t *testing.T) {
	t.Parallel()
	for _, codec := range []hal.Codec{hal.PCMU, hal.PCMA} {
		bubble(t, func(t *testing.T, b *bench) {
			list := speech(codec, time.Second, 160)
			for i := range list {
				for k := range list[i].Payload {
					list[i].Payload[k] = byte(i + 3*k)
				}
			}
			say(t, b.Join("anna"), list)
			time.Sleep(500 * time.Millisecond)
			var want []int16
			for _, s := range list {
				want = append(want, decoded(hal.AudioFormat{Codec: codec, Channels: 1}, s.Payload)...)
			}
			pcm := b.tape().pcm
			from := int(samples(lead)) + 2 // the converter looks two samples ahead
			for i := range want {
				if pcm[from+i] != want[i] {
					t.Fatalf("sample %d is %d, want %d", i, pcm[from+i], want[i])
				}
			}
		}, hal.AudioFormat{Codec: codec, Rate: 8000, Channels: 1})
	}
}

// delays sends a click each second and tells how long after it was made it is heard.
func delays(t *testing.T, b *bench, k *Talker, list []sent) (found []time.Duration) {
	t.Helper()
	for i := range list {
		for j := range list[i].Payload {
			list[i].Payload[j] = 0xff
		}
		if i%50 == 0 {
			list[i].Payload[0] = 0x00
		}
	}
	began := time.Now()
	say(t, k, list)
	time.Sleep(time.Second)
	tp := b.tape()
	at := -tp.rate
	for i, s := range tp.pcm {
		if s < -8000 && i > at+tp.rate/2 {
			at = i
			made := list[50*len(found)].at - 20*time.Millisecond
			found = append(found, tp.when(i).Sub(began)-made)
		}
	}
	if want := (len(list) + 49) / 50; len(found) != want {
		t.Fatalf("%d clicks of %d are heard", len(found), want)
	}
	return found
}

func TestM6_DelayIsShort(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		for i, d := range delays(t, b, b.Join("anna"), speech(hal.PCMU, 10*time.Second, 160)) {
			if d < minDelay || d > 125*time.Millisecond { // 20 of a packet, 60 waiting, 40 in the speaker
				t.Errorf("click %d is heard %v late", i, d)
			}
		}
	})
}

func TestM6_DriftOfTheSendersClockDoesNotGrowTheDelay(t *testing.T) {
	t.Parallel()
	for ppm, lasts := range map[int]time.Duration{
		200: 10 * time.Minute, -200: 10 * time.Minute, 1000: 2 * time.Minute, -1000: 2 * time.Minute,
	} {
		t.Run(fmt.Sprint(ppm), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *bench) {
				list := speech(hal.PCMU, lasts, 160)
				for i := range list {
					list[i].at -= list[i].at * time.Duration(ppm) / 1e6
				}
				least, most := time.Hour, time.Duration(0)
				for _, d := range delays(t, b, b.Join("anna"), list) {
					least, most = min(least, d), max(most, d)
				}
				t.Logf("from %v to %v", least, most)
				if s := b.Stats(); least < 80*time.Millisecond || most > 160*time.Millisecond || s.Skipped+s.Late+s.Lost > 0 {
					t.Errorf("delay from %v to %v, %+v", least, most, s)
				}
				if g := b.tape().gaps; len(g) > 0 {
					t.Errorf("the speaker ran empty: %v", g)
				}
			}, hal.AudioFormat{Codec: hal.L16, Rate: 8000, Channels: 1})
		})
	}
}

func TestM6_DriftOfTheSpeakersClockDoesNotGrowTheDelay(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		b.slowing = time.Millisecond
		list := speech(hal.PCMU, 4*time.Minute, 160)
		say(t, b.Join("anna"), list)
		if b.most > hal.SpeakerAhead {
			t.Errorf("the speaker held %v", b.most)
		}
		u := b.turn
		if behind := u.sound.delay.of(time.Now(), u.sound.next) + hal.SpeakerAhead; behind > 400*time.Millisecond {
			t.Errorf("sound is %v behind at the end", behind)
		}
	})
}

func TestM6_FramesThatComeLateDoNotEmptyTheSpeaker(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		b.stall = 35 * time.Millisecond
		say(t, b.Join("anna"), speech(hal.PCMU, 5*time.Second, 160))
		time.Sleep(time.Second)
		requireTone(t, b.tape(), 5*time.Second, 0.95)
	})
}

// Each time that a machine is slower than ever before costs a gap, no other time.
func TestM6_SpeakerHoldsWhatASlowMachineNeeds(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		b.stall = 90 * time.Millisecond
		say(t, b.Join("anna"), speech(hal.PCMU, 20*time.Second, 160))
		time.Sleep(time.Second)
		if g := b.tape().gaps; len(g) != 1 || g[0] > b.stall-lead {
			t.Errorf("gaps %v", g)
		}
		if s := b.Stats(); s.Lost+s.Skipped+s.Late > 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestM6_SimulatedSpeakerPlaysTheTone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		board := sim.New(sim.Config{})
		camera := hal.NewCamera(board)
		defer camera.Close()
		d := New(camera, Config{})
		go d.Run(t.Context())
		synctest.Wait()
		if !d.Able() {
			t.Fatal("not able")
		}
		k := d.Join("anna")
		list, _ := rough(3, speech(hal.PCMA, 5*time.Second, 160), 0, 9*time.Millisecond)
		say(t, k, list)
		k.Close()
		time.Sleep(time.Second)
		var pieces []piece
		for _, h := range board.Heard() {
			pieces = append(pieces, piece{h.Time, decoded(h.Format, h.Data)})
		}
		requireTone(t, record(16000, pieces), 5*time.Second, 0.998)
		if board.State().Talking {
			t.Error("the speaker is left open")
		}
	})
}
