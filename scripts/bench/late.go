package main

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// lateResult is how long late viewers waited, in ms.
type lateResult struct{ P50, Max float64 }

// runLate is `bench late N URL FILM`: viewers that come at random moments, one
// after the other. Each measures from sending DESCRIBE, the challenge included,
// to the last packet of its first whole key frame.
func runLate(ctx context.Context, n int, url, file string, out io.Writer) error {
	f, err := loadFilm(file)
	if err != nil {
		return err
	}
	var waits []float64
	for i := range n {
		time.Sleep(lateMoment(i))
		wait, err := lateViewer(ctx, url, f)
		if err != nil {
			return err
		}
		waits = append(waits, float64(wait.Microseconds())/1000)
	}
	return json.NewEncoder(out).Encode(lateResult{quantile(waits, 0.5), quantile(waits, 1)})
}

// lateMoment is how long the i-th viewer waits, so that together they come at all
// moments of a GOP: the wall clock's phase moves by a golden section.
func lateMoment(i int) time.Duration {
	const gop = filmGOP * time.Second / filmFPS
	phase := time.Duration(float64(gop)*0.618034*float64(i+1)) % gop
	now := time.Duration(time.Now().UnixNano()) % gop
	return (phase - now + gop) % gop
}

func lateViewer(ctx context.Context, url string, f *film) (time.Duration, error) {
	v, err := dial(url, f)
	if err != nil {
		return 0, err
	}
	defer v.close()
	began := time.Now()
	if err := v.play(); err != nil {
		return 0, err
	}
	at, err := v.firstKey(ctx)
	return at.Sub(began), err
}
