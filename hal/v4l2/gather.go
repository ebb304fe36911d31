package v4l2

import (
	"bytes"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/sps"
)

// maxStep is the most frames that a driver's number is believed to jump by.
const maxStep = 1 << 16

// gatherer makes access units of a driver's buffers: it numbers them, remembers
// parameter sets, and leaves out what can't be decoded.
type gatherer struct {
	counting bool   // raw is valid
	raw      uint32 // the driver's newest number
	seq      uint64 // ours of the same

	started   bool
	synced    bool // a key frame was delivered since the last loss
	delivered uint64
	useless   int // buffers since the last delivered one

	sps, pps, params []byte // params is both in AVC format
	width, height    int    // by the newest SPS

	key    uint64 // number of the last key frame
	forced bool   // one was asked for since
	gop    int    // as counted; 0: not yet
}

// take makes an access unit of one buffer; false if it is of no use to anybody.
func (g *gatherer) take(f frame, at time.Time) (hal.AccessUnit, bool) {
	before := g.seq
	if g.number(f.sequence) > 1 {
		g.synced = false
	}
	g.useless++
	if f.flags&flagError != 0 {
		return g.drop()
	}
	au, err := hal.ParseAnnexB(f.data, g.params)
	if err != nil {
		if !g.remember(f.data) {
			return g.drop()
		}
		g.seq = before // parameter sets in a buffer of their own are no frame
		return hal.AccessUnit{}, false
	}
	if au.Params > 0 {
		g.remember(f.data)
	}
	if s, p := au.ParameterSets(); au.Key && (s == nil || p == nil) || !au.Key && !g.synced {
		return g.drop()
	}
	return g.deliver(au, at), true
}

// restarted: the driver counts from 0 again, and begins with a key frame.
func (g *gatherer) restarted() { g.counting, g.synced, g.useless = false, false, 0 }

// number counts on, by how many frames since the last buffer. Drivers that
// don't count, or begin again, count as one.
func (g *gatherer) number(raw uint32) uint32 {
	step := raw - g.raw
	if !g.counting || step == 0 || step > maxStep {
		step = 1
	}
	g.counting, g.raw = true, raw
	g.seq += uint64(step)
	return step
}

func (g *gatherer) drop() (hal.AccessUnit, bool) {
	g.synced = false
	return hal.AccessUnit{}, false
}

func (g *gatherer) deliver(au hal.AccessUnit, at time.Time) hal.AccessUnit {
	au.Time, au.Seq = at, g.seq
	if g.started {
		au.Lost = g.seq - g.delivered - 1
	}
	if au.Key {
		if g.started && au.Lost == 0 && !g.forced {
			g.gop = int(g.seq - g.key)
		}
		g.key, g.forced = g.seq, false
	}
	g.started, g.synced, g.delivered, g.useless = true, true, g.seq, 0
	return au
}

// remember keeps the parameter sets of a buffer; false if it has none.
func (g *gatherer) remember(b []byte) bool {
	found := false
	for n := range hal.SplitAnnexB(b) {
		switch n[0] & 31 {
		case hal.NALSPS:
			found = true
			if !bytes.Equal(n, g.sps) {
				g.sps = bytes.Clone(n)
				g.width, g.height, _ = sps.Read(n)
			}
		case hal.NALPPS:
			found = true
			g.pps = bytes.Clone(n)
		}
	}
	if found && g.sps != nil && g.pps != nil {
		g.params = hal.AppendAVC(hal.AppendAVC(nil, g.sps), g.pps)
	}
	return found
}
