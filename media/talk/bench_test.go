package talk

import (
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// BenchmarkTalk is the cost of 20 ms of talk: a packet in, a frame out; with loss,
// every tenth is made up.
func BenchmarkTalk(b *testing.B) {
	for name, loss := range map[string]int{"whole": 1 << 30, "loss": 10} {
		b.Run(name, func(b *testing.B) {
			var count Stats
			j, c, now := newJitter(&count), newConverter(hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 1}), time.Now()
			var in [200]int16
			p := Packet{hal.PCMU, 0, 0, tone(hal.PCMU, 0, 160)}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%loss != loss-1 {
					j.put(&p, now)
				}
				p.Sequence, p.Timestamp, now = p.Sequence+1, p.Timestamp+160, now.Add(frameTime)
				if j.state == waiting && !now.Before(j.begin) {
					j.state = playing
				}
				if j.state == playing {
					c.frame(j.frame(now, in[:]))
				}
			}
		})
	}
}
