package clip

import "time"

var continuous = Order{Trigger: "continuous"}

// Follow says what is to be recorded from now on, or from a capture time that
// may lie back as far as the ring holds; zero: now. It may be called from any
// goroutine, before and while Run works.
func (r *Recorder) Follow(Order, time.Time) {}
