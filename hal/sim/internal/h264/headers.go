package h264

// frameNumBits holds every frame number of the longest GOP.
const frameNumBits = 10

// maxFPS is what levels are chosen for, so that a change of the frame rate
// needs no new parameter sets.
const maxFPS = 30

// levels of table A-1: level_idc, macroblocks a second, macroblocks a picture.
var levels = [...][3]int{
	{10, 1485, 99}, {11, 3000, 396}, {12, 6000, 396}, {13, 11880, 396}, {21, 19800, 792}, {22, 20250, 1620},
	{30, 40500, 1620}, {31, 108000, 3600}, {32, 216000, 5120}, {40, 245760, 8192}, {42, 522240, 8704}, {50, 589824, 22080},
}

func level(mbs int) uint32 {
	for _, l := range levels {
		if mbs*maxFPS <= l[1] && mbs <= l[2] {
			return uint32(l[0])
		}
	}
	return 51
}

// parameterSets returns SPS and PPS in AVC format. The frame rate is nominal:
// fixed_frame_rate_flag is 0, time stamps come from outside.
func parameterSets(p *Picture, fps int) []byte {
	var w bitWriter
	writeSPS(&w, p, fps)
	out := appendNAL(nil, 0x67, w.buf)
	w.reset()
	writePPS(&w)
	return appendNAL(out, 0x68, w.buf)
}

// writeSPS: 7.3.2.1.
func writeSPS(w *bitWriter, p *Picture, fps int) {
	w.u(8, 66)
	w.u(8, 0xC0) // constraint_set0 and 1: constrained baseline
	w.u(8, level(p.MBW*p.MBH))
	w.ue(0)
	w.ue(frameNumBits - 4)
	w.ue(2) // picture order count type 2: output order is decoding order
	w.ue(1) // reference pictures
	w.flag(false)
	w.ue(uint32(p.MBW - 1))
	w.ue(uint32(p.MBH - 1))
	w.flag(true) // frame_mbs_only
	w.flag(true) // direct_8x8_inference
	right, bottom := (p.MBW*16-p.W)/2, (p.MBH*16-p.H)/2
	w.flag(right|bottom != 0)
	if right|bottom != 0 {
		w.ue(0)
		w.ue(uint32(right))
		w.ue(0)
		w.ue(uint32(bottom))
	}
	w.flag(true)
	writeVUI(w, fps)
	w.trailing()
}

// writeVUI: E.1.1.
func writeVUI(w *bitWriter, fps int) {
	w.flag(false) // aspect ratio
	w.flag(false) // overscan
	w.flag(true)  // video signal type
	w.u(3, 5)     // unspecified format
	w.flag(false) // limited range
	w.flag(true)
	w.u(8, 6) // primaries, transfer, matrix: SMPTE 170M
	w.u(8, 6)
	w.u(8, 6)
	w.flag(false) // chroma location
	w.flag(true)  // timing
	w.u(32, 1)
	w.u(32, uint32(2*fps))
	w.flag(false) // fixed_frame_rate
	w.flag(false) // NAL HRD
	w.flag(false) // VCL HRD
	w.flag(false) // pic_struct
	w.flag(true)  // bitstream restriction
	w.flag(true)
	w.ue(0)
	w.ue(0)
	w.ue(10)
	w.ue(10)
	w.ue(0) // max_num_reorder_frames: no delay in the decoder
	w.ue(1) // max_dec_frame_buffering
}

// writePPS: 7.3.2.2.
func writePPS(w *bitWriter) {
	w.ue(0)
	w.ue(0)
	w.flag(false) // CAVLC
	w.flag(false)
	w.ue(0)
	w.ue(0)
	w.ue(0)
	w.flag(false)
	w.u(2, 0)
	w.se(0) // pic_init_qp 26
	w.se(0)
	w.se(0)      // chroma_qp_index_offset
	w.flag(true) // deblocking control present
	w.flag(false)
	w.flag(false)
	w.trailing()
}

// sliceHeader: 7.3.3.
func (e *Encoder) sliceHeader(key bool, qp int) {
	w := &e.w
	w.ue(0)
	if key {
		w.ue(7)
	} else {
		w.ue(5)
	}
	w.ue(0)
	w.u(frameNumBits, uint32(e.frameNum)&(1<<frameNumBits-1))
	if key {
		w.ue(uint32(e.idrID & 1)) // differs between neighbouring IDR pictures
		w.u(2, 0)
	} else {
		w.u(3, 0) // no reference index override, reordering or marking
	}
	w.se(qp - 26)
	w.ue(1) // no loop filter
}
