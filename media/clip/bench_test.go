package clip

import (
	"context"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// nullStore throws everything away.
type nullStore struct{ bytes int }

func (s *nullStore) Create(context.Context, Start) (Sink, error) { return s, nil }
func (s *nullStore) Write(p []byte) (int, error)                 { s.bytes += len(p); return len(p), nil }
func (s *nullStore) Sync(Info) error                             { return nil }
func (s *nullStore) Missed(Miss)                                 {}
func (s *nullStore) Close(Info) error                            { return nil }
func (s *nullStore) Fail(uint64) uint64                          { return 0 }

// BenchmarkFrame is the recorder's cost of one picture of 10 KB at 25 fps, and
// of the sound that belongs to it.
func BenchmarkFrame(b *testing.B) {
	for name, format := range map[string]*hal.AudioFormat{"picture": nil, "picture and sound": pcmu} {
		b.Run(name, func(b *testing.B) {
			key := real(b)[0]
			stream := media.NewStream("main", 1<<20)
			stream.SetAudio(format)
			store := &nullStore{}
			r := New(stream, store, Config{})
			r.Follow(continuous, time.Time{})
			base := time.Now()
			picture := append(make([]byte, 0, 10_000), key.Data...)[:10_000]
			sound := make([]byte, 320)
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				at := base.Add(time.Duration(i) * frame)
				s := media.Sample{Data: picture, Time: at, Seq: i}
				if i%50 == 0 {
					s.Key, s.Params = true, key.Params
				}
				r.take(b.Context(), s)
				if format != nil {
					r.take(b.Context(), media.Sample{Kind: media.Audio, Data: sound, Samples: 320, Format: format, Time: at})
				}
			}
			b.ReportMetric(float64(store.bytes)/float64(b.N), "out-B/op")
		})
	}
}
