package haltest

// subject is the state of one run.
type subject struct {
	Subject
}
