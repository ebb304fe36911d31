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
package h264
