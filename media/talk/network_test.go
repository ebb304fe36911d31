package talk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// rough is a network that loses and delays.
func rough(seed uint64, list []sent, loss float64, jitter time.Duration) (arrived []sent, lost int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for _, s := range list {
		if r.Float64() < loss {
			lost++
			continue
		}
		s.at += time.Duration(r.Int64N(int64(jitter) + 1))
		arrived = append(arrived, s)
	}
	return arrived, lost
}

// silences tells the longest time without sound.
func silences(tp tape) (longest time.Duration) {
	run := 0
	for _, s := range tp.sounding() {
		if run++; s > 300 || s < -300 {
			run = 0
		}
		longest = max(longest, time.Duration(run)*time.Second/time.Duration(tp.rate))
	}
	return longest
}

func TestM6_LossAndJitterAreCovered(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *bench) {
				list, lost := rough(seed, speech(hal.PCMU, time.Minute, 160), 0.05, 50*time.Millisecond)
				say(t, b.Join("anna"), list)
				time.Sleep(time.Second)
				tp, s := b.tape(), b.Stats()
				if len(tp.gaps) > 0 {
					t.Errorf("the speaker ran empty: %v", tp.gaps)
				}
				if d := silences(tp); d > fadeTime {
					t.Errorf("%v of silence", d)
				}
				if s.Late > 20 || int(s.Lost) > (lost+20)*160 {
					t.Errorf("%d packets lost by the network: %+v", lost, s)
				}
				good := 0
				pcm := tp.sounding()
				for i := 0; i+320 <= len(pcm); i += 320 {
					if purity(pcm[i:i+320], hertz, tp.rate) > 0.95 {
						good++
					}
				}
				if share := float64(good) * 320 / float64(len(pcm)); share < 0.97 {
					t.Errorf("%.3f of it is the tone", share)
				}
			})
		})
	}
}

func TestM6_MoreJitterMeansMoreDelayAndLessMeansLessAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		calm := speech(hal.PCMU, 40*time.Second, 160)
		wild, _ := rough(1, calm[500:1000], 0, 150*time.Millisecond)
		list := append(append(append([]sent{}, calm[:500]...), wild...), calm[1000:]...)
		k := b.Join("anna")
		go say(t, k, list)
		for _, at := range []struct {
			after       time.Duration
			least, most time.Duration
		}{{9 * time.Second, 30, 70}, {10 * time.Second, 130, 210}, {19 * time.Second, 30, 70}} {
			time.Sleep(at.after)
			b.Desk.mu.Lock()
			waits := b.turn.sound.delay.of(time.Now(), b.turn.sound.next)
			b.Desk.mu.Unlock()
			if waits < at.least*time.Millisecond || waits > at.most*time.Millisecond {
				t.Errorf("after another %v sound waits %v", at.after, waits)
			}
		}
		time.Sleep(5 * time.Second)
		if s := b.Stats(); s.Late > 25 {
			t.Errorf("%+v", s)
		}
	})
}

func TestM6_ReorderedAndDoubledPacketsAreNotHeard(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		list := speech(hal.PCMU, 3*time.Second, 160)
		for i := 3; i+1 < len(list); i += 4 {
			list[i].at, list[i+1].at = list[i+1].at, list[i].at
		}
		doubled := append([]sent{}, list...)
		for i := 0; i < len(list); i += 5 {
			doubled = append(doubled, list[i])
		}
		say(t, b.Join("anna"), doubled)
		time.Sleep(time.Second)
		requireTone(t, b.tape(), 3*time.Second, 0.95) // it is played faster for a while
		if s := b.Stats(); s.Late != uint64(len(doubled)-len(list)) || s.Lost > 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestM6_LatePacketsAreNeverHeard(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		list := speech(hal.PCMU, 3*time.Second, 160)
		for i := range list {
			if i%25 != 24 {
				list[i].Payload = bytes.Repeat([]byte{0xff}, 160) // silence
			} else {
				list[i].at += 300 * time.Millisecond
			}
		}
		say(t, b.Join("anna"), list)
		time.Sleep(2 * time.Second)
		if got := len(b.tape().sounding()); got > 0 || b.Stats().Late != 6 {
			t.Errorf("%d samples of late packets are heard, %+v", got, b.Stats())
		}
	})
}

func TestM6_TimestampsThatWobbleLeaveNoSeam(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		list := speech(hal.PCMU, 3*time.Second, 160)
		for i := range list {
			list[i].Timestamp += uint32(i * 37 % 16)
		}
		say(t, b.Join("anna"), list)
		time.Sleep(time.Second)
		requireTone(t, b.tape(), 3*time.Second, 0.998)
	})
}

func TestM6_TimestampsThatLeapBeginAnew(t *testing.T) {
	t.Parallel()
	for _, leap := range []uint32{1 << 20, 1 << 31, 1<<32 - 1<<20, 30000} {
		bubble(t, func(t *testing.T, b *bench) {
			list := speech(hal.PCMU, 2*time.Second, 160)
			for i := len(list) / 2; i < len(list); i++ {
				list[i].Timestamp += leap
			}
			say(t, b.Join("anna"), list)
			time.Sleep(time.Second)
			if got := len(b.tape().sounding()); got < 30000 {
				t.Errorf("%d samples of 32000 are heard", got)
			}
		})
	}
}

func TestM6_SoundOfABurstIsNeverLongBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		list := speech(hal.PCMU, 4*time.Second, 160)
		for i := 50; i < 100; i++ {
			list[i].at = list[100].at // the network stood still for a second
		}
		began := time.Now()
		say(t, b.Join("anna"), list)
		time.Sleep(time.Second)
		tp := b.tape()
		end := tp.from
		for i, s := range tp.pcm {
			if s > 500 || s < -500 {
				end = tp.when(i)
			}
		}
		if late := end.Sub(began) - 4*time.Second; late > 400*time.Millisecond {
			t.Errorf("the end is heard %v late", late)
		}
		if s := b.Stats(); s.Skipped == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestM6_PauseWithinATalk(t *testing.T) {
	t.Parallel()
	for _, goesOn := range []bool{true, false} {
		t.Run(fmt.Sprint("timestamps go on: ", goesOn), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *bench) {
				list := speech(hal.PCMU, 2*time.Second, 160)
				for i := 50; i < 100; i++ {
					list[i].at += 3 * time.Second
					if goesOn {
						list[i].Timestamp += 3 * rate
					}
				}
				say(t, b.Join("anna"), list)
				time.Sleep(time.Second)
				tp := b.tape()
				if len(tp.gaps) != 1 || tp.gaps[0] < 2*time.Second {
					t.Errorf("gaps %v", tp.gaps)
				}
				loud := 0
				for i := 0; i+320 <= len(tp.pcm); i += 320 {
					if loudness(tp.pcm[i:i+320]) > -13 {
						loud++
					}
				}
				if loud < 97 || loud > 106 || b.opens != 1 {
					t.Errorf("%d frames of 100 are heard, the speaker was opened %d times", loud, b.opens)
				}
			})
		})
	}
}

// A sender that stands still for a moment and then goes on, with timestamps that
// know nothing of it, is heard as before but for the moment.
func TestM6_SenderThatStoodStillIsHeardAgainAtOnce(t *testing.T) {
	t.Parallel()
	for still := 20 * time.Millisecond; still <= 600*time.Millisecond; still += 20 * time.Millisecond {
		t.Run(still.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *bench) {
				list := speech(hal.PCMU, 4*time.Second, 160)
				for i := 100; i < len(list); i++ {
					list[i].at += still
				}
				say(t, b.Join("anna"), list)
				time.Sleep(time.Second)
				pcm := b.tape().sounding()
				loud := 0
				for i := 0; i+320 <= len(pcm); i += 320 {
					if loudness(pcm[i:i+320]) > -13 {
						loud++
					}
				}
				if s := b.Stats(); loud < 195 || s.Late > 3 || s.Skipped > 0 {
					t.Errorf("%d frames of 200 are heard, %+v", loud, s)
				}
			})
		})
	}
}
