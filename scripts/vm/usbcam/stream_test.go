package usbcam

import (
	"bytes"
	"context"
	"testing"
)

// collect hands over transfers of a size and puts the payloads together to
// frames, as uvcvideo does.
func (k *kernel) collect(frames, size int) [][]byte {
	k.t.Helper()
	var all [][]byte
	var frame []byte
	toggle := byte(0)
	for len(all) < frames {
		seq := k.bulk(size)
		a := k.answer(true)
		if a.kind != retSubmit || a.seq != seq || a.status != 0 || len(a.data) > size || a.data[0] != headerSize {
			k.t.Fatalf("answer %+v to transfer %d", a, seq)
		}
		if got := a.data[1] & 1; got != toggle {
			k.t.Fatalf("frame %d: toggle %d, want %d", len(all), got, toggle)
		}
		frame = append(frame, a.data[headerSize:]...)
		if a.data[1]&endOfFrame != 0 {
			all, frame, toggle = append(all, frame), nil, toggle^1
		}
	}
	return all
}

func TestFramesArriveAsGiven(t *testing.T) {
	t.Parallel()
	for _, size := range []int{payload, headerSize + 1, headerSize + 4} {
		l := list()
		var sent [][]byte
		k, s := plug(t, Config{Source: l, Sent: func(b []byte) { sent = append(sent, b) }})
		for i, f := range k.collect(7, size) {
			if !bytes.Equal(f, l.Frames[i%3]) {
				t.Errorf("size %d, frame %d: %q, want %q", size, i, f, l.Frames[i%3])
			}
		}
		s.stop() // and with it the use of sent
		for i := range 7 {
			if !bytes.Equal(sent[i], l.Frames[i%3]) {
				t.Errorf("told of %q as frame %d", sent[i], i)
			}
		}
	}
}

func TestEveryStartBeginsAtTheFront(t *testing.T) {
	t.Parallel()
	l := list()
	k, s := plug(t, Config{Source: l})
	for range 3 {
		if f := k.collect(2, payload); !bytes.Equal(f[0], l.Frames[0]) || !bytes.Equal(f[1], l.Frames[1]) {
			t.Fatalf("%q", f)
		}
		k.control(0x02, 1, 0, 0x80|endpoint, 0) // clear the endpoint: the driver's stop
	}
	if st := s.snapshot(); st.Starts != 3 || st.Frames < 6 {
		t.Errorf("%+v, want 3 starts and 6 frames", st)
	}
}

func TestForcedKeyFrameJumpsToOne(t *testing.T) {
	t.Parallel()
	l := list()
	k, _ := plug(t, Config{Source: l})
	k.collect(2, payload)
	if err := l.ForceKey(); err != nil {
		t.Fatal(err)
	}
	seq := k.bulk(payload) // one frame may have been on its way
	for range 2 {
		a := k.answer(true)
		if a.seq == seq && bytes.HasSuffix(a.data, []byte("key")) {
			return
		}
		seq = k.bulk(payload)
	}
	k.t.Fatal("no key frame among the next two")
}

// The kernel drops a device that answers an unlink before it answers the
// transfer that the unlink was for.
func TestUnlinkDoesNotOvertakeItsTransfer(t *testing.T) {
	t.Parallel()
	fast := &endless{}
	k, _ := plug(t, Config{Source: fast})
	cancelledOnes, answered := 0, 0
	for range 2000 {
		victim := k.bulk(payload)
		written := make(chan struct{})
		go func() { defer close(written); k.unlink(victim) }()
		first := k.answer(true)
		if first.kind == retUnlink {
			if first.status != cancelled {
				t.Fatalf("transfer %d: unlinked with %d and never answered", victim, first.status)
			}
			cancelledOnes++
		} else {
			if second := k.answer(true); first.seq != victim || second.kind != retUnlink || second.status != 0 {
				t.Fatalf("transfer %d: %+v, then %+v", victim, first, second)
			}
			answered++
		}
		<-written
	}
	t.Logf("%d were cancelled, %d answered before", cancelledOnes, answered)
}

// endless gives frames as fast as it is asked.
type endless struct{ List }

func (e *endless) Sizes() []Size                        { return []Size{{640, 360}} }
func (e *endless) Start(context.Context, Format) error  { return nil }
func (e *endless) Next(context.Context) ([]byte, error) { return []byte("frame"), nil }
func (e *endless) Stop()                                {}
