package rtsp

import "iid2secure.nl/camagent/hal"

// fuA is the type of a fragment of a NAL unit (RFC 6184, 5.8).
const fuA = 28

// video packs one access unit in AVC format as RFC 6184 has it, in
// packetization mode 1: a NAL unit that fits in a packet of its own, a larger
// one in fragments. The marker stands on the last packet. It allocates nothing.
func (t *track) video(g *gather, data []byte, ts uint32) {
	var held []byte // one behind, to know the last
	for nal := range hal.SplitAVC(data) {
		if kind := nal[0] & 31; kind == 0 || kind > 23 {
			continue // those numbers mean something else in RTP (table 1)
		}
		if held != nil {
			t.nal(g, held, ts, false)
		}
		held = nal
	}
	if held != nil {
		t.nal(g, held, ts, true)
	}
}

func (t *track) nal(g *gather, nal []byte, ts uint32, last bool) {
	if len(nal) <= maxPayload {
		copy(t.packet(g, ts, last, len(nal)), nal)
		return
	}
	indicator, header := nal[0]&0xe0|fuA, nal[0]&31|0x80
	for nal = nal[1:]; len(nal) > 0; header &^= 0x80 {
		n := min(len(nal), maxPayload-2)
		end := n == len(nal)
		if end {
			header |= 0x40
		}
		p := t.packet(g, ts, last && end, 2+n)
		p[0], p[1] = indicator, header
		copy(p[2:], nal[:n])
		nal = nal[n:]
	}
}
