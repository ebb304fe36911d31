package spool

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// List returns objects, newest first; the last name is the next page's Before.
// It reads as many hour folders as it needs; one that can't be read is an error: who
// asks for the newest must not be told of older ones. What is somebody else's is left out.
func (s *Spool) List(q Query) ([]Entry, error) {
	if err := s.held(); err != nil {
		return nil, err
	}
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	out := []Entry{}
	for _, h := range s.hoursFor(q) {
		list, err := s.listHour(h, q)
		if err != nil {
			return nil, s.note(cardError("listing", err))
		}
		if out = append(out, list...); len(out) >= q.Limit {
			return out[:q.Limit], nil
		}
	}
	return out, nil
}

// hoursFor lists the hours in which there may be what q asks for, newest first.
func (s *Spool) hoursFor(q Query) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.x.trees[:treeDropped] {
		for _, h := range t.hours {
			at, _ := time.Parse(hourLayout, h.name)
			if (q.Before == "" || len(q.Before) < 11 || h.name <= q.Before[:8]+q.Before[9:11]) &&
				(q.To.IsZero() || at.Before(q.To)) && (q.From.IsZero() || at.Add(time.Hour).After(q.From)) {
				out = append(out, h.name)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	slices.Reverse(out)
	return out
}

// listHour lists what q asks for in one hour, newest first.
func (s *Spool) listHour(hour string, q Query) ([]Entry, error) {
	s.card.Lock()
	defer s.card.Unlock()
	var out []Entry
	for t := range treeDropped {
		entries, err := s.readFolder(t, hour, nil)
		if err != nil {
			return nil, err
		}
		foreign, _ := s.theirs(t, hour, entries)
		for _, e := range entries {
			if e.file == nil || !q.wants(e.name) || foreign[e.name] {
				continue
			}
			it, err := e.item(t)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			out = append(out, Entry{Name: e.name, Size: it.bytes(), Uploaded: t == treeUploaded})
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(b.Name, a.Name) })
	return out, nil
}

func (q Query) wants(name string) bool {
	if q.Before != "" && name >= q.Before {
		return false
	}
	start, err := startOf(name)
	return err == nil && (q.From.IsZero() || !start.Before(q.From)) && (q.To.IsZero() || start.Before(q.To))
}
