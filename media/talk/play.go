package talk

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// errNoFormat: there is a speaker, but not for us.
var errNoFormat = errors.New("it takes neither G.711 nor L16")

// serve plays one turn to its end, whatever the speaker does.
func (d *Desk) serve(u *turn) {
	s := &sitting{desk: d, turn: u, timer: time.NewTimer(0), began: time.Now()}
	defer s.end()
	for {
		err := s.play()
		if err == nil || u.ctx.Err() != nil {
			return
		}
		d.failed(u, err)
		if !s.retry() {
			return
		}
	}
}

// sitting is Run at one turn.
type sitting struct {
	desk  *Desk
	turn  *turn
	timer *time.Timer
	began time.Time
	due   time.Time // when the next frame is, or was, to be written
	in    [int64(frameTime)*rate/1e9 + stretch]int16
}

func (s *sitting) end() {
	s.timer.Stop()
	s.desk.done(s.turn)
	s.desk.cfg.Log.Info("intercom: the talk is over",
		zap.String("talker", s.turn.talker.name), zap.Duration("took", time.Since(s.began).Round(time.Millisecond)))
}

// play opens the speaker and plays until the turn is over or the speaker fails.
func (s *sitting) play() (err error) {
	f, ok := best(s.desk.speaker.SpeakerFormats())
	if !ok {
		return errNoFormat
	}
	speaker, err := s.desk.speaker.OpenSpeaker(s.turn.ctx, f)
	if err != nil {
		return fmt.Errorf("opening it: %w", err)
	}
	defer func() { err = errors.Join(err, speaker.Close()) }()
	to := newConverter(f)
	for {
		now := time.Now()
		switch st := s.next(now); {
		case st.over:
			_ = s.sleep(st.until, nil) // a turn that is cut short here is no failure
			return nil
		case len(st.sound) == 0:
			err = s.sleep(st.until, s.desk.wake)
		default:
			err = s.write(speaker, to, st)
		}
		if err != nil {
			return err
		}
	}
}

// step is what is to be done next.
type step struct {
	over  bool      // the turn is, once the speaker has played what it holds
	sound []int16   // to be written
	first bool      // after a pause
	until time.Time // without sound: to be waited for
}

// next decides, and takes sound out.
func (s *sitting) next(now time.Time) step {
	d, u, j := s.desk, s.turn, s.turn.sound
	d.mu.Lock()
	defer d.mu.Unlock()
	if j.state == playing && j.over(u.ending) {
		j.state = idle
	}
	lease := u.last.Add(d.cfg.Lease)
	switch {
	case j.state == idle && u.ending:
		return step{over: true, until: now.Add(hal.SpeakerAhead)}
	case j.state == idle:
		return step{over: !now.Before(lease), until: lease}
	case j.state == waiting && now.Before(j.begin) && !u.ending:
		return step{until: j.begin}
	}
	first := j.state == waiting
	if earliest := now.Add(-catchUp); first {
		s.due = now
	} else if s.due.Before(earliest) {
		s.due = earliest
	}
	j.state = playing
	return step{sound: j.frame(s.due, s.in[:]), first: first}
}

// write gives one frame to the speaker and waits until the next is due, by our
// clock: the speaker never holds more than it needs to. What is late is made up
// for at once; if the speaker ran empty meanwhile, it has that much more in hand
// from then on.
func (s *sitting) write(speaker hal.Playback, to *converter, st step) error {
	u := s.turn
	if st.first {
		for range lead / frameTime {
			if err := speaker.Write(u.ctx, to.frame(make([]int16, samples(frameTime)))); err != nil {
				return fmt.Errorf("playing: %w", err)
			}
		}
	}
	if err := speaker.Write(u.ctx, to.frame(st.sound)); err != nil {
		return fmt.Errorf("playing: %w", err)
	}
	s.due = s.due.Add(to.lasts())
	return s.sleep(s.due, nil)
}

// retry waits after a failure until there is reason to try again; false: the
// turn is over.
func (s *sitting) retry() bool {
	failed := time.Now()
	for s.sleep(time.Now().Add(retryTime), nil) == nil {
		s.desk.mu.Lock()
		last, over := s.turn.last, s.turn.ending
		s.turn.sound.state = idle
		s.desk.mu.Unlock()
		switch {
		case over || time.Since(last) >= s.desk.cfg.Lease:
			return false
		case last.After(failed):
			return true
		}
	}
	return false
}

// sleep waits until a time, or until woken if that is not nil.
func (s *sitting) sleep(until time.Time, woken <-chan struct{}) error {
	s.timer.Reset(time.Until(until))
	select {
	case <-s.timer.C:
	case <-woken:
	case <-s.turn.ctx.Done():
		return s.turn.ctx.Err()
	}
	return nil
}
