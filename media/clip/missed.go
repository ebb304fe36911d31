package clip

import (
	"time"

	"iid2secure.nl/camagent/media"
)

// Miss is a run of pictures that are in no clip, though they were to be.
type Miss struct {
	Stream                string
	From, To              time.Time // capture of the first, end of the last
	FirstFrame, LastFrame uint64
	Err                   error // why
}

// maxMisses bounds what is kept until the store can be told; after that runs are
// told as one, with what was not wanted in between.
const maxMisses = 64

// misses keeps account of pictures that were wanted and are in no clip. The
// newest run is open: the ring may still give some of it back.
type misses struct {
	stream string
	list   []Miss
	open   bool
	run    Miss
}

// add puts pictures first to last, captured from from on, into the open run.
func (m *misses) add(first, last uint64, from, to time.Time, err error) {
	if last < first {
		return
	}
	if !m.open {
		m.open = true
		m.run = Miss{Stream: m.stream, From: from, To: to, FirstFrame: first, LastFrame: last, Err: err}
		return
	}
	if last > m.run.LastFrame {
		m.run.LastFrame, m.run.To = last, to
	}
}

// found: the picture s begins a clip, which takes what comes after it.
func (m *misses) found(s *media.Sample) {
	if !m.open {
		return
	}
	if s.Seq <= m.run.FirstFrame {
		m.open = false
		return
	}
	if m.run.LastFrame >= s.Seq {
		m.run.LastFrame, m.run.To = s.Seq-1, s.Time
	}
	m.end()
}

// end closes the open run: nothing of it will come back.
func (m *misses) end() {
	if !m.open {
		return
	}
	m.open = false
	if n := len(m.list); n > 0 && (m.list[n-1].LastFrame+1 == m.run.FirstFrame || n == maxMisses) {
		m.list[n-1].LastFrame, m.list[n-1].To = m.run.LastFrame, m.run.To
		return
	}
	m.list = append(m.list, m.run)
}

// tell hands all closed runs to the store.
func (m *misses) tell(s Store) {
	for _, miss := range m.list {
		s.Missed(miss)
	}
	clear(m.list)
	m.list = m.list[:0]
}
