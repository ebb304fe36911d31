// Package haltest is the conformance suite of the hardware contract: every
// sentence of package hal that binds a board is a [Case], and each case says
// which bug it usually catches. It drives the raw [hal.Board] and its parts, and
// keeps what a board may rely on.
//
// Cases return errors instead of taking a *testing.T, so that the same suite
// runs in the tests of a board ([Check]) and on the device (camagent check, by
// [Run]). On a device nothing stays changed: lamps and siren go off again at
// once, controls and position go back, firmware is looked at and not written.
//
// A case that fails while the machine itself was held up (its processors taken
// away, or busy with something else) tells nothing of the board: it is repeated.
//
// A case for something that the board lacks is not applicable, with the reason;
// that is listed and is no pass. On a board that runs in real time the whole
// suite takes at most 45 seconds, repetitions left out; in a synctest bubble, none.
package haltest
