package haltest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestM13_LatenessOfASecondIsAddedUp(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, k := range map[string]struct {
		beats [][2]time.Duration // when, and how late
		want  time.Duration
	}{
		"none":                      {nil, 0},
		"timers that are coarse":    {[][2]time.Duration{{0, jitter}, {100 * ms, jitter}, {200 * ms, jitter}}, 0},
		"once, long":                {[][2]time.Duration{{0, 3 * time.Second}}, 3 * time.Second},
		"often, a little":           {[][2]time.Duration{{0, 20 * ms}, {300 * ms, 20 * ms}, {999 * ms, 20 * ms}}, 60 * ms},
		"now and then, a little":    {[][2]time.Duration{{0, 20 * ms}, {1000 * ms, 20 * ms}, {2000 * ms, 20 * ms}}, 20 * ms},
		"the worst is not the last": {[][2]time.Duration{{0, 200 * ms}, {500 * ms, 200 * ms}, {5000 * ms, 30 * ms}}, 400 * ms},
	} {
		var l lateness
		begin := time.Now()
		for _, b := range k.beats {
			l.add(begin.Add(b[0]), b[1])
		}
		if l.worst != k.want {
			t.Errorf("%s: %v, want %v", name, l.worst, k.want)
		}
	}
	// More late beats than there is room for, which a second can't hold.
	var l lateness
	begin := time.Now()
	for i := range 1000 {
		l.add(begin.Add(time.Duration(i)*(beat+15*ms)), 15*ms)
	}
	if want := 29 * 15 * ms; l.worst != want {
		t.Errorf("always late: %v, want %v", l.worst, want)
	}
}

func TestM13_TheHeartFeelsLateness(t *testing.T) {
	t.Parallel()
	const by = 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var late, atTheEnd, calm lateness
		done := make(chan struct{})
		go late.beats(done, beat+by)
		go atTheEnd.beats(done, time.Hour) // the machine stands still
		go calm.beats(done, beat)
		time.Sleep(10 * time.Second)
		close(done)
		synctest.Wait()
		if want := 20 * by; late.worst != want {
			t.Errorf("always %v late: %v in the worst second, want %v", by, late.worst, want)
		}
		if want := 10*time.Second - beat; atTheEnd.worst != want {
			t.Errorf("no beat at all: %v late, want %v", atTheEnd.worst, want)
		}
		if calm.worst != 0 {
			t.Errorf("a calm machine is %v late", calm.worst)
		}
	})
	synctest.Test(t, func(t *testing.T) { // which waits for all that listen has started
		stop := listen()
		time.Sleep(5 * time.Second)
		if held := stop(); held != 0 {
			t.Errorf("a machine whose time is simulated is %v late", held)
		}
	})
}
