// Package sim is the simulated board: a camera without hardware, for
// development and tests. It makes live H.264 and sound in pure Go, and has every
// capability of package hal, each with an effect that can be seen, heard, or
// read back: [Board.State], [Board.Heard], [Board.Shown], [Board.SlotImage].
//
// # Script
//
// What happens before the camera and to its hardware is a script: a scenario
// file ([LoadScenario]) and what the control socket adds ([Board.ServeControl],
// [Ask]), both by one table of actions, action.go; docs/simulator.md describes
// it. All of it is a function of the time since the board's start; what has a
// memory (day and night, the card) is brought up to date by whoever comes by.
// Faults keep to hal's rules: unplug is ErrGone, garbage ErrGarbage, in a stall
// Next blocks.
//
// # Time
//
// The board starts when [New] is called. Every stream runs on one grid: frame
// times are whole multiples of 1/fps since the start, sound frames whole
// multiples of 20 ms, both by one monotonic clock, without drift. A frame is
// painted and encoded up to half an interval before its capture time, and
// handed over at that time. A reader that comes late gets frames that it missed
// at once, but at most [MaxBehind] of them, of 2 s; older ones are lost and
// counted, and the frame after them is a key frame. Sound too waits for 2 s.
//
// # What tests can measure
//
// Every picture carries its frame number (AccessUnit.Seq, modulo 2^32) in a
// strip along the bottom that survives the worst quality: [ReadStrip]. Every 2 s
// since the start ([BeepEvery]) there is a beep ([BeepHz]) of 80 ms
// ([BeepLength]), and the lamp at the top right ([LampRect], [ReadLamp]) is
// white in pictures captured in just these 80 ms: [Board.BeepAt].
//
// # Rules
//
// Equal Config and equal time give equal bytes. The package must not know
// anything of the product above hal, and starts no goroutine but those that
// ServeControl joins: all work is done in the caller of Next. A board owns its
// streams; a stream's Next owns its painter and encoder; what other goroutines
// ask for (key frames, settings) passes through the stream's lock. The painter's
// inner loops are not race instrumented, for the reason that internal/h264 gives.
package sim
