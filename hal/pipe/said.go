package pipe

import (
	"bytes"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxLine bounds what is kept of one line of a program's standard error.
const maxLine = 300

// lastWords takes a program's standard error: it keeps the last line, for the
// error that tells of the program's end, and logs some: a line a second, and
// less and less, down to a line a minute, of a program that does not stop.
type lastWords struct {
	log *zap.Logger

	mu         sync.Mutex
	line, last []byte
	logged     time.Time
	gap        time.Duration // until the next line is logged
	skipped    int
}

// The least and the most time from one logged line to the next.
const (
	leastGap = time.Second
	mostGap  = time.Minute
)

// Write implements [io.Writer]; it never fails.
func (w *lastWords) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexAny(p, "\r\n") // progress displays end their lines with \r
		if i < 0 {
			w.add(p)
			return n, nil
		}
		w.add(p[:i])
		w.end()
		p = p[i+1:]
	}
}

func (w *lastWords) add(p []byte) {
	w.line = append(w.line, p[:min(len(p), maxLine-len(w.line))]...)
}

func (w *lastWords) end() {
	if line := bytes.TrimSpace(w.line); len(line) > 0 {
		w.last = append(w.last[:0], line...)
		w.report()
	}
	w.line = w.line[:0]
}

func (w *lastWords) report() {
	now := time.Now()
	since := now.Sub(w.logged)
	if since < w.gap {
		w.skipped++
		return
	}
	w.gap = min(max(2*w.gap, leastGap), mostGap)
	if since > 2*mostGap {
		w.gap = leastGap
	}
	w.log.Info("the program says", zap.ByteString("line", w.last), zap.Int("lines_skipped", w.skipped))
	w.logged, w.skipped = now, 0
}

// String returns the last line, whole or not.
func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if line := bytes.TrimSpace(w.line); len(line) > 0 {
		return string(line)
	}
	return string(w.last)
}
