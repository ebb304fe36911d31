package pipe

import (
	"bytes"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/sps"
)

// minStep keeps capture times strictly rising when several pictures arrive in
// one read.
const minStep = 100 * time.Microsecond

// gatherer makes access units of what the splitter cut: it copies them out of
// the buffer (once), remembers parameter sets, numbers the pictures, and leaves
// out what cannot be decoded. Only Config and setKnown may be called from
// another goroutine.
type gatherer struct {
	known  hal.VideoConfig // by configuration or by the device's word
	replay bool            // what is left out was not lost

	started  bool
	synced   bool // a key frame was delivered since the last loss
	seq      uint64
	lost     uint64
	lastTime time.Time
	lastKey  uint64
	unsynced time.Time // since when, if pictures came

	sps, pps, params []byte // params is both in AVC format

	endsPass  bool // the next unit is the last of a pass through the file
	delivered int  // in this pass
	empty     int  // passes without any

	mu     sync.Mutex
	config hal.VideoConfig
}

// Config tells what is known of the stream.
func (g *gatherer) Config() hal.VideoConfig {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := hal.VideoConfig{Width: g.config.Width, Height: g.config.Height}
	return g.config.With(g.known).With(seen)
}

// setKnown takes what the device says that it does.
func (g *gatherer) setKnown(c hal.VideoConfig) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = c
}

// add makes an access unit of u; false if it is of no use to anybody.
func (g *gatherer) add(u unit) (hal.AccessUnit, bool) {
	if g.endsPass {
		defer g.desync()
	}
	if u.bad {
		return g.drop(u)
	}
	au, err := hal.ParseAnnexB(u.data, g.params)
	if err != nil {
		return g.drop(u)
	}
	if !g.usable(&au) {
		return g.drop(u)
	}
	return g.deliver(au, u.at), true
}

// usable tells whether a decoder could show the picture now; a key frame gets
// the parameter sets that it lacks.
func (g *gatherer) usable(au *hal.AccessUnit) bool {
	if au.Params > 0 {
		g.remember(au)
	}
	if au.Key {
		return g.complete(au)
	}
	return g.synced
}

// desync makes the next picture that is delivered a key frame.
func (g *gatherer) desync() { g.synced, g.endsPass = false, false }

// missed notes frames that were lost before the next one.
func (g *gatherer) missed(n int) {
	if n > 0 {
		g.synced = false
	}
	if g.started {
		g.seq += uint64(n)
		g.lost += uint64(n)
	}
}

// unread notes that what was delivered last will not be read.
func (g *gatherer) unread(list []hal.AccessUnit) {
	for i := range list {
		g.synced = false
		g.lost += 1 + list[i].Lost
	}
}

func (g *gatherer) drop(u unit) (hal.AccessUnit, bool) {
	g.synced = false
	if g.unsynced.IsZero() {
		g.unsynced = u.at
	}
	if g.started && !g.replay {
		g.seq++
		g.lost++
	}
	return hal.AccessUnit{}, false
}

func (g *gatherer) deliver(au hal.AccessUnit, at time.Time) hal.AccessUnit {
	if !at.After(g.lastTime) {
		at = g.lastTime.Add(minStep)
	}
	au.Time, au.Seq, au.Lost = at, g.seq, g.lost
	if au.Key {
		g.setGOP(g.started && g.lost == 0)
		g.lastKey = g.seq
	}
	g.started, g.synced, g.lost, g.lastTime, g.unsynced = true, true, 0, at, time.Time{}
	g.seq++
	g.delivered++
	return au
}

func (g *gatherer) setGOP(counted bool) {
	if counted {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.config.GOP = int(g.seq - g.lastKey)
	}
}

// waiting tells how long pictures have come without one that could be delivered.
func (g *gatherer) waiting(now time.Time) time.Duration {
	if g.unsynced.IsZero() {
		return 0
	}
	return now.Sub(g.unsynced)
}

// nextPass tells that a file is about to be read once more; more if its last
// unit is still to be added. It returns false if the file is of no use.
func (g *gatherer) nextPass(more bool) bool {
	if g.delivered > 0 {
		g.empty = 0
	} else {
		g.empty++
	}
	g.delivered = 0
	if g.endsPass = more; !more {
		g.desync()
	}
	return g.empty < 2
}

// remember keeps the unit's parameter sets; one kind may come without the other.
func (g *gatherer) remember(au *hal.AccessUnit) {
	s, p := au.ParameterSets()
	if (s == nil || bytes.Equal(s, g.sps)) && (p == nil || bytes.Equal(p, g.pps)) {
		return
	}
	if s != nil {
		g.sps = bytes.Clone(s)
		g.describe(s)
	}
	if p != nil {
		g.pps = bytes.Clone(p)
	}
	if g.sps != nil && g.pps != nil {
		g.params = hal.AppendAVC(hal.AppendAVC(nil, g.sps), g.pps)
	}
}

// complete puts the remembered parameter sets in front of a key frame that has
// none, or only one kind; false if they are not known.
func (g *gatherer) complete(au *hal.AccessUnit) bool {
	if s, p := au.ParameterSets(); s != nil && p != nil {
		return true
	}
	if g.params == nil {
		return false
	}
	data := make([]byte, 0, len(g.params)+len(au.Data)-au.Params)
	data = append(append(data, g.params...), au.Data[au.Params:]...)
	au.Data, au.Params = data, len(g.params)
	return true
}

// describe takes size and rate from an SPS; what makes no sense stays unknown.
func (g *gatherer) describe(nal []byte) {
	w, h, fps := sps.Read(nal)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = g.config.With(hal.VideoConfig{Width: w, Height: h, FPS: fps})
}
