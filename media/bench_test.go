package media

import (
	"context"
	"testing"
)

func TestNoAllocationPerSample(t *testing.T) {
	r := NewRing(1 << 20)
	rd := r.NewReader(0)
	defer rd.Close()
	data := make([]byte, 1000)
	seq := uint64(0)
	if n := testing.AllocsPerRun(10_000, func() {
		r.Push(Sample{Data: data, Seq: seq, Key: seq%50 == 0})
		if s, err := rd.Next(context.Background()); err != nil || s.Seq != seq {
			t.Fatal(s.Seq, err)
		}
		seq++
	}); n != 0 {
		t.Errorf("%v allocations for a push and a read", n)
	}
}

func BenchmarkPushAndRead100(b *testing.B) {
	r := NewRing(8 << 20)
	var readers []*Reader
	for range 100 {
		readers = append(readers, r.NewLiveReader())
	}
	data := make([]byte, 10_000)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		r.Push(Sample{Data: data, Seq: i, Key: i%50 == 0})
		for _, rd := range readers {
			if _, ok, err := rd.TryNext(); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}
