package talk

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
)

func one(n int) Packet {
	return Packet{hal.PCMU, uint16(n), uint32(160 * n), tone(hal.PCMU, 160*n, 160)}
}

func requireFloor(t *testing.T, d *Desk, want string) {
	t.Helper()
	if name, ok := d.Talking(); name != want || ok != (want != "") {
		t.Errorf("%q has the floor, want %q", name, want)
	}
}

func requireError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

func TestM6_OneTalksAtATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		anna, bert := b.Join("anna"), b.Join("bert")
		requireFloor(t, b.Desk, "")
		for n := range 50 {
			requireError(t, anna.Packet(one(n)), nil)
			requireError(t, bert.Packet(one(n)), ErrBusy)
			time.Sleep(frameTime)
		}
		requireFloor(t, b.Desk, "anna")
		if s := b.Stats(); s.Refused != 50 || s.Packets != 50 || s.Turns != 1 {
			t.Errorf("%+v", s)
		}
		if n := b.log.FilterMessageSnippet("refused").Len(); n != 1 {
			t.Errorf("%d lines about one attempt", n)
		}
		time.Sleep(b.cfg.Lease - frameTime - time.Millisecond)
		requireError(t, bert.Packet(one(0)), ErrBusy)
		time.Sleep(time.Millisecond)
		requireFloor(t, b.Desk, "")
		requireError(t, bert.Packet(one(1)), nil)
		requireFloor(t, b.Desk, "bert")
		requireError(t, anna.Packet(one(50)), ErrBusy)
		if n := b.log.FilterMessageSnippet("refused").Len(); n != 2 {
			t.Errorf("%d lines about two attempts", n)
		}
	})
}

func TestM6_TheSpeakerIsClosedWhenTheFloorIsLost(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		for turn := 1; turn < 4; turn++ {
			requireError(t, k.Packet(one(turn)), nil)
			synctest.Wait()
			if !b.isOpen() || b.opens != turn {
				t.Errorf("turn %d: open %v, for the %dth time", turn, b.isOpen(), b.opens)
			}
			time.Sleep(b.cfg.Lease - time.Millisecond)
			if !b.isOpen() {
				t.Error("closed too early")
			}
			time.Sleep(2 * time.Millisecond)
			if b.isOpen() {
				t.Error("still open")
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestM6_CloseGivesTheFloorBackAndTheRestIsHeard(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		anna, bert := b.Join("anna"), b.Join("bert")
		say(t, anna, speech(hal.PCMU, time.Second, 160))
		anna.Close()
		requireFloor(t, b.Desk, "")
		requireError(t, anna.Packet(one(1)), ErrClosed)
		requireError(t, bert.Packet(one(1)), nil)
		requireFloor(t, b.Desk, "bert")
		time.Sleep(500 * time.Millisecond)
		if !b.isOpen() || b.opens != 2 {
			t.Errorf("open %v, for the %dth time", b.isOpen(), b.opens)
		}
		if got := b.tape().sounding(); len(got) < 16000 {
			t.Errorf("%d samples of a second are heard", len(got))
		}
		anna.Close()
		bert.Close()
	})
}

func TestM6_TalkThatIsCloseAtOnceIsHeard(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		for n := range 10 {
			requireError(t, k.Packet(one(n)), nil)
		}
		k.Close()
		requireFloor(t, b.Desk, "")
		time.Sleep(time.Second)
		if got := len(b.tape().sounding()); got < 3200 || b.isOpen() {
			t.Errorf("%d samples are heard, open %v", got, b.isOpen())
		}
	})
}

func TestM6_ATurnThatEndedBeforeItBeganMakesRoom(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		for range 100 {
			k := b.Join("anna")
			requireError(t, k.Packet(one(1)), nil)
			k.Close()
		}
		k := b.Join("bert")
		requireError(t, k.Packet(one(1)), nil)
		requireFloor(t, b.Desk, "bert")
		synctest.Wait()
		if b.opens != 1 {
			t.Errorf("opened %d times", b.opens)
		}
	})
}

func TestS3_CutIsSilentAtOnce(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(*bench, *Talker){
		"cut":             func(_ *bench, k *Talker) { k.Cut() },
		"shut":            func(b *bench, _ *Talker) { b.Shut("privacy") },
		"cut after close": func(_ *bench, k *Talker) { k.Close(); k.Cut() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, b *bench) {
				k := b.Join("anna")
				say(t, k, speech(hal.PCMU, time.Second, 160))
				cut(b, k)
				synctest.Wait()
				requireFloor(t, b.Desk, "")
				if b.isOpen() {
					t.Error("the speaker is still open")
				}
			})
		})
	}
}

func TestS3_ShutRefusesUntilItIsOpened(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		b.Shut("privacy")
		requireError(t, k.Packet(one(1)), ErrShut)
		requireFloor(t, b.Desk, "")
		b.Open()
		requireError(t, k.Packet(one(2)), nil)
		requireFloor(t, b.Desk, "anna")
		b.Shut("privacy")
		requireError(t, k.Packet(one(3)), ErrShut)
		if s := b.Stats(); s.Refused != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestM6_NobodyTalksWithoutRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &loudspeaker{formats: wide()}
		d := New(l, Config{})
		k := d.Join("anna")
		requireError(t, k.Packet(one(1)), ErrShut)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- d.Run(ctx) }()
			synctest.Wait()
			if err := d.Run(ctx); err == nil {
				t.Error("it runs twice")
			}
			requireError(t, k.Packet(one(1)), nil)
			synctest.Wait()
			if !l.isOpen() {
				t.Error("the speaker is closed")
			}
			cancel()
			requireError(t, <-done, nil)
			requireError(t, k.Packet(one(1)), ErrShut)
			if l.isOpen() {
				t.Error("the speaker is left open")
			}
		}
	})
}

func TestM6_SpeakerThatFailsIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		b.fail = hal.ErrBusy
		k := b.Join("anna")
		told := 0
		for n := range 500 {
			if err := k.Packet(one(n)); err != nil {
				requireError(t, err, hal.ErrBusy)
				told++
			}
			time.Sleep(frameTime)
		}
		lines := b.log.FilterMessageSnippet("fails").Len()
		if told < 9 || told > 11 || b.opens < 9 || b.opens > 11 || lines < 9 || lines > 11 {
			t.Errorf("in 10 seconds: told %d times, tried %d times, %d lines", told, b.opens, lines)
		}
		requireFloor(t, b.Desk, "anna")
		b.loudspeaker.mu.Lock()
		b.fail = nil
		b.loudspeaker.mu.Unlock()
		for n := 500; n < 700; n++ {
			_ = k.Packet(one(n))
			time.Sleep(frameTime)
		}
		if got := len(b.tape().sounding()); got < 2*16000 {
			t.Errorf("%d samples are heard", got)
		}
	})
}

func TestM6_SpeakerThatIsUnpluggedInATalk(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		say(t, k, speech(hal.PCMU, time.Second, 160))
		b.loudspeaker.mu.Lock()
		b.broken = hal.ErrGone
		b.loudspeaker.mu.Unlock()
		time.Sleep(2 * frameTime)
		requireError(t, k.Packet(one(1)), hal.ErrGone)
		if b.isOpen() {
			t.Error("a dead speaker is kept open")
		}
		b.loudspeaker.mu.Lock()
		b.broken = nil
		played := len(b.pieces)
		b.loudspeaker.mu.Unlock()
		time.Sleep(b.cfg.Lease + time.Second)
		requireFloor(t, b.Desk, "")
		if b.opens != 2 { // for the packet that was told of the failure
			t.Errorf("opened %d times", b.opens)
		}
		if n := len(b.pieces); n != played {
			t.Errorf("%d frames of the past are played", n-played)
		}
	})
}

func TestM6_SpeakerThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		b.hang = true
		k := b.Join("anna")
		for n := range 500 {
			requireError(t, k.Packet(one(n)), nil)
			time.Sleep(frameTime)
		}
		b.Desk.mu.Lock()
		held := lasting(b.turn.sound.end - b.turn.sound.next)
		b.Desk.mu.Unlock()
		if held > maxHeld {
			t.Errorf("%v are held", held)
		}
		k.Cut()
		synctest.Wait()
		if b.isOpen() {
			t.Error("the speaker is still open")
		}
	})
}

func TestM6_SpeakerOfOtherCodecsIsNotAble(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		if b.Able() {
			t.Error("able")
		}
		k := b.Join("anna")
		requireError(t, k.Packet(one(1)), nil)
		synctest.Wait()
		requireError(t, k.Packet(one(2)), errNoFormat)
		b.formats = nil
		if b.Able() {
			t.Error("able without a speaker")
		}
	}, hal.AudioFormat{Codec: hal.AAC, Rate: 16000, Channels: 1}, hal.AudioFormat{Codec: hal.Opus, Rate: 48000, Channels: 1})
}

func TestM6_TheBestFormatThatCanBeMadeIsTaken(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		requireError(t, b.Join("anna").Packet(one(1)), nil)
		synctest.Wait()
		if b.format.Codec != hal.PCMA {
			t.Errorf("%+v", b.format)
		}
	}, hal.AudioFormat{Codec: hal.AAC, Rate: 16000, Channels: 1}, hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1},
		hal.AudioFormat{Codec: hal.L16, Rate: 8000, Channels: 1})
}

func TestR6_FloodIsBounded(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		for n := range 50000 {
			requireError(t, k.Packet(one(n)), nil)
			time.Sleep(100 * time.Microsecond)
		}
		b.Desk.mu.Lock()
		held := lasting(b.turn.sound.end - b.turn.sound.next)
		b.Desk.mu.Unlock()
		if s := b.Stats(); held > maxHeld || s.Skipped < 49000*160 {
			t.Errorf("%v are held, %+v", held, s)
		}
		time.Sleep(time.Second)
		played := lasting(int64(len(b.tape().sounding())) / 2)
		if played < 4900*time.Millisecond || played > 6*time.Second || b.most > lead+2*frameTime {
			t.Errorf("%v are played of 5 seconds, the speaker held %v", played, b.most)
		}
	})
}

func TestR6_GarbageIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, b *bench) {
		k := b.Join("anna")
		for _, p := range []Packet{
			{}, {Codec: hal.PCMU}, {Codec: hal.PCMU, Payload: make([]byte, maxSize+1)},
			{Codec: hal.L16, Payload: make([]byte, 320)}, {Codec: "", Payload: make([]byte, 160)},
		} {
			requireError(t, k.Packet(p), ErrPacket)
		}
		requireFloor(t, b.Desk, "")
		if s := b.Stats(); s.Garbage != 5 || s.Packets != 0 || b.opens != 0 {
			t.Errorf("%+v", s)
		}
	})
}
