package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How many viewers come late, and come and go.
const (
	lateViewers = 20
	visits      = 20_000
	firstVisits = 5_000 // before what stays is looked at for the first time
)

// late measures viewers that come in the middle of a GOP.
func (b *bench) late(ctx context.Context) ([]figure, error) {
	ours, theirs, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	a, err := b.lateAt(ctx, ours)
	if err != nil {
		return nil, err
	}
	c, err := b.lateAt(ctx, theirs)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("late viewer, DESCRIBE to first whole key frame, %%s of %d", lateViewers)
	return []figure{
		atMost(fmt.Sprintf(name, "p50"), a.P50, "ms", 5).against(c.P50, 0),
		atMost(fmt.Sprintf(name, "max"), a.Max, "ms", 50).against(c.Max, 0),
	}, nil
}

func (b *bench) lateAt(ctx context.Context, s server) (res lateResult, err error) {
	url, _, err := s.start(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := firstKeyFrame(ctx, url); err != nil {
		return res, err
	}
	return res, runRole(ctx, &res, "late", fmt.Sprint(lateViewers), url, b.film)
}

// churn lets thousands of viewers come and go, and looks at what stays.
func (b *bench) churn(ctx context.Context) (figures []figure, err error) {
	ours, _, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	url, pid, err := ours.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	if err := firstKeyFrame(ctx, url); err != nil {
		return nil, err
	}
	if err := b.visit(ctx, url, firstVisits); err != nil {
		return nil, err
	}
	before, err := remains(ctx, pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := b.visit(ctx, url, visits); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := remains(ctx, pid)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%d joins and leaves, %d at a time: ", visits, churnAtOnce)
	return []figure{
		told(name+"joins a second", visits/took.Seconds(), ""),
		atMost(name+"growth of its own memory", after.own-before.own, "MB", 1),
		atMost(name+"growth of open files", after.files-before.files, "", 0),
		atMost(name+"growth of threads", after.threads-before.threads, "", 2),
		told(name+"resident memory afterwards", after.memory, "MB"),
	}, nil
}

func (b *bench) visit(ctx context.Context, url string, n int) error {
	var done int
	return runRole(ctx, &done, "churn", fmt.Sprint(n), url, b.film)
}

// left is what a process holds: its own memory, which the program's pages, that
// come and go, are no part of.
type left struct{ own, memory, files, threads float64 }

// remains looks after a while: the last visitors are to be gone.
func remains(ctx context.Context, pid int) (l left, err error) {
	if err := sleep(ctx, 3*time.Second); err != nil {
		return l, err
	}
	var errs [4]error
	l.own, errs[0] = statusMB(pid, "RssAnon")
	l.memory, errs[1] = statusMB(pid, "VmRSS")
	l.files, errs[2] = descriptors(pid)
	l.threads, errs[3] = status(pid, "Threads")
	return l, errors.Join(errs[:]...)
}
