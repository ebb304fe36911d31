package pipe

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// How much of one stream may wait for its reader: what is beyond it is dropped,
// all of it, and so are the frames up to the next key frame.
const (
	laneFrames = 250
	laneBytes  = 2 * maxMessage
	laneTime   = 2 * time.Second
)

// lane is one open stream of a sidecar. The goroutine that reads the sidecar
// calls take, the consumer the rest.
type lane struct {
	from *session
	name string
	what string // it is, in errors
	feed *feed[hal.AccessUnit]

	// The reading goroutine's own, but for Config.
	gather gatherer
	last   time.Time // stamped

	closing sync.Once
}

func newLane(s *session, name string) *lane {
	return &lane{from: s, name: name, what: "stream " + name, feed: newFeed[hal.AccessUnit]()}
}

// take queues the frame of a message; an error ends the stream.
func (l *lane) take(m message, at time.Time) error {
	if m.stamp != 0 && !at.After(l.last) {
		return fmt.Errorf("%w: time went back by %v", hal.ErrGarbage, l.last.Sub(at))
	}
	if m.stamp != 0 {
		l.last = at
	}
	l.gather.missed(int(m.number))
	au, err := hal.ParseAnnexB(m.body, l.gather.params)
	if err != nil {
		return err
	}
	if n := countPictures(&au); n != 1 {
		return fmt.Errorf("%w: %d pictures begin in one video message, want one whole access unit", hal.ErrGarbage, n)
	}
	l.gather.unread(l.feed.flush(func(waiting []hal.AccessUnit) bool { return tooMuch(waiting, at) }))
	switch usable := l.gather.usable(&au); {
	case !usable && au.Key:
		return fmt.Errorf("%w: a key frame without SPS and PPS", hal.ErrGarbage)
	case !usable:
		l.gather.drop(unit{at: at})
		return nil
	}
	l.feed.put(l.gather.deliver(au, at), laneFrames)
	return nil
}

// tooMuch tells whether the consumer is too far behind.
func tooMuch(waiting []hal.AccessUnit, now time.Time) bool {
	bytes := 0
	for i := range waiting {
		bytes += len(waiting[i].Data)
	}
	return len(waiting) >= laneFrames || bytes > laneBytes || now.Sub(waiting[0].Time) > laneTime
}

// countPictures counts the pictures that begin in an access unit.
func countPictures(au *hal.AccessUnit) int {
	n := 0
	for nal := range au.NALs() {
		if len(nal) > 1 && classify(nal[0], nal[1]) == firstSlice {
			n++
		}
	}
	return n
}

// parseConfig reads width, height, fps, gop and bitrate; 0 is unknown.
func parseConfig(text []byte) (c hal.VideoConfig, err error) {
	f := strings.Fields(string(text))
	for i, to := range []*int{&c.Width, &c.Height, &c.FPS, &c.GOP, &c.Bitrate} {
		if len(f) == 5 && err == nil {
			*to, err = strconv.Atoi(f[i])
		}
	}
	if len(f) != 5 || err != nil || min(c.Width, c.Height, c.FPS, c.GOP, c.Bitrate) < 0 {
		return hal.VideoConfig{}, broken("the answer %q, want width, height, fps, gop and bitrate", oneLine(text))
	}
	return c, nil
}

// wishText is a VideoConfig in a command.
func wishText(c hal.VideoConfig) string {
	return strings.Trim(fmt.Sprint([]int{c.Width, c.Height, c.FPS, c.GOP, c.Bitrate}), "[]")
}

// Config implements [hal.VideoStream].
func (l *lane) Config() hal.VideoConfig { return l.gather.Config() }

// Next implements [hal.VideoStream].
func (l *lane) Next(ctx context.Context) (hal.AccessUnit, error) {
	return l.feed.next(ctx, l.what)
}

// Close implements [hal.VideoStream]: it waits until the sidecar has stopped
// the stream, or is gone.
func (l *lane) Close() error {
	l.closing.Do(func() {
		l.feed.close()
		l.from.leave(l)
		_, _ = l.from.ask(context.Background(), "stop "+l.name, nil) // it fails only with the sidecar, which is no matter any more
	})
	return nil
}
