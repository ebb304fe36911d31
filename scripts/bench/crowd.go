package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// crowdResult is what all viewers of a crowd have together.
type crowdResult struct {
	Frames, Lost, Broken, Gaps, Packets int

	Fewest             int     // frames of the viewer that has fewest
	P50, P99, Max, Min float64 // latency, ms
	Known              int     // frames whose latency is known
}

// joinPause keeps a crowd from all coming at once.
const joinPause = 10 * time.Millisecond

// runCrowd is `bench crowd N URL FILM`: N viewers in a process of their own. It
// says "ready" when all have a key frame; told "count" it begins to count, and
// told anything else it writes what it has counted, as JSON.
func runCrowd(ctx context.Context, n int, url, file string, in io.Reader, out io.Writer) error {
	f, err := loadFilm(file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &crowd{errs: make(chan error, n)}
	for range n {
		if err := c.add(ctx, url, f); err != nil {
			return err
		}
		time.Sleep(joinPause)
	}
	fmt.Fprintln(out, "ready")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if lines.Text() == "count" {
			c.restart()
			fmt.Fprintln(out, "counting")
			continue
		}
		res, err := c.result(f.length())
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(res); err != nil {
			return err
		}
	}
	return lines.Err()
}

type crowd struct {
	list []*viewer
	errs chan error
}

func (c *crowd) add(ctx context.Context, url string, f *film) error {
	v, err := joinUntil(ctx, url, f)
	if err != nil {
		return fmt.Errorf("viewer %d: %w", len(c.list)+1, err)
	}
	if _, err := v.firstKey(ctx); err != nil {
		return fmt.Errorf("viewer %d: %w", len(c.list)+1, err)
	}
	c.list = append(c.list, v)
	go func() {
		defer v.close()
		c.errs <- v.read(ctx, time.Time{}, func() bool { return false })
	}()
	return nil
}

func (c *crowd) restart() {
	for _, v := range c.list {
		v.restart()
	}
}

// result waits until everybody has the picture that the first viewer has: what
// is still on its way is not lost.
func (c *crowd) result(length int) (crowdResult, error) {
	select {
	case err := <-c.errs:
		return crowdResult{}, fmt.Errorf("a viewer was dropped: %w", err)
	default:
	}
	_, goal := c.list[0].result()
	deadline := time.Now().Add(patience)
	var res crowdResult
	var late []float64
	for i, v := range c.list {
		one, behind := v.reach(goal, length, deadline)
		res.Frames += one.Frames
		res.Lost += one.Lost + behind
		res.Broken += one.Broken
		res.Gaps += one.Gaps
		res.Packets += one.Packets
		if i == 0 || one.Frames < res.Fewest {
			res.Fewest = one.Frames
		}
		for _, us := range one.Late {
			late = append(late, float64(us)/1000)
		}
	}
	if len(late) == 0 {
		return res, errors.New("no latency is known: the server sends no reports, or no pictures")
	}
	res.Known = len(late)
	res.Min, res.P50, res.P99, res.Max = quantile(late, 0), quantile(late, 0.5), quantile(late, 0.99), quantile(late, 1)
	return res, nil
}

// reach waits for a picture of the film, and tells how many are missing to it.
func (v *viewer) reach(goal, length int, deadline time.Time) (c counts, behind int) {
	for {
		c, newest := v.receiver.result()
		if behind = (goal - newest + length) % length; behind == 0 || behind > length/2 {
			return c, 0 // there, or beyond
		}
		if time.Now().After(deadline) {
			return c, behind
		}
		time.Sleep(time.Millisecond)
	}
}
