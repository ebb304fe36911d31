package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// runChurn is `bench churn N URL FILM`: N viewers come, look at a key frame and
// go, churnAtOnce at a time.
func runChurn(ctx context.Context, n int, url, file string, out io.Writer) error {
	f, err := loadFilm(file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range churnAtOnce {
		all.Go(func() {
			for i := range next {
				if err := visit(ctx, i, url, f); err != nil {
					cancel(fmt.Errorf("visit %d: %w", i, err))
					return
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(n)
}

const churnAtOnce = 10

// visit ends in turns: politely, by closing, politely, by a reset.
func visit(ctx context.Context, i int, url string, f *film) error {
	v, err := join(url, f)
	if err != nil {
		return err
	}
	defer v.close()
	if _, err := v.firstKey(ctx); err != nil {
		return err
	}
	switch i % 4 {
	case 1:
	case 3:
		return v.conn.SetLinger(0)
	default:
		return v.leave(ctx)
	}
	return nil
}
