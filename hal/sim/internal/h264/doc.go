// Package h264 writes H.264 constrained baseline video (ITU-T H.264, profile
// 66 with constraint_set1) in pure Go: enough of it that the simulated board
// gives live, correct pictures at little cost.
//
// It codes intra 16x16 (vertical, horizontal, DC) and inter 16x16 with zero
// motion, CAVLC, one slice a picture, no loop filter. The painter says which
// macroblocks changed (a [Mask]), so unchanged ones cost nothing but a skip
// run, and the one reference picture is rewritten in place.
//
// It must not know scenes, clocks or boards, and it reads no H.264. One
// goroutine owns an [Encoder] and its [Rate]; a returned [Unit] belongs to the
// caller.
//
// Functions that only work on what their caller owns are marked go:norace:
// under the race detector they would be twenty times slower, too slow for live
// video in tests. The entries ([Encoder.Encode], [Rate.Plan]) are not marked,
// so that use from two goroutines is still found.
package h264
