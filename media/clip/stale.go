package clip

// Stale may be implemented by a [Sink]: it is asked at each key frame, and if it
// says so, the clip ends there and another one is created. A store's clips are
// made for certain people; when one of them leaves, what is filmed from then on
// is not to be in the same file.
type Stale interface {
	Stale() bool
}

func stale(s Sink) bool {
	k, ok := s.(Stale)
	return ok && k.Stale()
}
