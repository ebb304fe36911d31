package clip

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
)

// The fragments are those that mediacommon makes of the same samples.
func TestM3_FragmentsAreThoseOfAnotherMuxer(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for n := range 500 {
		var ours []*track
		part := fmp4.Part{SequenceNumber: rnd.Uint32()}
		for id := range rnd.IntN(2) + 1 {
			tr := &track{id: uint32(id + 1)}
			tr.base = rnd.Uint64N(1 << 40)
			tr.next = tr.base
			theirs := &fmp4.PartTrack{ID: id + 1, BaseTime: tr.base}
			least := 1 - id
			for range rnd.IntN(60) + least {
				payload := make([]byte, rnd.IntN(300))
				for i := range payload {
					payload[i] = byte(rnd.Uint32())
				}
				sync, duration := id == 1 || rnd.IntN(3) == 0, rnd.Uint32N(100_000)
				tr.add(payload, uint64(duration), sync)
				theirs.Samples = append(theirs.Samples, &fmp4.Sample{Duration: duration, IsNonSyncSample: !sync, Payload: payload})
			}
			if ours = append(ours, tr); len(theirs.Samples) > 0 {
				part.Tracks = append(part.Tracks, theirs)
			}
		}
		var want seekablebuffer.Buffer
		if err := part.Marshal(&want); err != nil {
			t.Fatal(err)
		}
		var err error
		if b, err = fragment(b[:0], part.SequenceNumber, ours...); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want.Bytes()) {
			t.Fatalf("fragment %d:\n% x, want\n% x", n, b, want.Bytes())
		}
	}
}
