package haltest

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// beat is the time from one heartbeat to the next.
	beat = 20 * time.Millisecond
	// jitter is lateness that says nothing: kernels that tick a hundred times a
	// second wake up that much late.
	jitter = 10 * time.Millisecond
	// heldBound is how late the machine may be within a second and still judge. The
	// cases' tightest tolerances are 50 ms in a second: frame rates are looked at
	// for a second, to 5 %; the speaker's pace for a second, to 60 ms, and its
	// Close to 50 ms. Cases that count frames are told five of them, 200 ms.
	heldBound = 50 * time.Millisecond
	// calmDown is how long the machine gets before a case is repeated: what held it
	// up once would else hold it up again.
	calmDown = 2 * time.Second
	// repeatsEach is how often a case is repeated at most, repeatsAll all of them
	// together: a board that fails many cases is broken, and a run has to end.
	repeatsEach = 2
	repeatsAll  = 6
)

// lateness adds up how late a heart beat.
type lateness struct {
	ring  [time.Second/beat + 1]lateBeat // all that fit into a second
	next  int
	worst time.Duration // within one second
}

type lateBeat struct {
	at time.Time
	by time.Duration
}

// add notes one beat that came at a time, late by so much.
func (l *lateness) add(at time.Time, by time.Duration) {
	if by <= jitter {
		return
	}
	l.ring[l.next] = lateBeat{at, by}
	l.next = (l.next + 1) % len(l.ring)
	var sum time.Duration
	for _, b := range l.ring {
		if at.Sub(b.at) < time.Second {
			sum += b.by
		}
	}
	l.worst = max(l.worst, sum)
}

// listen watches how late the machine is until stop is called, which returns the
// most that it was within one second. There is a heart on each processor: of a
// virtual machine any one may be taken away, and the others know nothing of it.
func listen() (stop func() time.Duration) {
	var cpus unix.CPUSet
	if unix.SchedGetaffinity(0, &cpus) != nil || cpus.Count() == 0 {
		cpus.Set(0)
	}
	done := make(chan struct{})
	hearts := make([]lateness, cpus.Count())
	var all sync.WaitGroup
	for i, cpu := 0, 0; i < len(hearts); cpu++ {
		if !cpus.IsSet(cpu) {
			continue
		}
		l := &hearts[i]
		i++
		all.Go(func() {
			defer stay(cpu)()
			l.beats(done, beat)
		})
	}
	return func() (worst time.Duration) {
		close(done)
		all.Wait()
		for i := range hearts {
			worst = max(worst, hearts[i].worst)
		}
		return worst
	}
}

// stay keeps this goroutine on one processor until leave is called. Where that is
// not allowed it goes where it likes.
func stay(cpu int) (leave func()) {
	runtime.LockOSThread()
	var before, only unix.CPUSet
	only.Set(cpu)
	if unix.SchedGetaffinity(0, &before) != nil || unix.SchedSetaffinity(0, &only) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		if unix.SchedSetaffinity(0, &before) == nil {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
	}
}

// beats notes beats until done; it allocates nothing meanwhile. They come every
// so often, which is [beat] but in tests.
func (l *lateness) beats(done <-chan struct{}, every time.Duration) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for begin := time.Now(); ; {
		ended := false
		select {
		case <-timer.C:
		case <-done:
			ended = true
		}
		now := time.Now()
		l.add(now, now.Sub(begin)-beat)
		if ended {
			return
		}
		begin = now
		timer.Reset(every)
	}
}
